"""Two checkpoints on the same images: tests and intervals of their difference, as pure functions of numbers.

One image is one draw, and both are seen on it: what they share (most images are easy or hard for either) cancels,
which the intervals of two separate accuracies cannot know. Shapes: N images, C columns, R resamples, M tests.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from bench.errors import BenchError
from bench.metrics.stats import Interval, normal_interval
from bench.records import Array

FEW = 50
"""Images that changed, below which a bootstrap of them is too sure: of 3 that were lost, none ever gains."""
ROUNDING = 1e-9

Statistic: TypeAlias = Callable[[Array], Array]
"""From (R, C) means of columns to (R,) scores, row by row."""

EXACT_BELOW = 1000
"""Discordant pairs from which McNemar's test is the corrected chi-square one; there p differs from the exact one's by
less than 1% of it where it is above 0.002, and by 3% at 0.00001."""

_TILE = 1 << 22  # numbers of a temporary: 32 MiB


def mcnemar(lost: int, gained: int) -> float:
    """P-value of McNemar's test (1947) that two classifiers are right equally often; two-sided, in (0, 1].

    Only discordant pairs count. Given their number d, those lost are Binomial(d, 1/2) if nothing differs:
    p = min(1, 2 sum_{k <= min(lost, gained)} C(d, k) / 2^d). From `EXACT_BELOW` pairs on it is the tail of chi-square
    with one degree of freedom beyond (max(0, |lost - gained| - 1))² / d, corrected for continuity (Edwards 1948).

    Args:
        lost: images that only the first has right.
        gained: images that only the second has right.

    Raises:
        ValueError: a count below zero.

    >>> mcnemar(5, 0), mcnemar(0, 0)
    (0.0625, 1.0)
    """
    if min(lost, gained) < 0:
        raise ValueError(f"discordant pairs are counted from 0, not {lost} lost and {gained} gained")
    pairs = lost + gained
    if pairs >= EXACT_BELOW:
        return math.erfc(max(0, abs(lost - gained) - 1) / math.sqrt(2 * pairs))
    ways = tail = 1  # in whole numbers, of any length: nothing rounds before the division
    for k in range(min(lost, gained)):
        ways = ways * (pairs - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << pairs))


def paired_interval(lost: int, gained: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two accuracies on the same images: (gained - lost) / n, in [-1, 1].

    Adjusted Wald interval of Bonett & Price 2012 (doi:10.3102/1076998611411915), which Fagerland, Lydersen & Laake
    2014 (doi:10.1002/sim.6148) recommend: one more of either kind, p = (gained + 1) / (n + 2) and
    q = (lost + 1) / (n + 2), gives p - q ± z sqrt((p + q - (p - q)²) / (n + 2)). It has a width where none differs.

    Args:
        lost: images that only the first has right.
        gained: images that only the second has right.
        n: all images, those on which both agree among them.
        confidence: coverage, in (0, 1).

    Raises:
        BenchError: n is zero.
        ValueError: a count below zero, or more discordant pairs than images.

    >>> [round(bound, 4) for bound in paired_interval(16, 6, 161)]
    [-0.1195, -0.0032]
    """
    if n == 0:
        raise BenchError("a paired interval needs at least one image that both saw, not 0: measure the same ones.")
    if min(lost, gained) < 0 or lost + gained > n:
        raise ValueError(f"{lost} lost and {gained} gained are no discordant pairs of {n} images")
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    low, high = normal_interval(p - q, math.sqrt((p + q - (p - q) ** 2) / (n + 2)), confidence)
    # The adjustment may push a bound past the difference itself where confidence is low or all images differ.
    difference = (gained - lost) / n
    return max(-1.0, min(difference, low)), min(1.0, max(difference, high))


