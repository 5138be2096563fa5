"""Boards as one table: a row a checkpoint, a column a suite's headline score, beside it the gap to the clean score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.board.leaderboard import Board
from bench.board.tables import display_names, shown
from bench.records import Estimate
from bench.store import StoredCheckpoint
from bench.suite import Suite
from bench.text import some


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What the command prints."""

    frame: pd.DataFrame
    notes: tuple[str, ...]
    """The protocol of each suite, what is not finished, and what was left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A checkpoint among those of some boards."""

    checkpoint: StoredCheckpoint
    name: str
    """As tables show it."""
    ranks: Mapping[str, int]
    """From 1, by the headline of each suite that it has; equal scores share the better rank."""
    mean_rank: float | None
    """None where it lacks a headline."""


def standings(boards: Sequence[Board]) -> list[Standing]:
    """The checkpoints of some boards by the mean of their ranks; those that lack a headline come last."""
    checkpoints = list(dict.fromkeys(checkpoint for board in boards for checkpoint in board.checkpoints))
    names = display_names(checkpoints)
    by_suite = {board.suite.name: _ranks(board) for board in boards}
    ranks = {c: {suite: found[c] for suite, found in by_suite.items() if c in found} for c in checkpoints}
    means = {c: _mean(list(found.values())) for c, found in ranks.items()}
    lacking = {c: len(boards) - len(found) for c, found in ranks.items()}
    return [
        Standing(checkpoint=c, name=names[c], ranks=ranks[c], mean_rank=None if lacking[c] else means[c])
        for c in sorted(checkpoints, key=lambda c: (lacking[c], means[c] or 0, names[c]))
    ]


def summarise(boards: Sequence[Board]) -> Summary:
    """One row a checkpoint, one column a suite, in the order of `standings`.

    A gap is the headline less the clean score, in points.
    """
    scores = {board.suite.name: _estimates(board) for board in boards}
    placed = standings(boards)
    rows = []
    for standing in placed:
        checkpoint = standing.checkpoint
        row = {"checkpoint": standing.name, "family": checkpoint.family, "sam": checkpoint.sam}
        row["mean rank"] = shown_rank(standing)
        for board in boards:
            row |= _columns(board.suite, checkpoint, scores[board.suite.name])
        rows.append(row)
    names = {standing.checkpoint: standing.name for standing in placed}
    return Summary(frame=pd.DataFrame(rows), notes=tuple(_notes(boards, names)))


def shown_rank(standing: Standing) -> str:
    """The mean rank as tables show it."""
    return "–" if standing.mean_rank is None else f"{standing.mean_rank:.1f}"


def _columns(
    suite: Suite, checkpoint: StoredCheckpoint, scores: Mapping[tuple[StoredCheckpoint, str], Estimate]
) -> dict[str, str]:
    headline = suite.headline
    clean = suite.gap_from
    estimate = scores.get((checkpoint, headline.column))
    columns = {suite.name: shown(headline, estimate)}
    if clean is not None:
        beside = scores.get((checkpoint, clean.column))
        gap = f"{100 * (estimate.value - beside.value):z.1f}" if estimate and beside else "–"
        columns[f"{suite.name} gap"] = gap
    return columns


def _estimates(board: Board) -> dict[tuple[StoredCheckpoint, str], Estimate]:
    return {(row.checkpoint, row.score.column): row.estimate for row in board.rows if row.score.column}


def _ranks(board: Board) -> dict[StoredCheckpoint, int]:
    """Ranks from 1 of the checkpoints that have the headline."""
    headline = board.suite.headline
    sign = -1 if headline.metric.higher_is_better else 1
    values = {row.checkpoint: sign * row.estimate.value for row in board.rows if row.score is headline}
    return {c: 1 + sum(other < value for other in values.values()) for c, value in values.items()}


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _notes(boards: Sequence[Board], names: Mapping[StoredCheckpoint, str]) -> list[str]:
    notes = []
    for board in boards:
        suite, scored = board.suite, _ranks(board)
        headline = f"{suite.headline.column}{'' if suite.headline.metric.higher_is_better else ', lower is better'}"
        notes.append(f"{suite.name} v{suite.version} ({headline}): {board.protocol}; {board.choice.text}")
        total = len(suite.conditions)
        lacking: dict[int, list[str]] = {}
        for checkpoint in board.checkpoints:
            if checkpoint not in scored:
                lacking.setdefault(board.present(checkpoint), []).append(names[checkpoint])
        for cells, without in lacking.items():
            has = "has" if len(without) == 1 else "have"
            notes.append(f"{suite.name}: {some(without)} {has} {cells} of {total} cells, so no {headline}")
        notes += [f"{suite.name}: {note}" for note in board.notes]
    return notes
