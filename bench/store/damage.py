"""Every file of a store is read whole: which are damaged, which could not be read, which cells belong to nobody.

Only what the store writes is looked at, by place and name; what else lies in its folder is not its business.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.store import DamagedCellError, Store, UnreadableError
from bench.store.footers import NAME
from bench.store.log import read_lines
from bench.store.reading import listed, reading


@dataclass(kw_only=True, slots=True)
class Findings:
    """What reading a whole store found."""

    damaged: dict[Path, str] = field(default_factory=dict)
    """Files that were read and are not what they must be, or are missing, with a sentence each."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that could not be read, whatever they hold, with a sentence each."""
    nameless: list[str] = field(default_factory=list)
    """Keys of whole cells of whose model no checkpoint is kept: no table can show them."""


def examine(store: Store) -> Findings:
    """Read every file of a store whole.

    Raises:
        UnreadableError: a folder of the store cannot be read.
    """
    found, models = Findings(), set()
    for path in _files(store):
        try:
            if path.parent.name == "checkpoints":
                models.add(store._checkpoint(path).model)
            else:
                _check(store, path)
        except DamagedCellError as error:
            found.damaged[error.path] = str(error)
        except UnreadableError as error:
            found.unreadable[error.path] = str(error)
    broken = found.damaged.keys() | found.unreadable.keys()
    if not any(path.parent.name == "checkpoints" for path in broken):
        whole = [key for key in sorted(store.keys()) if store._cell_path(key) not in broken]
        found.nameless += [key for key in whole if store.footer(key).identity["model"] not in models]
    return found


def move_aside(store: Store, found: Findings) -> dict[Path, Path]:
    """Move damaged files below `damaged` in the store; of the log, what can still be read stays.

    Returns:
        Where each was, to where it is now.

    Raises:
        RunError: the store cannot be written.
    """
    moved = {}
    for path in found.damaged:
        if path.exists():
            lines = read_lines(path) if path == store.root / "log.jsonl" else []
            moved[path] = store.move_aside(path)
            for line in lines:
                if line.entry:
                    store.log(line.entry)
    return moved


def _files(store: Store) -> Iterator[Path]:
    """Checkpoints first; then samples, cells, also those in a folder that is not theirs, and the log."""
    yield from store._checkpoint_files()
    folders = [store.root / "samples"]
    cells = store.root / "cells"
    with reading(store.root, cells):
        folders += [cells / name for name in listed(cells) if (cells / name).is_dir()]
    for folder in folders:
        for path in (folder / name for name in listed(folder)):
            if path.suffix == ".parquet" and NAME.fullmatch(path.stem):
                yield path
    yield store.root / "log.jsonl"


def _check(store: Store, path: Path) -> None:
    if path.name == "log.jsonl":
        faults = [line for line in read_lines(path) if line.fault]
        if faults:
            raise DamagedCellError(
                store.root,
                path,
                f"{len(faults)} of its lines, the first of them line {faults[0].number}: {faults[0].fault}",
            )
    elif path == store._samples_path(path.stem):
        store.samples(path.stem)
    elif path == store._cell_path(path.stem):
        store._read_whole(path.stem)
    else:
        raise DamagedCellError(store.root, path, "it lies where its name does not belong")
