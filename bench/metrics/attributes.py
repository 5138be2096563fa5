"""What is known of images beside their labels, such as the factor that sets one apart: scores of some, and by group.

An attribute is looked up by a sample's id when a score is made. No cell depends on it: the stored rows of a pass over
the images serve every attribute, also one that is written down later.
Shapes: N images, G groups.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.errors import BenchError
from bench.metrics import stats
from bench.metrics.by_image import Parts
from bench.metrics.metric import Metric
from bench.metrics.outcomes import around, classify_column, estimate, selected
from bench.records import Array, Estimate, Outcome

NONE = ""
"""The value of an image that has none: it is in no group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """A value of each sample of a data set."""

    name: str
    """A word: a column of the long table."""
    values: tuple[str, ...]
    """All that there are, in the order in which they are shown."""
    value_of: Callable[[str], str | None] = field(repr=False, compare=False)
    """From a sample's id to its value; `NONE` where it has none, None where nothing is known of that id."""
    source: str
    """What the values are read from, for messages: `factors.csv`, `the names of files`."""
    digest: str = ""
    """Of what they are read from, where that may change: scores by other values are made anew."""


def values_of(outcome: Outcome, attribute: Attribute, score: str) -> Array:
    """The place of each image's value among those of the attribute; -1 where it has none.

    Args:
        outcome: whose ids are looked up.
        attribute: what is asked for.
        score: what asks, for messages.

    Returns:
        (N,) int64.

    Raises:
        BenchError: nothing is known of an id.
    """
    values = [attribute.value_of(str(sample_id)) for sample_id in outcome.ids]
    if None in values:
        raise BenchError(
            f"{score} goes by {attribute.name!r}, and {str(outcome.ids[values.index(None)])!r} has none in "
            f"{attribute.source}: keep the files' own names, and have every image in it."
        )
    places = {value: place for place, value in enumerate(attribute.values)} | {NONE: -1}
    return np.array([places[str(value)] for value in values], dtype=np.int64)


def among(metric: Metric, attribute: Attribute, value: str) -> Metric:
    """A metric over the images that have one value of an attribute.

    Args:
        metric: any.
        attribute: by which images are selected.
        value: which images.
    """
    select = functools.partial(_with_value, attribute=attribute, value=value, score=metric.name)
    return metric.over(f"{attribute.name}={value}", select)


def _with_value(outcome: Outcome, *, attribute: Attribute, value: str, score: str) -> Outcome:
    rows_N = values_of(outcome, attribute, score) == attribute.values.index(value)
    return selected(outcome, rows_N, f"{attribute.name} {value!r}")


def error_ratio(outcome: Outcome, attribute: Attribute, value: str) -> Estimate:
    """How much oftener a model errs on the images of one value than on all (Idrissi et al. 2022, arXiv 2211.01866).

    error among the images of the value / error among all images of the outcome, from 0 up; 1 is as often. Each image
    tells of both: the interval takes the share of the value among images as given, and is that of a ratio of means.

    Args:
        outcome: of the measure `classify`.
        attribute: by which images are selected.
        value: which images.

    Raises:
        BenchError: no image has the value, or none is wrong.

    >>> factor = Attribute(name="factor", values=("pose",), value_of={"a": "pose", "b": ""}.get, source="a list")
    >>> outcome = Outcome(ids=np.array(["a", "b"]), labels=np.zeros(2, int), columns={"correct": np.arange(2) > 0})
    >>> error_ratio(outcome, factor, "pose").value
    2.0
    """
    wrong_N, inside_N = _errors(outcome, attribute, value)
    times = len(wrong_N) / np.count_nonzero(inside_N)
    error = float(wrong_N[inside_N].mean())
    # With these numerators, whose mean is the same, an image more of the value alone changes nothing.
    numerators_N = times * inside_N * (wrong_N - error) + error
    confidence = stats.OfImages(
        numerators_U=numerators_N,
        denominators_U=wrong_N.astype(np.float64),
        counts_U=np.ones(len(wrong_N)),
        highest=(times * (1 - error) + error, 1.0),
        lowest=(error - times * error, 0.0),
    )
    low, high = around(confidence.value, confidence)
    return estimate(confidence.value, len(wrong_N), (max(low, 0.0), high))


def _errors(outcome: Outcome, attribute: Attribute, value: str) -> tuple[Array, Array]:
    """(N,) booleans: which images are wrong, and which have the value."""
    score = f"the error ratio of {value!r}"
    wrong_N = np.asarray(classify_column(outcome, "correct", score) == 0)
    inside_N = values_of(outcome, attribute, score) == attribute.values.index(value)
    if not inside_N.any():
        raise BenchError(f"{score} needs an image of this {attribute.name}, but none of these is.")
    if not wrong_N.any():
        raise BenchError(f"{score} is not defined where every image is right.")
    return wrong_N, inside_N


