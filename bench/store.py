"""The store: one Parquet file a cell, written beside and linked into place, first writer wins, never overwritten.

    STORE/cells/ab/ab12….parquet     columns of one outcome; its footer says what was measured
    STORE/samples/….parquet          ids and labels, once per set of samples
    STORE/checkpoints/….json         the registry entries behind the cells' model digests
    STORE/log.jsonl                  when, where and how each cell was measured
    STORE/index.sqlite               footers and computed scores; can be deleted at any time

The footer holds only what is deterministic, so equal work gives equal bytes.
"""

import contextlib
import errno
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import RunError
from bench.records import Array, Cell, Checkpoint, Outcome, digest

FORMAT = 1
"""Bumped when files of an older form can no longer be read."""
_META = b"bench"


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


class DamagedCellError(RunError):
    """A file of the store that cannot be read whole."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged ({reason}); `bench store rm --damaged --store {path.parents[2]}` removes such files, "
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

    # -- reading ------------------------------------------------------------------------------------------

    def keys(self) -> set[str]:
        """Keys of all stored cells."""
        return {path.stem for path in self.root.glob("cells/*/*.parquet")}

    def has(self, key: str) -> bool:
        """Whether the cell is stored."""
        return self._cell_path(key).exists()

    def footer(self, key: str) -> StoredCell:
        """The footer of a stored cell.

        Raises:
            DamagedCellError: the file is cut short or otherwise unreadable.
        """
        path = self._cell_path(key)
        with _reading(path):
            meta = json.loads(pq.read_schema(path).metadata[_META])
            return StoredCell(key=key, identity=meta["identity"], samples=meta["samples"])

    def read(self, key: str) -> Outcome:
        """The outcome of a stored cell.

        Raises:
            DamagedCellError: its file, or that of its samples, cannot be read whole.
        """
        path = self._cell_path(key)
        with _reading(path):
            table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
            meta = json.loads(table.schema.metadata[_META])
            ids, labels = self.samples(meta["samples"])
            columns = {name: _to_numpy(table.column(name)) for name in table.column_names}
            return Outcome(ids=ids, labels=labels, columns=columns)

    def samples(self, name: str) -> tuple[Array, Array]:
        """Ids (n,) and labels (n,) of the samples with this digest."""
        path = self._samples_path(name)
        with _reading(path):
            table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
            ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
            labels = _to_numpy(table.column("label"))
            if samples_digest(ids, labels) != name:
                raise ValueError("its ids and labels do not match its name")
            return ids, labels

    def checkpoints(self) -> list[StoredCheckpoint]:
        """The registry entries that the cells were measured under, by name."""
        found = []
        for path in self.root.glob("checkpoints/*.json"):
            with _reading(path):
                entry = json.loads(path.read_text())
                found.append(StoredCheckpoint(**{f.name: entry[f.name] for f in fields(StoredCheckpoint)}))
        return sorted(found, key=lambda entry: (entry.name, entry.model))

    def damaged(self) -> list[tuple[Path, str]]:
        """Every file that cannot be read whole, with the reason. Reads the whole store."""
        found = []
        for path in sorted(self.root.glob("cells/*/*.parquet")):
            try:
                stored, outcome = self.footer(path.stem), self.read(path.stem)
                if path.stem != digest(stored.identity)[:32]:
                    raise DamagedCellError(path, "its name does not match its footer")
                if outcome.n != stored.n:
                    raise DamagedCellError(path, f"{outcome.n} rows where the footer says {stored.n}")
            except DamagedCellError as error:
                found.append((error.path, str(error)))
        return list(dict(found).items())

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
        samples = samples_digest(ids, labels)
        meta = {"format": FORMAT, "identity": cell.identity, "samples": samples}
        rows = pa.table({"id": pa.array(ids.tolist()), "label": labels})
        self._publish_table(self._samples_path(samples), rows, {})
        arrays = {name: _to_arrow(column) for name, column in columns.items()}
        return self._publish_table(self._cell_path(cell.key), pa.table(arrays), meta)

    def record_checkpoint(self, model_digest: str, checkpoint: Checkpoint) -> None:
        """Keep the registry entry behind a model digest, so that tables need no registry."""
        entry = {**asdict(checkpoint), "arch_args": dict(checkpoint.arch_args), "model": model_digest}
        path = self.root / "checkpoints" / f"{digest([model_digest, checkpoint.name])[:32]}.json"
        text = json.dumps(entry, indent=1, sort_keys=True)
        self._publish(path, lambda temporary: temporary.write_text(text))

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to `log.jsonl`; a line is written whole or not at all."""
        line = json.dumps(entry, sort_keys=True) + "\n"
        with _writing(self.root):
            fd = os.open(self.root / "log.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(fd, line.encode())
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
        for temporary in self.root.glob("*/**/.*.tmp"):
            _, host, pid, *_ = temporary.name.split("~")
            if host == socket.gethostname() and not _alive(int(pid)):
                temporary.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Delete a stored cell."""
        self._cell_path(key).unlink(missing_ok=True)

    def merge(self, other: "Store") -> tuple[int, int]:
        """Copy what `other` has and this store lacks.

        Returns:
            Cells copied, cells that were here already.

        Raises:
            DamagedCellError: a cell of `other` cannot be read whole; those before it are copied.
        """
        self.prepare()
        copied = 0
        theirs = sorted(other.keys())
        for key in theirs:
            if self.has(key):
                continue
            other.read(key)
            self._copy(other, self._samples_path(other.footer(key).samples))
            copied += self._copy(other, self._cell_path(key))
        for path in other.root.glob("checkpoints/*.json"):
            self._copy(other, self.root / "checkpoints" / path.name)
        self._merge_log(other)
        return copied, len(theirs) - copied

    def _copy(self, other: "Store", path: Path) -> bool:
        source = other.root / path.relative_to(self.root)
        return self._publish(path, lambda temporary: temporary.write_bytes(source.read_bytes()))

    def _merge_log(self, other: "Store") -> None:
        theirs, ours = other.root / "log.jsonl", self.root / "log.jsonl"
        known = set(ours.read_text().splitlines()) if ours.exists() else set()
        for line in theirs.read_text().splitlines() if theirs.exists() else []:
            if line not in known:
                self.log(json.loads(line))

    def _publish_table(self, path: Path, table: pa.Table, meta: Mapping[str, Any]) -> bool:
        text = json.dumps(meta, sort_keys=True)
        table = table.replace_schema_metadata({_META: text.encode()})
        return self._publish(
            path,
            lambda temporary: pq.write_table(
                table, temporary, compression="zstd", write_page_checksum=True, store_schema=True
            ),
        )

    def _publish(self, path: Path, write: Any) -> bool:
        """Write a file beside its place and link it in whole; False where the place is taken."""
        if path.exists():
            return False
        unique = f".{path.stem}~{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex}~.tmp"
        temporary = path.parent / unique
        with _writing(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(temporary)
                _sync(temporary)
                return _link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def _cell_path(self, key: str) -> Path:
        return self.root / "cells" / key[:2] / f"{key}.parquet"

    def _samples_path(self, name: str) -> Path:
        return self.root / "samples" / f"{name}.parquet"


def samples_digest(ids: Array, labels: Array) -> str:
    """32 hexadecimal digits over ids and labels in order."""
    text = "".join(f"{i}\0{int(label)}\n" for i, label in zip(ids, labels, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _to_arrow(column: Array) -> pa.Array:
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column[0].size)


def _to_numpy(column: pa.ChunkedArray) -> Array:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)  # type: ignore[no-any-return]
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # A file system without hard links; two first writers would replace each other's equal bytes.
        os.replace(temporary, path)
    return True


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedCellError:
        raise
    except FileNotFoundError as error:
        raise DamagedCellError(path, "the file is missing") from error
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DamagedCellError(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"the store {root} cannot be written: {reason}. Make room or give another folder with --store DIR; "
            "what is stored stays, and running again goes on from there."
        ) from error
