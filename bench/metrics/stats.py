"""Uncertainty of scores: standard errors and intervals, as pure functions of numbers.

One image is one draw. Where it recurs under several conditions its rows are not independent, so errors are
computed over images (clusters), never over image-condition pairs. Shapes: N images, C conditions.
"""

import math
from statistics import NormalDist

import numpy as np

from bench.errors import BenchError
from bench.records import Array

Interval = tuple[float, float]


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927), sound near 0 and 1 where the normal one fails.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), with p = successes / n.

    Args:
        successes: 0 to n; a fraction where n is an effective sample size.
        n: trials.
        confidence: coverage, in (0, 1).

    Raises:
        BenchError: n is zero.
        ValueError: successes outside 0 to n, or a number that is not finite.

    >>> [round(bound, 4) for bound in wilson(9, 10)]
    [0.5958, 0.9821]
    """
    if n == 0:
        raise BenchError("an interval needs at least one sample, not 0: no score from missing data.")
    if not (math.isfinite(n) and 0 <= successes <= n):
        raise ValueError(f"successes must lie between 0 and n, not {successes} of {n}")
    z, p = _z(confidence), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding may push a bound past p = 0 or p = 1.
    return max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale))


def clustered_wilson(mean: float, se: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson interval of a proportion whose standard error is not that of n independent draws.

    n is divided by the design effect se² (n-1) / (p(1-p)): the effective sample size of Korn & Graubard 1998,
    in Wilson's formula as in Franco, Little, Louis & Slud 2019. With the plain standard error it is `wilson`.

    Args:
        mean: the proportion p, in [0, 1].
        se: its clustered or stratified standard error.
        n: images, at least 2.
        confidence: coverage, in (0, 1).

    >>> [round(bound, 4) for bound in clustered_wilson(0.9, 0.1, 10)]  # 0.1 = sqrt(0.9 * 0.1 / 9)
    [0.5958, 0.9821]
    """
    _check_estimate(mean, se)
    # Images that all behave alike show no spread, not certainty: each counts as one draw. (1e-9: rounding.)
    effective = n if se < 1e-9 else n * mean * (1 - mean) / ((n - 1) * se * se)
    return wilson(mean * effective, effective, confidence)


def clustered_standard_error(values: Array) -> float:
    """Standard error of the overall mean of (N, C) or (N,) values, clustered by image (row).

    The data are balanced, so the sandwich (Liang & Zeger 1986) is sd of the images' means / sqrt(N). The sd
    divides by N-1: the usual small-sample factor of cluster-robust least squares (Cameron & Miller 2015).

    Raises:
        BenchError: fewer than two images, or values that are not finite.

    >>> clustered_standard_error(np.array([[1, 1], [0, 0], [1, 0], [0, 1]])) == math.sqrt(0.5 / 3 / 4)
    True
    """
    means = _image_means(values)
    if len(means) < 2:
        raise BenchError(f"a standard error needs at least two images, not {len(means)}: measure more.")
    return float(np.std(means, ddof=1)) / math.sqrt(len(means))


def ratio_standard_error(numerator: Array, denominator: Array, *, paired: bool) -> float:
    """Standard error of r = mean(numerator) / mean(denominator) by the delta method, clustered by image.

    Paired: se(a - r b) / |mean(b)| over the images' a, b. Independent: sqrt(se(a)² + r² se(b)²) / |mean(b)|.

    Args:
        numerator: (N, C) or (N,), one row an image.
        denominator: the same; where paired, its rows are the same images.
        paired: whether both were measured on the same images.

    Raises:
        BenchError: the denominator's mean is zero.
        ValueError: paired values of different lengths.

    >>> a, b = np.array([1, 0, 1, 0]), np.array([1, 1, 1, 0])
    >>> round(ratio_standard_error(a, b, paired=True), 3), round(ratio_standard_error(a, b, paired=False), 3)
    (0.314, 0.444)
    """
    a, b = _image_means(numerator), _image_means(denominator)
    if paired and len(a) != len(b):
        raise ValueError(f"paired values must be of the same images, not of {len(a)} and {len(b)}")
    if not (b.size and b.mean()):
        raise BenchError("a ratio to a mean of zero is not defined: leave this score out.")
    mean_b = float(b.mean())
    ratio = float(a.mean()) / mean_b
    if paired:
        return clustered_standard_error(a - ratio * b) / abs(mean_b)
    return math.hypot(clustered_standard_error(a), ratio * clustered_standard_error(b)) / abs(mean_b)


def normal_interval(mean: float, se: float, confidence: float = 0.95) -> Interval:
    """The interval mean ± z se; cut it where the score's range ends.

    >>> [round(bound, 3) for bound in normal_interval(0.5, 0.02)]
    [0.461, 0.539]
    """
    _check_estimate(mean, se)
    return mean - _z(confidence) * se, mean + _z(confidence) * se


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _check_estimate(mean: float, se: float) -> None:
    if not (math.isfinite(mean) and 0 <= se < math.inf):
        raise ValueError(f"an interval needs a finite mean and standard error, not {mean} and {se}")


def _image_means(values: Array) -> Array:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise BenchError("a standard error needs finite values, but some are NaN or infinite: mend them.")
    return values.reshape(len(values), -1).mean(axis=1) if values.size else values.reshape(len(values))
