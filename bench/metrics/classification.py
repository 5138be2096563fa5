"""Scores of classification: accuracy, likelihood, calibration, and what is made of several conditions or data sets.

Pure functions from stored outcomes to estimates with a 95% interval, each beside what an image gives of it; no model
and no GPU. They read the columns that the measure `classify` stores. The n of an estimate counts distinct images.
Shapes: N images, C conditions.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.errors import BenchError
from bench.metrics import stats
from bench.metrics.by_image import MeanOfSets, Parts, mean_by_image
from bench.metrics.contract import LABEL_SET
from bench.metrics.metric import Metric
from bench.metrics.outcomes import (
    around,
    classify_column,
    column,
    correct_by_condition,
    estimate,
    matching_rows,
    mean_of,
    share,
)
from bench.records import Array, Estimate, Outcome

ECE_BINS = 15  # Guo et al. 2017, section 5


def top1(outcome: Outcome) -> Estimate:
    """Share of images whose largest logit is right: mean(correct), in [0, 1]; interval of Clopper & Pearson 1934.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> accuracy = top1(outcome)
    >>> accuracy.value, accuracy.n, round(accuracy.ci_low, 2), round(accuracy.ci_high, 2)
    (0.75, 4, 0.19, 0.99)
    """
    return share(classify_column(outcome, "correct", "top-1 accuracy"))


def correct_by_image(*outcomes: Outcome) -> Parts:
    """Each image's share of conditions under which it is right, of `top1` and `mean_accuracy`."""
    return mean_by_image(outcomes[0], correct_by_condition(outcomes, "accuracy").mean(axis=1), ends=(0.0, 1.0))


TOP1 = Metric(name="top1", function=top1, by_image=correct_by_image)


def top5(outcome: Outcome) -> Estimate:
    """Share of images whose label is among the five largest logits: mean(rank < 5), in [0, 1].

    The interval is exact, as in `top1`.

    Raises:
        BenchError: five classes or fewer, where every model would score 1.

    >>> columns = {"rank": np.array([0, 4, 5, 9]), "top_classes": np.tile(np.arange(10), (4, 1))}
    >>> top5(Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns=columns)).value
    0.5
    """
    ranks = classify_column(outcome, "rank", "top-5 accuracy")
    kept = classify_column(outcome, "top_classes", "top-5 accuracy").shape[1]
    if kept < 6:
        raise BenchError(f"top-5 accuracy needs at least 6 classes, not {kept}: score top-1 instead.")
    return share(ranks < 5)


def _top5_by_image(outcome: Outcome) -> Parts:
    top5(outcome)  # refuses five classes and fewer
    return mean_by_image(outcome, outcome.columns["rank"] < 5)


TOP5 = Metric(name="top5", function=top5, by_image=_top5_by_image)


def mean_per_class_accuracy(*outcomes: Outcome) -> Estimate:
    """Mean over the K classes present of each one's accuracy a_k, in [0, 1]; also "balanced accuracy".

    Several outcomes of the same images are averaged first, image by image. The score is the mean over images with a
    weight of N / (K n_k), so that those of rare classes count for more; the interval takes it as such a ratio of means.

    >>> labels = np.array([7, 7, 7, 2])
    >>> outcome = Outcome(ids=np.arange(4), labels=labels, columns={"correct": np.arange(4) > 1})
    >>> round(mean_per_class_accuracy(outcome).value, 4)
    0.6667
    """
    right_N, weights_N = _right_and_weights(outcomes)
    heaviest = float(weights_N.max())
    confidence = stats.OfImages(
        numerators_U=right_N * weights_N,
        denominators_U=weights_N,
        counts_U=np.ones(len(right_N)),
        highest=(heaviest, heaviest),
        lowest=(0.0, heaviest),
    )
    return estimate(confidence.value, len(right_N), around(confidence.value, confidence))


def _right_and_weights(outcomes: Sequence[Outcome]) -> tuple[Array, Array]:
    """(N,) shares of the conditions under which an image is right, and what each image counts for, 1 on average."""
    right_N = correct_by_condition(outcomes, "mean accuracy per class").mean(axis=1)
    _, classes_N, counts_K = np.unique(outcomes[0].labels, return_inverse=True, return_counts=True)
    return right_N, len(right_N) / (len(counts_K) * counts_K[classes_N])


