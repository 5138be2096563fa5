"""The neural tangent kernel: how evenly gradients of the logits tell images apart, in float64.

Its condition number is that of Chen, Hsieh & Gong 2022 (arXiv 2106.01548, section 3.3; after Xiao et al. 2020, arXiv
1912.13053). The kernel is that of one number an image, the sum of the logits over the square root of their number
(Mohamadi et al. 2023, arXiv 2206.12543), whose expectation at initialisation is that of any logit's.
Legend: N images of a block, K classes, P weights, S of them at a time.
"""

import math

import torch
from torch import Tensor

from bench.landscape.objective import Objective, Piece

_MOST = 2**30
"""Bytes of the gradients that are held at once."""
RESOLVED = 1e-13
"""Of the largest eigenvalue: one below this is rounding's."""


def summed_logits(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """(N,): the sum of the logits over the square root of their number; a loss for an objective."""
    return logits_NK.sum(dim=1) / math.sqrt(logits_NK.shape[1])


def kernel(objective: Objective, rows: Tensor) -> Tensor:
    """(N, N): the products of the images' gradients, of an objective whose loss is `summed_logits`.

    Each image passes alone, so that memory does not grow with a block; where its weights are many, gradients are taken
    of some of them at a time, and the images pass again.

    Args:
        objective: in float64 and BatchNorm's eval mode, where images don't know of each other.
        rows: of the images of the block.
    """
    leaves = objective.leaves()
    gram_NN = torch.zeros(len(rows), len(rows), dtype=objective.dtype, device=objective.device)
    for some in _shares([leaf.numel() for leaf in leaves], most=_MOST // (8 * len(rows))):
        wanted = leaves[some]
        gradients_NS = torch.stack([_gradient(objective, int(row), leaves, wanted) for row in rows])
        gram_NN += gradients_NS @ gradients_NS.T
    return gram_NN


def _gradient(objective: Objective, row: int, leaves: list[Tensor], wanted: list[Tensor]) -> Tensor:
    piece: Piece = objective.piece(slice(row, row + 1))
    with objective.exactly():
        value_1 = objective.losses_of(piece, leaves)
        parts = torch.autograd.grad(value_1.sum(), wanted, materialize_grads=True)
    return objective.flat(parts)


def _shares(sizes: list[int], most: int) -> list[slice]:
    """Cut tensors of these sizes into runs of at most so many numbers, or of one tensor."""
    shares, start, taken = [], 0, 0
    for place, size in enumerate(sizes):
        if place > start and taken + size > most:
            shares.append(slice(start, place))
            start, taken = place, 0
        taken += size
    return [*shares, slice(start, len(sizes))]


def extremes(kernel_NN: Tensor) -> tuple[float, float]:
    """The largest and the smallest eigenvalue; the smallest is 0 where rounding hides it."""
    eigenvalues_N = torch.linalg.eigvalsh(kernel_NN)
    largest, smallest = float(eigenvalues_N[-1]), float(eigenvalues_N[0])
    return largest, smallest if smallest > RESOLVED * largest else 0.0
