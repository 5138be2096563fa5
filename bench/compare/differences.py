"""Two checkpoints on the same images: the difference of every score, its paired interval, and how sure it is.

Both sides are boards of one suite, of one store or of two: a pair in a leaderboard, or a gate's baseline and candidate.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.compare.sides import CannotCompareError, Side, check_alike
from bench.errors import BenchError
from bench.metrics.by_image import ByImage, DropBetweenSets, MeanOfSets, Parts, aligned
from bench.metrics.paired import (
    FEW,
    ROUNDING,
    few_changed,
    holm,
    independent_mean,
    influence,
    mcnemar,
    normal_p,
    paired_bootstrap,
    paired_interval,
)
from bench.metrics.stats import clustered_standard_error, normal_interval
from bench.records import Array, Estimate, Outcome
from bench.store import DamagedCellError
from bench.suite import Score

_ALIKE = 1e-6
"""That a score and what images give of it may differ by, for rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One score of two checkpoints."""

    suite: str
    score: Score
    before: Estimate
    after: Estimate
    ci_low: float | None
    """Of after - before, 95%; None where no paired interval is defined."""
    ci_high: float | None
    p: float | None
    """That the two differ by chance alone, two-sided; None where it is not known."""
    p_adjusted: float | None = None
    """By Holm, over the rows that it was looked at with."""
    lost: int | None = None
    """Images that only the first has right, where the score is a share of images."""
    gained: int | None = None
    how: str = ""
    """The test: `McNemar`, `by image` (bootstrap and jackknife), `by data set` (independent sum), or `two samples`."""
    untested: str = ""
    """Why there is no paired interval and no p; empty where there is a test."""

    @property
    def value(self) -> float:
        """After - before."""
        return self.after.value - self.before.value

    @property
    def worse(self) -> float:
        """How much worse the second is, in the score's unit; below 0 where it is better."""
        return -self.value if self.score.metric.higher_is_better else self.value


def differences(before: Side, after: Side, scores: Iterable[Score], *, seed: int = 0) -> list[Difference]:
    """How each score differs; those that are undefined on a side are left out.

    Args:
        before: the baseline.
        after: the candidate.
        scores: of the suite; cells are read once for all of them.
        seed: of the bootstrap.

    Raises:
        CannotCompareError: a cell is missing, or the sides were not measured alike.
    """
    check_alike(before, after)
    return [difference for score in scores if (difference := _difference(before, after, score, seed)) is not None]


def _difference(before: Side, after: Side, score: Score, seed: int) -> Difference | None:
    sides = [side.outcomes(score) for side in (before, after)]
    try:
        estimates = [score.metric.estimate(outcomes) for outcomes in sides]
    except DamagedCellError:
        raise
    except BenchError:  # as in the leaderboard, which notes it
        return None
    difference = Difference(
        suite=before.board.suite.name,
        score=score,
        before=estimates[0],
        after=estimates[1],
        ci_low=None,
        ci_high=None,
        p=None,
    )
    key = f"{difference.suite}/{score.column}/{score.metric.name}/{dict(score.at)}"
    try:
        first, second = (_that_make(*each, score) for each in zip(estimates, sides, strict=True))
    except BenchError as error:
        return replace(difference, untested=str(error))
    return _tested(difference, first, second, seed, key)


def _that_make(estimate: Estimate, outcomes: Sequence[Outcome], score: Score) -> ByImage | None:
    """What each image gives of a score.

    Raises:
        BenchError: it does not make the score, so that nothing of the difference follows from it.
    """
    parts = score.metric.parts(outcomes)
    made = math.nan if parts is None else parts.value
    if not math.isnan(made) and not math.isclose(made, estimate.value, rel_tol=_ALIKE, abs_tol=_ALIKE):
        raise BenchError(f"what images give of {score.metric.name} makes {made:g}, not {estimate.value:g}")
    return parts


def _tested(difference: Difference, first: ByImage | None, second: ByImage | None, seed: int, key: str) -> Difference:
    """Add the interval and p of what the same images give, where they give anything.

    Raises:
        CannotCompareError: the images are not the same.
    """
    match first, second:
        case Parts(), Parts():
            return _by_parts(difference, first, second, seed, key)
        case MeanOfSets(), MeanOfSets():
            pairs = enumerate(zip(first.sets, second.sets, strict=True))
            return _by_data_set(difference, [_tested(difference, *pair, seed, f"{key}/{i}") for i, pair in pairs])
        case DropBetweenSets(), DropBetweenSets():
            return _by_two_sets(difference, first, second)
    return replace(difference, untested=f"{difference.score.metric.name} is made by no means over images")


