"""Scores of a loss landscape and of what goes on inside a model: means over images of what each gives, and constants.

They read the columns that the measures of `bench.measure.builtin` store. Shapes: N images, L layers, H heads.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from bench.errors import BenchError
from bench.metrics.by_image import Parts, mean_by_image
from bench.metrics.metric import Metric
from bench.metrics.outcomes import column, estimate, mean_of
from bench.records import Array, Estimate, Outcome

Values = Callable[[Outcome], Array]
"""What each image gives, (N,)."""


def _column(outcome: Outcome, name: str) -> Array:
    return column(
        outcome,
        name,
        name.replace("_", " "),
        given_by="a measure of the landscape gives",
        advice="Score a condition with that measure.",
    )


def mean_of_values(outcome: Outcome, *, values: Values, ends: tuple[float, float]) -> Estimate:
    """The mean over images of what each gives, with an interval as `bench.metrics.outcomes.mean_of` has it.

    Args:
        outcome: of one condition.
        values: gives it, (N,).
        ends: lowest and highest that an image can have; where there is none, the image more is as low as the lowest
            that was seen.
    """
    values_N = values(outcome).astype(np.float64)
    lowest, highest = ends
    return mean_of(values_N, lowest=float(values_N.min()) if math.isinf(lowest) else lowest, highest=highest)


def _by_image(outcome: Outcome, *, values: Values, ends: tuple[float, float]) -> Parts:
    return mean_by_image(outcome, values(outcome), ends=ends)


def _mean(
    name: str,
    values: Values,
    unit: str,
    *,
    ends: tuple[float, float] = (-math.inf, math.inf),
    higher_is_better: bool = False,
) -> Metric:
    """A metric that is a mean over images."""
    return Metric(
        name=name,
        function=functools.partial(mean_of_values, values=values, ends=ends),
        by_image=functools.partial(_by_image, values=values, ends=ends),
        unit=unit,
        higher_is_better=higher_is_better,
        right="",
    )


def noted(outcome: Outcome, *, name: str) -> Estimate:
    """What a measure noted of all images together, the mean where it noted several numbers; no interval.

    >>> columns = {"weight_norm": np.full(2, 3.0)}
    >>> noted(Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns=columns), name="weight_norm").value
    3.0
    """
    return estimate(float(np.mean(_column(outcome, name)[0], dtype=np.float64)), outcome.n)


def _noted(name: str, unit: str) -> Metric:
    return Metric(
        name=name, function=functools.partial(noted, name=name), unit=unit, higher_is_better=False, right=""
    )


# -- inside ------------------------------------------------------------------------------------------------------------


def active_in_first(outcome: Outcome) -> Array:
    """(N,): the share of values above zero after the first activation."""
    first_N: Array = _column(outcome, "active")[:, 0]
    return first_N


def active_in_all(outcome: Outcome) -> Array:
    """(N,): the share of values above zero after each activation, the mean over layers."""
    mean_N: Array = _column(outcome, "active").mean(axis=1, dtype=np.float64)
    return mean_N


def attention(outcome: Outcome, name: str) -> Array:
    """(N,): what a column of the measure `attention` says of its heads, the mean over them.

    Raises:
        BenchError: the model has no attention.
    """
    heads_NH = _column(outcome, name)
    if not np.isfinite(heads_NH).all():
        raise BenchError(f"{name.replace('_', ' ')} is not defined: the model has no attention between all its tokens.")
    mean_N: Array = heads_NH.mean(axis=1, dtype=np.float64)
    return mean_N


ACTIVE_FIRST = _mean("active_first", active_in_first, "fraction", ends=(0.0, 1.0))
ACTIVE = _mean("active", active_in_all, "fraction", ends=(0.0, 1.0))
NEVER_ACTIVE = _noted("never_active", "fraction")
WEIGHT_NORM = _noted("weight_norm", "L2")
ATTENTION_ENTROPY = _mean(
    "attention_entropy", functools.partial(attention, name="attention_entropy"), "nats", ends=(0.0, math.inf)
)
ATTENTION_DISTANCE = _mean(
    "attention_distance",
    functools.partial(attention, name="attention_distance"),
    "sides",
    ends=(0.0, math.sqrt(2.0)),
)
