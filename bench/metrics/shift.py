"""Scores of a shift against the clean images or a reference: relative drop, mCE, relative mCE.

Pure functions as in `bench.metrics.classification`. Shapes: N images, C conditions.
"""

import math
from collections.abc import Sequence

import numpy as np

from bench.errors import BenchError
from bench.metrics import stats
from bench.metrics.by_image import ByImage, DropBetweenSets, Parts, mean_by_image
from bench.metrics.classification import correct_by_image
from bench.metrics.metric import Metric
from bench.metrics.outcomes import around, correct_by_condition, estimate, mean_of
from bench.records import Array, Estimate, Outcome


def relative_drop(clean: Outcome, *shifted: Outcome) -> Estimate:
    """Share of the clean accuracy that is lost: 1 - mean(shifted accuracies) / clean accuracy, at most 1.

    Below 0 where the shift helps. The shifted outcomes must show the same images. Where these are the clean
    ones too (the same ids), the interval pairs them by image; where no id is shared, it takes independent
    samples; anything between is an error.

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
    kept_N, kept = shifted_NC.mean(axis=1), float(shifted_NC.mean() / clean_N.mean())
    if paired:
        low, high = around(kept, _ratio_of_same_images(kept_N, clean_N))
    else:
        low, high = _ratio_interval(stats.of_mean(kept_N, 0.0, 1.0), stats.of_mean(clean_N, 0.0, 1.0))
    return estimate(1 - kept, len(clean_N) if paired else len(clean_N) + len(kept_N), (1 - high, 1 - low))


def _ratio_of_same_images(shifted_N: Array, clean_N: Array) -> stats.OfImages:
    """The confidence in mean(shifted) / mean(clean): the image more is right on one side alone."""
    return stats.OfImages(
        numerators_U=shifted_N,
        denominators_U=clean_N,
        counts_U=np.ones(len(clean_N)),
        highest=(1.0, 0.0),
        lowest=(0.0, 1.0),
    )


def _ratio_interval(above: stats.Confidence, below: stats.Confidence) -> stats.Interval:
    """The 95% interval of a ratio of independent numbers from their own (Donner & Zou 2012, doi:10.1002/sim.4317).

    Each bound r is where `above - r below` is as far from 0 as the bounds of both are together, by Pythagoras. `below`
    must have a lower bound above 0.
    """
    a, (a_low, a_high) = above.value, above.interval()
    b, (b_low, b_high) = below.value, below.interval()
    low = _root_of(a_low * (2 * a - a_low), a * b, b_high * (2 * b - b_high), -1)
    high = _root_of(a_high * (2 * a - a_high), a * b, b_low * (2 * b - b_low), 1)
    return low, high


def _root_of(constant: float, half: float, square: float, sign: int) -> float:
    """The smaller (-1) or larger (1) root of square r² - 2 half r + constant."""
    root = math.sqrt(max(0.0, half * half - constant * square))
    return (half + root) / square if sign > 0 else constant / (half + root) if constant else 0.0


def _drop_by_image(clean: Outcome, *shifted: Outcome) -> ByImage:
    if set(clean.ids.tolist()).isdisjoint(shifted[0].ids.tolist()):
        return DropBetweenSets(clean=correct_by_image(clean), shifted=correct_by_image(*shifted))
    correct_NC = correct_by_condition((clean, *shifted), "relative drop")
    values_NC = np.stack([correct_NC[:, 0], correct_NC[:, 1:].mean(axis=1)], axis=1)
    return Parts(
        images=clean,
        values_NC=values_NC,
        ends=(0.0, 1.0),
        score=lambda means_RC: 1 - means_RC[:, 1] / means_RC[:, 0],
    )


RELATIVE_DROP = Metric(name="relative_drop", function=relative_drop, by_image=_drop_by_image, higher_is_better=False)


def mean_corruption_error(*outcomes: Outcome, reference: Sequence[Sequence[float]]) -> Estimate:
    """MCE of Hendrycks & Dietterich 2019 (arXiv 1903.12261, section 4): mean over corruptions of the corruption error.

    CE_c = sum_s error_cs / sum_s reference_cs; 1 is as bad as the reference.

    Args:
        outcomes: one a corruption and severity, in the order of `reference`; they show the same images.
        reference: (corruptions, severities) top-1 errors of AlexNet, fractions.

    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"correct": np.arange(4) < 3})
    >>> mean_corruption_error(outcome, outcome, reference=[[0.4, 0.6]]).value
    0.5
    """
    weights_C = reference_weights(reference, len(outcomes), "mCE")
    wrong_NC = 1 - correct_by_condition(outcomes, "mCE")
    return mean_of(wrong_NC @ weights_C, highest=float(weights_C.sum()))


def _mce_by_image(*outcomes: Outcome, reference: Sequence[Sequence[float]]) -> Parts:
    weights_C = reference_weights(reference, len(outcomes), "mCE")
    wrong_NC = 1 - correct_by_condition(outcomes, "mCE")
    return mean_by_image(outcomes[0], wrong_NC @ weights_C, ends=(0.0, float(weights_C.sum())))


MCE = Metric(name="mce", function=mean_corruption_error, by_image=_mce_by_image, higher_is_better=False)
"""Wants `reference`, see `mean_corruption_error`."""


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
    lowest, highest = _ends_of_added(weights_C)
    return mean_of((wrong_NC[:, 1:] - wrong_NC[:, :1]) @ weights_C, lowest=lowest, highest=highest)


def _ends_of_added(weights_C: Array) -> tuple[float, float]:
    """The least and most that an image can add: right when clean and wrong wherever that counts, or the other way."""
    up, down = float(weights_C[weights_C > 0].sum()), float(weights_C[weights_C < 0].sum())
    return min(down, -up), max(up, -down)


def _relative_mce_by_image(
    clean: Outcome, *outcomes: Outcome, reference: Sequence[Sequence[float]], reference_clean: float
) -> Parts:
    added = [[error - reference_clean for error in errors] for errors in reference]
    weights_C = reference_weights(added, len(outcomes), "relative mCE")
    wrong_NC = 1 - correct_by_condition((clean, *outcomes), "relative mCE")
    return mean_by_image(clean, (wrong_NC[:, 1:] - wrong_NC[:, :1]) @ weights_C, ends=_ends_of_added(weights_C))


RELATIVE_MCE = Metric(
    name="relative_mce",
    function=relative_mean_corruption_error,
    by_image=_relative_mce_by_image,
    higher_is_better=False,
)
"""Wants `reference` and `reference_clean`, see `relative_mean_corruption_error`."""


def reference_weights(reference: Sequence[Sequence[float]], conditions: int, score: str) -> Array:
    """(C,): what one condition's error counts for, so that the weighted sum is the mean of the ratios."""
    weights = np.array([1 / sum(errors) / len(reference) for errors in reference for _ in errors])
    if len(weights) != conditions:
        raise BenchError(f"{score} has reference errors for {len(weights)} conditions, but {conditions} were given.")
    return weights
