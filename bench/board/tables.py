"""Boards as tables: the long one (a row a score) and the wide leaderboard, and the files they are written to.

What is written as CSV reads back equal. A published table leaves out the columns that say the same in every row: its
metadata, a JSON file beside it, has them, and a digest of what both say.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.board.leaderboard import Board, ScoredRow
from bench.columns import CONDITION, HEAD, KEPT, TAIL, TYPES, in_order
from bench.errors import BenchError, RunError, UnknownNameError, one_line
from bench.machine.files import ending
from bench.records import Estimate, Scalar, digest
from bench.reference import standings
from bench.store import StoredCheckpoint
from bench.store.log import Cost
from bench.suite import Score, Suite
from bench.suite.words import attack_in_words

DIGITS = 6
"""Decimals of values and intervals in the long table."""
WHOLE_UNITS = ("pixels", "images")
"""Units of values that are shown without decimals."""
COSTS = ("Mparams", "GMACs", "img/s", "peak GiB")
"""Columns of a leaderboard that say what a checkpoint costs, so that checkpoints can be compared at a like cost."""


def long_table(boards: Sequence[Board]) -> pd.DataFrame:
    """One row a score, in the order of suites, checkpoints by name, and the suite's scores.

    Returns:
        Columns suite, version, protocol, checkpoint, family, sam, each condition parameter (empty where a score's
        conditions differ in it), level (see `Suite.level`: average rows of one alone), score (its heading in the
        leaderboard, empty where it has none), metric, value, ci_low, ci_high, n; training_recipe and training_seed too
        where a checkpoint has a seed. Fractions, not percent.
    """
    rows = []
    seeded = any(checkpoint.seed is not None for board in boards for checkpoint in board.checkpoints)
    for board in sorted(boards, key=lambda board: board.suite.name):
        names, warnings = display_names(board.checkpoints), _warnings(board)
        levels = {id(score): board.suite.level(score) for score in board.suite.scores}
        for row in sorted(board.rows, key=lambda row: (row.checkpoint.name, row.checkpoint.model)):
            estimate = row.estimate
            rows.append(
                {
                    "suite": board.suite.name,
                    "version": board.suite.version,
                    "protocol": board.protocol_of(row.checkpoint),
                    "checkpoint": names[row.checkpoint],
                    "family": row.checkpoint.family,
                    "sam": row.checkpoint.sam,
                    **row.score.columns(),
                    "level": levels[id(row.score)],
                    "score": row.score.column,
                    "metric": row.score.metric.name,
                    "value": estimate.value,
                    "ci_low": estimate.ci_low,
                    "ci_high": estimate.ci_high,
                    "n": estimate.n,
                    **({"warnings": warnings[row.checkpoint]} if board.suite.alarms else {}),
                    **(_training(row.checkpoint) if seeded else {}),
                }
            )
    columns = in_order([*HEAD, *CONDITION, *TAIL, *(name for row in rows for name in row)])
    # Objects: beside a missing value a whole number would become a float, and its text another.
    return _typed(pd.DataFrame(rows, columns=columns, dtype=object))


def _training(checkpoint: StoredCheckpoint) -> dict[str, Scalar]:
    """Columns of their own: a measure may have a recipe and a seed too, and they are not the training's.

    Rows of a checkpoint without a seed have neither, and say what they did before one with a seed stood beside them.
    """
    recipe = checkpoint.recipe if checkpoint.seed is not None else None
    return {"training_recipe": recipe or None, "training_seed": checkpoint.seed}


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype({name: TYPES.get(name, "string") for name in frame.columns})
    for name in ("value", "ci_low", "ci_high"):
        frame[name] = frame[name].round(DIGITS)
    return frame.mask(frame == "")  # an empty text and a missing one are the same in CSV


def without_constants(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Scalar]]:
    """A long table without the columns that say the same in every row, and what these say; None where they are empty.

    The columns of `KEPT` stay, whatever they say.
    """
    constant = {
        str(name): None if pd.isna(column.iloc[0]) else column.to_list()[0]
        for name, column in frame.items()
        if name not in KEPT and column.nunique(dropna=False) == 1
    }
    return frame.drop(columns=list(constant)), constant


def to_csv(frame: pd.DataFrame) -> str:
    """A table of numbers as CSV: the long one, whole or without its constants, or the wide one."""
    return frame.to_csv(index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def metadata_of(table: Path) -> Path:
    """Where the metadata of a published table stands.

    >>> metadata_of(Path("results/digits.csv")).name
    'digits.meta.json'
    """
    return table.with_name(f"{table.stem}.meta.json")


def board_of(table: Path) -> Path:
    """Where a published table's leaderboard stands, a row a checkpoint.

    >>> board_of(Path("results/digits.csv")).name
    'digits.board.csv'
    """
    return table.with_name(f"{table.stem}.board.csv")


_SEALS = {"digest", "board", "outcomes"}
"""What only metadata with a digest have: where it alone is gone, they were edited."""


class NotAsPublishedError(RunError):
    """A published table that does not say what its digest is of: it was edited, or only some files were replaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """A table that was read, with what stands beside it."""

    path: Path
    frame: pd.DataFrame
    """Long table."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Empty where the table stands alone."""

    @property
    def sealed(self) -> bool:
        """Whether a digest was published of it, so that an edit is seen."""
        return bool(_SEALS & self.metadata.keys())


