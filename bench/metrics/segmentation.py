"""Scores of segmentation, from pixels by class that the measure `segment` counts in each image.

Intersections and unions are added over images before they are divided, so that mIoU is no mean of images; its interval
is of the images all the same. Shapes: N images, K classes, R resamples.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from bench.errors import BenchError
from bench.metrics.by_image import Parts
from bench.metrics.metric import Metric
from bench.metrics.outcomes import column, estimate, mean_of
from bench.records import Array, Estimate, Outcome

_NAMES = ("intersection", "target", "predicted")


def mean_iou(outcome: Outcome) -> Estimate:
    """Mean over classes of the intersection over the union of what is and what is predicted, in [0, 1].

    Classes that are neither shown nor predicted do not count. There is an interval from `UNBOUNDED_FROM` images on: to
    first order, of the mean of what each image makes of the score.

    >>> mean_iou(_made([[3, 0], [0, 1]], [[4, 0], [0, 4]], [[3, 1], [3, 1]])).value  # (3 / 7 + 1 / 5) / 2
    0.3142857142857143
    """
    return _of_ratios(*_union(outcome))


def mean_class_accuracy(outcome: Outcome) -> Estimate:
    """Mean over the classes that are shown of the share of their pixels that is predicted right, in [0, 1].

    >>> mean_class_accuracy(_made([[3, 0], [0, 1]], [[4, 0], [0, 4]], [[3, 1], [3, 1]])).value
    0.5
    """
    return _of_ratios(*_classes(outcome))


def pixel_accuracy(outcome: Outcome) -> Estimate:
    """Share of all pixels of a class that is predicted right, in [0, 1].

    >>> pixel_accuracy(_made([[3, 0], [0, 1]], [[4, 0], [0, 4]], [[3, 1], [3, 1]])).value
    0.5
    """
    return _of_ratios(*_all_pixels(outcome))


def _made(intersection: object, target: object, predicted: object) -> Outcome:
    columns = {name: np.array(c) for name, c in zip(_NAMES, (intersection, target, predicted), strict=True)}
    n = len(columns["target"])
    return Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns=columns)


def _counts(outcome: Outcome, score: str) -> tuple[Array, Array, Array]:
    """(N, K) float64 each."""
    given = {"given_by": "the measure 'segment' gives", "advice": "Score a condition with that measure."}
    intersection, target, predicted = (column(outcome, name, score, **given).astype(np.float64) for name in _NAMES)
    return intersection, target, predicted


def _union(outcome: Outcome) -> tuple[Array, Array]:
    intersection_NK, target_NK, predicted_NK = _counts(outcome, "mIoU")
    return intersection_NK, target_NK + predicted_NK - intersection_NK


def _classes(outcome: Outcome) -> tuple[Array, Array]:
    return _counts(outcome, "mean accuracy of the classes' pixels")[:2]


def _all_pixels(outcome: Outcome) -> tuple[Array, Array]:
    intersection_NK, target_NK, _ = _counts(outcome, "pixel accuracy")
    return intersection_NK.sum(axis=1, keepdims=True), target_NK.sum(axis=1, keepdims=True)


def _of_ratios(tops_NK: Array, bottoms_NK: Array) -> Estimate:
    """The mean of the ratios of sums over images, with an interval by linearisation."""
    n, top_K, bottom_K = len(tops_NK), tops_NK.sum(axis=0), bottoms_NK.sum(axis=0)
    shown_K = bottom_K > 0
    if not shown_K.any():
        raise BenchError("a score of segmentation needs a pixel of a class, but no image has one.")
    ratios_K = top_K[shown_K] / bottom_K[shown_K]
    value = float(ratios_K.mean())
    # What the score would be, to first order, were all images like this one.
    changes_NK = n * (tops_NK[:, shown_K] - ratios_K * bottoms_NK[:, shown_K]) / bottom_K[shown_K]
    pulls_N = value + changes_NK.mean(axis=1)
    interval = mean_of(pulls_N, lowest=float(pulls_N.min()), highest=math.inf)
    if interval.ci_low is None or interval.ci_high is None:
        return estimate(value, n)
    return estimate(value, n, (max(0.0, interval.ci_low), min(1.0, interval.ci_high)))


def _by_image(ratios: Callable[[Outcome], tuple[Array, Array]], outcome: Outcome) -> Parts:
    return Parts(images=outcome, values_NC=np.concatenate(ratios(outcome), axis=1), score=_score)


def _score(means_RC: Array) -> Array:
    """(R,) means of the ratios of the first half of the columns to the second, where these are not 0."""
    top_RK, bottom_RK = np.split(means_RC, 2, axis=1)
    shown_RK = bottom_RK > 0
    ratios_RK = np.divide(top_RK, bottom_RK, out=np.zeros_like(top_RK), where=shown_RK)
    scores_R: Array = ratios_RK.sum(axis=1) / shown_RK.sum(axis=1)
    return scores_R


MEAN_IOU = Metric(name="mean_iou", function=mean_iou, by_image=functools.partial(_by_image, _union), right="")
MEAN_CLASS_ACCURACY = Metric(
    name="mean_class_accuracy", function=mean_class_accuracy, by_image=functools.partial(_by_image, _classes), right=""
)
PIXEL_ACCURACY = Metric(
    name="pixel_accuracy", function=pixel_accuracy, by_image=functools.partial(_by_image, _all_pixels), right=""
)