def paired_bootstrap(
    values_NC: Array,
    statistic: Statistic | Sequence[float],
    *,
    seed: int,
    key: str,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """Bootstrap interval of a score of column means, which resamples images: whole rows, so clusters stay whole.

    The bounds are quantiles of the score over resamples, corrected for bias and skewness: BCa (Efron 1987,
    doi:10.1080/01621459.1987.10478410), whose acceleration comes from leaving out one image at a time. Sums are
    exact, so that neither threads nor the library that multiplies matrices changes a bit of them.

    Args:
        values_NC: one row an image, one column a condition of a checkpoint; for a difference, those of both.
        statistic: (C,) weights of the columns' means, for a score that is linear in them such as mCE (negative for
            the checkpoint that is subtracted), which is the fastest; or a function of the means, for a ratio.
        seed: with `key` and the order of the rows decides what is drawn.
        key: names the comparison, so that others draw independently.
        repeats: resamples, R; with 2000 a bound varies by a tenth of the standard error between seeds.
        confidence: coverage, in (0, 1).

    Returns:
        None where no image makes a difference but by rounding: resampling then says nothing of other images.

    Raises:
        BenchError: fewer than two images, values that are not finite, or a score that is not in some resample.
        ValueError: more or fewer weights than columns.

    >>> clean, shifted = np.arange(100) < 80, np.arange(100) < 60
    >>> def relative_drop(means_RC):
    ...     return 1 - means_RC[:, 1] / means_RC[:, 0]
    >>> low, high = paired_bootstrap(np.stack([clean, shifted], axis=1), relative_drop, seed=0, key="example")
    >>> 0.1 < low < 0.25 < high < 0.4
    True
    """
    values_NC = np.asarray(values_NC)
    if len(values_NC) < 2:
        raise BenchError(f"a bootstrap needs at least two images, not {len(values_NC)}: measure more.")
    if not np.isfinite(values_NC).all():
        raise BenchError("a bootstrap needs finite values, but some are NaN or infinite: mend them.")
    if not callable(statistic):
        values_NC, statistic = _weighted_sum(values_NC, statistic)[:, None], _only_column
    values_NC = _summable(values_NC)
    with np.errstate(divide="ignore", invalid="ignore"):  # such resamples are refused below
        score = float(statistic(values_NC.mean(axis=0, keepdims=True))[0])
        resampled_R = np.concatenate([statistic(means) for means in _resampled(values_NC, seed, key, repeats)])
        omitted_N = np.concatenate([statistic(means) for means in _left_out(values_NC)])
    bad = np.count_nonzero(~np.isfinite(resampled_R)) + np.count_nonzero(~np.isfinite(omitted_N))
    if bad:
        raise BenchError(
            f"the score is not defined in {bad} of {repeats + len(omitted_N)} resamples of its images: it needs more "
            "images, or a checkpoint that is right more often."
        )
    influence_N = omitted_N.mean() - omitted_N
    spread = float(np.square(influence_N).sum())
    if math.sqrt(spread) < 1e-12:  # zero, but for rounding
        return None
    acceleration = float((influence_N * np.square(influence_N)).sum()) / (6 * spread**1.5)
    low, high = np.quantile(resampled_R, _bca_levels(score, resampled_R, acceleration, confidence))
    return float(low), float(high)


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


def _weighted_sum(values_NC: Array, weights_C: Sequence[float]) -> Array:
    """(N,): column after column, since a matrix product may round differently from one machine to the next."""
    sum_N = np.zeros(len(values_NC))
    for values_N, weight in zip(values_NC.T, weights_C, strict=True):
        sum_N += weight * values_N
    return sum_N


def _only_column(means_R1: Array) -> Array:
    return means_R1[:, 0]


def _summable(values_NC: Array) -> Array:
    """Values rounded to multiples of a power of two, so coarse (about N 2^-52 of the largest) that sums of N are exact.

    Zeros and ones stay as they are.
    """
    _, exponent = math.frexp(len(values_NC) * max(abs(float(values_NC.max())), abs(float(values_NC.min()))))
    step = 2.0 ** (exponent - 52)
    rounded_NC = values_NC / step
    np.rint(rounded_NC, out=rounded_NC)
    rounded_NC *= step
    return rounded_NC


def _resampled(values_NC: Array, seed: int, key: str, repeats: int) -> Iterator[Array]:
    """Means of the columns over resamples of the rows, (block, C) at a time."""
    n = len(values_NC)
    words = np.random.PCG64(int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()))
    block = max(1, _TILE // n)
    for first in range(0, repeats, block):
        times_RN = np.empty((min(block, repeats - first), n))
        for times_N in times_RN:
            times_N[:] = np.bincount(_rows(words, n), minlength=n)
        yield times_RN @ values_NC / n


def _rows(words: np.random.PCG64, n: int) -> Array:
    """(n,) int64, uniform in [0, n) but for 2^-32.

    Made of raw words: what the methods of a numpy `Generator` draw may change with its version (NEP 19).
    """
    drawn = words.random_raw((n + 1) // 2).view(np.uint32)[:n]
    return (drawn.astype(np.int64) * n) >> 32


def _left_out(values_NC: Array) -> Iterator[Array]:
    """Means of the columns without one row, for each row in turn, (block, C) at a time."""
    n, columns = values_NC.shape
    sum_C, block = values_NC.sum(axis=0), max(1, _TILE // columns)
    for first in range(0, n, block):
        yield (sum_C - values_NC[first : first + block]) / (n - 1)


def _bca_levels(score: float, resampled_R: Array, acceleration: float, confidence: float) -> Interval:
    """The quantiles to take: Phi(b + (b ± z) / (1 - a (b ± z))), where Phi(b) of the resamples lie below the score."""
    normal, repeats = NormalDist(), len(resampled_R)
    # Scores of few images come in steps: of the resamples that give the same one (but for rounding), half are below.
    tie = 1e-6 * float(np.ptp(resampled_R))
    below_or_same = np.count_nonzero(resampled_R < score - tie) + np.count_nonzero(resampled_R <= score + tie)
    below = below_or_same / (2 * repeats)
    bias = normal.inv_cdf(min(max(below, 0.5 / repeats), 1 - 0.5 / repeats))
    low, high = (
        normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in normal_interval(0.0, 1.0, confidence)
    )
    return low, high


def few_changed(change_N: Array) -> tuple[Interval, float]:
    """The 95% interval of a mean change that comes from few images, and p that the true one is 0.

    Of zeros and ones less zeros and ones it is the adjusted interval of Bonett & Price 2012, as in
    `bench.metrics.paired.paired_interval`: two images more, one that changes as much as any either way.

    Args:
        change_N: (N,) the images' changes, not all 0.

    >>> [round(bound, 4) for bound in few_changed(np.repeat([-1.0, 1.0, 0.0], [16, 6, 139]))[0]]
    [-0.1195, -0.0032]
    """
    most, mean = float(np.abs(change_N).max()), float(np.mean(change_N))
    values = np.append(change_N, [most, -most])
    se = float(np.std(values)) / math.sqrt(len(values))
    low, high = normal_interval(float(values.mean()), se)
    return (min(low, mean), max(high, mean)), normal_p(float(values.mean()), se)


def independent_mean(mean: float, count: int, intervals: Sequence[Interval]) -> tuple[Interval, float]:
    """The 95% interval of a mean of `count` independent values, from theirs, and p that the true mean is 0.

    >>> (low, high), p = independent_mean(0.02, 2, [(0.0, 0.04), (0.0, 0.04)])
    >>> round(low, 4), round(high, 4), round(p, 4)
    (0.0059, 0.0341, 0.0056)
    """
    se = math.sqrt(sum((high - low) ** 2 for low, high in intervals)) / (2 * normal_interval(0.0, 1.0)[1] * count)
    return normal_interval(mean, se), normal_p(mean, se)


def normal_p(value: float, se: float) -> float:
    """The two-sided p that a normal value is as far from 0 by chance.

    Args:
        value: the estimate.
        se: its standard error.
    """
    return math.erfc(abs(value) / se / math.sqrt(2)) if se > 0 else float(value == 0)


def influence(values_NC: Array, score: Callable[[Array], Array]) -> Array:
    """(N,): what leaving each image out takes from a score, times N - 1; their standard error is its: jackknife."""
    n = len(values_NC)
    left_out_N = score((values_NC.sum(axis=0) - values_NC) / (n - 1))
    return np.asarray((left_out_N.mean() - left_out_N) * (n - 1))