def _per_class_by_image(*outcomes: Outcome) -> Parts:
    right_N, weights_N = _right_and_weights(outcomes)
    return mean_by_image(outcomes[0], right_N * weights_N, ends=(0.0, float(weights_N.max())))


MEAN_PER_CLASS = Metric(name="mean_per_class_accuracy", function=mean_per_class_accuracy, by_image=_per_class_by_image)


def nll(outcome: Outcome) -> Estimate:
    """Negative log-likelihood of the labels: mean(loss) in nats, from 0 up; an interval from 500 images on.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"loss": np.array([0.5, 1.5])})
    >>> nll(outcome).value
    1.0
    """
    return mean_of(classify_column(outcome, "loss", "negative log-likelihood"), highest=math.inf)


def _loss_by_image(outcome: Outcome) -> Parts:
    nll(outcome)  # refuses what is not finite
    return mean_by_image(outcome, outcome.columns["loss"], ends=(0.0, math.inf))


NLL = Metric(name="nll", function=nll, by_image=_loss_by_image, unit="nats", higher_is_better=False)


def brier(outcome: Outcome) -> Estimate:
    """Score of Brier 1950 over all classes: the mean of sum_k (p_k - 1[k = label])², in [0, 2], 0 being best.

    Some tools halve it.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"brier": np.array([0.0, 0.5])})
    >>> brier(outcome).value
    0.25
    """
    return mean_of(classify_column(outcome, "brier", "Brier score"), highest=2.0)


def _brier_by_image(outcome: Outcome) -> Parts:
    brier(outcome)  # refuses what is not finite
    return mean_by_image(outcome, outcome.columns["brier"], ends=(0.0, 2.0))


BRIER = Metric(
    name="brier", function=brier, by_image=_brier_by_image, unit="squared probability", higher_is_better=False
)


