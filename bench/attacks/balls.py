"""The geometry of each norm: how large a change is, the ball of radius eps, the direction in which a loss rises most.

Legend: N images, C channels, H × W pixels, D = C · H · W.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.attacks.epsilon import check_norm
from bench.rng import Draws

_TINY = 1e-12
"""Keeps a gradient of zero from dividing by zero, as in foolbox."""


def column(values_N: Tensor) -> Tensor:
    """(N, 1, 1, 1): one number an image, to multiply images by."""
    return values_N[:, None, None, None]


class Ball(ABC):
    """A norm and its balls, in pixels of [0, 1]."""

    @abstractmethod
    def size(self, change_NCHW: Tensor) -> Tensor:
        """(N,) norms."""

    @abstractmethod
    def project(self, change_NCHW: Tensor, eps_N: Tensor) -> Tensor:
        """The nearest changes within eps."""

    @abstractmethod
    def steepest(self, gradient_NCHW: Tensor) -> Tensor:
        """The change of norm 1 along which the loss rises most; 0 where the gradient is."""

    @abstractmethod
    def random(self, draws: Draws, shape: Sequence[int]) -> Tensor:
        """(N, *shape) float32: drawn uniformly from the ball of radius 1."""

    @abstractmethod
    def whole(self, d: int) -> float:
        """The radius within which any picture of d values can become any other."""


class Linf(Ball):
    """The largest value of a change."""

    def size(self, change_NCHW: Tensor) -> Tensor:
        """See `Ball`."""
        return change_NCHW.abs().flatten(1).amax(1)

    def project(self, change_NCHW: Tensor, eps_N: Tensor) -> Tensor:
        """See `Ball`."""
        eps_N111 = column(eps_N)
        return change_NCHW.clamp(-eps_N111, eps_N111)

    def steepest(self, gradient_NCHW: Tensor) -> Tensor:
        """See `Ball`."""
        return gradient_NCHW.sign()

    def random(self, draws: Draws, shape: Sequence[int]) -> Tensor:
        """See `Ball`."""
        return draws.uniform(*shape).mul_(2).sub_(1)

    def whole(self, d: int) -> float:
        """See `Ball`."""
        return 1.0


class L2(Ball):
    """The root of the sum of a change's squares."""

    def size(self, change_NCHW: Tensor) -> Tensor:
        """See `Ball`. In float64: over 150,000 values float32 may lose the 1e-6 that are allowed beyond eps."""
        wide = torch.float32 if change_NCHW.device.type == "mps" else torch.float64  # which Apple's GPUs lack
        return change_NCHW.to(wide).square().flatten(1).sum(1).sqrt().to(change_NCHW.dtype)

    def project(self, change_NCHW: Tensor, eps_N: Tensor) -> Tensor:
        """See `Ball`."""
        return change_NCHW * column((eps_N / self.size(change_NCHW).clamp_min(_TINY)).clamp_max(1))

    def steepest(self, gradient_NCHW: Tensor) -> Tensor:
        """See `Ball`. By the largest value first: of a sure model's small gradients the squares would be zero."""
        largest_N = gradient_NCHW.abs().flatten(1).amax(1)
        scaled_NCHW = gradient_NCHW / column(torch.where(largest_N > 0, largest_N, 1))
        return scaled_NCHW / column(self.size(scaled_NCHW).clamp_min(_TINY))

    def random(self, draws: Draws, shape: Sequence[int]) -> Tensor:
        """See `Ball`: a direction, and a radius whose D-th power is uniform."""
        direction_NCHW = self.steepest(draws.normal(*shape))
        return direction_NCHW * column(draws.uniform().pow(1 / math.prod(shape)))

    def whole(self, d: int) -> float:
        """See `Ball`."""
        return math.sqrt(d)


def ball_of(norm: str) -> Ball:
    """The ball of a norm.

    Raises:
        UnknownNameError: there is no such norm.
    """
    return {"linf": Linf, "l2": L2}[check_norm(norm)]()
