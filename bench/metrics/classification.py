"""Scores: pure functions from stored outcomes to estimates with a 95% interval. No model and no GPU.

They read the columns that the measure `classify` stores. The n of an estimate counts distinct images.
Shapes: N images, C conditions.
"""

import math
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from bench.errors import BenchError, RunError
from bench.metrics import stats
from bench.records import Array, Estimate, Outcome

ECE_BINS = 15  # Guo et al. 2017, section 5


def top1(outcome: Outcome) -> Estimate:
    """Share of images whose largest logit is right: mean(correct), in [0, 1]; interval of Wilson 1927.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> accuracy = top1(outcome)
    >>> accuracy.value, accuracy.n, round(accuracy.ci_low, 2), round(accuracy.ci_high, 2)
    (0.75, 4, 0.3, 0.95)
    """
    return share(_column(outcome, "correct", "top-1 accuracy"))


def top5(outcome: Outcome) -> Estimate:
    """Share of images whose label is among the five largest logits: mean(rank < 5), in [0, 1].

    The interval is Wilson's, as in `top1`.

    Raises:
        BenchError: five classes or fewer, where every model would score 1.

    >>> columns = {"rank": np.array([0, 4, 5, 9]), "top_classes": np.tile(np.arange(10), (4, 1))}
    >>> top5(Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns=columns)).value
    0.5
    """
    ranks = _column(outcome, "rank", "top-5 accuracy")
    kept = _column(outcome, "top_classes", "top-5 accuracy").shape[1]
    if kept < 6:
        raise BenchError(f"top-5 accuracy needs at least 6 classes, not {kept}: score top-1 instead.")
    return share(ranks < 5)


def accuracy_by_class(outcome: Outcome) -> dict[int, Estimate]:
    """Top-1 accuracy of the images of each label present, by label: fractions in [0, 1], Wilson's intervals.

    >>> labels = np.array([7, 7, 7, 2])
    >>> outcome = Outcome(ids=np.arange(4), labels=labels, columns={"correct": np.arange(4) > 1})
    >>> {label: round(accuracy.value, 2) for label, accuracy in accuracy_by_class(outcome).items()}
    {2: 1.0, 7: 0.33}
    """
    correct = _column(outcome, "correct", "accuracy by class")
    return {int(label): share(correct[outcome.labels == label]) for label in np.unique(outcome.labels)}


def mean_per_class_accuracy(*outcomes: Outcome) -> Estimate:
    """Mean over the K classes present of each one's accuracy a_k, in [0, 1]; also "balanced accuracy".

    Several outcomes of the same images are averaged first, image by image. The classes are strata: se² = sum_k v_k /
    n_k / K², v_k being the variance of a class's n_k images, in Wilson's formula. There is no interval where a class
    has a single image, which shows no spread.

    >>> labels = np.array([7, 7, 7, 2])
    >>> outcome = Outcome(ids=np.arange(4), labels=labels, columns={"correct": np.arange(4) > 1})
    >>> round(mean_per_class_accuracy(outcome).value, 4)
    0.6667
    """
    right_N = correct_by_condition(outcomes, "mean accuracy per class").mean(axis=1)
    labels, classes_N, counts_K = np.unique(outcomes[0].labels, return_inverse=True, return_counts=True)
    means_K = np.bincount(classes_N, weights=right_N) / counts_K
    mean, n = float(means_K.mean()), len(right_N)
    if counts_K.min() < 2:
        return estimate(mean, n)
    squares_K = np.bincount(classes_N, weights=(right_N - means_K[classes_N]) ** 2)
    se = float(np.sqrt(np.sum(squares_K / (counts_K - 1) / counts_K))) / len(labels)
    return estimate(mean, n, stats.clustered_wilson(mean, se, n))


