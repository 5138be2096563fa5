"""Products of the Hessian with vectors, by differentiating the gradient once more (Pearlmutter 1994).

Reverse over reverse: the gradient's graph is kept, and each product is one more pass back through it. Forward-mode
derivatives of reverse-mode ones are wrong in torch for LayerNorm with gains and for BatchNorm in training mode.

Legend: N images, B of one piece, P weights that count, Q of one block.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks

from bench.errors import BenchError
from bench.foreign.faults import blamed
from bench.landscape.blocks import Block
from bench.landscape.objective import Objective, add_parts
from bench.machine.memory import free_memory, is_out_of_memory

_SHARE = 0.5
"""Of the free memory, for graphs that are kept; vectors, and what a product makes on its way, need the rest."""


@dataclass(frozen=True, slots=True)
class Job:
    """A vector to multiply, by the Hessian of all weights or by that of a block."""

    vector: Tensor
    """(P,), or (Q,) of the block."""
    block: Block | None = None


class Products:
    """Products of the Hessian of an objective at its module's weights.

    The graphs of as many pieces as memory has room for are kept from the first product on; those of the others are made
    again for every call, which gives the same bits and takes longer.

    Args:
        objective: whose mean loss is differentiated.
        memory: bytes for graphs that are kept; None takes half of what is free at the first product.
    """

    def __init__(self, objective: Objective, memory: int | None = None) -> None:
        self.objective = objective
        self.taken = 0.0
        """Products so far; one of a block counts by its share of the weights."""
        self._place = {name: place for place, name in enumerate(objective.shapes)}
        self._memory = memory
        self._image_bytes = 0
        """What an image adds to a graph."""
        self._kept: dict[tuple[int, int], list[GradientEdge | None]] = {}
        """The graphs of gradients, by the first row of the piece and the row after its last."""
        self._weights = objective.leaves()
        self._checked = False

    def __call__(self, vector: Tensor, block: Block | None = None) -> Tensor:
        """The product with one vector; see `all`."""
        return self.all([Job(vector, block)])[0]

    def all(self, jobs: Sequence[Job]) -> list[Tensor]:
        """The products with several vectors, in their shapes; a graph that is not kept is made once for all of them.

        Raises:
            BenchError: an operation of the module has no second derivative.
            RunError: a single image does not fit into memory.
        """
        pieces = {(rows.start, rows.stop) for rows in self.objective.pieces}
        self._kept = {key: kept for key, kept in self._kept.items() if key in pieces}

        def add(totals: list[Tensor], rows: slice) -> None:
            edges = self._edges(rows)
            for total, job in zip(totals, jobs, strict=True):
                self._add_product(total, edges, job)

        totals = self.objective.over_pieces(
            lambda: [torch.zeros_like(job.vector) for job in jobs], add, make_room=self._forget
        )
        self.taken += sum(len(job.vector) for job in jobs) / len(self.objective.weights_P)
        return totals

    def by_image(self, vector_P: Tensor) -> Tensor:
        r"""(N,): $v^T H_i v$ of each image's own loss; their mean is $v^T H v$.

        With $\sum_i u_i \ell_i$ in place of the mean loss, it is how $v^T H v$ changes with $u$: one more pass back. As
        that is linear in $u$, nothing is differentiated by the weights a third time, which LayerNorm gets wrong.

        Raises:
            BenchError: an operation of the module has no second derivative.
            RunError: a single image does not fit into memory.
        """
        direction = self.objective.split(vector_P)

        def add(found: list[Tensor], rows: slice) -> None:
            piece = self.objective.piece(rows)
            factors_B = torch.ones(
                len(piece.labels_B), device=vector_P.device, dtype=vector_P.dtype, requires_grad=True
            )
            if not self._checked:
                self._made(rows)
            with self._differentiating():
                losses_B = self.objective.losses_of(piece, self._weights)
                value = factors_B @ losses_B
                for _ in range(2):
                    slopes = _differentiated([_edge(value)], [torch.ones_like(value)], self._weights, graph=True)
                    value = torch.stack([(s * d).sum() for s, d in zip(slopes, direction, strict=True)]).sum()
                found.append(_differentiated([_edge(value)], [torch.ones_like(value)], [factors_B])[0])

        return torch.cat(self.objective.over_pieces(list, add, make_room=self._forget))

    def _add_product(self, total: Tensor, edges: Sequence[GradientEdge | None], job: Job) -> None:
        places = range(len(edges)) if job.block is None else [self._place[name] for name in job.block.parameters]
        weights = [self._weights[place] for place in places]
        sizes = [weight.numel() for weight in weights]
        factors = [part.view_as(w) for part, w in zip(torch.split(job.vector, sizes), weights, strict=True)]
        with self._differentiating():
            parts = _differentiated([edges[place] for place in places], factors, weights, keep=True)
        add_parts(torch.split(total, sizes), parts)

    def _edges(self, rows: slice) -> list[GradientEdge | None]:
        """The graph of a piece's gradient: the kept one, or one that is made, and kept where there is room."""
        key = (rows.start, rows.stop)
        if key in self._kept:
            return self._kept[key]
        if self._memory is None:
            self._memory = int(_SHARE * free_memory(str(self.objective.device)))
        edges = self._made(rows) if self._image_bytes or not self._memory else self._weighed(rows)
        images = sum(stop - start for start, stop in (*self._kept, key))
        if self._memory and images * self._image_bytes <= self._memory:
            self._kept[key] = edges
        return edges

    def _made(self, rows: slice) -> list[GradientEdge | None]:
        with self._differentiating():
            gradients = self.objective.gradients_of(self.objective.piece(rows), self._weights, keep_graph=True)
            edges = [_edge(gradient) for gradient in gradients]
            if not self._checked:
                _check_twice(edges)
                self._checked = True
            return edges

    def _weighed(self, rows: slice) -> list[GradientEdge | None]:
        """What `_made` gives, with a count of the bytes that it holds for each image."""
        held: dict[int, int] = {}  # bytes of each storage

        def note(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor.detach()  # itself, it would hold its own graph for good

        with saved_tensors_hooks(note, lambda tensor: tensor):
            edges = self._made(rows)
        for weight in self._weights:
            held.pop(weight.untyped_storage().data_ptr(), None)
        count: int = rows.stop - rows.start
        self._image_bytes = sum(held.values()) // count + 1
        return edges

    def _differentiating(self) -> contextlib.AbstractContextManager[None]:
        name = self.objective.name
        says = f"{name} has no curvature that can be measured, as a step of it cannot be differentiated twice"
        return blamed(says, BenchError, but=is_out_of_memory)

    def _forget(self) -> bool:
        """Give back the memory of what is kept, and keep no more; whether that was any."""
        some = bool(self._kept)
        self._kept.clear()
        self._memory = 0
        return some


def _edge(tensor: Tensor) -> GradientEdge | None:
    """Where a tensor stands in its graph, without its values; None where it has none, and is a constant."""
    return get_gradient_edge(tensor) if tensor.requires_grad else None


def _differentiated(
    outputs: Sequence[GradientEdge | None],
    factors: Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    keep: bool = False,
    graph: bool = False,
) -> Sequence[Tensor]:
    """Derivatives by inputs of the sum of outputs with their factors; in the shapes of the inputs.

    Args:
        outputs: constants add nothing: what is linear has a gradient without a graph.
        factors: in the shapes of the outputs.
        inputs: with a gradient.
        keep: whether the outputs' graph is kept.
        graph: whether the derivatives have a graph themselves.
    """
    varying = [(output, factor) for output, factor in zip(outputs, factors, strict=True) if output is not None]
    if not varying:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return torch.autograd.grad(
        [output for output, _ in varying],
        list(inputs),
        [factor for _, factor in varying],
        retain_graph=keep or graph,
        create_graph=graph,
        materialize_grads=True,
    )


def _check_twice(edges: Sequence[GradientEdge | None]) -> None:
    """Make sure that no step says that it can be differentiated only once.

    A step that was written in Python says so by a node that raises where it is come by; as no weight lies behind it,
    torch leaves it out, and would give products that are wrong.
    """
    waiting = [edge.node for edge in edges if edge is not None]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise NotImplementedError("one is marked once_differentiable")
        seen.add(node)
        waiting += [before for before, _ in node.next_functions if before is not None]
