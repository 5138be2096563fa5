"""Scores of what is stored: boards, and the tables that they make."""

import contextlib
import fnmatch
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.board.holdings import holdings
from bench.board.index import Index
from bench.board.leaderboard import Board, NothingStoredError, Want, make_board
from bench.errors import UnknownNameError
from bench.store import Store
from bench.suite import Suite
from bench.suite import suites as registered
from bench.text import some

if TYPE_CHECKING:
    import pandas as pd

    from bench.board.reference_check import Comparison
    from bench.board.summary import Summary
    from bench.report.curves import Kind


def boards(
    suites: Sequence[Suite],
    store: Store,
    *,
    checkpoints: Sequence[str] = (),
    want: Want | None = None,
) -> list[Board]:
    """The scores of suites from what is stored, without measuring anything; suites with nothing stored are left out.

    Args:
        suites: what to score.
        store: where the outcomes are.
        checkpoints: only these names, or patterns of names.
        want: limit, seed and numerics, where they are to be certain ones.

    Raises:
        BenchError: nothing of any suite is stored, or a checkpoint is not in the store.
    """
    if os.path.exists(store.root):  # where it is not, nothing was measured yet
        store.check_is_there()
    known = {entry.name for entry in store.checkpoints()}
    meant: set[str] = set()
    for name in checkpoints:
        matching = {name} if name in known else set(fnmatch.filter(known, name))
        if not matching:
            raise UnknownNameError("checkpoint in the store", name, known)
        meant |= matching
    stand_ins = [stand_in for suite in suites if (stand_in := suite.stand_in)]
    every = {suite.name: suite for suite in (*suites, *stand_ins)}
    scored = score(list(every.values()), store, names=meant or None, want=want)
    by_name = {board.suite.name: board for board in scored}
    chosen = [board for suite in suites if (board := _or_fallback(suite, by_name))]
    found = list({board.suite.name: board for board in chosen}.values())
    if not found:
        raise NothingStoredError(
            f"{store.root} holds nothing of {some(s.name for s in suites)} as asked{_instead(store)}"
        )
    return found


def _or_fallback(suite: Suite, boards: Mapping[str, Board]) -> Board | None:
    """The suite's board; its fallback's where that stood in for want of the suite's data."""
    candidates = [boards.get(suite.name), boards.get(suite.stand_in.name if suite.stand_in else "")]
    # They share the clean cells: the one with more of its own.
    return max(filter(None, candidates), key=lambda board: (board.headed, len(board.cells)), default=None)


def score(
    suites: Iterable[Suite],
    store: Store,
    *,
    names: Collection[str] | None = None,
    models: Collection[str] | None = None,
    want: Want | None = None,
) -> list[Board]:
    """The boards of those suites of which something is stored, each as it stands; see `bench.board.leaderboard`."""
    index = Index(store)
    scored = []
    try:
        for suite in suites:
            with contextlib.suppress(NothingStoredError):
                scored.append(make_board(suite, store, index, names=names, models=models, want=want))
    finally:
        index.close()
    return scored


def measured_boards(
    suites: Sequence[Suite], store: Store, *, checkpoints: Sequence[str] = (), want: Want | None = None
) -> list[Board]:
    """The scores of those suites that were meant to be measured.

    Suites of which only cells are stored that others needed too, such as those of the clean accuracy, are left out.

    Args:
        suites: every suite, mostly.
        store: where the outcomes are.
        checkpoints: only these names.
        want: as `boards` takes it.

    Raises:
        BenchError: nothing of any suite is stored, or a checkpoint is not in the store.
    """
    try:
        stored = boards(suites, store, checkpoints=checkpoints, want=want)
    except NothingStoredError:
        raise NothingStoredError(f"{store.root} holds nothing as asked of any suite{_instead(store)}") from None
    held = {cell.key for board in stored if _is_whole(board) for cell in board.cells.values()}
    return [board for board in stored if _is_whole(board) or {cell.key for cell in board.cells.values()} - held]


def _instead(store: Store) -> str:
    """What the store holds, and what to do, as the end of a sentence that says what it lacks."""
    every = [*registered, *(stand_in for suite in registered if (stand_in := suite.stand_in))]
    held = holdings({suite.name: suite for suite in every}.values(), store)
    return f"; `bench run` measures it.{f' {held}' if held else ''} {_HIDDEN if store.keys() else ''}".rstrip()


_HIDDEN = (
    "(`bench store ls` shows all that is there; outcomes of older code do not count, and what --set changed is asked "
    "for with the same --set.)"
)


def _is_whole(board: Board) -> bool:
    """Whether some checkpoint has every cell."""
    return max(map(board.present, board.checkpoints)) == len(board.suite.conditions)


def table(boards: Sequence[Board]) -> "pd.DataFrame":
    """The long table: one row a score; see `bench.board.tables.long_table`."""
    from bench.board.tables import long_table

    return long_table(boards)


def summary(boards: Sequence[Board]) -> "Summary":
    """A row a checkpoint and a column a suite's headline score, with notes; see `bench.board.summary.summarise`."""
    from bench.board.summary import summarise

    return summarise(boards)


def published(boards: Sequence[Board]) -> "list[Comparison]":
    """Scores beside the numbers that others published for the same checkpoint; see `bench.board.reference_check`."""
    from bench.board.reference_check import compare

    return compare(boards)


def outcomes(board: Board, store: Store) -> "pd.DataFrame":
    """One row a sample of every cell behind a board.

    Returns:
        Columns suite, checkpoint, those condition parameters that are set somewhere, id, label, prediction,
        correct, and every other column that the measures gave (lists where there are several values a sample).
    """
    import pandas as pd

    from bench.board.tables import display_names

    names = display_names(board.checkpoints)
    parts = []
    for checkpoint in board.checkpoints:
        for condition in board.suite.conditions:
            cell = board.cells.get((checkpoint.model, condition))
            if cell is None:
                continue
            outcome = store.read(cell.key)
            columns = {k: v for k, v in condition.columns().items() if v is not None}
            head = {"suite": board.suite.name, "checkpoint": names[checkpoint], **columns}
            rows = {name: c if c.ndim == 1 else list(c) for name, c in outcome.columns.items()}
            parts.append(
                pd.DataFrame({"id": outcome.ids, "label": outcome.labels, **rows}).assign(**head)[
                    [*head, "id", "label", *rows]
                ]
            )
    return pd.concat(parts, ignore_index=True)


def curve(board: Board, place: Path, kind: "Kind") -> None:
    """Draw a board against the parameter that its suite runs through, and write it; see `bench.report.curves.draw`.

    Args:
        board: of a suite that has a curve.
        place: the file.
        kind: its format, `png` or `svg`.
    """
    from bench.report.curves import draw, save  # imports matplotlib
    from bench.report.looks import Palette

    save(draw(board, Palette([board])), place, kind)