def sealed(metadata: Mapping[str, Any], frame: pd.DataFrame, board: str) -> dict[str, Any]:
    """The metadata of a table with digests of the table, of themselves, and of the leaderboard beside it.

    Args:
        metadata: JSON-able, with `columns`: what the table's file leaves out.
        frame: long table, whole.
        board: the leaderboard's file.
    """
    known = {**metadata, "board": _text_digest(board)}
    return {**known, "digest": _digest(known, frame)}


def _digest(metadata: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """Of what a reader is told, and not of bytes: other line ends, or quotes, make no other table."""
    return digest([to_csv(frame[in_order(frame.columns)]), {k: v for k, v in metadata.items() if k != "digest"}])


def _text_digest(text: str) -> str:
    return hashlib.sha256("\n".join(text.splitlines()).encode()).hexdigest()


def read_csv(path: Path) -> pd.DataFrame:
    """A long table as `to_csv` wrote it; what it leaves out is taken from the metadata beside it.

    Raises:
        BenchError: the file is not one, or its metadata are not beside it.
        RunError: it cannot be read, or its metadata cannot.
        NotAsPublishedError: their digest is of another table.
    """
    return read_published(path).frame


def read_published(path: Path, *, check: bool = True) -> PublishedTable:
    """A long table as `to_csv` wrote it, with its metadata where these are beside it.

    Args:
        path: of the CSV.
        check: whether it must be what the digest among its metadata is of.

    Raises:
        BenchError: the file is not one, or its metadata are not beside it.
        RunError: it cannot be read, or its metadata cannot.
        NotAsPublishedError: their digest is of another table.
    """
    try:
        frame = pd.read_csv(ending(path), dtype="string", keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not a readable CSV ({one_line(error)}).") from error
    metadata = _metadata(path)
    if metadata is None and _lacking(frame) and set(KEPT) <= set(frame.columns):
        raise BenchError(
            f"{path} leaves out the columns that say the same in every row, and {metadata_of(path).name}, which has "
            "them, is not beside it; put both into one folder."
        )
    frame = _completed(frame, metadata or {})
    for name in _lacking(frame):
        raise BenchError(f"{path} has no column {name!r}; `bench table --format csv` writes one that reads back.")
    try:
        table = PublishedTable(path=path, frame=_typed(frame), metadata=metadata or {})
    except (ValueError, TypeError, OverflowError) as error:
        raise BenchError(f"{path} has text where a number belongs ({one_line(error)}); make it anew.") from error
    if check and table.sealed:
        _check(table)
    return table


def _metadata(path: Path) -> dict[str, Any] | None:
    """What stands beside a table; None where nothing does."""
    beside = metadata_of(path)
    if not beside.exists():
        return None
    try:
        metadata = json.loads(beside.read_text(encoding="utf-8"), parse_constant=_no_number)
        if not isinstance(metadata.get("columns", {}), dict):
            raise ValueError("its columns are no table")
        return dict(metadata)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{beside} is damaged ({one_line(error)}); publish the table anew.") from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _lacking(frame: pd.DataFrame) -> list[str]:
    return [name for name in (*HEAD, *CONDITION, *TAIL) if name not in frame.columns]


def _completed(frame: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """The table with the columns that its metadata have, in order."""
    for name, value in metadata.get("columns", {}).items():
        if name not in frame.columns:
            frame[name] = pd.Series(pd.NA if value is None else str(value), index=frame.index, dtype="string")
    return frame[in_order(frame.columns)]


def _check(table: PublishedTable) -> None:
    """Make sure that a table is what was published, and the leaderboard beside it too, if it is there."""
    board, changed = board_of(table.path), []
    if _digest(table.metadata, table.frame) != table.metadata.get("digest"):
        changed.append(table.path)
    try:
        if board.exists() and _text_digest(board.read_text("utf-8", "replace")) != table.metadata.get("board"):
            changed.append(board)
    except OSError as error:
        raise RunError(f"{board} cannot be read: {error.strerror}.") from error
    if changed:
        raise NotAsPublishedError(
            f"{' and '.join(map(str, changed))} and {metadata_of(table.path).name} do not belong together: one was "
            "edited, or not all were replaced; `bench publish --update` makes them anew."
        )


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column by name.

    Raises:
        UnknownNameError: there is none; the nearest names are offered.
    """
    if name not in frame.columns:
        raise UnknownNameError("column", name, [str(c) for c in frame.columns])
    return frame[name]


def leaderboard(board: Board) -> pd.DataFrame:
    """One row a checkpoint, the best first; one column a score that the suite puts on its board.

    Fractions in percent, with half the 95% interval's width where one is defined. A suite with missing cells says
    how many there are, and has no score that needs the missing ones.
    """
    names = display_names(board.checkpoints)
    estimates = {(row.checkpoint, row.score.column): row.estimate for row in board.rows if row.score.column}
    total, warnings = len(board.suite.conditions), _warnings(board)
    rows = []
    for rank, checkpoint in enumerate(board.ranking, start=1):
        scored = (checkpoint, board.suite.headline.column) in estimates
        cells = board.present(checkpoint)
        rows.append(
            {
                "rank": str(rank) if scored else "–",
                "checkpoint": names[checkpoint],
                "family": checkpoint.family,
                "sam": checkpoint.sam,
                **{
                    score.column: shown(score, estimates.get((checkpoint, score.column))) for score in board.suite.board
                },
                "n": f"{estimates[checkpoint, board.suite.headline.column].n:,}" if scored else "–",
                **({"warnings": warnings[checkpoint]} if board.suite.alarms else {}),
                **_cost_columns(board.costs.get(checkpoint)),
                "cells": "all" if cells == total else f"{cells}/{total} cells",
            }
        )
    frame = pd.DataFrame(rows)
    # Columns that say the same of every row: all cells are there, a CPU tells of no peak, an old log of nothing.
    empty = [name for name in COSTS if (frame[name] == "–").all()]
    return frame.drop(columns=[*empty, *(["cells"] if (frame["cells"] == "all").all() else [])])


def with_published(board: Board, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A leaderboard with what others published of the suite below it, unranked and marked as theirs.

    Args:
        board: the scores.
        frame: as `leaderboard` gives it, or some of its columns.

    Returns:
        The frame, and a note on whose rows these are.
    """
    published = standings(board.suite.name)
    if not published:
        return frame, []
    rows = []
    for one in published:
        scores = {
            score.column: shown(score, Estimate(value=one.scores[score.column], n=one.images))
            for score in board.suite.board
            if score.column in one.scores
        }
        rows.append({"checkpoint": f"{one.who} (published)", **scores, "n": f"{one.images:,}"})
    theirs = pd.DataFrame(rows).reindex(columns=frame.columns, fill_value="–").fillna("–")
    sources = dict.fromkeys(one.source.partition(", raw-data")[0] for one in published)
    note = f"rows marked published are others' numbers, not measured here: {'; '.join(sources)}"
    return pd.concat([frame, theirs], ignore_index=True), [note]


def wide_table(frame: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """A leaderboard in numbers: one row a checkpoint, the best first; those without the headline score last.

    Args:
        frame: long table of the suite alone.
        suite: whose leaderboard it is.

    Returns:
        Columns rank (empty without the headline), checkpoint, family, sam, each score of the leaderboard by its
        heading, followed by its `ci_low` and `ci_high` where it has an interval, n of the headline, and warnings
        where the suite has some. Fractions, not percent, as in the long table.
    """
    checkpoints = frame.drop_duplicates("checkpoint").set_index("checkpoint")
    scores = {score.column: frame[frame["score"] == score.column].set_index("checkpoint") for score in suite.board}
    headline = scores[suite.headline.column].reindex(checkpoints.index)
    sign = -1 if suite.headline.metric.higher_is_better else 1
    ranked = (sign * headline["value"]).sort_values(kind="stable", na_position="last").index
    columns = {"family": checkpoints["family"], "sam": checkpoints["sam"]}
    for heading, rows in scores.items():
        columns[heading] = rows["value"]
        if rows["ci_low"].notna().any():
            columns |= {f"{heading} {end}": rows[end] for end in ("ci_low", "ci_high")}
    columns["n"] = headline["n"]
    columns |= {"warnings": checkpoints["warnings"]} if suite.alarms else {}
    wide = pd.DataFrame({name: column.reindex(ranked) for name, column in columns.items()}).reset_index()
    rank = pd.Series(range(1, len(wide) + 1), dtype="Int64").where(wide[suite.headline.column].notna())
    wide.insert(0, "rank", rank)
    return wide


def _warnings(board: Board) -> dict[StoredCheckpoint, str]:
    """What warns of each checkpoint: names, `none`, or `unknown` where not all that might has been looked at."""
    looked = Counter(row.checkpoint for row in board.rows if row.score.metric.alarm is not None)
    warned = board.warnings
    return {
        checkpoint: ", ".join(dict.fromkeys(row.score.metric.name for row in warned.get(checkpoint, ())))
        or ("none" if looked[checkpoint] == len(board.suite.alarms) else "unknown")
        for checkpoint in board.checkpoints
    }


def warnings_in_words(board: Board) -> list[str]:
    """A line for each warning of each checkpoint: under which conditions, how much, and what it means."""
    names, lines = display_names(board.checkpoints), []
    for checkpoint, rows in board.warnings.items():
        by_metric: dict[str, list[ScoredRow]] = {}
        for row in rows:
            by_metric.setdefault(row.score.metric.name, []).append(row)
        for name, alarmed in by_metric.items():
            alarm = alarmed[0].score.metric.alarm
            most = max(row.estimate.value for row in alarmed)
            where = "; ".join(dict.fromkeys(attack_in_words(row.score) for row in alarmed))
            share = f"{100 * most:.0f}%" if most >= 0.01 else f"{100 * most:.2g}%"
            lines.append(f"WARNING {names[checkpoint]}, {name} ({where}): {share} {alarm.says if alarm else ''}")
    return lines


def _cost_columns(cost: Cost | None) -> dict[str, str]:
    """Size, work, speed and memory."""
    if cost is None:
        return dict.fromkeys(COSTS, "–")
    texts = (
        f"{cost.parameters / 1e6:.1f}",
        f"{cost.macs / 1e9:.3g}",
        _speed(cost.images_per_second),
        f"{cost.peak_memory / 2**30:.2f}" if cost.peak_memory else "–",
    )
    return dict(zip(COSTS, texts, strict=True))


def _speed(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"


def display_names(checkpoints: Sequence[StoredCheckpoint]) -> dict[StoredCheckpoint, str]:
    """Their names; where two models bear one name, with the first digits of the model digest."""
    counts = Counter(checkpoint.name for checkpoint in checkpoints)
    return {c: c.name if counts[c.name] == 1 else f"{c.name}@{c.model[:6]}" for c in checkpoints}


def shown(score: Score, estimate: Estimate | None) -> str:
    """A score as leaderboards show it: fractions in percent, with half the interval's width; `–` where it is not.

    What rounds to nothing has no sign.
    """
    if estimate is None:
        return "–"
    if score.metric.unit in WHOLE_UNITS:
        return f"{estimate.value:z.0f}"
    if score.metric.unit != "fraction":
        return f"{estimate.value:z.3f}"
    text = f"{100 * estimate.value:z.1f}"
    if estimate.ci_low is None or estimate.ci_high is None:
        return text
    half = (estimate.ci_high - estimate.ci_low) / 2
    # Near 0 or 1 the interval reaches far to one side only: a single half width would be read wrongly.
    if abs((estimate.ci_high + estimate.ci_low) / 2 - estimate.value) > half / 2:
        return f"{text} ({100 * estimate.ci_low:z.0f}–{100 * estimate.ci_high:z.0f})"
    return f"{text} ±{100 * half:.1f}"
