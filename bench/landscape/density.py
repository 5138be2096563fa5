"""The spectral density by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017), the largest values taken out.

Legend: P size of a vector, M points, R largest eigenvalues, S steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.landscape.lanczos import Course, Krylov, advance
from bench.landscape.products import Products


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


def density(
    products: Products,
    draw: Callable[[], Tensor],
    *,
    starts: int,
    steps: int,
    known_R: Tensor,
    vectors_RP: Tensor,
) -> Density:
    """The spectral density of the whole matrix.

    Args:
        products: what multiplies.
        draw: makes a random normal vector (P,), another one each time.
        starts: random vectors; more of them help more than more steps.
        steps: products for each.
        known_R: eigenvalues that are known already, such as the largest: each is one of P, without variance.
        vectors_RP: their vectors, orthonormal, which the starts stay orthogonal to.
    """
    values, shares = [known_R], [torch.full_like(known_R, 1 / vectors_RP.shape[1])]
    left = 1 - len(known_R) / vectors_RP.shape[1]
    for _ in range(starts):
        krylov = Krylov(draw, steps, beside_RP=vectors_RP)
        advance(products, [Course(krylov)], lambda _: False)
        ritz = krylov.ritz()
        values.append(ritz.values_S)
        shares.append(ritz.weights_S * (left / starts))
    values_M, order_M = torch.cat(values).sort()
    return Density(values_M=values_M, shares_M=torch.cat(shares)[order_M])