def nll(outcome: Outcome) -> Estimate:
    """Negative log-likelihood of the labels: mean(loss) in nats, from 0 up; normal interval, cut at 0.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"loss": np.array([0.5, 1.5])})
    >>> nll(outcome).value
    1.0
    """
    return mean_of(_column(outcome, "loss", "negative log-likelihood"), highest=math.inf)


def brier(outcome: Outcome) -> Estimate:
    """Score of Brier 1950 over all classes: the mean of sum_k (p_k - 1[k = label])², in [0, 2], 0 being best.

    Some tools halve it. Normal interval, cut to [0, 2].

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"brier": np.array([0.0, 0.5])})
    >>> brier(outcome).value
    0.25
    """
    return mean_of(_column(outcome, "brier", "Brier score"), highest=2.0)


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
    correct, log_sum_exp = _column(outcome, "correct", score), _column(outcome, "log_sum_exp", score)
    top_logits = _column(outcome, "top_logits", score)[:, 0].astype(np.float64)
    confidence = np.exp(top_logits - log_sum_exp)
    # The logits' rounding in float32 may take a sure prediction a little above 1.
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence)
    return estimate(float(np.abs(gaps).sum()) / outcome.n, outcome.n)


def mean_accuracy(*outcomes: Outcome) -> Estimate:
    """Mean top-1 accuracy over conditions that show the same images: a fraction in [0, 1].

    Images are matched by id, in any order. An image's rows are dependent: the standard error is clustered
    by image, and Wilson's formula makes the interval of it. With one condition this is `top1`.

    Raises:
        BenchError: no outcomes, or their images or labels differ.

    >>> first, second = (
    ...     Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < right})
    ...     for right in (3, 1)
    ... )
    >>> mean_accuracy(first, second).value
    0.5
    """
    correct_NC = correct_by_condition(outcomes, "mean accuracy")
    mean, n = float(correct_NC.mean()), len(correct_NC)
    if n < 2:
        return estimate(mean, n)
    return estimate(mean, n, stats.clustered_wilson(mean, stats.clustered_standard_error(correct_NC), n))


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


def mean_of_sets(*outcomes: Outcome, groups: Sequence[tuple[Callable[..., Estimate], int]]) -> Estimate:
    """Mean of the scores of several data sets, which share no image: a fraction in [0, 1]; normal interval.

    Args:
        outcomes: those of the first data set, then those of the next.
        groups: for each data set its metric, and how many of the outcomes are its own.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> other = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 1})
    >>> mean_of_sets(outcome, other, groups=[(top1, 1), (top1, 1)]).value
    0.5
    """
    firsts = np.cumsum([0, *(count for _, count in groups)])
    scores = [metric(*outcomes[first : first + count]) for (metric, count), first in zip(groups, firsts, strict=False)]
    mean, n = float(np.mean([score.value for score in scores])), sum(score.n for score in scores)
    bounds = [(score.ci_low, score.ci_high) for score in scores]
    widths = [high - low for low, high in bounds if low is not None and high is not None]
    if len(widths) < len(scores):
        return estimate(mean, n)
    z = stats.normal_interval(0.0, 1.0)[1]
    se = float(np.sqrt(np.sum(np.square(widths)))) / (2 * z) / len(scores)
    low, high = stats.normal_interval(mean, se)
    return estimate(mean, n, (max(low, 0.0), min(high, 1.0)))


def constant(outcome: Outcome, *, name: str) -> Estimate:
    """What a measure noted of all samples alike, such as a number that it chose; no interval.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"chosen_k": np.array([20.0, 20.0])})
    >>> constant(outcome, name="chosen_k").value
    20.0
    """
    values = _column(outcome, name, name.replace("_", " "))
    return estimate(float(values[0]), outcome.n)


