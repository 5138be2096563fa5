"""Images and labels in Parquet files, as the hub stores data sets; a row group in memory at a time."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.datasets.readers.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    any_uncompressed,
    blobs,
    choose_column,
    class_label_names,
    label_indices,
    lengths,
)
from bench.datasets.readers.stamps import check_unchanged, stamp_of, stamps_within
from bench.errors import AbsentError, BenchError, RunError, one_line
from bench.records import Array, ClassSpace

_SPLITS = ("train", "validation", "test")
_WORDS = {"val": "validation", "valid": "validation"}
"""What file names also have for a split."""
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
"""The hub's names for parts: SPLIT-00000-of-00003, once with a digest behind."""


@dataclass(eq=False)
class ParquetSamples:
    """Samples of a Parquet file, or of a folder of them. May be copied to worker processes.

    Ids are row numbers in the order of the files (`test/00000123`): they are unique and the same on every machine
    and in every copy of the rows, however these are cut into files. The paths that some files carry are neither:
    many are null, repeat in each class or shard, or come from the disk of whoever made the file.

    Args:
        place: a file, or a folder that holds the split's files: `test.parquet`, `test-00000-of-00003.parquet` and
            its like, or any in a folder `test`; also one folder deeper.
        class_space: whose indices the labels become.
        split: which files of a folder, and the first part of every id.
        name: of the data set, for messages.
        image_column: empty for the usual names.
        label_column: empty for the usual names.

    Raises:
        AbsentError: no file of the split is there.
        BenchError: a column or a label is not as needed.
        RunError: a file is damaged, or some are missing.
    """

    place: Path
    class_space: ClassSpace
    split: str
    name: str
    image_column: str = ""
    label_column: str = ""
    ids: Array = field(init=False, repr=False)
    labels: Array = field(init=False, repr=False)
    sizes: Array = field(init=False, repr=False)
    stamps: Array = field(init=False, repr=False)
    uncompressed: bool = field(init=False, repr=False)
    """Whether there are images of a format whose files have one size whatever they show."""
    class_names: tuple[str, ...] | None = field(init=False, repr=False)
    """What the data calls its classes, where it does."""

    def __post_init__(self) -> None:
        files = [_File.open(path, self) for path in split_files(self.place, self.split, self.name)]
        self._files = files
        self.class_names = files[0].class_names
        self.labels = np.concatenate([file.labels for file in files])
        self.sizes = np.concatenate([file.sizes for file in files])
        self.ids = np.array([f"{self.split}/{row:08d}" for row in range(len(self.labels))], dtype=np.str_)
        self._first_rows = np.cumsum([0, *(len(file.labels) for file in files)])
        self.stamps = np.concatenate([stamps_within(file.stamp, np.arange(len(file.labels))) for file in files])
        self.uncompressed = any(file.uncompressed for file in files)
        self._last = files[0]

    def read(self, index: int) -> bytes:
        """The bytes of the image file in row `index`.

        Raises:
            RunError: the file is damaged, or has changed since it was opened.
        """
        file, row = self._locate(index)
        if file is not self._last:
            self._last.close()
            self._last = file
        return file.read(row)

    def stamp(self, index: int) -> int:
        """The stamp of the file that was there when the split was opened, and the row."""
        return int(self.stamps[index])

    def _locate(self, index: int) -> tuple["_File", int]:
        number = int(np.searchsorted(self._first_rows, index, side="right")) - 1
        return self._files[number], index - int(self._first_rows[number])


