"""The objective: the mean loss of a module over images, as a function of its weights.

Legend: N images, B of one piece, C channels, H × W pixels, K classes, P weights that count.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.attacks.losses import Loss, cross_entropy
from bench.errors import BenchError, RunError
from bench.foreign.faults import blamed
from bench.machine.memory import fewer, is_out_of_memory
from bench.machine.torch_defaults import products_of_fp32, torch_defaults
from bench.text import some
from bench.training.gradients import batch_norms

_T = TypeVar("_T")

BatchNorm = Literal["eval", "train"]
"""Which statistics BatchNorm takes: those that it has kept, or those of the images. λmax differs by a factor of 10."""

AT_ONCE = 64
"""Images at once; in BatchNorm's training mode, images whose statistics are taken together."""


def binary(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """-log p of K yes-or-no questions, their sum, in nats: what models are trained with that have no softmax."""
    target_NK = F.one_hot(labels_N, logits_NK.shape[1]).to(logits_NK)
    return F.binary_cross_entropy_with_logits(logits_NK, target_NK, reduction="none").sum(dim=1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "bce": binary}


@dataclass(frozen=True, slots=True)
class Piece:
    """The images that the module sees at once, on its device and in the precision of the objective."""

    images_BCHW: Tensor
    labels_B: Tensor


class Objective:
    """The mean loss of a module over images, and each image's own, at any weights.

    The module is copied: neither its mode nor its weights nor its buffers change. Only BatchNorm is ever in training
    mode, and then with the statistics of about `at_once` images; everything else is as it is in evaluation. Weights are
    one vector, in the order of `named_parameters()`: those that require a gradient, or all where none does, as in
    checkpoints that were loaded.

    Args:
        module: from images to logits (N, K); it stays on its device.
        images_NCHW: floating; they may lie on another device, and come to the module's piece by piece.
        labels_N: int64 in [0, K).
        loss: gives a number an image.
        batchnorm: `eval` or `train`.
        dtype: of everything that is computed, torch.float32 or torch.float64.
        at_once: images in a piece; fewer where memory runs out, unless BatchNorm takes their statistics.

    Raises:
        BenchError: there are no images, they are integers, labels don't match them, or there is no weight with a
            gradient.
    """

    @torch_defaults()
    def __init__(
        self,
        module: nn.Module,
        images_NCHW: Tensor,
        labels_N: Tensor,
        *,
        loss: Loss = cross_entropy,
        batchnorm: BatchNorm = "eval",
        dtype: torch.dtype = torch.float32,
        at_once: int = AT_ONCE,
    ) -> None:
        _check_images(images_NCHW, labels_N)
        if batchnorm not in ("eval", "train"):
            raise BenchError(f"BatchNorm is measured in the mode eval or train, not {batchnorm!r}.")
        weights = _weights_that_count(module)
        self.images_NCHW, self.labels_N = images_NCHW, labels_N
        self.loss, self.batchnorm, self.dtype = loss, batchnorm, dtype
        self.module = copy.deepcopy(module).to(dtype).eval().requires_grad_(False)
        self.fixed = batchnorm == "train" and _take_batch_statistics(self.module)
        """Whether the pieces decide the numbers, beyond rounding: memory may not cut them."""
        if self.fixed and len(images_NCHW) < 2:
            raise BenchError("BatchNorm in training mode takes the statistics of at least 2 images; this is 1.")
        self.shapes = {name: weight.shape for name, weight in self.module.named_parameters() if name in weights}
        self.device = weights[next(iter(weights))].device
        self.weights_P = self.flat([weight for name, weight in self.module.named_parameters() if name in weights])
        self.pieces = _cut(len(images_NCHW), at_once)

    def __len__(self) -> int:
        return len(self.images_NCHW)

    def at(self, rows: Tensor) -> "Objective":
        """The objective of some of the images alone; its module is this one's, and no copy.

        Args:
            rows: int64, at least one.
        """
        part = copy.copy(self)
        part.images_NCHW, part.labels_N = self.images_NCHW[rows], self.labels_N[rows]
        part.pieces = _cut(len(rows), max(piece.stop - piece.start for piece in self.pieces))
        return part

    def losses(self, weights_P: Tensor | None = None) -> Tensor:
        """(N,): the loss of every image.

        Args:
            weights_P: where; None stands for the module's own.

        Raises:
            RunError: a loss is NaN or infinite, or a single image does not fit into memory.
        """
        weights = self.split(self.weights_P if weights_P is None else weights_P)

        def add(losses: list[Tensor], rows: slice) -> None:
            with torch.no_grad():
                losses.append(self.losses_of(self.piece(rows), weights))

        losses_N = torch.cat(self.over_pieces(list, add))
        bad = int((~torch.isfinite(losses_N)).sum())
        if bad:
            raise RunError(f"the loss of {bad} of {len(self)} images is NaN or infinite.")
        return losses_N

    def gradient(self, weights_P: Tensor | None = None) -> Tensor:
        """(P,): the gradient of the mean loss.

        Args:
            weights_P: where; None stands for the module's own.

        Raises:
            BenchError: the loss does not depend on the weights by a gradient.
            RunError: a single image does not fit into memory.
        """
        weights = self.leaves(weights_P)

        def add(total_P: Tensor, rows: slice) -> None:
            add_parts(self.split(total_P), self.gradients_of(self.piece(rows), weights))

        return self.over_pieces(lambda: torch.zeros_like(self.weights_P), add)

    def leaves(self, weights_P: Tensor | None = None) -> list[Tensor]:
        """Weights as tensors of the module's shapes that gradients are taken of.

        Args:
            weights_P: their values; None stands for the module's own.
        """
        parts = self.split(self.weights_P if weights_P is None else weights_P)
        return [part.detach().requires_grad_() for part in parts]

    def losses_of(self, piece: Piece, weights: Sequence[Tensor]) -> Tensor:
        """(B,): the losses of a piece at weights of the module's shapes; differentiable twice.

        Raises:
            BenchError: the module fails, or does not give logits.
        """
        named = dict(zip(self.shapes, weights, strict=True))
        with blamed("the forward pass failed", but=is_out_of_memory), sdpa_kernel(SDPBackend.MATH):
            # Fused attention has no second derivative.
            logits_BK: Any = functional_call(self.module, named, (piece.images_BCHW,))
        if not (isinstance(logits_BK, Tensor) and logits_BK.shape[:-1] == (len(piece.labels_B),)):
            came = tuple(logits_BK.shape) if isinstance(logits_BK, Tensor) else f"a {type(logits_BK).__name__}"
            raise BenchError(f"{self.name} must give logits (images, classes) for {len(piece.labels_B)}, not {came}.")
        if int(piece.labels_B.max()) >= logits_BK.shape[1]:
            raise BenchError(f"label {int(piece.labels_B.max())} is none of the {logits_BK.shape[1]} of {self.name}.")
        return self.loss(logits_BK.to(self.dtype), piece.labels_B)

    def gradients_of(self, piece: Piece, weights: Sequence[Tensor], *, keep_graph: bool = False) -> list[Tensor]:
        """A piece's part of the gradient of the mean loss, in the shapes of the weights.

        Args:
            piece: images and labels.
            weights: of `leaves`.
            keep_graph: whether the gradient can be differentiated again.

        Raises:
            BenchError: the loss does not depend on the weights by a gradient.
        """
        loss = self.losses_of(piece, weights).sum() / len(self)
        if not loss.requires_grad:
            raise BenchError(
                f"{self.name} has no gradient: its loss does not depend on its weights (are they integers?)."
            )
        with blamed(f"{self.name} has no gradient", BenchError, but=is_out_of_memory):
            return list(torch.autograd.grad(loss, list(weights), create_graph=keep_graph, materialize_grads=True))

    @torch_defaults()
    def over_pieces(
        self,
        begin: Callable[[], _T],
        add: Callable[[_T, slice], None],
        make_room: Callable[[], bool] = lambda: False,
    ) -> _T:
        """Gather something over all pieces in order; begun again with smaller ones where memory runs out.

        Args:
            begin: makes what is gathered.
            add: adds a piece's part to it, given its rows.
            make_room: called when memory runs out; where it frees some, and says so, the pieces stay as they are.

        Raises:
            RunError: there is no room for the smallest piece. What `add` raises otherwise passes through.
        """
        while True:
            gathered, fault = begin(), None
            try:
                for rows in self.pieces:
                    with self.exactly():
                        add(gathered, rows)
            except Exception as error:
                # Its frames hold the tensors that filled the memory: they must be gone before it is given back.
                fault = error.with_traceback(None) if is_out_of_memory(error) else error
            if fault is None:
                return gathered
            del gathered
            if not (is_out_of_memory(fault) and make_room()):
                self._cut_smaller(fault)

    def _cut_smaller(self, error: Exception) -> None:
        """Cut the pieces in halves after memory ran out.

        Args:
            error: what came; raised again if it was not for want of memory.

        Raises:
            RunError: they cannot be smaller.
        """
        at_once = max(rows.stop - rows.start for rows in self.pieces)
        if self.fixed and is_out_of_memory(error):
            raise RunError(
                f"out of memory with {at_once} images, whose statistics BatchNorm takes together; take fewer (another "
                "number), or BatchNorm in eval mode."
            ) from error
        self.pieces = _cut(len(self), fewer(at_once, error, fixed=False))

    def piece(self, rows: slice) -> Piece:
        """Some of the images, on the device."""
        images_BCHW = self.images_NCHW[rows].to(self.device, self.dtype)
        if images_BCHW.is_inference():
            images_BCHW = images_BCHW.clone()
        return Piece(images_BCHW, self.labels_N[rows].to(self.device))

    def exactly(self) -> contextlib.AbstractContextManager[None]:
        """A context in which fp32 is fp32, in convolutions too; all that is gathered over pieces is computed in it."""
        return products_of_fp32(tf32_convolutions=False)

    def flat(self, parts: Sequence[Tensor]) -> Tensor:
        """Tensors as one vector, without gradient."""
        return torch.cat([part.detach().reshape(-1) for part in parts])

    def split(self, vector_P: Tensor) -> list[Tensor]:
        """A vector as views in the shapes of the weights; see `shapes` for their names."""
        parts = torch.split(vector_P, [shape.numel() for shape in self.shapes.values()])
        return [part.view(shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]

    @property
    def rows(self) -> dict[str, slice]:
        """Where each weight stands in the vector, by its name."""
        ends = list(itertools.accumulate((shape.numel() for shape in self.shapes.values()), initial=0))
        return {name: slice(*pair) for name, pair in zip(self.shapes, itertools.pairwise(ends), strict=True)}

    @property
    def name(self) -> str:
        """The module's class, for messages."""
        return type(getattr(self.module, "model", self.module)).__name__


def add_parts(totals: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    """Add tensors to others with as many elements each, in place: a vector of all weights would take their memory."""
    for total, part in zip(totals, parts, strict=True):
        total += part.detach().reshape(total.shape)


def _check_images(images_NCHW: Tensor, labels_N: Tensor) -> None:
    if len(images_NCHW) == 0:
        raise BenchError("the loss has no mean over no images; give at least 1.")
    if not images_NCHW.is_floating_point():
        raise BenchError(f"images must be floating numbers as the module takes them, not {images_NCHW.dtype}.")
    if labels_N.shape != images_NCHW.shape[:1] or labels_N.is_floating_point() or int(labels_N.min()) < 0:
        raise BenchError(
            f"labels must be {len(images_NCHW)} whole numbers from 0, one an image, not {tuple(labels_N.shape)} of "
            f"{labels_N.dtype}" + ("." if labels_N.is_floating_point() else f" from {int(labels_N.min())}.")
        )


def _weights_that_count(module: nn.Module) -> dict[str, nn.Parameter]:
    """By name, in order."""
    every = dict(module.named_parameters())
    learnt = {name: weight for name, weight in every.items() if weight.requires_grad} or every
    wrong = [name for name, weight in learnt.items() if not weight.is_floating_point()]
    if wrong:
        raise BenchError(f"{some(wrong)} of {type(module).__name__} are not floating numbers and have no gradient.")
    if not any(weight.numel() for weight in learnt.values()):
        raise BenchError(f"{type(module).__name__} has no weights that a gradient could be taken of.")
    return learnt


def _take_batch_statistics(module: nn.Module) -> bool:
    """Let BatchNorm normalise with the statistics of its input, and keep none of them; whether there is any."""
    norms = batch_norms(module)
    for norm in norms:
        norm.train()
        norm.track_running_stats = False  # else it would count the images that it is shown
    return bool(norms)


def _cut(n: int, most: int) -> list[slice]:
    """Cut n images into as few pieces of at most `most` as will do, of nearly the same size."""
    count = -(-n // most)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]