def ece(outcome: Outcome) -> Estimate:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017): a fraction in [0, 1], 0 being best.

    sum_b (n_b / n) |accuracy_b - confidence_b| over 15 equal bins (low, high] of the top-1 probability.
    Biased upwards in small samples, so it has no interval.

    >>> columns = {"correct": np.arange(2) > 0, "top_logits": np.zeros((2, 2)), "log_sum_exp": np.ones(2)}
    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns=columns)
    >>> round(ece(outcome).value, 4)  # |0.5 - exp(-1)|
    0.1321
    """
    score = "expected calibration error"
    correct, log_sum_exp = classify_column(outcome, "correct", score), classify_column(outcome, "log_sum_exp", score)
    top_logits = classify_column(outcome, "top_logits", score)[:, 0].astype(np.float64)
    confidence = np.exp(top_logits - log_sum_exp)
    # The logits' rounding in float32 may take a sure prediction a little above 1.
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence)
    return estimate(float(np.abs(gaps).sum()) / outcome.n, outcome.n)


ECE = Metric(name="ece", function=ece, higher_is_better=False)


def mean_accuracy(*outcomes: Outcome) -> Estimate:
    """Mean top-1 accuracy over conditions that show the same images: a fraction in [0, 1].

    Images are matched by id, in any order. An image's rows are dependent: the interval is that of the images' shares of
    conditions. With one condition this is `top1`.

    Raises:
        BenchError: no outcomes, or their images or labels differ.

    >>> first, second = (
    ...     Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < right})
    ...     for right in (3, 1)
    ... )
    >>> mean_accuracy(first, second).value
    0.5
    """
    return mean_of(correct_by_condition(outcomes, "mean accuracy").mean(axis=1), highest=1.0)


MEAN_ACCURACY = Metric(name="mean_accuracy", function=mean_accuracy, by_image=correct_by_image)


def spread(*outcomes: Outcome) -> Estimate:
    """Standard deviation of top-1 accuracy over draws that show the same images: a fraction; no interval.

    Raises:
        BenchError: a single draw, which has none.

    >>> first, second = (
    ...     Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < right})
    ...     for right in (3, 1)
    ... )
    >>> round(spread(first, second).value, 4)
    0.3536
    """
    if len(outcomes) < 2:
        raise BenchError("the spread over draws needs at least two of them.")
    accuracies = correct_by_condition(outcomes, "spread over draws").mean(axis=0)
    return estimate(float(accuracies.std(ddof=1)), outcomes[0].n)


SPREAD = Metric(name="spread", function=spread, higher_is_better=False)


def best_of(*outcomes: Outcome) -> Estimate:
    """The largest top-1 accuracy over conditions that show the same images: in [0, 1].

    That it was chosen on these images makes the value a little too high. The interval is of the largest true accuracy:
    its lower bound is as sure as if each condition had been asked on its own (Bonferroni).

    Raises:
        BenchError: the images or labels differ.

    >>> ids, labels = np.arange(4), np.zeros(4, int)
    >>> first, second = (Outcome(ids=ids, labels=labels, columns={"correct": ids < right}) for right in (1, 3))
    >>> best_of(first, second).value
    0.75
    """
    best = _best(outcomes)[1]
    right = round(best.value * best.n)
    low, _ = stats.share_interval(right, best.n, 1 - 0.05 / len(outcomes))
    _, high = stats.share_interval(right, best.n)
    return estimate(best.value, best.n, (low, high))


def best_value(*outcomes: Outcome, values: Sequence[float]) -> Estimate:
    """The value of the setting that gives the largest top-1 accuracy, the smallest of several; no interval.

    Args:
        outcomes: one a value, on the same images.
        values: of the setting, ascending.

    Raises:
        BenchError: the images or labels differ.

    >>> ids, labels = np.arange(4), np.zeros(4, int)
    >>> some = [Outcome(ids=ids, labels=labels, columns={"correct": ids < right}) for right in (1, 3, 3)]
    >>> best_value(*some, values=[0.8, 0.9, 1.0]).value
    0.9
    """
    place, accuracy = _best(outcomes)
    return estimate(float(values[place]), accuracy.n)


def _best(outcomes: Sequence[Outcome]) -> tuple[int, Estimate]:
    """Which outcome has the largest accuracy, the first of several, and that accuracy."""
    for other in outcomes[1:]:
        matching_rows(outcomes[0], other, "the best accuracy")
    accuracies = [top1(outcome) for outcome in outcomes]
    place = max(range(len(accuracies)), key=lambda i: accuracies[i].value)  # the first of several
    return place, accuracies[place]


BEST_OF = Metric(name="best_of", function=best_of)


def mean_of_sets(*outcomes: Outcome, groups: Sequence[tuple[Metric, int]]) -> Estimate:
    """Mean of the scores of several data sets, which share no image: a fraction in [0, 1].

    Each bound is as far away as those of the data sets are together, by Pythagoras (Zou & Donner 2008).

    Args:
        outcomes: those of the first data set, then those of the next.
        groups: for each data set its metric, and how many of the outcomes are its own.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> other = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 1})
    >>> mean_of_sets(outcome, other, groups=[(TOP1, 1), (TOP1, 1)]).value
    0.5
    """
    scores = [metric.estimate(theirs) for metric, theirs in _by_set(outcomes, groups)]
    mean, n = float(np.mean([score.value for score in scores])), sum(score.n for score in scores)
    bounds = [(score.ci_low, score.ci_high, score.value) for score in scores]
    away = [(value - low, high - value) for low, high, value in bounds if low is not None and high is not None]
    if len(away) < len(scores):
        return estimate(mean, n)
    down, up = (math.hypot(*widths) / len(scores) for widths in zip(*away, strict=True))
    return estimate(mean, n, (mean - down, mean + up))


def _sets_by_image(*outcomes: Outcome, groups: Sequence[tuple[Metric, int]]) -> MeanOfSets:
    return MeanOfSets(sets=tuple(metric.parts(theirs) for metric, theirs in _by_set(outcomes, groups)))


def _by_set(
    outcomes: Sequence[Outcome], groups: Sequence[tuple[Metric, int]]
) -> list[tuple[Metric, Sequence[Outcome]]]:
    """Each data set's metric with its own outcomes."""
    firsts = np.cumsum([0, *(count for _, count in groups)])
    return [(metric, outcomes[at : at + count]) for (metric, count), at in zip(groups, firsts, strict=False)]