@dataclass(eq=False)
class _File:
    """One file, with the row group that was read last."""

    path: Path
    image_column: str
    class_names: tuple[str, ...] | None
    stamp: int
    uncompressed: bool
    labels: Array = field(repr=False)
    sizes: Array = field(repr=False)
    first_rows: Array = field(repr=False)
    """(row groups + 1,) int64: the row that each group begins with, then the number of rows."""
    _reader: Any = field(default=None, repr=False)
    _group: tuple[int, Any] = field(default=(-1, None), repr=False)

    @classmethod
    def open(cls, path: Path, samples: ParquetSamples) -> "_File":
        subject = f"{path} ({samples.name})"
        with _faults(path):
            stamp = stamp_of(path.stat())
        uncompressed = False
        with _faults(path), pq.ParquetFile(path) as reader:
            schema = reader.schema_arrow
            image = choose_column(schema.names, samples.image_column, IMAGE_COLUMNS, "image", subject)
            label = choose_column(schema.names, samples.label_column, LABEL_COLUMNS, "label", subject)
            groups = [reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)]
            first_rows = np.cumsum([0, *groups])
            # A group at a time: the lengths are wanted, not gigabytes of images.
            sizes = []
            for i in range(reader.num_row_groups):
                images = _images(reader, i, image, subject)
                sizes.append(lengths(images, subject, int(first_rows[i])))
                uncompressed = uncompressed or any_uncompressed(images)
            values = reader.read(columns=[label], use_threads=False)[label]
        check_unchanged(path, stamp)
        names = class_label_names(schema.metadata, label)
        return cls(
            path=path,
            image_column=image,
            class_names=names,
            stamp=stamp,
            uncompressed=uncompressed,
            labels=label_indices(values, names, samples.class_space, subject),
            sizes=np.concatenate([np.empty(0, dtype=np.int64), *sizes]),
            first_rows=first_rows,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_group": (-1, None)}

    def read(self, row: int) -> bytes:
        number = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        if self._group[0] != number:
            with _faults(self.path):
                group = _images(self._opened(), number, self.image_column, str(self.path))
            check_unchanged(self.path, self.stamp)
            self._group = (number, group)
        return bytes(self._group[1][row - int(self.first_rows[number])].as_py())

    def _opened(self) -> Any:
        if self._reader is None:
            check_unchanged(self.path, self.stamp)  # before what Arrow says of other bytes
            self._reader = pq.ParquetFile(self.path)
        return self._reader

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._group = None, (-1, None)


def _images(reader: Any, group: int, column: str, subject: str) -> pa.ChunkedArray:
    struct = pa.types.is_struct(reader.schema_arrow.field(column).type)
    # One thread: Arrow's pool would be copied half-alive into worker processes.
    table = reader.read_row_group(group, columns=[f"{column}.bytes" if struct else column], use_threads=False)
    if column not in table.column_names:
        raise BenchError(
            f"the image column {column!r} of {subject} holds no bytes of image files; obtain the data again."
        )
    return blobs(table[column], subject)


class _faults:
    """Turns what Arrow raises on a damaged file into one sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError):
            raise RunError(
                f"{self.path} is no whole Parquet file ({one_line(error)}), so it is damaged or cut short; "
                "obtain it again."
            ) from error


def split_files(place: Path, split: str, subject: str) -> list[Path]:
    """The Parquet files of a split, in order.

    Raises:
        AbsentError: there is none.
        BenchError: several folders have one.
        RunError: `-of-00003` promises files that are not there.
    """
    if place.is_file():
        named = _split_of(place)
        if named in _SPLITS and named != _canonical(split):
            raise AbsentError(
                f"split {split!r} of {subject} is wanted, but {place} is by its name the split {named!r}; "
                "name the folder that holds both."
            )
        return [place]
    if not place.is_dir():
        raise AbsentError(
            f"there is no file or folder {place}, the place that was given for {subject}; check the path."
        )
    files = _named(place, split) or _unnamed(place)
    if not files:
        raise AbsentError(
            f"{place} holds no Parquet file of split {split!r} of {subject}: {split}.parquet or "
            f"{split}-00000-of-00001.parquet was looked for, there and one folder deeper."
        )
    folders = sorted({path.parent for path in files})
    if len(folders) > 1:
        raise BenchError(
            f"split {split!r} of {subject} is in several folders of {place}: "
            f"{', '.join(folder.name for folder in folders)}; give one of them as its place."
        )
    _check_shards(files, subject)
    return files


def _split_of(path: Path) -> str:
    shard = _SHARD.fullmatch(path.stem)
    return _canonical(shard[1] if shard else path.stem)


def _canonical(name: str) -> str:
    return _WORDS.get(name, name)


def _named(place: Path, split: str) -> list[Path]:
    files = sorted([*place.glob("*.parquet"), *place.glob("*/*.parquet")])
    wanted = _canonical(split)
    by_name = [path for path in files if _split_of(path) == wanted]
    return by_name or [path for path in files if path.parent != place and _canonical(path.parent.name) == wanted]


def _unnamed(place: Path) -> list[Path]:
    """A folder whose files name no split is one split."""
    files = sorted(place.glob("*.parquet"))
    return [] if any(_split_of(path) in _SPLITS for path in files) else files


def _check_shards(files: list[Path], subject: str) -> None:
    shards = [shard for path in files if (shard := _SHARD.fullmatch(path.stem))]
    if not shards:
        return
    count = max(int(shard[3]) for shard in shards)
    missing = sorted(set(range(count)) - {int(shard[2]) for shard in shards})
    if missing:
        raise RunError(
            f"{len(missing)} of the {count} files of {subject} are missing in {files[0].parent} (the first is number "
            f"{missing[0]:05d}); obtain them too."
        )
