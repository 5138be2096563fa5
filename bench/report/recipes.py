"""The page's tables by recipe: the mean over trainings, and what SAM gains by seed, where a recipe has several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.compare.by_seed import compare_by_seed, recipe_pairs
from bench.compare.tables import Section
from bench.compare.training_tables import recipe_sections, seed_sections
from bench.compare.trainings import by_recipe, several
from bench.errors import BenchError
from bench.store import Store, StoreFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeTable:
    """A table of one suite."""

    suite: str
    section: Section


def recipe_views(boards: Sequence[Board], store: Store) -> list[RecipeTable]:
    """The tables of those suites on which a recipe has more than one training.

    Args:
        boards: of one store.
        store: which.

    Raises:
        StoreFileError: a file of the store is damaged or cannot be read.
    """
    return [table for board in boards if several([board]) for table in _of_suite(board, store)]


def _of_suite(board: Board, store: Store) -> Iterator[RecipeTable]:
    found = by_recipe([board], store)
    if found.rows:
        for section in recipe_sections([board], found):
            yield RecipeTable(suite=board.suite.name, section=section)
    if not recipe_pairs(board)[0]:
        return
    try:
        compared = compare_by_seed([board], store)
    except StoreFileError:
        raise
    except BenchError:  # no pair is whole: the leaderboard says which cells are missing
        return
    for section in seed_sections([board], compared):
        yield RecipeTable(suite=board.suite.name, section=section)
