"""How stored checkpoints differ: two of them, pairs that differ in SAM, recipes over seeds, accuracy on the line."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.api.scores import boards, measured_boards
from bench.board.leaderboard import Board, Want
from bench.errors import BenchError
from bench.store import Store, StoredCheckpoint
from bench.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

    from bench.compare.by_seed import ComparedBySeed
    from bench.compare.differences import Difference
    from bench.compare.flips import Flip
    from bench.compare.lines import Lined
    from bench.compare.pairs import Compared, Gains
    from bench.compare.sides import Side
    from bench.compare.trainings import ByRecipe

_MODEL = re.compile(r"@[0-9a-f]{6}$")
"""What tables add to a name that two models bear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCheckpoints:
    """Two checkpoints, paired by image."""

    before: str
    after: str
    boards: tuple[Board, ...]
    differences: "tuple[tuple[Difference, ...], ...]"
    """Of each board; p is adjusted for all together."""
    flips: "tuple[Flip, ...]"
    """Images that were lost under most conditions."""
    of_one: tuple[str, ...] = ()
    """Suites that are left out, as every suite was meant and not both were measured whole on these."""

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a score; see `bench.compare.tables.difference_records`."""
        import pandas as pd

        from bench.compare.tables import difference_records

        rows = [row for rows in self.differences for row in rows]
        return pd.DataFrame(difference_records(rows, self.before, self.after))


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedPairs:
    """Every stored pair of checkpoints that differ in SAM."""

    boards: tuple[Board, ...]
    compared: "Compared"
    gains: "tuple[Gains, ...]"
    """By suite and family."""

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a suite and pair, then those over the suites; see `bench.compare.tables.pair_records`."""
        import pandas as pd

        from bench.compare.tables import pair_records

        return pd.DataFrame(pair_records(self.compared))


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRecipes:
    """Every stored pair of recipes that differ in SAM, over their trainings."""

    boards: tuple[Board, ...]
    compared: "ComparedBySeed"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a seed, and one of their mean; see `bench.compare.training_tables.seed_records`."""
        import pandas as pd

        from bench.compare.training_tables import seed_records

        return pd.DataFrame(seed_records(self.compared))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipes:
    """Every stored recipe, over its trainings."""

    boards: tuple[Board, ...]
    found: "ByRecipe"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a suite, recipe and score; see `bench.compare.training_tables.recipe_records`."""
        import pandas as pd

        from bench.compare.training_tables import recipe_records

        return pd.DataFrame(recipe_records(self.found))


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustLine:
    """The checkpoints of a suite beside lines of clean against shifted accuracy."""

    board: Board
    lines: "tuple[Lined, ...]"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a checkpoint and line; see `bench.compare.tables.line_records`."""
        import pandas as pd

        from bench.compare.tables import line_records

        return pd.DataFrame(line_records(self.board, self.lines))


def compare(
    before: str,
    after: str,
    suites: Sequence[Suite],
    store: Store,
    *,
    want: Want | None = None,
    flips: int = 5,
    every: bool = False,
) -> ComparedCheckpoints:
    """How the second checkpoint differs from the first in every score and condition of some suites.

    Args:
        before: its name, as tables have it: with `@` and the first digits of the model where two bear it.
        after: that of the other.
        suites: what both were measured on.
        store: where the outcomes are.
        want: limit, seed and numerics, where they are to be certain ones.
        flips: images to name that the second lost under most conditions.
        every: whether suites are left out that are not stored whole of both, which is an error otherwise; see
            `measured_boards`.

    Raises:
        CannotCompareError: the two were not measured alike, or one was not measured.
        BenchError: nothing of any suite is stored, or a name is not in the store, or several models bear it.
    """
    from bench.compare.differences import adjusted, differences
    from bench.compare.flips import flips as flipped
    from bench.suite.words import condition_scores

    names = {_MODEL.sub("", name) for name in (before, after)}
    scored = _scored(every)(suites, store, checkpoints=sorted(names), want=want)
    of_both = [board for board in scored if names <= _whole(board)]
    of_one = [board.suite.name for board in scored if board not in of_both] if every and of_both else []
    scored = of_both if of_one else scored
    rows: list[list[Difference]] = []
    lost: list[Flip] = []
    for first, second in [_sides(board, store, before, after) for board in scored]:
        suite = first.board.suite
        rows.append(differences(first, second, [*suite.board, *condition_scores(suite)]))
        lost += flipped(first, second, flips) if flips else []
        for side in (first, second):
            side.kept.clear()  # one suite's outcomes at a time
    every_row = iter(adjusted([row for rows_of in rows for row in rows_of]))
    return ComparedCheckpoints(
        before=before,
        after=after,
        boards=tuple(scored),
        differences=tuple(tuple(next(every_row) for _ in rows_of) for rows_of in rows),
        flips=tuple(sorted(lost, key=lambda flip: (-flip.lost, flip.gained, flip.id))[:flips]),
        of_one=tuple(of_one),
    )


def _whole(board: Board) -> set[str]:
    """Names of the checkpoints that have every cell."""
    whole = len(board.suite.conditions)
    return {checkpoint.name for checkpoint in board.checkpoints if board.present(checkpoint) == whole}


def _scored(every: bool) -> Callable[..., list[Board]]:
    """What scores the suites that were named; of every suite, those that were meant to be measured."""
    return measured_boards if every else boards


def _sides(board: Board, store: Store, *names: str) -> "Iterator[Side]":
    from bench.compare.sides import Side

    return (Side(board=board, checkpoint=_named(board, name), store=store) for name in names)


def _named(board: Board, name: str) -> StoredCheckpoint:
    """The checkpoint of a board that goes by this name in tables."""
    from bench.board.tables import display_names
    from bench.compare.sides import CannotCompareError

    names = display_names(board.checkpoints)
    matches = [checkpoint for checkpoint, text in names.items() if text == name]
    if matches:
        return matches[0]
    several = sorted(text for checkpoint, text in names.items() if checkpoint.name == name)
    if several:
        raise BenchError(f"{len(several)} models are stored as {name!r}; name one of them: {', '.join(several)}.")
    raise CannotCompareError(
        f"nothing of {board.suite.name} is stored of {name} with {board.choice.text}; "
        f"`bench run --suite {board.suite.name} --checkpoint {_MODEL.sub('', name)}` measures it."
    )


def compare_pairs(
    suites: Sequence[Suite], store: Store, *, family: str | None = None, want: Want | None = None, every: bool = False
) -> ComparedPairs:
    """What SAM changes, for every stored pair and suite; see `bench.compare.pairs`.

    Args:
        suites: what they were measured on.
        store: where the outcomes are.
        family: only pairs of a family.
        want: limit, seed and numerics, where they are to be certain ones.
        every: whether suites are left out that nobody meant to measure; see `measured_boards`.

    Raises:
        BenchError: nothing of any suite is stored, or no pair has both its sides.
    """
    from bench.compare.pairs import compare_pairs as compare_all
    from bench.compare.pairs import gains

    scored = _scored(every)(suites, store, want=want)
    return ComparedPairs(
        boards=tuple(scored),
        compared=compare_all(scored, store, family),
        gains=tuple(gains(scored, store, family)),
    )


def compare_by_seed(
    suites: Sequence[Suite], store: Store, *, family: str | None = None, want: Want | None = None, every: bool = False
) -> ComparedRecipes:
    """What SAM changes over trainings, for every stored pair of recipes and suite; see `bench.compare.by_seed`.

    Args:
        suites: what they were measured on.
        store: where the outcomes are.
        family: only pairs of a family.
        want: limit, seed of the measurement and numerics, where they are to be certain ones.
        every: whether suites are left out that nobody meant to measure; see `measured_boards`.

    Raises:
        BenchError: nothing of any suite is stored, or no pair has trainings of both sides.
    """
    from bench.compare.by_seed import compare_by_seed as compare_all

    scored = _scored(every)(suites, store, want=want)
    return ComparedRecipes(boards=tuple(scored), compared=compare_all(scored, store, family))


def by_recipe(boards: Sequence[Board], store: Store) -> Recipes:
    """Mean, spread and interval over the trainings of each recipe; see `bench.compare.trainings`.

    Args:
        boards: of one store.
        store: that store.
    """
    from bench.compare.trainings import by_recipe as over_trainings

    return Recipes(boards=tuple(boards), found=over_trainings(boards, store))


def robust_line(suite: Suite, store: Store, *, want: Want | None = None) -> RobustLine:
    """Effective robustness of a suite's checkpoints; see `bench.compare.lines`.

    Raises:
        BenchError: nothing of the suite is stored, it has no clean accuracy beside a shifted one, or no line has three
            points.
    """
    from bench.compare.lines import effective_robustness

    [board] = boards([suite], store, want=want)
    return RobustLine(board=board, lines=tuple(effective_robustness(board, store)))
