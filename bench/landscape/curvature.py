"""The curvature of any module's loss: products, eigenvalues with a certificate, trace, density, all of it by block.

Legend: N images, P weights that count, Q of one block, K eigenvalues.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench import rng
from bench.attacks.losses import Loss, cross_entropy
from bench.errors import BenchError
from bench.landscape.blocks import Block, blocks_of
from bench.landscape.density import Density, density
from bench.landscape.lanczos import Eigenvalues, Wanted, eigenvalues
from bench.landscape.objective import AT_ONCE, BatchNorm, Objective
from bench.landscape.products import Products
from bench.landscape.trace import Trace, trace


class Curvature:
    """The Hessian of a module's mean loss over images, by its weights.

    All numbers are functions of what is given here: random vectors come from `seed`, and sums run over the images in
    their order. Batches of another size change results by rounding alone, less than 1e-5 of them in fp32.

    Args:
        module: from images to logits (N, K), on any device; it is copied and stays as it is.
        images_NCHW: floating, as the module takes them; they may lie on another device.
        labels_N: int64 in [0, K).
        loss: gives a number an image, twice differentiable; see `bench.landscape.objective.LOSSES`.
        batchnorm: which statistics BatchNorm takes: `eval` (those that it has kept) or `train` (those of the images).
        dtype: of everything that is computed, torch.float32 or torch.float64.
        at_once: images in a batch, which bound the memory; in the mode `train`, images whose statistics are taken
            together.
        memory: bytes for the graphs that make products faster; None takes half of what is free.
        seed: of the random vectors.

    Raises:
        BenchError: the module cannot be measured, or images and labels don't go together.

    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    >>> curvature = Curvature(module, torch.ones(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))
    >>> found = curvature.eigenvalues(largest=2)
    >>> bool(found.largest_K[0] >= found.largest_K[1]), curvature.by_image(found.vectors(1)[0]).shape
    (True, torch.Size([4]))
    """

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
        memory: int | None = None,
        seed: int = 0,
    ) -> None:
        self.objective = Objective(
            module, images_NCHW, labels_N, loss=loss, batchnorm=batchnorm, dtype=dtype, at_once=at_once
        )
        self.products = Products(self.objective, memory)
        self._seed = seed

    @property
    def blocks(self) -> list[Block]:
        """The weights by block; see `bench.landscape.blocks.blocks_of`."""
        return blocks_of(self.objective.module, self.objective.shapes)

    def product(self, vector: Tensor, block: Block | None = None) -> Tensor:
        """The Hessian's product with a vector.

        Args:
            vector: (P,), or (Q,) of a block.
            block: the Hessian is then that of its weights alone.

        Raises:
            BenchError: an operation of the module has no second derivative, or the vector is of another size.
            RunError: a single image does not fit into memory.
        """
        size = self._size(block)
        if vector.shape != (size,):
            raise BenchError(
                f"the vector must have {size:,} numbers, one a weight, not the shape {tuple(vector.shape)}."
            )
        return self.products(vector.to(self.objective.weights_P), block)

    def eigenvalues(
        self, *, largest: int = 5, smallest: int = 1, tolerance: float = 1e-3, most: int = 50
    ) -> Eigenvalues:
        """The largest and smallest eigenvalues, each with a bound on how far it is off.

        Args:
            largest: how many of the largest.
            smallest: how many of the smallest: those below 0 where there are any.
            tolerance: largest bound, as a share of the largest absolute value; the value itself is far closer.
            most: products, whether the bounds are met or not.

        Raises:
            BenchError: an operation of the module has no second derivative.
            RunError: a single image does not fit into memory.
        """
        wanted = Wanted(largest=largest, smallest=smallest, tolerance=tolerance, most=most)
        return eigenvalues(self.products, [self._normal("lanczos", None)], [None], wanted)[0]

    def trace(self, known: Eigenvalues, probes: int = 20) -> Trace:
        """The sum of all eigenvalues, and those of each block of weights.

        Args:
            known: of `eigenvalues`; only what their directions leave is estimated.
            probes: products, at least 2.

        Raises:
            BenchError: there are fewer probes.
            RunError: a single image does not fit into memory.
        """
        if probes < 2:
            raise BenchError(f"a trace needs at least 2 probes, which give its standard error, not {probes}.")
        rows = self.objective.rows
        blocks = {block.name: [rows[name] for name in block.parameters] for block in self.blocks}
        return trace(self.products, known.krylov, self._signs(), probes, blocks)

    def density(self, known: Eigenvalues, *, starts: int = 10, steps: int = 20) -> Density:
        """The spectral density: how many eigenvalues are of which size.

        Args:
            known: of `eigenvalues`; those that it is sure of are taken as they are, and only the rest is estimated.
            starts: random vectors.
            steps: products for each.

        Raises:
            RunError: a single image does not fit into memory.
        """
        draw = self._normal("density", None)
        return density(self.products, draw, known.krylov, starts=starts, steps=steps)

    def block_eigenvalues(
        self, *, largest: int = 1, smallest: int = 1, tolerance: float = 1e-3, most: int = 50
    ) -> dict[str, Eigenvalues]:
        """The largest and smallest eigenvalues of every block of weights by its name, all other weights held.

        Args:
            largest: how many of the largest of each block.
            smallest: how many of the smallest.
            tolerance: largest bound, as a share of the block's largest absolute value.
            most: products for each block.

        Raises:
            BenchError: an operation of the module has no second derivative.
            RunError: a single image does not fit into memory.
        """
        wanted = Wanted(largest=largest, smallest=smallest, tolerance=tolerance, most=most)
        blocks = self.blocks
        found = eigenvalues(self.products, [self._normal("lanczos", block) for block in blocks], blocks, wanted)
        return {block.name: ends for block, ends in zip(blocks, found, strict=True)}

    def by_image(self, vector_P: Tensor) -> Tensor:
        """(N,): the curvature of each image's own loss along a vector of length 1, in the images' order.

        For the vector of the largest eigenvalue their mean is that eigenvalue, and their spread its standard error over
        images.

        Raises:
            BenchError: an operation of the module has no second derivative.
            RunError: a single image does not fit into memory.
        """
        return self.products.by_image(vector_P)

    def _size(self, block: Block | None) -> int:
        names = self.objective.shapes if block is None else block.parameters
        return sum(self.objective.shapes[name].numel() for name in names)

    def _normal(self, use: str, block: Block | None) -> Callable[[], Tensor]:
        """Draws of standard normal numbers."""
        draws, size = self._draws(use, block), self._size(block)
        return lambda: draws.normal(size)[0].to(self.objective.dtype)

    def _signs(self) -> Callable[[], Tensor]:
        """Draws of 1 and -1."""
        draws, size = self._draws("trace", None), self._size(None)
        return lambda: draws.integers(0, 2, size)[0].to(self.objective.dtype) * 2 - 1

    def _draws(self, use: str, block: Block | None) -> rng.Draws:
        name = "" if block is None else block.name
        return rng.Draws(rng.keys(self._seed, f"landscape {use}", [name], self.objective.device))


def carried_by(by_image_N: Tensor, share: float = 0.9) -> int:
    """How many images, those that add most first, carry a share of the mean.

    Args:
        by_image_N: of `Curvature.by_image`; their sum is more than 0.
        share: in (0, 1].

    >>> carried_by(torch.tensor([1.0, 7.0, 2.0]))
    2
    """
    summed_N = by_image_N.double().sort(descending=True).values.cumsum(0)
    return int((summed_N < share * by_image_N.double().sum()).sum()) + 1