def _by_parts(difference: Difference, first: Parts, second: Parts, seed: int, key: str) -> Difference:
    first_NC, second_NC = _same_images(difference, first, second)
    if first.score is None and _binary(first_NC) and _binary(second_NC):
        return _by_mcnemar(difference, first_NC[:, 0] > 0, second_NC[:, 0] > 0)
    try:
        return _by_resampling(difference, first, first_NC, second_NC, seed, key)
    except BenchError as error:  # too few images, or a ratio that some resamples lack: the difference stands alone
        return replace(difference, untested=str(error))


def _same_images(difference: Difference, parts: Parts, others: Parts) -> tuple[Array, Array]:
    try:
        return aligned(parts, others, difference.score.metric.name)
    except BenchError as error:
        raise CannotCompareError(f"{difference.suite}: the two did not see the same images ({error})") from error


def _binary(values_NC: Array) -> bool:
    return bool(np.isin(values_NC, (0.0, 1.0)).all())


def _by_mcnemar(difference: Difference, first_N: Array, second_N: Array) -> Difference:
    lost, gained = int((first_N & ~second_N).sum()), int((~first_N & second_N).sum())
    low, high = paired_interval(lost, gained, len(first_N))
    return replace(
        difference, ci_low=low, ci_high=high, p=mcnemar(lost, gained), lost=lost, gained=gained, how="McNemar"
    )


def _by_resampling(
    base: Difference, parts: Parts, first_NC: Array, second_NC: Array, seed: int, key: str
) -> Difference:
    """The interval by bootstrap; p by the normal law of the images' influences, which are clusters."""
    columns = first_NC.shape[1]
    score = parts.score or (lambda means_RC: means_RC[:, 0])

    def difference(means_RC: Array) -> Array:
        return np.asarray(score(means_RC[:, columns:]) - score(means_RC[:, :columns]))

    both_NC = np.concatenate([first_NC, second_NC], axis=1)
    change_N = second_NC[:, 0] - first_NC[:, 0]
    if parts.score is None and 0 < np.count_nonzero(np.abs(change_N) > ROUNDING) < FEW:
        (low, high), p = few_changed(change_N)
        return replace(base, ci_low=low, ci_high=high, p=p, how="by image")
    interval = paired_bootstrap(both_NC, difference, seed=seed, key=key)
    value = float(difference(both_NC.mean(axis=0, keepdims=True))[0])
    if interval is None:
        # Every image says the same. Where that is a change it is no chance: the sign test, all on one side.
        p = mcnemar(len(both_NC), 0) if abs(value) > ROUNDING else 1.0
        return replace(base, p=p, how="by image")
    p = normal_p(value, clustered_standard_error(influence(both_NC, difference)))
    return replace(base, ci_low=interval[0], ci_high=interval[1], p=p, how="by image")


def _by_data_set(difference: Difference, sets: Sequence[Difference]) -> Difference:
    """The mean over data sets that share no image: the squares of their standard errors add up."""
    intervals = [(part.ci_low, part.ci_high) for part in sets if part.ci_low is not None and part.ci_high is not None]
    if len(intervals) < len(sets):
        without = next(part for part in sets if part.ci_low is None)
        return replace(difference, untested=without.untested or "the images of one data set all say the same")
    (low, high), p = independent_mean(difference.value, len(sets), intervals)
    return replace(difference, ci_low=low, ci_high=high, p=p, how="by data set")


def _by_two_sets(difference: Difference, first: DropBetweenSets, second: DropBetweenSets) -> Difference:
    """Test relative drops between different images by the delta method: each set is paired, and their variances add."""
    (clean_N, other_clean_N), (shifted_M, other_shifted_M) = (
        [values_NC[:, 0] for values_NC in _same_images(difference, *both)]
        for both in ((first.clean, second.clean), (first.shifted, second.shifted))
    )
    if min(len(clean_N), len(shifted_M)) < 2:
        return replace(difference, untested="a single image shows no spread")
    mean, other = clean_N.mean(), other_clean_N.mean()  # above 0, or the drop is not defined
    kept, other_kept = shifted_M.mean() / mean, other_shifted_M.mean() / other
    by_clean = clustered_standard_error(other_kept * other_clean_N / other - kept * clean_N / mean)
    by_shifted = clustered_standard_error(shifted_M / mean - other_shifted_M / other)
    se = math.hypot(by_clean, by_shifted)
    if se < ROUNDING:  # nothing differs
        return replace(difference, p=1.0, how="by data set")
    low, high = normal_interval(difference.value, se)
    return replace(difference, ci_low=low, ci_high=high, p=normal_p(difference.value, se), how="by data set")


def adjusted(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with p-values adjusted for all of them together (Holm 1979)."""
    known = [row.p for row in rows if row.p is not None]
    values = iter(holm(known).tolist())
    return [row if row.p is None else replace(row, p_adjusted=next(values)) for row in rows]
