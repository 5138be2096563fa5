"""Two checkpoints on the same images: how sure their difference is, as pure functions of numbers.

One image is one draw, and both are seen on it: what they share (most images are easy or hard for either) cancels,
which the intervals of two separate accuracies cannot know. Interval and p come of one test, so that the interval leaves
0 out where p is below 0.05, and nowhere else. Shapes: N images, C columns, R rows of means, M tests.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.errors import BenchError
from bench.metrics.by_image import ByImage, DropBetweenSets, MeanOfSets, Parts, aligned
from bench.metrics.stats import UNBOUNDED_FROM, Confidence, Interval, OfImages, OfSum, of_mean
from bench.records import Array

FEW = 10
"""Images that changed, below which the largest change among them says too little of what others may do."""
SMALL = 50
"""Images, below which it does so however many changed: of losses, all change a little, and the rare ones by much."""
ROUNDING = 1e-9
_NUDGE = 1e-4
"""Of the means, to take a score's slopes: small beside what images change, and large beside rounding."""


def in_difference(first: ByImage | None, second: ByImage | None, score: str) -> Confidence:
    """The confidence in how much more the second of two checkpoints has of a score, from what the same images give.

    Args:
        first: what the images give of the one.
        second: what they give of the other.
        score: its name, for messages.

    Raises:
        BenchError: the images are not the same, too few, or give nothing.
    """
    match first, second:
        case Parts(), Parts():
            return _between(first, second, score, _difference_of(first, second))
        case MeanOfSets(), MeanOfSets():
            parts = [in_difference(*both, score) for both in zip(first.sets, second.sets, strict=True)]
            return OfSum(parts=parts, weights=[1 / len(parts)] * len(parts))
        case DropBetweenSets(), DropBetweenSets():
            return _between_drops(first, second, score)
    raise BenchError(f"{score} is made by no means over images")


def paired_drop_p(lost: int, gained: int, n: int, tolerance: float) -> float:
    """P-value, one-sided, that the accuracy on the same images truly fell by at most a tolerance; in [0, 1].

    Under the hypothesis an image is lost with probability q + tolerance and gained with probability q, whose maximum
    likelihood estimate given both counts is the root of a quadratic (Nam 1997; Tango 1998). p is the chance that
    lost - gained is as large then, computed exactly (but for 1e-15) and not by the normal law: an estimated p-value
    (Storer & Kim 1990). A true drop of exactly the tolerance gives p of at most alpha with a chance of at most alpha,
    for every n, q and alpha that was tried (`benchmarks/gate.py`).

    Args:
        lost: images that only the first has right.
        gained: images that only the second has right.
        n: all images, at least 1.
        tolerance: a fraction, in [0, 1).

    Raises:
        ValueError: a count below zero, more discordant pairs than images, or a tolerance outside its range.

    >>> round(paired_drop_p(10, 0, 500, 0.003), 4), round(paired_drop_p(5, 3, 500, 0.003), 2)
    (0.004, 0.5)
    """
    if min(lost, gained) < 0 or lost + gained > n or not 0 <= tolerance < 1:
        raise ValueError(f"no test of {lost} lost and {gained} gained of {n} images against a drop of {tolerance}")
    # 2n q² + b q - c = 0 is where the likelihood has its largest value.
    b = (2 * n - lost + gained) * tolerance - (lost + gained)
    c = gained * tolerance * (1 - tolerance)
    q = (math.sqrt(b * b + 8 * n * c) - b) / (4 * n)
    return _sum_at_least(lost - gained, n, q + tolerance, q)


