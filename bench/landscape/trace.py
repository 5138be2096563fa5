"""The trace from products alone: exact where Lanczos has been, Hutchinson's estimate for the rest.

tr H = tr Qᵀ H Q + E zᵀ (1 − QQᵀ) H (1 − QQᵀ) z for the directions Q of a recurrence and random signs z: the few
directions of large curvature, which make nearly all of the estimate's variance, are taken out. The same products give
the trace of each block of weights: a sum over its rows alone.

Legend: P size of a vector.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from bench.landscape.lanczos import Krylov
from bench.landscape.products import Job, Products

_TOGETHER = 4
"""Probes that share a graph which must be made again; more would only take memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """An estimate without bias, given the recurrence."""

    value: float
    standard_error: float
    """Of the probes; its t has one degree of freedom less than there are probes."""
    probes: int
    blocks: Mapping[str, "Trace"] = field(default_factory=dict)
    """Those of the blocks of weights, by name, which add up to this one; by the same products."""


def trace(
    products: Products, krylov: Krylov, draw: Callable[[], Tensor], probes: int, blocks: Mapping[str, Sequence[slice]]
) -> Trace:
    """The trace of a matrix, and of each of its blocks.

    A block's noise is that of its rows, in which the weights of other blocks stand too: what is the whole's, shared
    out.

    Args:
        products: what multiplies.
        krylov: what is known of the matrix.
        draw: makes random signs (P,), others each time.
        probes: products, at least 2.
        blocks: the rows of each, by its name.
    """

    def summed(vector_P: Tensor) -> dict[str | None, float]:
        """Of each block, and of all (None)."""
        sums: dict[str | None, float] = {None: float(vector_P.sum())}
        for name, places in blocks.items():
            sums[name] = math.fsum(float(vector_P[rows].sum()) for rows in places)
        return sums

    found: dict[str | None, list[float]] = {name: [] for name in (None, *blocks)}
    for start in range(0, probes, _TOGETHER):
        vectors = [krylov.rest(draw()) for _ in range(start, min(start + _TOGETHER, probes))]
        for vector_P, product_P in zip(vectors, products.all([Job(vector_P) for vector_P in vectors]), strict=True):
            # What of the product lies in the basis stands beside a block twice: in its rows and in its columns.
            for name, value in summed(vector_P * (2 * product_P - krylov.rest(product_P))).items():
                found[name].append(value)
    known = summed(krylov.diagonal_P)
    estimates = {name: _estimate(known[name], values) for name, values in found.items()}
    return replace(estimates[None], blocks={name: estimates[name] for name in blocks})


def _estimate(known: float, values: Sequence[float]) -> Trace:
    return Trace(
        value=known + statistics.fmean(values),
        standard_error=statistics.stdev(values) / math.sqrt(len(values)),
        probes=len(values),
    )
