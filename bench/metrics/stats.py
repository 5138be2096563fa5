"""Uncertainty of scores: the p-value of every hypothesis on a mean over images, and the interval of what stands.

One image is one draw, and what it shows under several conditions is one row: errors are over images, never over pairs
of image and condition. Each gets a random weight (of the exponential law), and so does one image more, which is as high
as an image can be: the chance that the weighted mean exceeds t is the p-value that the true mean is t or more (Gaffke
2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable";
Learned-Miller & Thomas 2019, arXiv 1905.06208). Of zeros and ones that makes the interval of Clopper & Pearson 1934, of
changes by -1, 0 and 1 McNemar's exact test; of other values it takes the spread that they have. Of zeros and ones it is
proven, and of all bounded values conjectured, that it errs no oftener than it says; `benchmarks/intervals.py` looks.
Shapes: N images, U different ones.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bench.errors import BenchError
from bench.records import Array

Interval = tuple[float, float]

UNBOUNDED_FROM = 500
"""Images from which a mean of values without an end has an interval: in fewer the rare large ones may not show at all.
The image more is then as large as any that was seen."""
MANY = 1000
"""Different values from which the chance is taken by saddlepoint; it then has an error of some 10⁻⁵ of itself."""
_LEAST = 1e-300  # of chances of which the normal quantile is taken
_NEAR = 1e-5
_STEP = 0.3  # of the trapezoids, of a spread: with it the chance has an error of some 10⁻⁹ of itself
_BLOCK = 24  # trapezoids at a time
_BLOCKS = 2000
"""At most. Two images take some 700, more take fewer; only where values differ by 10²⁰ times would there be no end, and
then the chance is next to nothing anyway."""
_LARGE = 2.0**300
"""Of which the square, times all the images in the world, is a number; 1 / `_LARGE` is as far from 0."""


def share_interval(right: float, n: float, confidence: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper & Pearson 1934): quantiles of the beta law; as `of_mean` gives it.

    Args:
        right: 0 to n; a fraction where n was never counted.
        n: trials.
        confidence: coverage at least, in (0, 1).

    Raises:
        BenchError: n is zero.
        ValueError: `right` outside 0 to n, or a number that is not finite.

    >>> [round(bound, 4) for bound in share_interval(9, 10)]
    [0.555, 0.9975]
    """
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # imported here: it takes a tenth of a second

    if n == 0:
        raise BenchError("an interval needs at least one sample, not 0: no score from missing data.")
    if not (math.isfinite(n) and 0 <= right <= n):
        raise ValueError(f"a share is of 0 to n, not {right} of {n}")
    tail = _tail_of(confidence)
    low = float(betaincinv(right, n - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0
    return low, high


def _tail_of(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    return (1 - confidence) / 2


class Confidence(ABC):
    """What is known of a true number: the p-value of every hypothesis on it."""

    @property
    @abstractmethod
    def value(self) -> float:
        """The estimate."""

    @abstractmethod
    def p_at_least(self, number: float) -> float:
        """The one-sided p-value, in [0, 1], that the true number is this or higher: small where all speaks for less."""

    @abstractmethod
    def p_at_most(self, number: float) -> float:
        """The one-sided p-value, in [0, 1], that the true number is this or lower."""

    @abstractmethod
    def bounds(self, tail: float) -> Interval:
        """The lowest and highest number of which the one-sided p-value is not below `tail`, in (0, 1/2)."""

    def interval(self, confidence: float = 0.95) -> Interval:
        """The numbers that the two-sided test does not reject.

        Raises:
            ValueError: a confidence outside (0, 1).
        """
        return self.bounds(_tail_of(confidence))

    def p(self, number: float = 0.0) -> float:
        """The two-sided p-value, in [0, 1], that this is the true number."""
        return min(1.0, 2 * min(self.p_at_least(number), self.p_at_most(number)))


@dataclass(frozen=True, kw_only=True, slots=True)
class OfImages(Confidence):
    """Of a ratio of two means over the same images; with a denominator of 1, of a mean."""

    numerators_U: Array
    denominators_U: Array
    """At least 0, and not all 0."""
    counts_U: Array
    """How many images have these two."""
    highest: tuple[float, float]
    """Numerator and denominator of the image more that speaks the most for a high number."""
    lowest: tuple[float, float]

    @property
    def value(self) -> float:  # noqa: D102
        return float(self.counts_U @ self.numerators_U) / float(self.counts_U @ self.denominators_U)

    def p_at_least(self, number: float) -> float:  # noqa: D102
        return chance_above_zero(*self._beyond(number, self.highest))

    def p_at_most(self, number: float) -> float:  # noqa: D102
        beyond_U, counts_U = self._beyond(number, self.lowest)
        return chance_above_zero(-beyond_U, counts_U)

    def bounds(self, tail: float) -> Interval:  # noqa: D102
        return self._bound(tail, self.p_at_most, -1), self._bound(tail, self.p_at_least, 1)

    def _beyond(self, number: float, added: tuple[float, float]) -> tuple[Array, Array]:
        """What each image has beyond the number, with the one that is added, and how many of each there are."""
        beyond_U = self.numerators_U - number * self.denominators_U
        return np.concatenate((beyond_U, [added[0] - number * added[1]])), np.concatenate((self.counts_U, [1.0]))

    def _bound(self, tail: float, p: Callable[[float], float], sign: int) -> float:
        value, (numerator, denominator) = self.value, self.highest if sign > 0 else self.lowest
        end = numerator / denominator if denominator else sign * math.inf
        if sign * (end - value) <= 0:
            return value
        beyond_U, counts_U = self._beyond(value, self.highest if sign > 0 else self.lowest)
        step = 2 * math.sqrt(counts_U @ np.square(beyond_U)) / float(self.counts_U @ self.denominators_U)
        far = value + sign * min(step, abs(end - value))
        while (
            0 < step < abs(end - value) and p(far) >= tail
        ):  # not until `far` is the end: rounding may leave it beside
            step *= 2
            far = value + sign * min(step, abs(end - value))
        aim = _quantile(tail)
        return _root(lambda number: _quantile(p(number)) - aim, value, far, at_start=-aim)  # about 1/2 at the estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class OfSum(Confidence):
    """Of a weighted sum of numbers that are independent, as they come from different images.

    Each bound is as far from the sum as those of the numbers are together, by Pythagoras: the recovered variances of
    Zou & Donner 2008 (doi:10.1002/sim.3095).
    """

    parts: Sequence[Confidence]
    weights: Sequence[float]

    @property
    def value(self) -> float:  # noqa: D102
        return sum(weight * part.value for weight, part in zip(self.weights, self.parts, strict=True))

    def p_at_least(self, number: float) -> float:  # noqa: D102
        return self._p(lambda tail: self.bounds(tail)[1] - number, self.value - number)

    def p_at_most(self, number: float) -> float:  # noqa: D102
        return self._p(lambda tail: number - self.bounds(tail)[0], number - self.value)

    def bounds(self, tail: float) -> Interval:  # noqa: D102
        down, up = [], []
        for part, weight in zip(self.parts, self.weights, strict=True):
            low, high = part.bounds(tail)
            away = abs(weight) * (part.value - low), abs(weight) * (high - part.value)
            down.append(away[0] if weight > 0 else away[1])
            up.append(away[1] if weight > 0 else away[0])
        return self.value - math.hypot(*down), self.value + math.hypot(*up)

    @staticmethod
    def _p(room: Callable[[float], float], at_half: float) -> float:
        """The tail at which a bound has no room left to the number, given the room at the estimate; 1 where that is."""
        if at_half >= 0:
            return 1.0
        normal = NormalDist()
        return normal.cdf(-_root(lambda z: room(normal.cdf(-z)), 0.0, -_quantile(_LEAST), at_start=at_half))


def of_mean(values_N: Array, lowest: float, highest: float) -> OfImages:
    """The confidence in the mean of values by image.

    Args:
        values_N: (N,) finite numbers, one an image.
        lowest: that an image can have.
        highest: that an image can have.

    >>> [round(bound, 4) for bound in of_mean(np.arange(10) < 9, 0.0, 1.0).interval()]  # Clopper & Pearson's
    [0.555, 0.9975]
    """
    values_U, counts_U = np.unique(np.asarray(values_N, np.float64), return_counts=True)
    return OfImages(
        numerators_U=values_U,
        denominators_U=np.ones(len(values_U)),
        counts_U=counts_U.astype(np.float64),
        highest=(highest, 1.0),
        lowest=(lowest, 1.0),
    )


# -- the chance that a sum is above 0 ------------------------------------------------------------------------------


def chance_above_zero(values_U: Array, counts_U: Array) -> float:
    """The chance that the sum of numbers, each times a weight of the exponential law of its own, is above 0.

    Args:
        values_U: (U,) finite numbers.
        counts_U: (U,) how often each comes.

    Raises:
        ValueError: a number that is not finite.

    >>> round(chance_above_zero(np.array([1.0, -1.0]), np.array([7.0, 16.0])), 4)  # of 22 coins at most 6 are heads
    0.0262
    """
    if not (np.isfinite(values_U).all() and np.isfinite(counts_U).all()):
        raise ValueError("the chance is of finite numbers, and some are NaN or infinite")
    largest = float(np.abs(values_U).max(initial=0.0))
    if largest and not 1 / _LARGE < largest < _LARGE:
        values_U = values_U / largest  # the chance is the same, and squares are numbers
    kept = (values_U != 0) & (counts_U > 0)
    values_U, counts_U = values_U[kept], counts_U[kept]
    if not (values_U > 0).any():
        return 0.0
    if not (values_U < 0).any():
        return 1.0
    if counts_U[values_U > 0].sum() == 1:
        return math.exp(-_left_by_others(values_U, counts_U))
    if counts_U[values_U < 0].sum() == 1:
        return -math.expm1(-_left_by_others(-values_U, counts_U))
    # The smaller of both tails, which rounding cannot hide.
    if values_U @ counts_U > 0:
        return 1 - _tail(-values_U, counts_U)
    return _tail(values_U, counts_U)


def _left_by_others(values_U: Array, counts_U: Array) -> float:
    """Where one number alone is above 0, minus the logarithm of the chance: each of the others leaves its share."""
    others = values_U < 0
    return float(counts_U[others] @ np.log1p(-values_U[others] / values_U.max()))


def _tail(values_U: Array, counts_U: Array) -> float:
    """The same where the sum's mean is not above 0."""
    if len(values_U) >= MANY:
        point = _lowest_point(values_U, counts_U, 0.0)
        w = math.sqrt(max(0.0, 2 * float(counts_U @ np.log(1 - point * values_U))))
        if w > 0.01:  # below, the formula is a difference of large numbers
            spread = math.sqrt(counts_U @ np.square(values_U / (1 - point * values_U)))
            return _lugannani_rice(w, point * spread)
    return _along_line(values_U, counts_U)


def _lowest_point(values_U: Array, counts_U: Array, poles: float) -> float:
    """Where K(s) - poles log(s) is least between 0 and the next pole, K = -sum(log(1 - s values)); by Newton.

    The mean of the sum is at most 0, and below 0 where there is no pole at 0.
    """
    pole = 1 / float(values_U.max())
    low, high = 0.0, pole
    # Of the normal law with the same mean and variance, which it is near.
    mean, variance = float(counts_U @ values_U), float(counts_U @ np.square(values_U))
    point = min((math.sqrt(mean * mean + 4 * poles * variance) - mean) / (2 * variance), 0.9 * pole)
    for _ in range(60):
        slopes_U = values_U / (1 - point * values_U)
        weighted_U = counts_U * slopes_U
        slope = float(weighted_U.sum()) - poles / point
        low, high = (point, high) if slope < 0 else (low, point)
        found = point - slope / (float(weighted_U @ slopes_U) + poles / point**2)
        if not low < found < high:
            found = (low + high) / 2
        point, moved = found, abs(found - point)
        if moved <= _NEAR * min(point, pole - point):  # the next step would be by the square of that
            break
    return point


def _lugannani_rice(w: float, u: float) -> float:
    """The tail by saddlepoint (Lugannani & Rice 1980), of the signed root w and the standardised saddlepoint u."""
    tail = NormalDist().cdf(-w) + math.exp(-w * w / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w)
    return min(1.0, max(0.0, tail))  # of some 10⁻²⁰⁰, the difference may round to below 0


def _along_line(values_U: Array, counts_U: Array) -> float:
    """The inversion integral of exp(K(s)) / s, by trapezoids along the line point + i y through its saddlepoint.

    K is the cumulant generating function. The poles are at least one spread away on either side, so that trapezoids of
    a third of it are exact to many digits; what they sum up only falls, mostly as the normal law does.
    """
    point = _lowest_point(values_U, counts_U, 1.0)
    scaled_U = values_U / (1 - point * values_U)
    spread = math.sqrt(counts_U @ np.square(scaled_U) + point**-2)
    total, first = 0.5, 1
    for _ in range(_BLOCKS):
        y_B = np.arange(first, first + _BLOCK) * _STEP / spread
        turns_BU = y_B[:, None] * scaled_U
        sizes_B = np.exp(-0.5 * (np.log1p(np.square(turns_BU)) @ counts_U + np.log1p(np.square(y_B / point))))
        angles_B = np.arctan(turns_BU) @ counts_U - np.arctan(y_B / point)
        total += float(sizes_B @ np.cos(angles_B))
        first += _BLOCK
        if sizes_B[-1] < 1e-11 * abs(total):
            break
    exponent = -float(counts_U @ np.log(1 - point * values_U)) - math.log(point)
    return min(1.0, max(0.0, math.exp(exponent) / spread * _STEP / math.pi * total))


# -- roots ---------------------------------------------------------------------------------------------------------


def _quantile(chance: float) -> float:
    """Of the normal law; chances too near 0 or 1 for it are taken as near as it goes."""
    return NormalDist().inv_cdf(min(max(chance, _LEAST), 1 - 1e-16))


def _root(function: Callable[[float], float], start: float, end: float, *, at_start: float) -> float:
    """Where a function is 0 between two points; the end where it does not get so far.

    By false position (Anderson & Björck 1973, doi:10.1007/BF01951936), until it is a thousand-millionth of what it was.

    Args:
        function: nearly linear, best.
        start: one point.
        end: the other.
        at_start: the function there, or a guess with the right sign.
    """
    at_end, nothing, nowhere = function(end), 1e-9 * abs(at_start), 1e-10 * abs(end - start)
    if at_start * at_end >= 0:
        return end
    for _ in range(100):
        middle = end - at_end * (end - start) / (at_end - at_start)
        at_middle = function(middle)
        if at_middle * at_end < 0:
            start, at_start = end, at_end
        else:
            left = 1 - at_middle / at_end
            at_start *= left if left > 0 else 0.5
        moved, end, at_end = abs(middle - end), middle, at_middle
        if abs(at_end) <= nothing or moved <= nowhere:
            break
    return end