def within(metric: Callable[..., Estimate], part: str, *outcomes: Outcome) -> Estimate:
    """A metric of the logits cut to the classes of a part of the class space, over the images of these classes.

    Args:
        metric: any metric here.
        part: the name of the part, among the `subsets` that the measure `classify` was given.
        outcomes: as `metric` takes them.

    >>> columns = {"pair/correct": np.array([True, False, True]), "pair/rank": np.array([0, -1, 0])}
    >>> outcome = Outcome(ids=np.arange(3), labels=np.arange(3), columns=columns)
    >>> within(top1, "pair", outcome).n
    2
    """
    return metric(*(cut(outcome, part, metric.__name__) for outcome in outcomes))


def cut(outcome: Outcome, part: str, score: str) -> Outcome:
    """The rows and columns of a part; a rank of -1 says that the label is none of its classes."""
    rows = _column(outcome, f"{part}/rank", f"{score} within {part!r}") >= 0
    if not rows.any():
        raise BenchError(f"{score} within {part!r} needs an image of one of its classes, but none of these is.")
    columns = {
        name.removeprefix(f"{part}/"): column[rows]
        for name, column in outcome.columns.items()
        if name.startswith(f"{part}/")
    }
    return Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns=columns)


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
    predictions = _column(outcome, "prediction", "accuracy in label sets").tolist()
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


def mean_corruption_error(*outcomes: Outcome, reference: Sequence[Sequence[float]]) -> Estimate:
    """MCE of Hendrycks & Dietterich 2019 (arXiv 1903.12261, section 4): mean over corruptions of the corruption error.

    CE_c = sum_s error_cs / sum_s reference_cs; 1 is as bad as the reference. Clustered by image, normal interval.

    Args:
        outcomes: one a corruption and severity, in the order of `reference`; they show the same images.
        reference: (corruptions, severities) top-1 errors of AlexNet, fractions.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> mean_corruption_error(outcome, outcome, reference=[[0.4, 0.6]]).value
    0.5
    """
    weights_C = reference_weights(reference, len(outcomes), "mCE")
    wrong_NC = 1 - correct_by_condition(outcomes, "mCE")
    return mean_of(wrong_NC @ weights_C, highest=math.inf)


def relative_mean_corruption_error(
    clean: Outcome, *outcomes: Outcome, reference: Sequence[Sequence[float]], reference_clean: float
) -> Estimate:
    """Relative mCE (arXiv 1903.12261, section 4): as mCE, of the errors that a corruption adds to the clean error.

    sum_s (error_cs - clean error) / sum_s (reference_cs - clean reference), averaged over corruptions.

    Args:
        clean: the same images without corruption.
        outcomes: as for `mean_corruption_error`.
        reference: as there.
        reference_clean: the reference's clean error.

    >>> clean, shifted = (
    ...     Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < right})
    ...     for right in (4, 3)
    ... )
    >>> relative_mean_corruption_error(clean, shifted, reference=[[0.9]], reference_clean=0.4).value
    0.5
    """
    added = [[error - reference_clean for error in errors] for errors in reference]
    weights_C = reference_weights(added, len(outcomes), "relative mCE")
    wrong_NC = 1 - correct_by_condition((clean, *outcomes), "relative mCE")
    return mean_of((wrong_NC[:, 1:] - wrong_NC[:, :1]) @ weights_C, lowest=-math.inf, highest=math.inf)


def reference_weights(reference: Sequence[Sequence[float]], conditions: int, score: str) -> Array:
    """(C,): what one condition's error counts for, so that the weighted sum is the mean of the ratios."""
    weights = np.array([1 / sum(errors) / len(reference) for errors in reference for _ in errors])
    if len(weights) != conditions:
        raise BenchError(f"{score} has reference errors for {len(weights)} conditions, but {conditions} were given.")
    return weights


