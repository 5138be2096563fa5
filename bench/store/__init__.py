"""The store: one Parquet file a cell, written beside and linked into place, first writer wins, never overwritten.

    STORE/cells/ab/ab12….parquet     columns of one outcome; its footer says what was measured
    STORE/samples/….parquet          ids and labels, once per set of samples
    STORE/checkpoints/….json         the registry entries behind the cells' model digests
    STORE/unfinished/KEY/            what a measure of hours keeps of a cell that is under way
    STORE/log.jsonl                  when, where and how each cell was measured
    STORE/index.sqlite               footers and computed scores; can be deleted at any time
    STORE/damaged/                   what `bench store rm --damaged` moved aside, in folders as above

The footer holds only what is deterministic, so equal work gives equal bytes.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import BenchError, RunError, one_line
from bench.machine import files
from bench.metrics import contract
from bench.records import Array, Cell, Checkpoint, Outcome, digest
from bench.store import checksums
from bench.store.columns import StoredColumns, StoredOutcome, column_digest, columns_digest, to_arrow, to_numpy
from bench.store.footers import (
    FORMAT,
    META,
    NAME,
    StoredCell,
    StoredCheckpoint,
    checkpoint_of,
    entry_of,
    meta_of,
    stored_cell,
)
from bench.store.reading import DamagedCellError, StoreFileError, UnreadableError, could_not_read, listed, reading

__all__ = [
    "DamagedCellError",
    "Store",
    "StoreFileError",
    "StoredCell",
    "StoredCheckpoint",
    "UnreadableError",
    "samples_digest",
]

_FOLDER = re.compile(r"[0-9a-f]{2}")
_READ_AT_ONCE = 2**18
"""Bytes of a file below which to read all of its columns takes hardly longer than one."""


class Store:
    """A folder of outcomes.

    Args:
        root: the folder; made at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Most cells of a store share their samples; a few sets are enough.
        self.samples = functools.lru_cache(maxsize=8)(self._read_samples)

    # -- reading ------------------------------------------------------------------------------------------

    def check_is_there(self, advice: str = "give its folder with --store DIR") -> None:
        """Make sure that there is a store.

        Args:
            advice: what to do where there is none.

        Raises:
            BenchError: there is none.
            UnreadableError: this user may not look into it.
        """
        try:
            names = os.listdir(self.root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BenchError(f"there is no store at {self.root}; {advice}.") from error
        except OSError as error:
            raise could_not_read(self.root, error) from error
        for name in {"cells", "samples", "checkpoints"} & set(names):
            listed(self.root / name)

    def keys(self) -> set[str]:
        """Keys of all stored cells.

        Raises:
            UnreadableError: a folder of the store cannot be read.
        """
        cells = self.root / "cells"
        folders = [name for name in listed(cells) if _FOLDER.fullmatch(name)]
        return {
            key
            for folder in folders
            for key, dot, ending in (name.rpartition(".") for name in listed(cells / folder))
            if dot + ending == ".parquet" and NAME.fullmatch(key) and key[:2] == folder
        }

    def has(self, key: str) -> bool:
        """Whether the cell is stored."""
        path = self._cell_path(key)
        try:
            return path.exists()
        except OSError as error:
            raise could_not_read(path, error) from error

    def stamp(self, key: str) -> str:
        """Size and time of change of a stored cell's file; another file under this name has another."""
        try:
            status = os.stat(f"{self.root}/cells/{key[:2]}/{key}.parquet")  # a Path takes longer than the file system
        except OSError as error:
            with self._reading(self._cell_path(key)):
                raise error
        return f"{status.st_size}-{status.st_mtime_ns}"

    def footer(self, key: str) -> StoredCell:
        """The footer of a stored cell.

        Raises:
            DamagedCellError: the file is cut short or otherwise not whole.
            UnreadableError: it could not be read.
        """
        return stored_cell(key, self._meta(key))

    def _meta(self, key: str) -> dict[str, Any]:
        """All that the footer of a stored cell says."""
        path = self._cell_path(key)
        with self._reading(path):
            return meta_of(key, pq.read_metadata(path.absolute()).metadata)

    def read(self, key: str) -> Outcome:
        """The outcome of a stored cell. Of a large file each column is read, and checked, when it is first asked for.

        Raises:
            DamagedCellError: its file, or that of its samples, is not what it must be; so does asking for a column.
            UnreadableError: it could not be read.
        """
        path = self._cell_path(key)
        with self._reading(path):
            if path.stat().st_size < _READ_AT_ONCE:
                return self._read_whole(key)
            footer = pq.read_metadata(path.absolute())
            meta = meta_of(key, footer.metadata)
            if "digests" not in meta:  # written before columns had digests of their own
                return self._read_whole(key)
            stored = stored_cell(key, meta)
            ids, labels = self.samples(stored.samples)
            digests = dict(meta["digests"])
            if not len(ids) == stored.n == footer.num_rows or list(digests) != footer.schema.to_arrow_schema().names:
                raise ValueError("its rows or columns do not match its footer")
            classes = meta.get("classes")
            contract.check_labels(labels, classes)
            check = functools.partial(contract.check_column, labels_N=labels, classes=classes)
            columns = StoredColumns(path, footer, digests, check, lambda: self._reading(path))
            return StoredOutcome(ids=ids, labels=labels, columns=columns)

    def _read_whole(self, key: str) -> Outcome:
        """The outcome of a stored cell, every column of it checked."""
        path = self._cell_path(key)
        with self._reading(path):
            table = pq.read_table(path.absolute(), page_checksum_verification=True, partitioning=None)
            meta = meta_of(key, table.schema.metadata)
            stored = stored_cell(key, meta)
            ids, labels = self.samples(stored.samples)
            columns = {name: to_numpy(table.column(name)) for name in table.column_names}
            digests = [[name, column_digest(name, column)] for name, column in columns.items()]
            # Parquet's checksums cover the pages, not the names, types and places in the footer.
            if len(ids) != stored.n or columns_digest(columns) != meta["columns"]:
                raise ValueError("its rows do not match its footer")
            if meta.get("digests", digests) != digests:
                raise ValueError("its columns do not match its footer")
            contract.check_labels(labels, meta.get("classes"))
            contract.check(columns, labels, meta.get("classes"))
            return Outcome(ids=ids, labels=labels, columns=columns)

    def _read_samples(self, name: str) -> tuple[Array, Array]:
        """Ids (n,) and labels (n,) of the samples with this digest; called as `samples`."""
        path = self._samples_path(name)
        with self._reading(path):
            table = pq.read_table(path.absolute(), page_checksum_verification=True, partitioning=None)
            ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
            labels = to_numpy(table.column("label"))
            if samples_digest(ids, labels) != name:
                raise ValueError("its ids and labels do not match its name")
            contract.check_samples(ids, labels, None)
            for shared in (ids, labels):
                shared.setflags(write=False)
            return ids, labels

    def checkpoints(self) -> list[StoredCheckpoint]:
        """The registry entries that the cells were measured under, by name.

        Raises:
            DamagedCellError: one is not what it must be.
            UnreadableError: one could not be read.
        """
        entries = map(self._checkpoint, self._checkpoint_files())
        return sorted(entries, key=lambda entry: (entry.name, entry.model))

    def _checkpoint_files(self) -> list[Path]:
        folder = self.root / "checkpoints"
        paths = [folder / name for name in listed(folder)]
        return [path for path in paths if path.suffix == ".json" and NAME.fullmatch(path.stem)]

    def _checkpoint(self, path: Path) -> StoredCheckpoint:
        with self._reading(path):
            stored = checkpoint_of(path.read_bytes())
            if path != self._checkpoint_path(stored.model, stored.name):
                raise ValueError("its name does not match its contents")
            return stored

    def _reading(self, path: Path) -> contextlib.AbstractContextManager[None]:
        return reading(self.root, path)

    # -- writing ------------------------------------------------------------------------------------------

    def write(self, cell: Cell, ids: Array, labels: Array, columns: Mapping[str, Array]) -> bool:
        """Store an outcome.

        Args:
            cell: what was measured.
            ids: (n,) text, the samples measured, in order.
            labels: (n,) int64.
            columns: name to (n, …) array.

        Returns:
            False where another run was first; its file stays.

        Raises:
            RunError: it is not to be stored, see `check`; or the disk is full, or the folder cannot be written.
        """
        self.check(cell, ids, labels, columns)
        meta = {
            "format": FORMAT,
            "identity": cell.identity,
            "samples": self.record_samples(ids, labels),
            **({} if cell.classes is None else {"classes": cell.classes}),
            "columns": columns_digest(columns),
            "digests": [[name, column_digest(name, column)] for name, column in columns.items()],
        }
        arrays = {name: to_arrow(column) for name, column in columns.items()}
        return self._create_table(self._cell_path(cell.key), pa.table(arrays), meta)

    def check(self, cell: Cell, ids: Array, labels: Array, columns: Mapping[str, Array]) -> None:
        """Hold an outcome against the cell and against what its columns mean, before it is stored; see `write`.

        Raises:
            RunError: the samples are not the cell's, or the columns contradict their names, each other or the labels.
        """
        if len(ids) != cell.n or any(len(column) != cell.n for column in (labels, *columns.values())):
            raise RunError(
                f"{cell.checkpoint.name}: {cell.n} samples were to be measured, "
                f"but the outcome has {sorted({len(ids), *map(len, columns.values())})} rows; nothing was stored."
            )
        try:
            contract.check_samples(ids, labels, cell.classes)
            contract.check(columns, labels, cell.classes)
        except ValueError as error:
            measure = cell.condition.measure.name
            raise RunError(
                f"{cell.checkpoint.name}: what measure {measure!r} gave is not stored, as {error}; mend the measure, "
                "or give columns of its own other names."
            ) from error

    def record_samples(self, ids: Array, labels: Array) -> str:
        """Keep the ids (n,) and labels (n,) that cells refer to; their digest."""
        name = samples_digest(ids, labels)
        rows = pa.table({"id": pa.array(ids.tolist()), "label": labels})
        self._create_table(self._samples_path(name), rows, {})
        return name

    def record_checkpoint(self, model_digest: str, checkpoint: Checkpoint) -> None:
        """Keep the registry entry behind a model digest, so that tables need no registry; the newest stands."""
        tables = {"arch_args": dict(checkpoint.arch_args), "rename": dict(checkpoint.rename)}
        entry = {**asdict(checkpoint), **tables, "model": model_digest}
        path = self._checkpoint_path(model_digest, checkpoint.name)
        text = json.dumps(checksums.sealed(entry), indent=1, sort_keys=True)
        if not _says_the_same(path, text):
            with _writing(self.root), files.replacing(path, sync=True) as half:
                half.write_text(text, encoding="utf-8")

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to `log.jsonl`, in one call: runs at once do not write into each other's lines."""
        line = (checksums.sealed_line(entry) + "\n").encode()
        with _writing(self.root):
            fd = os.open(self.root / "log.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                if _ends_in_half_a_line(fd):
                    line = b"\n" + line
                if os.write(fd, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)

    def prepare(self) -> None:
        """Make the folder and remove what runs killed on this host left half-written.

        Raises:
            RunError: the folder cannot be written.
        """
        with _writing(self.root):
            for folder in ("cells", "samples", "checkpoints"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self.tidy()

    def tidy(self) -> None:
        """Remove what killed runs left half-written, as far as this user may."""
        files.tidy(self.root)

    def remove(self, key: str) -> None:
        """Delete a stored cell.

        Raises:
            RunError: the folder cannot be written.
        """
        with _writing(self.root):
            self._cell_path(key).unlink(missing_ok=True)

    def move_aside(self, path: Path) -> Path:
        """Move a file of the store to where nothing looks for it, below `damaged`; its new place.

        Raises:
            RunError: the folder cannot be written.
        """
        wanted = self.root / "damaged" / path.relative_to(self.root)
        with _writing(self.root):
            return files.move(path, wanted)

    def _create_table(self, path: Path, table: pa.Table, meta: Mapping[str, Any]) -> bool:
        text = json.dumps(meta, sort_keys=True)
        table = table.replace_schema_metadata({META: text.encode()})
        options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "store_schema": True}
        # Absolute: Arrow takes a relative path with a colon for a URI.
        return self._create(path, lambda half: pq.write_table(table, half.absolute(), **options))

    def _create(self, path: Path, write: Callable[[Path], object]) -> bool:
        """Write a file where there is none; False where there is one."""
        with _writing(self.root):
            return files.create(path, write)

    def _cell_path(self, key: str) -> Path:
        return self.root / "cells" / key[:2] / f"{key}.parquet"

    def _samples_path(self, name: str) -> Path:
        return self.root / "samples" / f"{name}.parquet"

    def _checkpoint_path(self, model_digest: str, name: str) -> Path:
        return self.root / "checkpoints" / f"{digest([model_digest, name])[:32]}.json"


def samples_digest(ids: Array, labels: Array) -> str:
    """32 hexadecimal digits over ids and labels in order."""
    text = "".join(f"{i}\0{int(label)}\n" for i, label in zip(ids, labels, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _says_the_same(path: Path, text: str) -> bool:
    """Whether a checkpoint's file holds this entry already; where its weights lie is another place on each machine."""
    try:
        kept = path.read_bytes()
        same = {**entry_of(kept), "weights": ""} == {**entry_of(text.encode()), "weights": ""}
        return same and "digest" in json.loads(kept)  # older versions wrote none
    except (OSError, ValueError):  # missing or damaged
        return False


def _ends_in_half_a_line(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else one_line(error)
        raise RunError(
            f"the store {root} cannot be written: {reason}. Make room or give another folder with --store DIR; "
            "what is stored stays, and running again goes on from there."
        ) from error
