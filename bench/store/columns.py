"""The columns of an outcome as a Parquet file keeps them: each is read, and checked, when it is asked for."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from bench.records import Array, Outcome


class StoredColumns(Mapping[str, Array]):
    """Columns by name; each is read once, and held against what its name means and the columns that it follows from.

    Args:
        path: the file, which is opened for each column: a suite has hundreds of cells.
        metadata: of it.
        digests: of each column, in order.
        check: takes a column's name and what gives all columns as they are; raises ValueError.
        reading: what to read within: it makes one error of all that can go wrong with the file.
    """

    def __init__(
        self,
        path: Path,
        metadata: pq.FileMetaData,
        digests: Mapping[str, str],
        check: Callable[[str, Mapping[str, Array]], None],
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._as_they_are = _ColumnsOfAFile(path, metadata, digests)
        self._check, self._reading = check, reading
        self._checked: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        if name in self and name not in self._checked:
            with self._reading():
                self._check(name, self._as_they_are)
            self._checked.add(name)
        return self._as_they_are[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_they_are)

    def __len__(self) -> int:
        return len(self._as_they_are)

    def __contains__(self, name: object) -> bool:
        return name in self._as_they_are


class _ColumnsOfAFile(Mapping[str, Array]):
    """Columns with the digests that the footer has of them, whatever they mean."""

    def __init__(self, path: Path, metadata: pq.FileMetaData, digests: Mapping[str, str]) -> None:
        self._path, self._metadata, self._digests = path, metadata, digests
        self._read: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            digest = self._digests[name]
            with pq.ParquetFile(
                self._path.absolute(), metadata=self._metadata, page_checksum_verification=True
            ) as file:
                column = to_numpy(file.read(columns=[name], use_threads=False).column(name))
            # Parquet's checksums cover the pages, not the names, types and places in the footer.
            if column_digest(name, column) != digest:
                raise ValueError(f"its column {name!r} does not match its footer")
            self._read[name] = column
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, name: object) -> bool:
        return name in self._digests


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredOutcome(Outcome):
    """An outcome whose columns are still in their file."""

    def __post_init__(self) -> None:
        """The file's footer has told the rows, and reading a column checks them."""


def columns_digest(columns: Mapping[str, Array]) -> str:
    """SHA-256 over names, types, values a row and values, in order; 32 hexadecimal digits."""
    h = hashlib.sha256()
    for name, column in columns.items():
        for part in _parts(name, column):
            h.update(part)
    return h.hexdigest()[:32]


def column_digest(name: str, column: Array) -> str:
    """XXH3 over the same of one column; 32 hexadecimal digits. To read a column takes less than its SHA-256 would."""
    h = xxhash.xxh3_128()
    for part in _parts(name, column):
        h.update(part)
    return h.hexdigest()


def _parts(name: str, column: Array) -> tuple[bytes | memoryview, ...]:
    rows = column.reshape(len(column), -1)
    if rows.dtype.kind in "OU":  # text, which reads back as Python's own
        return (f"{name}\0text\0{rows.shape[1]}\0{json.dumps(rows.tolist())}".encode(),)
    return f"{name}\0{rows.dtype.str}\0{rows.shape[1]}\0".encode(), np.ascontiguousarray(rows).data


def to_arrow(column: Array) -> pa.Array:
    """A column (n,) or (n, m) for a Parquet file."""
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column[0].size)


def to_numpy(column: pa.ChunkedArray) -> Array:
    """A column as `to_arrow` was given it."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)  # type: ignore[no-any-return]
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
