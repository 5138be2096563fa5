"""The page's first table: a row a checkpoint, a column a suite's headline score, tinted from its worst to its best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.board.summary import Standing, shown_rank, standings
from bench.board.tables import shown
from bench.records import Estimate
from bench.report.looks import Palette
from bench.store import StoredCheckpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A suite."""

    suite: str
    score: str
    """The heading of its headline score."""
    best: str
    """`high` or `low`."""
    about: str
    """Title, protocol and choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A headline score."""

    suite: str
    text: str
    beside: str
    """Its interval; empty without one."""
    value: str
    """To sort by; empty where there is no score."""
    tint: str
    """How good among the column's, from 0 to 1; empty where no two differ."""
    is_best: bool
    warned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A checkpoint."""

    name: str
    family: str
    sam: str
    colour: str
    """The style sheet's class of its family."""
    mean_rank: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """All of it."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    legend: tuple[tuple[str, str], ...]
    """The families, and the class of each."""
    ranked: bool
    """Whether a checkpoint has all headlines, so that there is a mean of ranks."""


def matrix(boards: Sequence[Board], palette: Palette) -> Matrix | None:
    """The summary of some boards; None of fewer than two with a headline, whose leaderboard says the same.

    Args:
        boards: of one store.
        palette: of the page.
    """
    headed = [board for board in boards if board.headed]
    if len(headed) < 2:
        return None
    placed = [standing for standing in standings(headed) if standing.ranks]
    looks = palette.of_families(standing.checkpoint for standing in placed)
    colours = {checkpoint.family: f"c{look.colour}" for checkpoint, look in looks.items()}
    fields = zip(*(_fields(board, placed) for board in headed), strict=True)
    return Matrix(
        columns=tuple(map(_column, headed)),
        lines=tuple(
            Line(
                name=standing.name,
                family=standing.checkpoint.family,
                sam=standing.checkpoint.sam,
                colour=colours[standing.checkpoint.family],
                mean_rank=shown_rank(standing),
                fields=row,
            )
            for standing, row in zip(placed, fields, strict=True)
        ),
        legend=tuple(sorted(colours.items())),
        ranked=any(standing.mean_rank is not None for standing in placed),
    )


def _column(board: Board) -> Column:
    suite = board.suite
    return Column(
        suite=suite.name,
        score=suite.headline.column,
        best="high" if suite.headline.metric.higher_is_better else "low",
        about=f"{suite.title}: {board.protocol}; {board.choice.text}",
    )


def _fields(board: Board, placed: Sequence[Standing]) -> list[Field]:
    """A board's column."""
    estimates = {row.checkpoint: row.estimate for row in board.rows if row.score is board.suite.headline}
    tints = _tints(board, estimates)
    warned = board.warnings
    return [
        _field(
            board,
            estimates.get(standing.checkpoint),
            tint=tints.get(standing.checkpoint),
            is_best=standing.ranks.get(board.suite.name) == 1,
            warned=standing.checkpoint in warned,
        )
        for standing in placed
    ]


def _tints(board: Board, estimates: Mapping[StoredCheckpoint, Estimate]) -> dict[StoredCheckpoint, float]:
    """Where each lies between the column's worst value, 0, and its best, 1; none where all are equal."""
    values = {checkpoint: estimate.value for checkpoint, estimate in estimates.items()}
    low, high = min(values.values()), max(values.values())
    if low == high:
        return {}
    worst, best = (low, high) if board.suite.headline.metric.higher_is_better else (high, low)
    return {checkpoint: (value - worst) / (best - worst) for checkpoint, value in values.items()}


def _field(board: Board, estimate: Estimate | None, *, tint: float | None, is_best: bool, warned: bool) -> Field:
    text, _, beside = shown(board.suite.headline, estimate).partition(" ")
    return Field(
        suite=board.suite.name,
        text=text,
        beside=beside,
        value="" if estimate is None else f"{estimate.value:.6g}",
        tint="" if tint is None else f"{tint:z.2f}",
        is_best=is_best,
        warned=warned,
    )
