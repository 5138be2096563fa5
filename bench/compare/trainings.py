"""Trainings of one recipe, told apart by their seeds: what a recipe's scores are, and how much another training moves.

The unit is the training: `bench.metrics.trainings` says how sure a mean over them is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.board.leaderboard import Board
from bench.compare.differences import that_make
from bench.compare.sides import Side
from bench.errors import BenchError
from bench.metrics.stats import Confidence
from bench.metrics.trainings import (
    FEWEST,
    GivenBySet,
    Student,
    given_by_set,
    mean_of,
    over_trainings,
    spread,
    with_images,
)
from bench.records import Estimate
from bench.store import Store, StoredCheckpoint, StoreFileError
from bench.suite import Score

OVER_BOTH = "trainings and images"
OVER_TRAININGS = "trainings alone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Checkpoints that differ in nothing but the seed of their training, as far as their entries say."""

    name: str
    """That of the recipe; the checkpoint's own where it stands alone."""
    trainings: tuple[StoredCheckpoint, ...]
    """By seed."""

    @property
    def family(self) -> str:
        """Of its checkpoints."""
        return self.trainings[0].family

    @property
    def sam(self) -> str:
        """Of its checkpoints."""
        return self.trainings[0].sam


def recipes_of(checkpoints: Iterable[StoredCheckpoint]) -> tuple[list[Recipe], list[str]]:
    """The recipes of some checkpoints, by family and name, and what was left out of them.

    A checkpoint whose entry names no recipe or no seed stands alone: two of them may be one training.

    Args:
        checkpoints: with distinct (name, model).
    """
    groups: dict[tuple[str, ...], list[StoredCheckpoint]] = {}
    notes: list[str] = []
    for entry in sorted(checkpoints, key=lambda entry: (entry.seed or 0, entry.name, entry.model)):
        seeded = entry.recipe and entry.seed is not None
        alike = (entry.recipe, entry.sam, entry.family, entry.pretraining, entry.setup)
        group = groups.setdefault(alike if seeded else (entry.name, entry.model), [])
        same = next((other for other in group if entry.seed == other.seed or entry.model == other.model), None)
        if same is None:
            group.append(entry)
        else:
            what = f"seed {entry.seed}" if entry.seed == same.seed else "the weights"
            notes.append(f"{entry.name} is left out of recipe {entry.recipe}: it has {what} of {same.name}.")
    tags = Counter((key[0], group[0].family, group[0].sam) for key, group in groups.items())
    recipes = [
        Recipe(
            name=key[0] if tags[key[0], group[0].family, group[0].sam] == 1 else f"{key[0]}@{group[0].model[:6]}",
            trainings=tuple(group),
        )
        for key, group in groups.items()
    ]
    return sorted(recipes, key=lambda recipe: (recipe.family, recipe.name, recipe.sam)), notes + _unseeded(recipes)


def _unseeded(recipes: Iterable[Recipe]) -> list[str]:
    """Checkpoints that may be trainings of one recipe, had they a seed."""
    alone = [recipe.trainings[0] for recipe in recipes if recipe.trainings[0].seed is None]
    alike = Counter((one.recipe, one.sam, one.family, one.pretraining, one.setup) for one in alone if one.recipe)
    return [
        f"{count} checkpoints of recipe {recipe} stand alone, as the seeds of their trainings are not known; their "
        "registry entries may say them (seed = N)."
        for (recipe, *_), count in alike.items()
        if count > 1
    ]


