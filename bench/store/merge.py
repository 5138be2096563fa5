"""Stores that were filled apart become one: what one lacks is copied, and what differs under one name is told."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from bench.records import Array, Outcome
from bench.store import Store, StoredCell
from bench.store.checksums import sealed_line
from bench.store.log import read_lines
from bench.store.reading import reading

_ROUNDING = 1e-3
"""By how much numbers of one cell may differ that two machines computed, absolutely and relative to their size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differing:
    """A cell, or a checkpoint's entry, that both stores have, each its own."""

    what: str
    """Key of the cell, or name of the checkpoint."""
    cell: StoredCell | None
    """None of a checkpoint."""
    how: str
    """In what they differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What another store gave."""

    copied: int
    """Cells that were not here."""
    known: int
    """Cells that were here already, with the same rows."""
    rounded: int = 0
    """Those among them whose numbers differ in their last digits."""
    differing: tuple[Differing, ...] = ()
    """What both stores have, and not alike: both stay where they are."""


def merge(store: Store, other: Store) -> Merged:
    """Copy what another store has and this one lacks. What both have is compared, and never overwritten.

    Args:
        store: gets it.
        other: is only read.

    Raises:
        DamagedCellError: a file of one of them is not what it must be; those before it are copied.
        UnreadableError: a file could not be read; likewise.
        RunError: the store cannot be written.
    """
    theirs = sorted(other.keys())
    store.prepare()
    differing = _merge_checkpoints(store, other)
    copied, rounded = 0, 0
    for key in theirs:
        if store.has(key):
            how = _difference(store, other, key)
            rounded += how == ""
            if how:
                differing.append(Differing(what=key, cell=store.footer(key), how=how))
        else:
            other._read_whole(key)
            _copy(store, other, store._samples_path(other.footer(key).samples))
            copied += _copy(store, other, store._cell_path(key))
    apart = {one.what for one in differing}
    _merge_log(store, other, apart)
    known = sum(key not in apart for key in theirs) - copied
    return Merged(copied=copied, known=known, rounded=rounded, differing=tuple(differing))


def _copy(store: Store, other: Store, path: Path) -> bool:
    source = other.root / path.relative_to(store.root)
    with reading(other.root, source):
        data = source.read_bytes()
    return store._create(path, lambda half: half.write_bytes(data))


def _merge_checkpoints(store: Store, other: Store) -> list[Differing]:
    """Before the cells: what is cut short leaves an entry too many rather than cells that belong to nobody."""
    differing = []
    for path in other._checkpoint_files():
        theirs, place = other._checkpoint(path), store.root / "checkpoints" / path.name
        if _copy(store, other, place):
            continue
        ours = store._checkpoint(place)
        if ours != theirs:
            names = [field.name for field in fields(ours) if _differ(ours, theirs, field.name)]
            how = ", ".join(f"{name} {getattr(theirs, name)!r} there, {getattr(ours, name)!r} here" for name in names)
            differing.append(Differing(what=ours.name, cell=None, how=how))
    return differing


def _differ(ours: object, theirs: object, name: str) -> bool:
    return bool(getattr(ours, name) != getattr(theirs, name))


def _difference(store: Store, other: Store, key: str) -> str | None:
    """In what a cell's rows differ; empty where only last digits do, None where nothing does."""
    ours, theirs = (one._meta(key) for one in (store, other))
    if (ours["samples"], ours["columns"]) == (theirs["samples"], theirs["columns"]):
        return None
    # One of them may be damaged; then that is said.
    return _between(store._read_whole(key), other._read_whole(key))


def _between(ours: Outcome, theirs: Outcome) -> str:
    if not (np.array_equal(ours.ids, theirs.ids) and np.array_equal(ours.labels, theirs.labels)):
        return "other samples or labels"
    if set(ours.columns) != set(theirs.columns):
        return f"other columns: {', '.join(sorted(set(ours.columns) ^ set(theirs.columns)))}"
    differing = {}
    for name, column in ours.columns.items():
        rows = _rows_apart(column, theirs.columns[name])
        if rows:
            differing[name] = rows
    return ", ".join(f"{rows:,} of {ours.n:,} rows in {name!r}" for name, rows in differing.items())


def _rows_apart(ours: Array, theirs: Array) -> int:
    if ours.shape != theirs.shape or ours.dtype.kind != theirs.dtype.kind:
        return len(ours)
    if ours.dtype.kind == "f":
        apart = ~np.isclose(ours, theirs, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)
    else:
        apart = ours != theirs
    return int(apart.reshape(len(ours), -1).any(axis=1).sum())


def _merge_log(store: Store, other: Store, apart: set[str]) -> None:
    """Their lines, but for cells whose rows here are others."""
    known = {sealed_line(line.entry) for line in read_lines(store.root / "log.jsonl") if line.entry}
    for line in read_lines(other.root / "log.jsonl"):
        if line.entry and sealed_line(line.entry) not in known and line.entry["key"] not in apart:
            store.log(line.entry)
