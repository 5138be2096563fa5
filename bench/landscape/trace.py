"""The trace from products alone: exact where Lanczos has been, Hutchinson's estimate for the rest.

tr H = tr Qᵀ H Q + E zᵀ (1 − QQᵀ) H (1 − QQᵀ) z for the directions Q of a recurrence and random signs z: the few
directions of large curvature, which make nearly all of the estimate's variance, are taken out.

Legend: P size of a vector.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.landscape.blocks import Block
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


@dataclass(frozen=True, slots=True)
class Probed:
    """A matrix whose trace is sought."""

    krylov: Krylov
    """What is known of it."""
    draw: Callable[[], Tensor]
    """Makes random signs (P,), others each time."""
    block: Block | None = None


def traces(products: Products, matrices: Sequence[Probed], probes: int) -> list[Trace]:
    """The traces of several matrices, side by side.

    Args:
        products: what multiplies.
        matrices: which.
        probes: products for each, at least 2.
    """
    found: list[list[float]] = [[] for _ in matrices]
    for start in range(0, probes, _TOGETHER):
        jobs = [
            (place, Job(matrix.krylov.rest(matrix.draw()), matrix.block))
            for _ in range(start, min(start + _TOGETHER, probes))
            for place, matrix in enumerate(matrices)
        ]
        for (place, job), product in zip(jobs, products.all([job for _, job in jobs]), strict=True):
            found[place].append(float(job.vector @ product))
    return [
        Trace(
            value=matrix.krylov.trace + statistics.fmean(values),
            standard_error=statistics.stdev(values) / math.sqrt(probes),
            probes=probes,
        )
        for matrix, values in zip(matrices, found, strict=True)
    ]