def several(boards: Iterable[Board]) -> bool:
    """Whether a recipe has more than one training on any of the boards."""
    return any(len(recipe.trainings) > 1 for board in boards for recipe in recipes_of(board.checkpoints)[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeRow:
    """One score of one recipe, the mean over its trainings."""

    suite: str
    recipe: Recipe
    score: Score
    estimates: tuple[tuple[StoredCheckpoint, Estimate], ...]
    """Of the trainings that have it, by seed."""
    ci_low: float | None = None
    """Of the mean, 95%; None of fewer than `FEWEST` trainings."""
    ci_high: float | None = None
    over: str = ""
    """What the interval is over: `OVER_BOTH` or `OVER_TRAININGS`; empty where there is none."""
    alone: str = ""
    """Why images are not part of it; empty where they are, or where there is none."""

    @property
    def values(self) -> list[float]:
        """A score a training."""
        return [estimate.value for _, estimate in self.estimates]

    @property
    def value(self) -> float:
        """Their mean."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation between trainings; None of one."""
        return spread(self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class ByRecipe:
    """Every recipe on every suite."""

    rows: Sequence[RecipeRow]
    """By suite, its scores, and recipes by family and name."""
    notes: Sequence[str]


def by_recipe(boards: Sequence[Board], store: Store) -> ByRecipe:
    """Mean, spread and interval over the trainings of each recipe, for every score of the suites' leaderboards.

    Args:
        boards: of one store.
        store: that store.

    Raises:
        StoreFileError: a file of the store is damaged or cannot be read.
    """
    rows: list[RecipeRow] = []
    notes: list[str] = []
    for board in boards:
        recipes, left_out = recipes_of(board.checkpoints)
        notes += left_out
        here = [row for recipe in recipes for row in _rows_of(recipe, board, store)]
        order = {score.column: place for place, score in enumerate(board.suite.board)}
        rows += sorted(here, key=lambda row: order[row.score.column])
        notes += _lacking(board, recipes)
    return ByRecipe(rows=rows, notes=list(dict.fromkeys(notes)))


def _rows_of(recipe: Recipe, board: Board, store: Store) -> list[RecipeRow]:
    found = {(row.checkpoint, row.score.column): row.estimate for row in board.rows}
    rows = [
        RecipeRow(suite=board.suite.name, recipe=recipe, score=score, estimates=tuple(estimates))
        for score in board.suite.board
        if (estimates := [(one, found[key]) for one in recipe.trainings if (key := (one, score.column)) in found])
    ]
    given: dict[str, list[GivenBySet | str]] = {}
    for training in recipe.trainings:
        side = Side(board=board, checkpoint=training, store=store)  # one training's outcomes at a time
        for row in rows:
            estimate = dict(row.estimates).get(training)
            if estimate is not None and len(row.estimates) >= FEWEST:
                given.setdefault(row.score.column, []).append(given_or_why(side, row.score, estimate))
    return [_with_interval(row, given.get(row.score.column, [])) for row in rows]


def given_or_why(side: Side, score: Score, estimate: Estimate) -> GivenBySet | str:
    """What each image gives of a score of a training, or why that is not known.

    Args:
        side: the training.
        score: of the board's suite.
        estimate: its value there.

    Raises:
        StoreFileError: a file of the store is damaged or cannot be read.
        CannotCompareError: a cell is not stored.
    """
    outcomes = side.outcomes(score)
    try:
        return given_by_set(that_make(estimate, outcomes, score), score.metric.name)
    except StoreFileError:
        raise
    except BenchError as error:
        return str(error)


def _with_interval(row: RecipeRow, given: Sequence[GivenBySet | str]) -> RecipeRow:
    if len(row.values) < FEWEST:
        return row
    confidence, alone = nested(over_trainings(row.values), given, change=False)
    low, high = confidence.interval()
    return replace(
        row,
        ci_low=min(low, row.value),  # which rounding must not leave outside
        ci_high=max(high, row.value),
        over=OVER_TRAININGS if alone else OVER_BOTH,
        alone=alone,
    )


def nested(trainings: Student, given: Sequence[GivenBySet | str], *, change: bool) -> tuple[Confidence, str]:
    """The confidence over trainings and images; where images cannot be part of it, over trainings alone, and why.

    Args:
        trainings: what they say on these images.
        given: what images give of the score of each training, or why that is not known.
        change: whether that is a difference.
    """
    try:
        sets = [each for each in given if not isinstance(each, str)]
        if len(sets) < len(given):
            raise BenchError(next(each for each in given if isinstance(each, str)))
        return with_images(trainings, mean_of(sets), change=change), ""
    except BenchError as error:
        return trainings, str(error).rstrip(".")


def _lacking(board: Board, recipes: Sequence[Recipe]) -> list[str]:
    """Which recipes have trainings without the headline."""
    scored = {row.checkpoint for row in board.rows if row.score is board.suite.headline}
    return [
        f"{board.suite.name}, {recipe.name}: {len(lacking)} of {len(recipe.trainings)} trainings lack cells "
        f"({', '.join(lacking)}); `bench run` measures them."
        for recipe in recipes
        if (lacking := [one.name for one in recipe.trainings if one not in scored])
    ]
