"""What one side of a gate says: scores from published tables, or from stored outcomes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from bench.board.index import metric_sources
from bench.board.leaderboard import Board
from bench.board.published_outcomes import Given, outcomes_of, read_outcomes
from bench.board.tables import PublishedTable, long_table, metadata_of, read_published
from bench.compare.sides import CannotCompareError, Side
from bench.errors import one_line
from bench.records import Estimate, Scalar
from bench.store import Store
from bench.suite import Score, Suite

_NOT_WHAT = {
    "suite", "version", "protocol", "checkpoint", "family", "sam", "value", "ci_low", "ci_high", "n", "warnings",
    "level", "training_recipe", "training_seed",
}  # fmt: skip
"""Columns of the long table that do not say which score a row has."""

What: TypeAlias = frozenset[tuple[str, str]]
"""Which score of a suite: the long table's columns that are not empty, as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """What one side says: scores, and the outcomes behind them where these are stored."""

    place: str
    """Where it comes from, for people."""
    frame: pd.DataFrame
    """Long table."""
    boards: Mapping[str, Board] = field(default_factory=dict)
    """By suite; none of published numbers."""
    store: Store | None = None
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the data behind published numbers, where these are known: by suite, then by `dataset/split`."""
    outcomes: Mapping[tuple[str, str], Sequence[Given]] = field(default_factory=dict)
    """What images give of published headlines, where that is known: by suite and checkpoint."""
    unsealed: frozenset[str] = frozenset()
    """Suites whose published numbers carry no digest: they may have been edited."""
    metrics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Source of the metrics that are not ours and made published numbers: by suite, then by name."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the files."""

    @property
    def names(self) -> set[str]:
        """Of the checkpoints."""
        if self.store is None:
            return set(self.frame["checkpoint"].dropna())
        return {checkpoint.name for board in self.boards.values() for checkpoint in board.checkpoints}

    def holds(self, suite: Suite) -> bool:
        """Whether there is a score of the suite, or of outcomes at least a part of what its headline needs."""
        if self.store is None:
            return bool((self.frame["suite"] == suite.name).any())
        board = self.boards.get(suite.name)
        # Suites share cells: the clean one alone does not mean that the corrupted ones were meant to be measured.
        return board is not None and any(c in board.suite.headline.conditions for _, c in board.cells)

    def side(self, suite: Suite, name: str) -> Side | None:
        """The checkpoint's outcomes; None where only numbers are published.

        Raises:
            CannotCompareError: nothing is stored of it, or two models bear the name.
        """
        if self.store is None:
            return None
        board = self.boards.get(suite.name)
        named = [checkpoint for checkpoint in board.checkpoints if checkpoint.name == name] if board else []
        if board is None or not named:
            raise CannotCompareError(
                f"{self.place} holds nothing of {suite.name} as asked for {name}; `bench run` measures it."
            )
        if len(named) > 1:
            raise CannotCompareError(
                f"{self.place} holds {len(named)} models under the name {name} "
                f"({', '.join(checkpoint.model[:6] for checkpoint in named)}); keep each in a store of its own."
            )
        return Side(board=board, checkpoint=named[0], store=self.store)

    def scores(self, suite: Suite, name: str) -> dict[What, Estimate]:
        """Every score of a checkpoint.

        Raises:
            CannotCompareError: there is none, or they are of another version of the suite, or one comes twice.
        """
        rows = self.frame[(self.frame["suite"] == suite.name) & (self.frame["checkpoint"] == name)]
        if rows.empty:
            raise CannotCompareError(
                f"{self.place} has no score of {suite.name} for {name}; measure it, or leave it out."
            )
        versions = set(rows["version"].dropna())
        if versions != {suite.version}:
            have = " and ".join(f"v{version}" for version in sorted(versions)) or "no version"
            raise CannotCompareError(
                f"{self.place} has {suite.name} {have}, and this rtbench measures v{suite.version}; make it anew."
            )
        if self.metrics.get(suite.name) not in (None, metric_sources(suite)):
            raise CannotCompareError(
                f"{self.place} has scores of {suite.name} that other code of its metrics computed; make it anew."
            )
        known = {"score", "metric", *(name for score in suite.scores for name in score.columns())}
        estimates: dict[What, Estimate] = {}
        for row in rows.to_dict("records"):
            columns = {str(name): value for name, value in row.items() if name not in _NOT_WHAT and _is_given(value)}
            strange = sorted(columns.keys() - known)
            if strange:
                raise CannotCompareError(
                    f"{self.place} has a column {strange[0]!r} that no score of {suite.name} has; make it anew."
                )
            if _what(columns) in estimates:
                raise CannotCompareError(f"{self.place} has two rows of {_named(row)}; make it anew.")
            estimates[_what(columns)] = _estimate(row, self.place)
        return estimates

    def score(self, suite: Suite, name: str, score: Score) -> Estimate:
        """One score of a checkpoint.

        Raises:
            CannotCompareError: it is not there.
        """
        estimate = self.scores(suite, name).get(what_of(score))
        if estimate is None:
            raise CannotCompareError(
                f"{self.place} lacks the score {score.column!r} of {suite.name} for {name}: it is half-finished; "
                "measure it whole."
            )
        return estimate

    def protocol(self, suite: Suite, name: str) -> str:
        """How the checkpoint was measured."""
        rows = self.frame[(self.frame["suite"] == suite.name) & (self.frame["checkpoint"] == name)]
        return " or ".join(rows["protocol"].dropna().unique())


