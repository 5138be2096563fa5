"""Pairs of recipes that differ in SAM: what it gains over trainings, paired by seed where both sides have the seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from bench.board.leaderboard import Board
from bench.compare.pairs import pairs
from bench.compare.sides import Side
from bench.compare.trainings import OVER_BOTH, OVER_TRAININGS, Recipe, given_or_why, nested, recipes_of
from bench.errors import BenchError
from bench.metrics.paired import holm
from bench.metrics.stats import Confidence
from bench.metrics.trainings import (
    FEWEST,
    GivenBySet,
    Student,
    between_trainings,
    combined,
    mean_of,
    over_trainings,
    sign_test,
    spread,
)
from bench.records import Estimate
from bench.store import Store, StoredCheckpoint
from bench.suite import Score

Sides: TypeAlias = tuple[StoredCheckpoint, StoredCheckpoint]

BY_SEED = "paired by seed"
TWO_SAMPLES = "two samples of trainings"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipePair:
    """Two recipes, the second with SAM."""

    before: Recipe
    after: Recipe
    seeds: tuple[Sides, ...]
    """Trainings without SAM and with it that share a seed, or name each other where no seed is known."""
    differs: str
    """What else they differ in; empty where nothing is known to."""

    @property
    def paired(self) -> bool:
        """Whether what is compared is seed by seed; else the two are independent samples."""
        return len(self.seeds) >= FEWEST or min(len(self.before.trainings), len(self.after.trainings)) < FEWEST

    @property
    def before_trainings(self) -> tuple[StoredCheckpoint, ...]:
        """The trainings without SAM that are compared."""
        return tuple(before for before, _ in self.seeds) if self.paired else self.before.trainings

    @property
    def after_trainings(self) -> tuple[StoredCheckpoint, ...]:
        """The trainings with SAM that are compared."""
        return tuple(after for _, after in self.seeds) if self.paired else self.after.trainings


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRow:
    """One score of a pair of recipes."""

    suite: str
    pair: RecipePair
    score: Score
    before: tuple[Estimate, ...]
    """Of the trainings without SAM that are compared."""
    after: tuple[Estimate, ...]
    """Of those with it; where they are paired, in the same order."""
    ci_low: float | None = None
    """Of the mean difference, 95%; None of fewer than `FEWEST` trainings."""
    ci_high: float | None = None
    p: float | None = None
    """That there is no difference, two-sided."""
    p_adjusted: float | None = None
    """By Holm, over all rows."""
    over: str = ""
    """What the interval is over; empty where there is none."""
    alone: str = ""
    """Why images are not part of it."""

    @property
    def value_before(self) -> float:
        """Mean over the trainings without SAM."""
        return float(np.mean([estimate.value for estimate in self.before]))

    @property
    def value_after(self) -> float:
        """Mean over the trainings with SAM."""
        return float(np.mean([estimate.value for estimate in self.after]))

    @property
    def value(self) -> float:
        """After - before."""
        return self.value_after - self.value_before

    @property
    def changes(self) -> list[float]:
        """After - before, seed by seed; empty of two samples."""
        if not self.pair.paired:
            return []
        return [after.value - before.value for before, after in zip(self.before, self.after, strict=True)]

    @property
    def spread(self) -> float | None:
        """Standard deviation of the changes between seeds; None of one, and of two samples."""
        return spread(self.changes)

    @property
    def better(self) -> int:
        """Pairs in which SAM's is better."""
        return self._won(1)

    @property
    def worse(self) -> int:
        """Pairs in which it is worse."""
        return self._won(-1)

    @property
    def p_sign(self) -> float | None:
        """The exact sign test's p, two-sided; None of two samples."""
        return sign_test(self.better, self.worse) if self.pair.paired else None

    def _won(self, sign: int) -> int:
        sign = sign if self.score.metric.higher_is_better else -sign
        return sum(sign * change > 0 for change in self.changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedBySeed:
    """Every pair of recipes on every suite."""

    rows: Sequence[SeedRow]
    """By suite, its scores that pairs are compared by, then by family and name."""
    notes: Sequence[str]


def recipe_pairs(board: Board, family: str | None = None) -> tuple[list[RecipePair], list[str]]:
    """The pairs of recipes of a board that differ in SAM, and what was left out.

    Two recipes are a pair where a checkpoint of one names one of the other as its partner, or where they have the same
    name and all else in common.

    Args:
        board: with the checkpoints.
        family: only pairs of a family.
    """
    recipes, notes = recipes_of(board.checkpoints)
    recipe_of = {training: recipe for recipe in recipes for training in recipe.trainings}
    named = [pair for pair in pairs(board, family) if pair.before in recipe_of and pair.after in recipe_of]
    differs = {(recipe_of[pair.before], recipe_of[pair.after]): pair.differs for pair in named}
    for before in recipes:
        for after in recipes:
            if _alike_but_for_sam(before, after) and family in (None, after.family):
                differs.setdefault((before, after), "")
    by_name = {(pair.before, pair.after) for pair in named}
    found = []
    for (before, after), what in differs.items():
        seeds = [(b, a) for b in before.trainings for a in after.trainings if _share_a_seed(b, a) or (b, a) in by_name]
        found.append(RecipePair(before=before, after=after, seeds=_each_once(seeds), differs=what))
    return sorted(found, key=lambda pair: (pair.after.family, pair.after.name, pair.after.sam, pair.before.name)), notes


def _alike_but_for_sam(before: Recipe, after: Recipe) -> bool:
    one, other = before.trainings[0], after.trainings[0]
    if one.seed is None or other.seed is None or not one.sam == "none" != other.sam:
        return False
    return (one.recipe, one.family, one.pretraining, one.setup) == (
        other.recipe, other.family, other.pretraining, other.setup,
    )  # fmt: skip


def _share_a_seed(before: StoredCheckpoint, after: StoredCheckpoint) -> bool:
    return before.seed is not None and before.seed == after.seed


def _each_once(seeds: Iterable[Sides]) -> tuple[Sides, ...]:
    """Pairs that share no training; one by seed comes before one by name alone."""
    kept: list[Sides] = []
    for before, after in sorted(seeds, key=lambda pair: not _share_a_seed(*pair)):
        if all(before != b and after != a for b, a in kept):
            kept.append((before, after))
    return tuple(kept)


def compare_by_seed(boards: Sequence[Board], store: Store, family: str | None = None) -> ComparedBySeed:
    """What SAM gains over trainings, for every pair of recipes and suite; p adjusted for all rows together.

    Args:
        boards: of one store.
        store: that store.
        family: only pairs of a family.

    Raises:
        BenchError: no pair has trainings of both sides.
        StoreFileError: a file of the store is damaged or cannot be read.
    """
    rows: list[SeedRow] = []
    notes: list[str] = []
    for board in boards:
        found, left_out = recipe_pairs(board, family)
        notes += left_out
        here: list[SeedRow] = []
        for pair in found:
            whole, lacking = _whole(pair, board)
            notes += [f"{board.suite.name}: {name} is left out, as it lacks cells." for name in lacking]
            if whole is not None:
                here += _rows_of(whole, board, store)
                notes += _unpaired(whole)
        order = {score.column: place for place, score in enumerate(board.suite.paired)}
        rows += sorted(here, key=lambda row: order[row.score.column])
    if not rows:
        names = ", ".join(board.suite.name for board in boards)
        of = f" of family {family!r}" if family else ""
        raise BenchError(
            f"no pair of recipes{of} that differs in SAM is stored for {names}; `bench run` measures both sides, which "
            "share recipe and seed in the registry, or name each other by pairs_with."
        )
    p_values = iter(holm([row.p for row in rows if row.p is not None]).tolist())
    adjusted = [row if row.p is None else replace(row, p_adjusted=next(p_values)) for row in rows]
    return ComparedBySeed(rows=adjusted, notes=list(dict.fromkeys(notes)))


def _whole(pair: RecipePair, board: Board) -> tuple[RecipePair | None, list[str]]:
    """The pair without trainings that lack cells of what pairs are compared by, and the names of these."""
    conditions = {condition for score in board.suite.paired for condition in score.conditions}

    def is_whole(training: StoredCheckpoint) -> bool:
        return all((training.model, condition) in board.cells for condition in conditions)

    sides = [tuple(filter(is_whole, recipe.trainings)) for recipe in (pair.before, pair.after)]
    every = (*pair.before.trainings, *pair.after.trainings)
    lacking = [training.name for training in every if training not in (*sides[0], *sides[1])]
    seeds = tuple((before, after) for before, after in pair.seeds if before in sides[0] and after in sides[1])
    if not all(sides):
        return None, lacking
    before, after = (
        replace(recipe, trainings=kept) for recipe, kept in zip((pair.before, pair.after), sides, strict=True)
    )
    whole = replace(pair, before=before, after=after, seeds=seeds)
    return (whole if whole.before_trainings else None), lacking


def _unpaired(pair: RecipePair) -> list[str]:
    """Trainings that have no partner of their seed, where seeds are paired."""
    if not pair.paired:
        return []
    compared = {*pair.before_trainings, *pair.after_trainings}
    alone = [one.name for one in (*pair.before.trainings, *pair.after.trainings) if one not in compared]
    return [f"{', '.join(alone)}: without a partner of the same seed, and left out."] if alone else []


def _rows_of(pair: RecipePair, board: Board, store: Store) -> Iterable[SeedRow]:
    few = min(len(pair.before_trainings), len(pair.after_trainings)) < FEWEST
    before, after = (
        [_of_training(Side(board=board, checkpoint=training, store=store), nested=not few) for training in trainings]
        for trainings in (pair.before_trainings, pair.after_trainings)
    )
    for place, score in enumerate(board.suite.paired):
        sides = [[scores[place] for scores in side] for side in (before, after)]
        if all(estimate is not None for side in sides for estimate, _ in side):
            yield _row(board, pair, score, sides)


_OfScore: TypeAlias = tuple[Estimate | None, GivenBySet | str]
"""A training's value, None where the score is not defined, and what images give of it or why that is not known."""


def _of_training(side: Side, *, nested: bool) -> list[_OfScore]:
    """Of each score that pairs are compared by; outcomes are read where images are nested in an interval."""
    found = {row.score.column: row.estimate for row in side.board.rows if row.checkpoint == side.checkpoint}
    estimates = [(score, found.get(score.column)) for score in side.board.suite.paired]
    return [
        (estimate, given_or_why(side, score, estimate) if nested and estimate is not None else "no image was looked at")
        for score, estimate in estimates
    ]


def _row(board: Board, pair: RecipePair, score: Score, sides: Sequence[Sequence[_OfScore]]) -> SeedRow:
    estimates = [tuple(estimate for estimate, _ in side if estimate is not None) for side in sides]
    row = SeedRow(suite=board.suite.name, pair=pair, score=score, before=estimates[0], after=estimates[1])
    if min(map(len, estimates)) < FEWEST:
        return row
    confidence, alone = _confidence(row, sides)
    low, high = confidence.interval()
    return replace(
        row,
        ci_low=min(low, row.value),  # which rounding must not leave outside
        ci_high=max(high, row.value),
        p=confidence.p(),
        over=OVER_TRAININGS if alone else OVER_BOTH,
        alone=alone,
    )


def _confidence(row: SeedRow, sides: Sequence[Sequence[_OfScore]]) -> tuple[Confidence, str]:
    before, after = ([given for _, given in side] for side in sides)
    if row.pair.paired:
        changes = [_less(b, a) for b, a in zip(before, after, strict=True)]
        return nested(over_trainings(row.changes), changes, change=True)
    values = [[estimate.value for estimate in side] for side in (row.before, row.after)]
    trainings: Student = between_trainings(values[0], values[1])
    return nested(trainings, [_less(_mean(before), _mean(after))], change=True)


def _mean(given: Sequence[GivenBySet | str]) -> GivenBySet | str:
    why = next((each for each in given if isinstance(each, str)), None)
    if why is not None:
        return why
    try:
        return mean_of([each for each in given if not isinstance(each, str)])
    except BenchError as error:
        return str(error)


def _less(before: GivenBySet | str, after: GivenBySet | str) -> GivenBySet | str:
    """What images give of after - before."""
    if isinstance(before, str) or isinstance(after, str):
        return before if isinstance(before, str) else str(after)
    if before.keys() != after.keys():
        return "the trainings did not see the same images"
    return combined([(1.0, after), (-1.0, before)])
