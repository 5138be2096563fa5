"""The spectral density by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017), what is known is taken out.

Legend: P size of a vector, M points, R known eigenvalues, S steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.landscape.lanczos import Course, Krylov, advance
from bench.landscape.products import Products

_KNOWN = 0.01
"""Residual, as a share of the largest absolute value, below which an eigenvalue counts as found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogDensity:
    """A density over the size of eigenvalues, a decade: what a plot with a logarithmic axis shows."""

    size_M: Tensor
    """|λ|, rising."""
    positive_M: Tensor
    """The share of all eigenvalues a decade, of those above 0."""
    negative_M: Tensor
    """Of those below."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Density:
    """Points on the axis of eigenvalues and the share of all eigenvalues that each stands for; float64 on the CPU."""

    values_M: Tensor
    """Rising."""
    shares_M: Tensor
    """Their sum is 1."""

    def on_log_axis(self, *, smallest: float, largest: float, points: int = 200, width: float = 0.1) -> LogDensity:
        """Smooth it with a Gaussian on a logarithmic axis.

        Args:
            smallest: |λ| where the axis begins, more than 0; what is smaller is not shown, but smoothed in.
            largest: |λ| where it ends.
            points: of the axis.
            width: standard deviation, in decades.
        """
        axis_M = torch.linspace(math.log10(smallest), math.log10(largest), points, dtype=torch.float64)
        sides = []
        for sign in (1, -1):
            there = self.values_M * sign > 0
            apart_MM = (axis_M[:, None] - (sign * self.values_M[there]).log10()) / width
            bell_MM = torch.exp(-apart_MM.square() / 2) / (width * math.sqrt(2 * math.pi))
            sides.append(bell_MM @ self.shares_M[there])
        return LogDensity(size_M=10**axis_M, positive_M=sides[0], negative_M=sides[1])


def density(products: Products, draw: Callable[[], Tensor], known: Krylov, *, starts: int, steps: int) -> Density:
    """The spectral density of the whole matrix.

    Args:
        products: what multiplies.
        draw: makes a random normal vector (P,), another one each time.
        known: a recurrence that has been here: each of the ends of the spectrum that it has found is one eigenvalue of
            P, without variance, and the starts stay orthogonal to its vector.
        starts: random vectors; more of them help more than more steps.
        steps: products for each.
    """
    ritz = known.ritz()
    found = ritz.residuals_S <= _KNOWN * ritz.values_S.abs().max()
    beside_RP = known.vectors(found.nonzero()[:, 0].tolist())
    count, size = beside_RP.shape
    values, shares = [ritz.values_S[found]], [torch.full((count,), 1 / size, dtype=torch.float64)]
    for _ in range(starts):
        krylov = Krylov(draw, steps, beside_RP)
        advance(products, [Course(krylov)], lambda _: False)
        ritz = krylov.ritz()
        values.append(ritz.values_S)
        shares.append(ritz.weights_S * ((1 - count / size) / starts))
    values_M, order_M = torch.cat(values).sort()
    return Density(values_M=values_M, shares_M=torch.cat(shares)[order_M])
