"""Metrics image by image: the columns whose means make a score, to compare two checkpoints on the same images.

Shapes: N images, C columns, R resamples.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.metrics import classification, robustness
from bench.metrics.classification import matching_rows
from bench.records import Array, Outcome
from bench.suite import Metric

Maker = Callable[..., "Parts | None"]
"""Takes what the metric takes: its outcomes and its keyword arguments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What each image gives of a score."""

    images: Outcome
    """The images, in the order of the rows."""
    values_NC: Array
    """Its columns' means make the score."""
    score: Callable[[Array], Array] | None = None
    """From (R, C) means to (R,) scores; None where the score is the only column's mean."""


_MAKERS: dict[Callable[..., Any], Maker] = {}


def by_image(metric: Metric, outcomes: Sequence[Outcome]) -> Parts | None:
    """What each image gives of a metric; None for one that no columns' means make, such as a calibration error.

    Args:
        metric: the metric.
        outcomes: as it takes them.

    Raises:
        BenchError: the score is not defined on these outcomes.
    """
    function, positional, given = _unfolded(metric.function)
    maker = _MAKERS.get(function)
    return None if maker is None else maker(*positional, *outcomes, **given)


def data_sets(
    metric: Metric, first: Sequence[Outcome], second: Sequence[Outcome]
) -> list[tuple[Metric, Sequence[Outcome], Sequence[Outcome]]]:
    """The metrics whose mean a metric is, each over a data set of its own; empty for one that is no such mean.

    Args:
        metric: the metric.
        first: outcomes of a checkpoint, as it takes them.
        second: those of another.
    """
    function, _, given = _unfolded(metric.function)
    if function is not classification.mean_of_sets:
        return []
    found, start = [], 0
    for one, count in given["groups"]:
        rows = slice(start, start + count)
        found.append((replace(metric, function=one), first[rows], second[rows]))
        start += count
    return found


def two_sets(metric: Metric, outcomes: Sequence[Outcome]) -> tuple[Parts, Parts] | None:
    """The clean and the shifted accuracy of a relative drop between different images; None for any other metric.

    Args:
        metric: the metric.
        outcomes: as it takes them.
    """
    function, positional, _ = _unfolded(metric.function)
    if function is classification.within:
        function, part = positional
        outcomes = [classification.cut(outcome, part, "relative drop") for outcome in outcomes]
    if function is not classification.relative_drop or set(outcomes[0].ids.tolist()) & set(outcomes[1].ids.tolist()):
        return None
    return _accuracy(outcomes[:1]), _accuracy(outcomes[1:])


def _unfolded(function: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """A metric's own function below its partials, with the arguments that these hold."""
    given: dict[str, Any] = {}
    positional: tuple[Any, ...] = ()
    while isinstance(function, functools.partial):
        given = {**function.keywords, **given}
        positional = (*function.args, *positional)
        function = function.func
    return function, positional, given


def gives(function: Callable[..., Any]) -> Callable[[Maker], Maker]:
    """Declare what makes the parts of a metric's function: a decorator."""

    def declare(maker: Maker) -> Maker:
        _MAKERS[function] = maker
        return maker

    return declare


def _mean(images: Outcome, values_N: Array) -> Parts:
    return Parts(images=images, values_NC=np.asarray(values_N, np.float64)[:, None])


@gives(classification.top1)
@gives(classification.mean_accuracy)
def _correct(*outcomes: Outcome) -> Parts:
    return _accuracy(outcomes)


def _accuracy(outcomes: Sequence[Outcome]) -> Parts:
    return _mean(outcomes[0], classification.correct_by_condition(outcomes, "accuracy").mean(axis=1))


@gives(classification.top5)
def _top5(outcome: Outcome) -> Parts:
    classification.top5(outcome)  # refuses five classes and fewer
    return _mean(outcome, outcome.columns["rank"] < 5)


@gives(classification.mean_per_class_accuracy)
def _per_class(*outcomes: Outcome) -> Parts:
    right_N = classification.correct_by_condition(outcomes, "mean accuracy per class").mean(axis=1)
    _, classes_N, counts_K = np.unique(outcomes[0].labels, return_inverse=True, return_counts=True)
    # Of the images as they are: a resample has other numbers of each class, which this weighs as the whole does.
    return _mean(outcomes[0], right_N * len(right_N) / (len(counts_K) * counts_K[classes_N]))


@gives(classification.nll)
def _loss(outcome: Outcome) -> Parts:
    classification.nll(outcome)
    return _mean(outcome, outcome.columns["loss"])


@gives(classification.brier)
def _brier(outcome: Outcome) -> Parts:
    classification.brier(outcome)
    return _mean(outcome, outcome.columns["brier"])


@gives(classification.within)
def _within(metric: Callable[..., Any], part: str, *outcomes: Outcome) -> Parts | None:
    cut = [classification.cut(outcome, part, metric.__name__) for outcome in outcomes]
    return _MAKERS[metric](*cut) if metric in _MAKERS else None


@gives(classification.accuracy_in_sets)
def _in_sets(outcome: Outcome, sets_of: Callable[[str], Sequence[int] | None]) -> Parts:
    classification.accuracy_in_sets(outcome, sets_of)  # refuses unknown ids
    sets = [sets_of(str(i)) or () for i in outcome.ids]
    rows = np.array([bool(labels) for labels in sets])
    predictions = outcome.columns["prediction"].tolist()
    hits = [p in labels for p, labels in zip(predictions, sets, strict=True) if labels]
    images = Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns={})  # those with a label
    return _mean(images, np.array(hits))