def relative_drop(clean: Outcome, *shifted: Outcome) -> Estimate:
    """Share of the clean accuracy that is lost: 1 - mean(shifted accuracies) / clean accuracy, at most 1.

    Below 0 where the shift helps. The shifted outcomes must show the same images. Where these are the clean
    ones too (the same ids), the delta method pairs them by image; where no id is shared, it takes independent
    samples; anything between is an error. No interval where nothing varies (nothing right, nothing changed).

    Args:
        clean: the outcome without the shift.
        shifted: one outcome a condition.

    Raises:
        BenchError: a clean accuracy of 0, no shifted outcomes, or images or labels that differ.

    >>> clean, shifted = (
    ...     Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < right})
    ...     for right in (4, 3)
    ... )
    >>> relative_drop(clean, shifted).value
    0.25
    """
    score = "relative drop"
    paired = bool(shifted) and not set(clean.ids.tolist()).isdisjoint(shifted[0].ids.tolist())
    correct_NC = correct_by_condition((clean, *shifted) if paired else (clean,), score)
    clean_N = correct_NC[:, 0]
    shifted_NC = correct_NC[:, 1:] if paired else correct_by_condition(shifted, score)
    if not clean_N.any():
        raise BenchError(f"{score} is not defined for a clean accuracy of 0: check the checkpoint's classes.")
    drop = 1 - float(shifted_NC.mean() / clean_N.mean())
    n = len(clean_N) if paired else len(clean_N) + len(shifted_NC)
    enough = min(len(clean_N), len(shifted_NC)) > 1
    se = stats.ratio_standard_error(shifted_NC, clean_N, paired=paired) if enough else 0.0
    if se < 1e-9:  # zero, but for rounding
        return estimate(drop, n)
    low, high = stats.normal_interval(drop, se)
    return estimate(drop, n, (low, min(high, 1.0)))


def estimate(value: float, n: int, interval: stats.Interval | tuple[None, None] = (None, None)) -> Estimate:
    """A value over n images, with an interval where there is one."""
    return Estimate(value=value, n=n, ci_low=interval[0], ci_high=interval[1])


def share(hits: Array) -> Estimate:
    """Share of (N,) booleans that hold, with Wilson's interval."""
    right, n = int(np.count_nonzero(hits)), len(hits)
    return estimate(right / n, n, stats.wilson(right, n))


def mean_of(values: Array, *, lowest: float = 0.0, highest: float) -> Estimate:
    """Mean of (N,) values, with the normal interval cut to the score's range; none where nothing varies."""
    mean, n = float(values.mean(dtype=np.float64)), len(values)
    if n < 2:
        return estimate(mean, n)
    se = stats.clustered_standard_error(values)
    if se < 1e-12:  # nothing varies, but for rounding: that says nothing of other images
        return estimate(mean, n)
    low, high = stats.normal_interval(mean, se)
    return estimate(mean, n, (max(low, lowest), min(high, highest)))


def column(outcome: Outcome, name: str, score: str, *, given_by: str, advice: str) -> Array:
    """A column that is there and has rows.

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


def _column(outcome: Outcome, name: str, score: str) -> Array:
    """A column that is there, has rows and comes from finite logits."""
    found = column(
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
    return found


def correct_by_condition(outcomes: Sequence[Outcome], score: str) -> Array:
    """(N, C) zeros and ones: one column a condition, the rows in the order of the first one's images."""
    if not outcomes:
        raise BenchError(f"{score} needs at least one condition, not 0: no score from missing data.")
    first = outcomes[0]
    if not _each_once(first.ids):
        raise BenchError(f"{score} needs every image once, but an id comes twice: check the data set's ids.")
    columns = [_column(o, "correct", score)[matching_rows(first, o, score)] for o in outcomes]
    return np.stack(columns, axis=1).astype(np.float64)


def _each_once(ids: Array) -> bool:
    """Whether no id comes twice; looked at once for an array that cannot change, as a store gives to many outcomes."""
    if _EACH_ONCE.get(id(ids)) is ids:
        return True
    once = len(set(ids.tolist())) == len(ids)
    if once and not ids.flags.writeable:
        _EACH_ONCE[id(ids)] = ids
    return once


_EACH_ONCE: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def matching_rows(first: Outcome, other: Outcome, score: str) -> Array:
    """Where the images of `first` stand in `other`."""
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