def published(paths: Sequence[Path]) -> Numbers:
    """Numbers from files that `bench table --format csv`, `bench run` or `bench publish` wrote.

    Raises:
        BenchError: a file is not such a table, or the metadata that it needs are not beside it.
        RunError: these are damaged, or of another table.
        CannotCompareError: what `bench publish` wrote beside it is damaged.
    """
    tables = [read_published(path) for path in paths]
    fingerprints: dict[str, dict[str, str]] = {}
    outcomes: dict[tuple[str, str], Sequence[Given]] = {}
    unsealed: set[str] = set()
    notes = []
    for table in tables:
        names = sorted(set(table.frame["suite"].dropna()))
        if not table.sealed:
            unsealed |= set(names)
            notes.append(
                f"{table.path} carries no digest: whether it was edited, or learnt from other data, cannot be seen; "
                "`bench publish` writes one."
            )
        if table.metadata:
            suite, prints = _fingerprints(table)
            fingerprints.setdefault(suite, {}).update(prints)
        given = read_outcomes(table)
        if given is None and "outcomes" in table.metadata:
            beside = outcomes_of(table.path).name
            notes.append(f"{beside}, which shows far smaller drops, is not beside {table.path}; copy it too.")
        outcomes |= {(name, checkpoint): sets for name in names for checkpoint, sets in (given or {}).items()}
    return Numbers(
        place=", ".join(map(str, paths)),
        frame=pd.concat([table.frame for table in tables], ignore_index=True),
        fingerprints=fingerprints,
        outcomes=outcomes,
        unsealed=frozenset(unsealed),
        metrics={
            str(table.metadata["suite"]): table.metadata["metric_sources"]
            for table in tables
            if "metric_sources" in table.metadata
        },
        notes=tuple(notes),
    )


def _fingerprints(table: PublishedTable) -> tuple[str, dict[str, str]]:
    """The suite of a table and the fingerprints of its data."""
    try:
        meta = table.metadata
        return str(meta["suite"]), {str(data): str(value) for data, value in meta["fingerprints"].items()}
    except (LookupError, TypeError, AttributeError) as error:
        raise CannotCompareError(
            f"{metadata_of(table.path)} is damaged ({one_line(error)}); publish the table anew."
        ) from error


def stored(boards: Sequence[Board], store: Store) -> Numbers:
    """Numbers from outcomes."""
    return Numbers(
        place=str(store.root),
        frame=long_table(boards),
        boards={board.suite.name: board for board in boards},
        store=store,
    )


def what_of(score: Score) -> What:
    """What tells a score's row from the others of its suite and checkpoint."""
    return _what({**score.columns(), "score": score.column, "metric": score.metric.name})


def _what(columns: Mapping[str, Scalar]) -> What:
    return frozenset((name, str(value)) for name, value in columns.items() if _is_given(value))


def _is_given(value: Any) -> bool:
    return not (value is None or value is pd.NA or value == "" or value != value)


def _estimate(row: Mapping[Any, Any], place: str) -> Estimate:
    """The numbers of a row; a table may have been edited by hand."""
    value, low, high, n = (row[name] if _is_given(row[name]) else None for name in ("value", "ci_low", "ci_high", "n"))
    if value is None or n is None or n < 1 or not all(map(math.isfinite, filter(None, (value, low, high)))):
        raise CannotCompareError(f"{place} has no value or no n in the row of {_named(row)}; make it anew.")
    if (low is None) != (high is None) or (low is not None and not low <= value <= high):
        raise CannotCompareError(f"{place} has an interval beside its value in the row of {_named(row)}; make it anew.")
    return Estimate(
        value=float(value),
        n=int(n),
        ci_low=None if low is None else float(low),
        ci_high=None if high is None else float(high),
    )


def _named(row: Mapping[Any, Any]) -> str:
    """Suite, checkpoint and score of a row."""
    return f"{row['suite']}, {row['checkpoint']}, {row['score'] if _is_given(row['score']) else row['metric']}"