def _sum_at_least(k: int, n: int, up: float, down: float) -> float:
    """The chance that n draws, each 1 with the one probability and -1 with the other, else 0, sum up to k or more.

    The sum's characteristic function is the n-th power of a draw's, and a Fourier transform makes its law of it.
    """
    size = 1 << (2 * n + 1).bit_length()  # sums from -n to n, each at a place of its own
    turn = np.exp(2j * np.pi * np.arange(size // 2 + 1) / size)
    law = np.fft.irfft((up / turn + down * turn + (1 - up - down)) ** n, size)
    return float(np.clip(law[np.arange(k, n + 1)].sum(), 0.0, 1.0))


def _difference_of(first: Parts, second: Parts) -> Callable[[Array], Array] | None:
    """The difference as a function of the means of both sides' columns; None where it is that of the only column."""
    score, columns = first.score, first.values_NC.shape[1]
    if score is None:
        return None
    return lambda means_RC: np.asarray(score(means_RC[:, columns:]) - score(means_RC[:, :columns]))


def _between(first: Parts, second: Parts, score: str, difference: Callable[[Array], Array] | None) -> OfImages:
    first_NC, second_NC = aligned(first, second, score)
    ends = min(first.ends[0], second.ends[0]), max(first.ends[1], second.ends[1])
    if difference is None:
        return in_change(second_NC[:, 0] - first_NC[:, 0], most=ends[1] - ends[0])
    change_N, most = linearised(np.concatenate([first_NC, second_NC], axis=1), difference, ends)
    return in_change(change_N, most=most, changed=int(np.any(first_NC != second_NC, axis=1).sum()))


def _between_drops(first: DropBetweenSets, second: DropBetweenSets, score: str) -> OfSum:
    """Relative drops between different images: what the clean ones change at these shifted means, and the reverse."""
    clean_2 = np.array([first.clean.value, second.clean.value])  # above 0, or the drop is not defined
    kept_2 = np.array([first.shifted.value, second.shifted.value])

    def by_clean(means_R2: Array) -> Array:
        return np.asarray((kept_2 / means_R2 - kept_2 / clean_2) @ [1, -1])

    def by_shifted(means_R2: Array) -> Array:
        return np.asarray(means_R2 / clean_2 @ [1, -1])

    parts = [
        _between(first.clean, second.clean, score, by_clean),
        _between(first.shifted, second.shifted, score, by_shifted),
    ]
    return OfSum(parts=parts, weights=[1.0, 1.0])


def in_change(change_N: Array, *, most: float, changed: int | None = None) -> OfImages:
    """The confidence in a mean change; its p-value of 0 is McNemar's exact one where all are -1, 0 or 1.

    The image more, that could have been among them, changes as much as any that did, either way; where there are few,
    or only few changed, as much as an image can.

    Args:
        change_N: (N,) what the images change by.
        most: that an image can change by; may be infinite.
        changed: how many of them changed; those that are not 0 unless given.

    Raises:
        BenchError: no images, values that are not finite, or too few to say how much one may change.

    >>> lost, gained, same = -np.ones(16), np.ones(6), np.zeros(139)
    >>> sure = in_change(np.concatenate([lost, gained, same]), most=1.0)
    >>> [round(bound, 4) for bound in sure.interval()], round(sure.p(), 4)
    ([-0.1268, 0.0006], 0.0525)
    """
    if not len(change_N):
        raise BenchError("a difference needs at least one image that both saw, not 0: measure the same ones.")
    if not np.isfinite(change_N).all():
        raise BenchError("a difference needs finite values, but some are NaN or infinite: mend them.")
    # What rounding alone makes is no change, and would be one where nothing else is.
    change_N = np.where(np.abs(change_N) > ROUNDING, change_N, 0.0)
    if changed is None:
        changed = int(np.count_nonzero(change_N))
    if math.isinf(most) and len(change_N) < UNBOUNDED_FROM:
        raise BenchError(
            f"values without an end need at least {UNBOUNDED_FROM} images for an interval, not {len(change_N)}"
        )
    if changed >= FEW and len(change_N) >= SMALL:
        most = min(most, float(np.abs(change_N).max()))
    if math.isinf(most):
        raise BenchError(f"values without an end need at least {FEW} images that changed, not {changed}")
    return of_mean(change_N, -most, most)


def linearised(values_NC: Array, score: Callable[[Array], Array], ends: Interval) -> tuple[Array, float]:
    """What each image gives of a score of column means, to first order (delta method).

    Args:
        values_NC: one row an image.
        score: from (R, C) means to (R,) scores.
        ends: lowest and highest that a value of a column can be; may be infinite.

    Returns:
        (N,) values whose mean is the score, and how far from 0 that of any image can be.

    Raises:
        BenchError: the score is not defined near these means.

    >>> values, most = linearised(np.eye(2), lambda means: 1 - means[:, 1] / means[:, 0], (0.0, 1.0))
    >>> values.round(6).tolist(), round(most, 6)
    ([2.0, -2.0], 2.0)
    """
    means_C = values_NC.mean(axis=0)
    nudges_CC = _NUDGE * np.eye(len(means_C))
    with np.errstate(divide="ignore", invalid="ignore"):
        around = score(np.concatenate([means_C[None], means_C + nudges_CC, means_C - nudges_CC]))
    if not np.isfinite(around).all():
        raise BenchError(
            "the score is not defined near the means of these images: it needs more of them, or a checkpoint that is "
            "right more often."
        )
    value, (up_C, down_C) = float(around[0]), around[1:].reshape(2, -1)
    slopes_C = (up_C - down_C) / (2 * _NUDGE)
    if not np.isfinite(ends).all():
        most = math.inf
    else:
        at_ends_2C = np.subtract.outer(ends, means_C) * slopes_C
        most = float(max(abs(value + at_ends_2C.max(axis=0).sum()), abs(value + at_ends_2C.min(axis=0).sum())))
    return value + (values_NC - means_C) @ slopes_C, most


def holm(p_values: Sequence[float] | Array) -> Array:
    """(M,) p-values adjusted for M tests by Holm 1979, in the order given; reject where one is at most alpha.

    The k-th smallest becomes the largest of (M - j + 1) p_j over j = 1 … k, at most 1: the chance of any false
    rejection stays at most alpha, whatever the dependence.

    Args:
        p_values: (M,), in [0, 1]; may be empty.

    Raises:
        ValueError: a p-value outside [0, 1], or NaN.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_M = np.asarray(p_values, np.float64)
    if not ((p_M >= 0) & (p_M <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], not {p_M[~((p_M >= 0) & (p_M <= 1))].tolist()}")
    order_M = np.argsort(p_M, kind="stable")
    adjusted_M = np.empty_like(p_M)
    adjusted_M[order_M] = np.maximum.accumulate(p_M[order_M] * np.arange(len(p_M), 0, -1))
    return np.minimum(adjusted_M, 1.0)