MEAN_OF_SETS = Metric(name="mean_of_sets", function=mean_of_sets, by_image=_sets_by_image)
"""Wants `groups`, see `mean_of_sets`."""


def constant(outcome: Outcome, *, name: str) -> Estimate:
    """What a measure noted of all samples alike, such as a number that it chose; no interval.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"chosen_k": np.array([20.0, 20.0])})
    >>> constant(outcome, name="chosen_k").value
    20.0
    """
    values = classify_column(outcome, name, name.replace("_", " "))
    return estimate(float(values[0]), outcome.n)


def accuracy_in_sets(outcome: Outcome, sets_of: Callable[[str], Sequence[int] | None]) -> Estimate:
    """Share of images whose prediction is in their set of labels (Beyer et al. 2020, arXiv 2006.07159).

    Images with an empty set are not scored.

    Args:
        outcome: of the measure `classify`.
        sets_of: sample id to its labels; None where nothing is known of the id.

    Raises:
        BenchError: an id is unknown, or no image has a label.

    >>> columns = {"prediction": np.array([3, 5, 7])}
    >>> outcome = Outcome(ids=np.array(["a", "b", "c"]), labels=np.zeros(3, int), columns=columns)
    >>> accuracy_in_sets(outcome, {"a": (3, 4), "b": (4,), "c": ()}.get).value
    0.5
    """
    predictions = classify_column(outcome, "prediction", "accuracy in label sets").tolist()
    ids = [str(sample_id) for sample_id in outcome.ids]
    sets = [sets_of(sample_id) for sample_id in ids]
    if None in sets:
        raise BenchError(
            f"accuracy in label sets goes by file name, and {ids[sets.index(None)]!r} is none that the list of labels "
            "knows: keep the files' own names."
        )
    hits = [prediction in labels for prediction, labels in zip(predictions, sets, strict=True) if labels]
    if not hits:
        raise BenchError("accuracy in label sets needs an image with a label, but none of these has one.")
    return share(np.array(hits))


def _in_sets_by_image(outcome: Outcome, sets_of: Callable[[str], Sequence[int] | None]) -> Parts:
    accuracy_in_sets(outcome, sets_of)  # refuses unknown ids
    sets = [sets_of(str(i)) or () for i in outcome.ids]
    rows = np.array([bool(labels) for labels in sets])
    predictions = outcome.columns["prediction"].tolist()
    hits = [p in labels for p, labels in zip(predictions, sets, strict=True) if labels]
    images = Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns={})  # those with a label
    return mean_by_image(images, np.array(hits))


ACCURACY_IN_SETS = Metric(name="accuracy_in_sets", function=accuracy_in_sets, by_image=_in_sets_by_image, right="")
"""Wants `sets_of`, see `accuracy_in_sets`."""


def label_set_accuracy(outcome: Outcome) -> Estimate:
    """Share of images whose prediction is one of their right labels, in [0, 1]; the interval is exact, as in `top1`.

    Args:
        outcome: of the measure `classify`, of data whose images may have several right labels.

    Raises:
        BenchError: the data have one label an image.

    >>> columns = {"prediction": np.array([3, 5]), "label_set": np.array([[1, 3], [4, -1]])}
    >>> label_set_accuracy(Outcome(ids=np.arange(2), labels=np.array([1, 4]), columns=columns)).value
    0.5
    """
    return share(_in_label_set(outcome))


def _in_label_set(outcome: Outcome) -> Array:
    """(N,) booleans."""
    predictions_N = classify_column(outcome, "prediction", "accuracy in label sets")
    sets_NS = column(
        outcome,
        LABEL_SET,
        "accuracy in label sets",
        given_by="data give whose images have several right labels",
        advice="Score top-1, or measure such data.",
    )
    return np.asarray((sets_NS == predictions_N[:, None]).any(axis=1))


LABEL_SET_ACCURACY = Metric(
    name="label_set_accuracy",
    function=label_set_accuracy,
    by_image=lambda outcome: mean_by_image(outcome, _in_label_set(outcome)),
    right="",
)
