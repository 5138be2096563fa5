"""The store: one Parquet file a cell, written beside and linked into place, first writer wins, never overwritten.

    STORE/cells/ab/ab12….parquet     columns of one outcome; its footer says what was measured
    STORE/samples/….parquet          ids and labels, once per set of samples
    STORE/checkpoints/….json         the registry entries behind the cells' model digests
    STORE/unfinished/KEY/            what a measure of hours keeps of a cell that is under way
    STORE/log.jsonl                  when, where and how each cell was measured
    STORE/index.sqlite               footers and computed scores; can be deleted at any time

The footer holds only what is deterministic, so equal work gives equal bytes.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import RunError, one_line
from bench.machine import files
from bench.records import Array, Cell, Checkpoint, Outcome, digest
from bench.store.columns import StoredColumns, StoredOutcome, column_digest, columns_digest, to_arrow, to_numpy

FORMAT = 1
"""Bumped when files of an older form can no longer be read."""
_META = b"bench"
_READ_AT_ONCE = 2**18
"""Bytes of a file below which to read all of its columns takes hardly longer than one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCell:
    """What the footer of a stored cell says."""

    key: str
    identity: Mapping[str, Any]
    """`Cell.identity` of the cell that was measured."""
    samples: str
    """Digest of its ids and labels; the name of their file."""

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.identity["n"])


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """What tables show of a checkpoint; the file beside the cells holds its whole registry entry."""

    name: str
    model: str
    """Model digest, as in the cells' identity."""
    family: str
    sam: str
    pairs_with: str
    pair_differs: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Cells of another store."""

    copied: int
    known: int
    """Those that were here already."""


class DamagedCellError(RunError):
    """A file of the store that cannot be read whole."""

    def __init__(self, root: Path, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged ({reason}); `bench store rm --damaged --store {root}` removes such files, "
            "and running again measures those cells anew."
        )
        self.path = path


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

    def keys(self) -> set[str]:
        """Keys of all stored cells."""
        return {path.stem for path in self.root.glob("cells/*/*.parquet") if path.parent.name == path.stem[:2]}

    def has(self, key: str) -> bool:
        """Whether the cell is stored."""
        return self._cell_path(key).exists()

    def stamp(self, key: str) -> str:
        """Size and time of change of a stored cell's file; another file under this name has another."""
        path = self._cell_path(key)
        with self._reading(path):
            status = path.stat()
            return f"{status.st_size}-{status.st_mtime_ns}"

    def footer(self, key: str) -> StoredCell:
        """The footer of a stored cell.

        Raises:
            DamagedCellError: the file is cut short or otherwise unreadable.
        """
        path = self._cell_path(key)
        with self._reading(path):
            return _stored_cell(key, json.loads(pq.read_metadata(path).metadata[_META]))

    def read(self, key: str) -> Outcome:
        """The outcome of a stored cell. Of a large file each column is read, and checked, when it is first asked for.

        Raises:
            DamagedCellError: its file, or that of its samples, cannot be read whole; so does asking for a column.
        """
        path = self._cell_path(key)
        with self._reading(path):
            if path.stat().st_size < _READ_AT_ONCE:
                return self._read_whole(key)
            footer = pq.read_metadata(path)
            meta = json.loads(footer.metadata[_META])
            if "digests" not in meta:  # written before columns had digests of their own
                return self._read_whole(key)
            stored = _stored_cell(key, meta)
            ids, labels = self.samples(stored.samples)
            digests = dict(meta["digests"])
            if not len(ids) == stored.n == footer.num_rows or list(digests) != footer.schema.to_arrow_schema().names:
                raise ValueError("its rows or columns do not match its footer")
            columns = StoredColumns(path, footer, digests, lambda: self._reading(path))
            return StoredOutcome(ids=ids, labels=labels, columns=columns)

    def _read_whole(self, key: str) -> Outcome:
        """The outcome of a stored cell, every column of it checked."""
        path = self._cell_path(key)
        with self._reading(path):
            table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
            meta = json.loads(table.schema.metadata[_META])
            stored = _stored_cell(key, meta)
            ids, labels = self.samples(stored.samples)
            columns = {name: to_numpy(table.column(name)) for name in table.column_names}
            digests = [[name, column_digest(name, column)] for name, column in columns.items()]
            # Parquet's checksums cover the pages, not the names, types and places in the footer.
            if len(ids) != stored.n or columns_digest(columns) != meta["columns"]:
                raise ValueError("its rows do not match its footer")
            if meta.get("digests", digests) != digests:
                raise ValueError("its columns do not match its footer")
            return Outcome(ids=ids, labels=labels, columns=columns)

    def _read_samples(self, name: str) -> tuple[Array, Array]:
        """Ids (n,) and labels (n,) of the samples with this digest; called as `samples`."""
        path = self._samples_path(name)
        with self._reading(path):
            table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
            ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
            labels = to_numpy(table.column("label"))
            if samples_digest(ids, labels) != name:
                raise ValueError("its ids and labels do not match its name")
            for shared in (ids, labels):
                shared.setflags(write=False)
            return ids, labels

    def checkpoints(self) -> list[StoredCheckpoint]:
        """The registry entries that the cells were measured under, by name."""
        entries = map(self._checkpoint, self.root.glob("checkpoints/*.json"))
        return sorted(entries, key=lambda entry: (entry.name, entry.model))

    def damaged(self) -> list[tuple[Path, str]]:
        """Every file that cannot be read whole, with the reason. Reads the whole store."""
        reasons: dict[Path, str] = {}
        for path in sorted([*self.root.glob("*/**/*.parquet"), *self.root.glob("checkpoints/*.json")]):
            try:
                self._check(path)
            except DamagedCellError as error:
                reasons[error.path] = str(error)
        return list(reasons.items())

    def _check(self, path: Path) -> None:
        if path.parent.name == "checkpoints":
            self._checkpoint(path)
        elif path == self._samples_path(path.stem):
            self.samples(path.stem)
        elif path == self._cell_path(path.stem):
            self._read_whole(path.stem)
        else:
            raise DamagedCellError(self.root, path, "it lies where its name does not belong")

    def _checkpoint(self, path: Path) -> StoredCheckpoint:
        with self._reading(path):
            entry = json.loads(path.read_text(encoding="utf-8"))
            entry.setdefault("pair_differs", "")  # older stores lack it
            stored = StoredCheckpoint(**{f.name: entry[f.name] for f in fields(StoredCheckpoint)})
            if path != self._checkpoint_path(stored.model, stored.name):
                raise ValueError("its name does not match its contents")
            return stored

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except DamagedCellError:
            raise
        except FileNotFoundError as error:
            raise DamagedCellError(self.root, path, "the file is missing") from error
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise DamagedCellError(self.root, path, one_line(error)) from error

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
            RunError: the samples are not the cell's, or the disk is full, or the folder cannot be written.
        """
        if len(ids) != cell.n or any(len(column) != cell.n for column in columns.values()):
            raise RunError(
                f"{cell.checkpoint.name}: {cell.n} samples were to be measured, "
                f"but the outcome has {sorted({len(ids), *map(len, columns.values())})} rows; nothing was stored."
            )
        meta = {
            "format": FORMAT,
            "identity": cell.identity,
            "samples": self.record_samples(ids, labels),
            "columns": columns_digest(columns),
            "digests": [[name, column_digest(name, column)] for name, column in columns.items()],
        }
        arrays = {name: to_arrow(column) for name, column in columns.items()}
        return self._create_table(self._cell_path(cell.key), pa.table(arrays), meta)

    def record_samples(self, ids: Array, labels: Array) -> str:
        """Keep the ids (n,) and labels (n,) that cells refer to; their digest."""
        name = samples_digest(ids, labels)
        rows = pa.table({"id": pa.array(ids.tolist()), "label": labels})
        self._create_table(self._samples_path(name), rows, {})
        return name

    def record_checkpoint(self, model_digest: str, checkpoint: Checkpoint) -> None:
        """Keep the registry entry behind a model digest, so that tables need no registry; the newest stands."""
        entry = {**asdict(checkpoint), "arch_args": dict(checkpoint.arch_args), "model": model_digest}
        path = self._checkpoint_path(model_digest, checkpoint.name)
        text = json.dumps(entry, indent=1, sort_keys=True)
        if not _says_the_same(path, text):
            with _writing(self.root), files.replacing(path, sync=True) as half:
                half.write_text(text, encoding="utf-8")

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to `log.jsonl`, in one call: runs at once do not write into each other's lines."""
        line = (json.dumps(entry, sort_keys=True) + "\n").encode()
        with _writing(self.root):
            fd = os.open(self.root / "log.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
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
        """Delete a stored cell."""
        self._cell_path(key).unlink(missing_ok=True)

    def merge(self, other: "Store") -> Merged:
        """Copy what `other` has and this store lacks.

        Raises:
            DamagedCellError: a file of `other` cannot be read whole; those before it are copied.
        """
        self.prepare()
        copied = 0
        theirs = sorted(other.keys())
        for key in theirs:
            if self.has(key):
                continue
            other._read_whole(key)
            self._copy(other, self._samples_path(other.footer(key).samples))
            copied += self._copy(other, self._cell_path(key))
        for path in other.root.glob("checkpoints/*.json"):
            other._checkpoint(path)
            self._copy(other, self.root / "checkpoints" / path.name)
        self._merge_log(other)
        return Merged(copied=copied, known=len(theirs) - copied)

    def _copy(self, other: "Store", path: Path) -> bool:
        source = other.root / path.relative_to(self.root)
        return self._create(path, lambda half: half.write_bytes(source.read_bytes()))

    def _merge_log(self, other: "Store") -> None:
        theirs, ours = other.root / "log.jsonl", self.root / "log.jsonl"
        known = set(ours.read_text(encoding="utf-8").splitlines()) if ours.exists() else set()
        for line in theirs.read_text(encoding="utf-8").splitlines() if theirs.exists() else []:
            if line not in known and line.endswith("}"):  # not half a line, from a full disk
                self.log(json.loads(line))

    def _create_table(self, path: Path, table: pa.Table, meta: Mapping[str, Any]) -> bool:
        text = json.dumps(meta, sort_keys=True)
        table = table.replace_schema_metadata({_META: text.encode()})
        return self._create(
            path,
            lambda half: pq.write_table(table, half, compression="zstd", write_page_checksum=True, store_schema=True),
        )

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
        kept, entry = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        return bool({**kept, "weights": ""} == {**entry, "weights": ""})
    except (OSError, ValueError, TypeError):  # missing or damaged
        return False


def _stored_cell(key: str, meta: Mapping[str, Any]) -> StoredCell:
    if meta["format"] != FORMAT:
        raise ValueError(f"its format is {meta['format']}, and this version of rtbench reads {FORMAT}")
    if digest(meta["identity"])[:32] != key:
        raise ValueError("its name does not match its footer")
    return StoredCell(key=key, identity=meta["identity"], samples=meta["samples"])


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
