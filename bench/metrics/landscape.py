"""Scores of a loss landscape and of what goes on inside a model: means over images of what each gives, and constants.

They read the columns that the measures of `bench.measure.builtin` store. Shapes: N images, L layers, H heads.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from bench.errors import BenchError, DoesNotApplyError
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


def _noted(name: str, unit: str, *, higher_is_better: bool = False) -> Metric:
    return _plain(name, functools.partial(noted, name=name), unit, higher_is_better=higher_is_better)


def _plain(name: str, function: Callable[..., Estimate], unit: str, *, higher_is_better: bool = False) -> Metric:
    """A metric that is no mean over images."""
    return Metric(name=name, function=function, unit=unit, higher_is_better=higher_is_better, right="")


# -- curvature ---------------------------------------------------------------------------------------------------------


def along_top(outcome: Outcome) -> Array:
    """(N,): the curvature of each image's own loss along the vector of the Hessian's largest eigenvalue."""
    return _column(outcome, "along_top")


def standard_error(outcome: Outcome) -> Estimate:
    """The standard error over images of the largest eigenvalue, its vector held; no interval."""
    along_N = along_top(outcome)
    return estimate(float(along_N.std(ddof=1) / math.sqrt(len(along_N))) if len(along_N) > 1 else 0.0, outcome.n)


def carrying(outcome: Outcome, *, share: float = 0.9) -> Estimate:
    """How many images, those that add most first, carry a share of the largest eigenvalue; no interval.

    >>> columns = {"along_top": np.array([1.0, 7.0, 2.0])}
    >>> carrying(Outcome(ids=np.arange(3), labels=np.zeros(3, int), columns=columns)).value
    2.0
    """
    along_N = np.sort(along_top(outcome))[::-1]
    if along_N.sum() <= 0:
        raise BenchError("images that carry the largest eigenvalue are not defined, as it is not above 0.")
    return estimate(float((along_N.cumsum() < share * along_N.sum()).sum() + 1), outcome.n)


def eigenvalue(outcome: Outcome, *, place: int) -> Estimate:
    """One of the largest eigenvalues of the Hessian, from 1; no interval."""
    return estimate(float(_column(outcome, "eigenvalues")[0, place - 1]), outcome.n)


def of_blocks(outcome: Outcome, *, name: str, kind: str) -> Estimate:
    """What a column says of the blocks of a kind: the largest eigenvalue of any, or the sum of their traces.

    Raises:
        DoesNotApplyError: the model has no such block.

    >>> columns = {"block_kinds": np.array(["mlp attention mlp"]), "block_eigenvalues": np.array([[1.0, 5.0, 3.0]])}
    >>> outcome = Outcome(ids=np.arange(1), labels=np.zeros(1, int), columns=columns)
    >>> of_blocks(outcome, name="block_eigenvalues", kind="mlp").value
    3.0
    """
    kinds = str(_column(outcome, "block_kinds")[0]).split()
    values = [value for known, value in zip(kinds, _column(outcome, name)[0], strict=True) if known == kind]
    if not values:
        raise DoesNotApplyError(f"the model has no block of the kind {kind!r}.")
    return estimate(float(max(values) if name == "block_eigenvalues" else sum(values)), outcome.n)


KINDS = ("embedding", "attention", "tokens", "mlp", "channels", "stage", "head")
"""Of blocks, as `bench.landscape.blocks` names them."""
LAMBDA_MAX = _mean("lambda_max", along_top, "nats")
LAMBDA_MAX_ERROR = _plain("lambda_max_error", standard_error, "nats")
CARRYING = _plain("carrying", carrying, "images", higher_is_better=True)
EIGENVALUE = _plain("eigenvalue", eigenvalue, "nats")
"""Wants `place`, see `eigenvalue`."""
LAMBDA_MIN = _noted("smallest_eigenvalue", "nats", higher_is_better=True)
TRACE = _noted("trace", "nats")
TRACE_ERROR = _noted("trace_error", "nats")
BLOCK_LAMBDA_MAX = _plain("block_lambda_max", functools.partial(of_blocks, name="block_eigenvalues"), "nats")
BLOCK_TRACE = _plain("block_trace", functools.partial(of_blocks, name="block_traces"), "nats")
"""Both want `kind`, see `of_blocks`."""


# -- flatness ----------------------------------------------------------------------------------------------------------


def loss(outcome: Outcome) -> Array:
    """(N,) nats: at the weights."""
    return _column(outcome, "clean_loss")


def loss_of(outcome: Outcome, column: str, place: int | None = None) -> Array:
    """(N,) nats: at weights that are moved.

    Args:
        outcome: of the measure `flatness`.
        column: of the way in which they are.
        place: of one of several sizes; None where there is one.
    """
    losses: Array = _column(outcome, column)
    return losses if place is None else losses[:, place]


def rise_of(outcome: Outcome, column: str, place: int | None = None) -> Array:
    """(N,) nats: by how much the loss at moved weights is above that at the weights; as `loss_of`."""
    return loss_of(outcome, column, place) - loss(outcome)


def _moved(name: str, column: str, place: int | None = None) -> tuple[Metric, Metric]:
    """The loss at moved weights, and its rise."""
    values = (functools.partial(of, column=column, place=place) for of in (loss_of, rise_of))
    nats = (0.0, math.inf), (-math.inf, math.inf)
    first, second = (
        _mean(f"{name}_{kind}", v, "nats", ends=ends)
        for kind, v, ends in zip(("loss", "rise"), values, nats, strict=True)
    )
    return first, second


LOSS = _mean("training_loss", loss, "nats", ends=(0.0, math.inf))
ASCENT = _moved("ascent", "ascent_loss")
GROUP_ASCENT = _moved("group_ascent", "group_ascent_loss")


def noise(place: int, *, relative: bool) -> tuple[Metric, Metric]:
    """The loss under noise of the weights, and its rise.

    Args:
        place: of the size among those of the condition.
        relative: whether the noise goes by the filters.
    """
    if relative:
        return _moved("relative_noise", "relative_noise_loss", place)
    return _moved("noise", "noise_loss", place)


# -- surface -----------------------------------------------------------------------------------------------------------


def surface_rise(outcome: Outcome) -> Array:
    """(N,) nats: by how much the loss on the rim of the surface, the mean over the rim, is above that in its middle."""
    surface = _column(outcome, "surface").astype(np.float64)
    side = _column(outcome, "surface_axis").shape[1]
    on_line = surface.shape[1] == side
    grid_NGG = surface.reshape(len(surface), 1 if on_line else side, side)
    inner_N = grid_NGG[:, :, 1:-1].sum(axis=(1, 2)) if on_line else grid_NGG[:, 1:-1, 1:-1].sum(axis=(1, 2))
    rim = 2 if on_line else 4 * (side - 1)
    middle_N = surface[:, surface.shape[1] // 2]
    rise_N: Array = (surface.sum(axis=1) - inner_N) / rim - middle_N
    return rise_N


SURFACE_RISE = _mean("surface_rise", surface_rise, "nats")


# -- tangent kernel ----------------------------------------------------------------------------------------------------


def ntk_condition(outcome: Outcome) -> Estimate:
    """Median over blocks of images of the tangent kernel's largest eigenvalue over its smallest; no interval.

    Raises:
        BenchError: of half of the blocks or more, rounding hides the smallest.

    >>> columns = {"ntk_largest": np.array([6.0, 6.0, 8.0, np.nan]), "ntk_smallest": np.array([2.0, 2.0, 1.0, np.nan]),
    ...            "ntk_block": np.array([0, 0, 1, -1])}
    >>> ntk_condition(Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns=columns)).value
    5.5
    """
    block_N = _column(outcome, "ntk_block")
    blocks, first = np.unique(block_N, return_index=True)
    first = first[blocks >= 0]
    with np.errstate(divide="ignore"):
        conditions = _column(outcome, "ntk_largest")[first] / _column(outcome, "ntk_smallest")[first]
    median = float(np.median(conditions))
    if not math.isfinite(median):
        raise BenchError("NTK condition is not defined: two images or more of most blocks have nearly one gradient.")
    return estimate(median, int((block_N >= 0).sum()))


NTK_CONDITION = _plain("ntk_condition", ntk_condition, "ratio")


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
        DoesNotApplyError: the model has no attention.
    """
    heads_NH = _column(outcome, name)
    if not np.isfinite(heads_NH).all():
        words = name.replace("_", " ")
        raise DoesNotApplyError(f"{words} is not defined: the model has no attention between all its tokens.")
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
