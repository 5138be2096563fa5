"""Two checkpoints on the same images: the difference of every score, its paired interval, and how sure it is.

Both sides are boards of one suite, of one store or of two: a pair in a leaderboard, or a gate's baseline and candidate.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.by_image import Parts, aligned, by_image
from bench.errors import BenchError
from bench.leaderboard import Board
from bench.paired import holm, mcnemar, paired_bootstrap, paired_interval
from bench.records import Array, Estimate, Outcome
from bench.stats import clustered_standard_error
from bench.store import Store, StoredCheckpoint
from bench.suite import Score


class CannotCompareError(BenchError):
    """Two sides that were not measured alike, or not both: never a sign that nothing got worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A checkpoint in a board."""

    board: Board
    checkpoint: StoredCheckpoint
    store: Store

    def outcomes(self, score: Score) -> list[Outcome]:
        """Of the score's conditions.

        Raises:
            CannotCompareError: a cell is not stored.
        """
        cells = [self.board.cells.get((self.checkpoint.model, condition)) for condition in score.conditions]
        missing = sum(cell is None for cell in cells)
        if missing:
            raise CannotCompareError(
                f"{self.checkpoint.name} lacks {missing} of {len(cells)} cells of {self.board.suite.name}, "
                f"{score.column or score.metric.name}, in {self.store.root}; `bench run` measures them."
            )
        return [self.store.read(cell.key) for cell in cells if cell is not None]


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
    """The test: `McNemar`, `by image`, or `two samples`."""

    @property
    def value(self) -> float:
        """After - before."""
        return self.after.value - self.before.value

    @property
    def worse(self) -> float:
        """How much worse the second is, in the score's unit; below 0 where it is better."""
        return -self.value if self.score.metric.higher_is_better else self.value


def check_alike(before: Side, after: Side) -> None:
    """Make sure that two sides were measured under one protocol on the same data.

    Raises:
        CannotCompareError: they were not.
    """
    suite = before.board.suite
    if before.board.protocol != after.board.protocol:
        raise CannotCompareError(
            f"{suite.name} was measured in two ways: {_apart(before.board.protocol, after.board.protocol)}; measure "
            "both sides with the same limit, seed, precision and settings."
        )
    for condition in suite.conditions:
        cells = [side.board.cells.get((side.checkpoint.model, condition)) for side in (before, after)]
        prints = {tuple(cell.identity["fingerprints"]) for cell in cells if cell is not None}
        if len(prints) > 1:
            raise CannotCompareError(
                f"{condition.data.dataset} has other contents for {before.checkpoint.name} in {before.store.root} than "
                f"for {after.checkpoint.name} in {after.store.root}; measure both on one copy."
            )


def _apart(first: str, second: str) -> str:
    """What one protocol has and the other lacks."""
    ours, theirs = first.split(", "), second.split(", ")
    left = ", ".join(term for term in ours if term not in theirs) or "no more"
    right = ", ".join(term for term in theirs if term not in ours) or "no more"
    return f"one with {left}, the other with {right}"


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
    return [found for score in scores if (found := _difference(before, after, score, seed)) is not None]


def _difference(before: Side, after: Side, score: Score, seed: int) -> Difference | None:
    sides = [side.outcomes(score) for side in (before, after)]
    try:
        estimates = [score.metric.function(*outcomes) for outcomes in sides]
        parts = [by_image(score.metric, outcomes) for outcomes in sides]
    except BenchError:  # as in the leaderboard, which notes it
        return None
    found = Difference(
        suite=before.board.suite.name,
        score=score,
        before=estimates[0],
        after=estimates[1],
        ci_low=None,
        ci_high=None,
        p=None,
    )
    if parts[0] is None or parts[1] is None:
        return found
    first_NC, second_NC = aligned(parts[0], parts[1], score.metric.name)
    if parts[0].score is None and _binary(first_NC) and _binary(second_NC):
        return _by_mcnemar(found, first_NC[:, 0] > 0, second_NC[:, 0] > 0)
    key = f"{found.suite}/{score.column}/{score.metric.name}/{dict(score.at)}"
    return _by_resampling(found, parts[0], first_NC, second_NC, seed, key)


def _binary(values_NC: Array) -> bool:
    return bool(np.isin(values_NC, (0.0, 1.0)).all())


def _by_mcnemar(found: Difference, first_N: Array, second_N: Array) -> Difference:
    lost, gained = int((first_N & ~second_N).sum()), int((~first_N & second_N).sum())
    low, high = paired_interval(lost, gained, len(first_N))
    return replace(found, ci_low=low, ci_high=high, p=mcnemar(lost, gained), lost=lost, gained=gained, how="McNemar")


def _by_resampling(
    found: Difference, parts: Parts, first_NC: Array, second_NC: Array, seed: int, key: str
) -> Difference:
    """The interval by bootstrap; p by the normal law of the images' influences, which are clusters."""
    columns = first_NC.shape[1]
    score = parts.score or (lambda means_RC: means_RC[:, 0])

    def difference(means_RC: Array) -> Array:
        return np.asarray(score(means_RC[:, columns:]) - score(means_RC[:, :columns]))

    both_NC = np.concatenate([first_NC, second_NC], axis=1)
    interval = paired_bootstrap(both_NC, difference, seed=seed, key=key)
    if interval is None:
        return replace(found, ci_low=found.value, ci_high=found.value, p=1.0, how="by image")
    se = clustered_standard_error(_influence(both_NC, difference))
    p = math.erfc(abs(found.value) / se / math.sqrt(2)) if se > 0 else 1.0
    return replace(found, ci_low=interval[0], ci_high=interval[1], p=p, how="by image")


def _influence(values_NC: Array, score: Callable[[Array], Array]) -> Array:
    """(N,): what leaving each image out takes from a score, times N - 1. Its standard error is the score's: jackknife."""
    n = len(values_NC)
    left_out_N = score((values_NC.sum(axis=0) - values_NC) / (n - 1))
    return np.asarray((left_out_N.mean() - left_out_N) * (n - 1))


def adjusted(rows: Sequence[Difference]) -> list[Difference]:
    """The rows with p-values adjusted for all of them together (Holm 1979)."""
    known = [row.p for row in rows if row.p is not None]
    values = iter(holm(known).tolist())
    return [row if row.p is None else replace(row, p_adjusted=next(values)) for row in rows]
