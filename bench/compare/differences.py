"""Two checkpoints on the same images: the difference of every score, its paired interval, and how sure it is.

Both sides are boards of one suite, of one store or of two: a pair in a leaderboard, or a gate's baseline and candidate.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.compare.sides import CannotCompareError, Side, check_alike
from bench.errors import BenchError
from bench.metrics.by_image import ByImage, DropBetweenSets, MeanOfSets, Parts, aligned
from bench.metrics.paired import holm, in_difference
from bench.metrics.stats import Confidence, OfSum
from bench.records import Array, Estimate, Outcome
from bench.store import StoreFileError
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
    """The test: `McNemar`, `by image` (of any changes), `by data set` (independent sum), or `two samples`."""
    untested: str = ""
    """Why there is no paired interval and no p; empty where there is a test."""
    confidence: Confidence | None = field(default=None, repr=False, compare=False)
    """The paired test of any difference, of which the interval and p come; None where there is none."""

    @property
    def value(self) -> float:
        """After - before."""
        return self.after.value - self.before.value

    @property
    def worse(self) -> float:
        """How much worse the second is, in the score's unit; below 0 where it is better."""
        return -self.value if self.score.metric.higher_is_better else self.value


def differences(before: Side, after: Side, scores: Iterable[Score]) -> list[Difference]:
    """How each score differs; those that are undefined on a side are left out.

    Args:
        before: the baseline.
        after: the candidate.
        scores: of the suite; cells are read once for all of them.

    Raises:
        CannotCompareError: a cell is missing, or the sides were not measured alike.
    """
    check_alike(before, after)
    return [difference for score in scores if (difference := _difference(before, after, score)) is not None]


def _difference(before: Side, after: Side, score: Score) -> Difference | None:
    sides = [side.outcomes(score) for side in (before, after)]
    try:
        estimates = [score.metric.estimate(outcomes) for outcomes in sides]
    except StoreFileError:
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
    try:
        first, second = (that_make(*each, score) for each in zip(estimates, sides, strict=True))
    except BenchError as error:
        return replace(difference, untested=str(error))
    return with_paired_test(difference, first, second)


def that_make(estimate: Estimate, outcomes: Sequence[Outcome], score: Score) -> ByImage | None:
    """What each image gives of a score.

    Args:
        estimate: its value.
        outcomes: of the score's conditions.
        score: which.

    Raises:
        BenchError: it does not make the score, so that nothing of the difference follows from it.
    """
    parts = score.metric.parts(outcomes)
    made = math.nan if parts is None else parts.value
    if not math.isnan(made) and not math.isclose(made, estimate.value, rel_tol=_ALIKE, abs_tol=_ALIKE):
        raise BenchError(f"what images give of {score.metric.name} makes {made:g}, not {estimate.value:g}")
    return parts


def with_paired_test(difference: Difference, first: ByImage | None, second: ByImage | None) -> Difference:
    """The difference with the interval and p of what the same images give, where they give anything.

    Args:
        difference: of two values.
        first: what the images give of the one.
        second: what they give of the other.

    Raises:
        CannotCompareError: the images are not the same.
    """
    _check_images(difference, first, second)
    try:
        confidence = in_difference(first, second, difference.score.metric.name)
    except BenchError as error:  # too few images, or nothing that they give: the difference stands alone
        return replace(difference, untested=str(error))
    low, high = confidence.interval()
    lost, gained = _flips(first, second, higher_is_better=difference.score.metric.higher_is_better)
    return replace(
        difference,
        ci_low=min(low, difference.value),  # which rounding must not leave outside
        ci_high=max(high, difference.value),
        p=confidence.p(),
        lost=lost,
        gained=gained,
        how="by data set" if isinstance(confidence, OfSum) else "by image" if lost is None else "McNemar",
        confidence=confidence,
    )


def _check_images(difference: Difference, first: ByImage | None, second: ByImage | None) -> None:
    """Make sure that both sides saw the same images."""
    match first, second:
        case Parts(), Parts():
            try:
                aligned(first, second, difference.score.metric.name)
            except BenchError as error:
                raise CannotCompareError(
                    f"{difference.suite}: the two did not see the same images ({error})"
                ) from error
        case MeanOfSets(), MeanOfSets():
            for both in zip(first.sets, second.sets, strict=True):
                _check_images(difference, *both)
        case DropBetweenSets(), DropBetweenSets():
            _check_images(difference, first.clean, second.clean)
            _check_images(difference, first.shifted, second.shifted)


def _flips(
    first: ByImage | None, second: ByImage | None, *, higher_is_better: bool
) -> tuple[int, int] | tuple[None, None]:
    """Images that only the first has right, and only the second, where the score is a share of images, or of errors."""
    if not isinstance(first, Parts) or not isinstance(second, Parts) or first.score is not None:
        return None, None
    values_NC, others_NC = aligned(first, second, "")
    if not (binary(values_NC) and binary(others_NC)):
        return None, None
    fell, rose = int((values_NC > others_NC).sum()), int((values_NC < others_NC).sum())
    return (fell, rose) if higher_is_better else (rose, fell)


def binary(values_NC: Array) -> bool:
    """Whether all values are 0 or 1: an image is right or wrong."""
    return bool(np.isin(values_NC, (0.0, 1.0)).all())


def adjusted(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with p-values adjusted for all of them together (Holm 1979)."""
    known = [row.p for row in rows if row.p is not None]
    values = iter(holm(known).tolist())
    return [row if row.p is None else replace(row, p_adjusted=next(values)) for row in rows]