def _error_ratio_by_image(outcome: Outcome, attribute: Attribute, value: str) -> Parts:
    wrong_N, inside_N = _errors(outcome, attribute, value)
    values_NC = np.stack([wrong_N & inside_N, inside_N, wrong_N], axis=1).astype(np.float64)
    return Parts(
        images=outcome,
        values_NC=values_NC,
        ends=(0.0, 1.0),
        score=lambda means_RC: means_RC[:, 0] / means_RC[:, 1] / means_RC[:, 2],
    )


ERROR_RATIO = Metric(
    name="error_ratio", function=error_ratio, by_image=_error_ratio_by_image, unit="times", higher_is_better=False
)
"""Wants `attribute` and `value`, see `error_ratio`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """Attributes that cut images to groups: each combination of their values, and of the classes, is one."""

    attributes: tuple[Attribute, ...]
    by_label: bool
    """Whether classes are told apart."""

    def groups_of(self, outcome: Outcome, score: str) -> tuple[Array, Array]:
        """Groups of an outcome's images.

        Args:
            outcome: whose images are cut.
            score: what asks, for messages.

        Returns:
            (N,) int64, the group of each image, -1 where it has no value; and (G,) how many images each has, 1 or more.

        Raises:
            BenchError: nothing is known of an id, or no image is in a group.
        """
        columns = [values_of(outcome, attribute, score) for attribute in self.attributes]
        keys_NA = np.stack([*columns, *([outcome.labels] if self.by_label else [])], axis=1)
        kept_N = np.asarray((keys_NA >= 0).all(axis=1))
        if not kept_N.any():
            raise BenchError(f"{score} needs an image that is in a group, but none of these is.")
        _, groups_n, counts_G = np.unique(keys_NA[kept_N], axis=0, return_inverse=True, return_counts=True)
        groups_N = np.full(len(kept_N), -1)
        groups_N[kept_N] = groups_n.reshape(-1)
        return groups_N, counts_G


def worst_group_accuracy(outcome: Outcome, grouping: Grouping) -> Estimate:
    """The smallest top-1 accuracy of a group of images, in [0, 1] (Sagawa et al. 2020, arXiv 1911.08731).

    The interval is of the smallest true accuracy: its lower end is the lowest of the groups' own, its upper end the
    lowest too, each as sure as if all groups had been asked (Bonferroni).

    Args:
        outcome: of the measure `classify`.
        grouping: what cuts images to groups.

    Raises:
        BenchError: nothing is known of an id, or no image is in a group.

    >>> place = Attribute(name="place", values=("land", "sea"), value_of={"a": "land", "b": "sea"}.get, source="a list")
    >>> outcome = Outcome(ids=np.array(["a", "b"]), labels=np.zeros(2, int), columns={"correct": np.arange(2) > 0})
    >>> worst_group_accuracy(outcome, Grouping(attributes=(place,), by_label=True)).value
    0.0
    """
    groups_N, counts_G = grouping.groups_of(outcome, "worst-group accuracy")
    right_N = classify_column(outcome, "correct", "worst-group accuracy")
    kept_N = groups_N >= 0
    right_G = np.bincount(groups_N[kept_N], weights=right_N[kept_N])
    of_each = list(zip(right_G.tolist(), counts_G.tolist(), strict=True))
    low = min(stats.share_interval(right, count)[0] for right, count in of_each)
    high = min(stats.share_interval(right, count, 1 - 0.05 / len(of_each))[1] for right, count in of_each)
    return estimate(float((right_G / counts_G).min()), int(kept_N.sum()), (low, high))


def _worst_by_image(outcome: Outcome, grouping: Grouping) -> Parts:
    groups_N, counts_G = grouping.groups_of(outcome, "worst-group accuracy")
    right_N = classify_column(outcome, "correct", "worst-group accuracy")
    kept_N, size = groups_N >= 0, len(counts_G)
    inside_NG = groups_N[kept_N, None] == np.arange(size)
    images = Outcome(ids=outcome.ids[kept_N], labels=outcome.labels[kept_N], columns={})
    values_NC = np.concatenate([inside_NG & (right_N[kept_N, None] > 0), inside_NG], axis=1).astype(np.float64)

    def smallest(means_RC: Array) -> Array:
        return np.asarray((means_RC[:, :size] / means_RC[:, size:]).min(axis=1))

    return Parts(images=images, values_NC=values_NC, ends=(0.0, 1.0), score=smallest)


WORST_GROUP = Metric(name="worst_group_accuracy", function=worst_group_accuracy, by_image=_worst_by_image)
"""Wants `grouping`, see `worst_group_accuracy`."""
