"""Whether a drop is larger than a tolerance: the one-sided p of a difference, and which drop would have been seen.

The hypothesis is that the true drop is at most the tolerance, so that p does not call a drop sure that is as large.
"""

import math
from dataclasses import replace
from statistics import NormalDist

from bench.compare.differences import Difference
from bench.compare.sides import CannotCompareError
from bench.metrics.paired import paired_drop_p

POWER = 0.8
"""The chance with which a drop must be found to count as one that would have been seen (Cohen 1988)."""
UNPAIRED = "two samples"
"""How scores are tested of which only intervals are known."""
_Z = NormalDist().inv_cdf(0.975)  # of a bound of the 95% interval


def beyond(difference: Difference, tolerance: float) -> Difference:
    """The difference with the p-value that the true drop is at most a tolerance.

    Of images that are right or wrong it is the exact one of `paired_drop_p`, of other changes by image that of the test
    from which their interval comes. Without either the two scores are taken as two samples, and p is how far outside
    their interval the tolerance lies, by the normal law on that side.

    Args:
        difference: of a score, as `differences` gives it.
        tolerance: from 0 up, in the score's unit.

    Raises:
        CannotCompareError: neither the difference nor both scores have an interval.
    """
    if difference.lost is not None and difference.gained is not None:
        counts = difference.lost, difference.gained, difference.after.n
        p = paired_drop_p(*counts, tolerance) if tolerance < 1 else 1.0  # no share falls by more than all of it
        return replace(difference, p=p, how="by image")
    sure, higher = difference.confidence, difference.score.metric.higher_is_better
    if sure is not None:
        return replace(difference, p=sure.p_at_least(-tolerance) if higher else sure.p_at_most(tolerance))
    difference = _two_samples(difference)
    return replace(difference, p=_upper_tail(difference.worse - tolerance, _standard_error(difference)))


def detectable(difference: Difference, tolerance: float, alpha: float) -> float | None:
    """The smallest true drop that would have been found with a chance of `POWER`, in the score's unit.

    Args:
        difference: of a score, as `beyond` gives it.
        tolerance: that it is held against.
        alpha: at which p is significant.

    Returns:
        None where the difference has no interval.
    """
    if difference.ci_low is None or difference.ci_high is None:
        return None
    normal = NormalDist()
    return tolerance + (normal.inv_cdf(1 - alpha) + normal.inv_cdf(POWER)) * _standard_error(difference)


def _standard_error(difference: Difference) -> float:
    """By the bound of the interval that lies towards no drop."""
    low, high = difference.ci_low, difference.ci_high
    assert low is not None
    assert high is not None
    away = high - difference.value if difference.score.metric.higher_is_better else difference.value - low
    return away / _Z


def _upper_tail(excess: float, standard_error: float) -> float:
    if standard_error <= 0:
        return 0.0 if excess > 0 else 1.0
    return math.erfc(excess / standard_error / math.sqrt(2)) / 2


def _two_samples(difference: Difference) -> Difference:
    """The difference of two scores of which only intervals are known, as if they came from different images.

    Each bound is as far away as the bounds of both are together, sqrt(a² + b²) (Newcombe 1998 for two accuracies; Zou &
    Donner 2008, doi:10.1002/sim.3095, for any two). Images that both saw make it wider than it need
    be.

    Raises:
        CannotCompareError: a score has no interval.
    """
    first, second = difference.before, difference.after
    if first.ci_low is None or first.ci_high is None or second.ci_low is None or second.ci_high is None:
        raise CannotCompareError(
            f"{difference.suite}, {difference.score.column}, has no interval that a test could go by; give a store "
            "of outcomes as the baseline."
        )
    down = math.hypot(first.ci_high - first.value, second.value - second.ci_low)
    up = math.hypot(first.value - first.ci_low, second.ci_high - second.value)
    return replace(difference, ci_low=difference.value - down, ci_high=difference.value + up, how=UNPAIRED)