@gives(classification.mean_corruption_error)
def _mce(*outcomes: Outcome, reference: Sequence[Sequence[float]]) -> Parts:
    weights_C = classification.reference_weights(reference, len(outcomes), "mCE")
    return _mean(outcomes[0], (1 - classification.correct_by_condition(outcomes, "mCE")) @ weights_C)


@gives(classification.relative_mean_corruption_error)
def _relative_mce(
    clean: Outcome, *outcomes: Outcome, reference: Sequence[Sequence[float]], reference_clean: float
) -> Parts:
    added = [[error - reference_clean for error in errors] for errors in reference]
    weights_C = classification.reference_weights(added, len(outcomes), "relative mCE")
    wrong_NC = 1 - classification.correct_by_condition((clean, *outcomes), "relative mCE")
    return _mean(clean, (wrong_NC[:, 1:] - wrong_NC[:, :1]) @ weights_C)


@gives(classification.relative_drop)
def _relative_drop(clean: Outcome, *shifted: Outcome) -> Parts | None:
    if set(clean.ids.tolist()).isdisjoint(shifted[0].ids.tolist()):
        return None  # of two sets of images, none has a part in both
    correct_NC = classification.correct_by_condition((clean, *shifted), "relative drop")
    values_NC = np.stack([correct_NC[:, 0], correct_NC[:, 1:].mean(axis=1)], axis=1)
    return Parts(images=clean, values_NC=values_NC, score=lambda means_RC: 1 - means_RC[:, 1] / means_RC[:, 0])


@gives(robustness.robust_accuracy)
def _robust(*outcomes: Outcome, eps: float) -> Parts:
    return _mean(outcomes[0], robustness.withstands(outcomes, eps))


@gives(robustness.robust_area)
def _robust_area(*outcomes: Outcome, grid: Sequence[float]) -> Parts:
    return _mean(outcomes[0], robustness.areas(outcomes, grid))


@gives(robustness.accuracy_after)
def _accuracy_after(outcome: Outcome, *, fooled_by: Sequence[str]) -> Parts:
    robustness.accuracy_after(outcome, fooled_by=fooled_by)
    fooled_N = np.isin(outcome.columns["fooled_by"].astype(str), list(fooled_by))
    return _mean(outcome, outcome.columns["correct"] & ~fooled_N)


def aligned(first: Parts, other: Parts, score: str) -> tuple[Array, Array]:
    """The values of two checkpoints' parts, rows in the order of the ids: what resampling draws by.

    Raises:
        BenchError: they are not of the same images.
    """
    order = np.argsort(first.images.ids)
    rows = matching_rows(first.images, other.images, score)
    return first.values_NC[order], other.values_NC[rows][order]
