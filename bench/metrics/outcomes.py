"""What every metric is made of: columns of outcomes that are there and finite, rows matched by image, estimates.

Shapes: N images, C conditions.
"""

import math
import weakref
from collections.abc import Sequence

import numpy as np

from bench.errors import BenchError, RunError
from bench.metrics import stats
from bench.metrics.contract import LABEL_SET
from bench.records import Array, Estimate, Outcome


def estimate(value: float, n: int, interval: stats.Interval | tuple[None, None] = (None, None)) -> Estimate:
    """A value over some images, as an estimate.

    Args:
        value: the score.
        n: distinct images that it comes from.
        interval: low and high, 95%, where it has one.
    """
    return Estimate(value=value, n=n, ci_low=interval[0], ci_high=interval[1])


def share(hits: Array) -> Estimate:
    """Share of (N,) booleans that hold, with its exact interval (Clopper & Pearson 1934)."""
    right, n = int(np.count_nonzero(hits)), len(hits)
    return estimate(right / n, n, stats.share_interval(right, n))


def mean_of(values_N: Array, *, lowest: float = 0.0, highest: float) -> Estimate:
    """Mean of values by image, with the interval that holds whatever their law (`bench.metrics.stats`).

    Where they have no end, one image alone may hold most of the mean: then there is an interval from `UNBOUNDED_FROM`
    images on, unless nothing varies.

    Args:
        values_N: (N,) numbers.
        lowest: that an image can have.
        highest: that an image can have; may be infinite.
    """
    mean, n = float(values_N.mean(dtype=np.float64)), len(values_N)
    if math.isinf(highest):
        highest = float(values_N.max())
        if n < stats.UNBOUNDED_FROM or highest - float(values_N.min()) < 1e-12:
            return estimate(mean, n)
    return estimate(mean, n, around(mean, stats.of_mean(values_N, lowest, highest)))


def around(value: float, confidence: stats.Confidence) -> stats.Interval:
    """The 95% interval of a value, which rounding must not leave outside."""
    low, high = confidence.interval()
    return min(low, value), max(high, value)


def column(outcome: Outcome, name: str, score: str, *, given_by: str, advice: str) -> Array:
    """A column that is there and has rows.

    Args:
        outcome: of one condition.
        name: of the column.
        score: what is asked for it, for messages.
        given_by: which measures give the column, for messages: `attacks give`.
        advice: what to do where it is not there, a sentence.

    Raises:
        BenchError: it is not, or it has none.
    """
    if outcome.n == 0:
        raise BenchError(f"{score} needs at least one sample, not 0: no score from missing data.")
    if name not in outcome.columns:
        raise BenchError(
            f"{score} needs the column {name!r}, which {given_by}; this outcome has only "
            f"[{', '.join(sorted(outcome.columns))}]. {advice}"
        )
    return outcome.columns[name]


def classify_column(outcome: Outcome, name: str, score: str) -> Array:
    """A column of the measure `classify` that is there, has rows and comes from finite logits.

    Args:
        outcome: of one condition.
        name: of the column.
        score: what is asked for it, for messages.

    Raises:
        BenchError: it is not there, or it has no rows.
        RunError: it, or the logits that it comes from, are not finite.
    """
    values_N = column(
        outcome, name, score, given_by="the measure 'classify' gives", advice="Score a condition with that measure."
    )
    # A NaN among the logits leaves no trace in `correct` or `rank`, but always one in `log_sum_exp`.
    for checked in (name, "log_sum_exp"):
        if not np.isfinite(values := outcome.columns.get(checked, np.zeros(0))).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise RunError(
                f"{score} needs finite numbers, but {bad} in the column {checked!r} are NaN or infinite: "
                "look at the checkpoint's weights and precision."
            )
    return values_N


def correct_by_condition(outcomes: Sequence[Outcome], score: str) -> Array:
    """Which images are right under which conditions.

    Args:
        outcomes: one a condition, of the same images in any order.
        score: what asks, for messages.

    Returns:
        (N, C) zeros and ones, the rows in the order of the first outcome's images.

    Raises:
        BenchError: no outcomes, an id that comes twice, or images or labels that differ.
    """
    if not outcomes:
        raise BenchError(f"{score} needs at least one condition, not 0: no score from missing data.")
    first = outcomes[0]
    if not _each_once(first.ids):
        raise BenchError(f"{score} needs every image once, but an id comes twice: check the data set's ids.")
    columns = [classify_column(o, "correct", score)[matching_rows(first, o, score)] for o in outcomes]
    return np.stack(columns, axis=1).astype(np.float64)


def matching_rows(first: Outcome, other: Outcome, score: str) -> Array:
    """Where the images of one outcome stand in another.

    Args:
        first: whose order is wanted.
        other: of the same images, in any order.
        score: what asks, for messages.

    Returns:
        (N,) rows of `other`.

    Raises:
        BenchError: they are not of the same images, or disagree in labels.
    """
    rows = np.arange(other.n)
    if first.ids is other.ids and first.labels is other.labels:  # as a store gives them
        return rows
    if not np.array_equal(first.ids, other.ids):  # the usual case needs no sorting
        shared = np.intersect1d(first.ids, other.ids).size
        if not shared == first.n == other.n:
            raise BenchError(
                f"{score} needs the same images in every condition, but {shared} are shared of {first.n} and "
                f"{other.n}: use one limit and one set of ids."
            )
        rows[np.argsort(first.ids)] = np.argsort(other.ids)
    if not np.array_equal(first.labels, other.labels[rows]):
        raise BenchError(f"{score} needs one label an image, but the conditions disagree: check the data.")
    return rows


def _each_once(ids: Array) -> bool:
    """Whether no id comes twice; looked at once for an array that cannot change, as a store gives to many outcomes."""
    if _EACH_ONCE.get(id(ids)) is ids:
        return True
    once = len(set(ids.tolist())) == len(ids)
    if once and not ids.flags.writeable:
        _EACH_ONCE[id(ids)] = ids
    return once


_EACH_ONCE: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def cut(outcome: Outcome, part: str, score: str) -> Outcome:
    """The rows and columns of a part of the class space; a rank of -1 says that the label is none of its classes.

    Args:
        outcome: of the measure `classify`, which was given the part among its `subsets`.
        part: its name.
        score: what is asked for it, for messages.

    Raises:
        BenchError: no image is of one of these classes.
    """
    rows = classify_column(outcome, f"{part}/rank", f"{score} within {part!r}") >= 0
    if not rows.any():
        raise BenchError(f"{score} within {part!r} needs an image of one of its classes, but none of these is.")
    columns = {
        name.removeprefix(f"{part}/"): column[rows]
        for name, column in outcome.columns.items()
        if name.startswith(f"{part}/")
    }
    if LABEL_SET in outcome.columns:  # of the samples, whatever the logits are cut to
        columns[LABEL_SET] = outcome.columns[LABEL_SET][rows]
    return Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns=columns)


def selected(outcome: Outcome, rows: Array, images: str) -> Outcome:
    """Some of an outcome's images.

    Args:
        outcome: of one condition.
        rows: (N,) booleans, which of them.
        images: what they are, for messages.

    Raises:
        BenchError: there is none.
    """
    if not rows.any():
        raise BenchError(f"a score over images of {images} needs one, but none of these is.")
    columns = {name: column[rows] for name, column in outcome.columns.items()}
    return Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns=columns)
