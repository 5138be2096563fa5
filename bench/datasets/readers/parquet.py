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
    is_list,
    labels_and_sets,
    lengths,
    padded,
)
from bench.datasets.readers.files import whole
from bench.datasets.readers.passed_over import visible
from bench.datasets.readers.splits import SPLITS, canonical, check_same_split, names_split, split_words
from bench.datasets.readers.stamps import check_unchanged, stamp_of, stamps_within
from bench.errors import AbsentError, BenchError, RunError
from bench.records import Array, ClassSpace
from bench.text import size, some

_KIND = "Parquet file"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
"""The hub's names for parts: SPLIT-00000-of-00003, once with a digest behind."""

_ROWS_AT_ONCE = 64
"""Whose images are in memory while their lengths are counted."""
_MOST_ROWS = 2**25
"""ImageNet-21k, the largest set with labels, has 14 million images."""
_MOST_GROUP, _MOST_UNPACKED = 2**30, 20
"""Bytes of a row group, and how often more than the file has; images are packed already, and hardly shrink again."""


@dataclass(eq=False)
class ParquetSamples:
    """Samples of a Parquet file, or of a folder of them. May be copied to worker processes.

    Ids are row numbers in the order of the files (`test/00000123`): they are unique and the same on every machine
    and in every copy of the rows, however these are cut into files. The paths that some files carry are neither:
    many are null, repeat in each class or shard, or come from the disk of whoever made the file.

    Args:
        place: a file, or a folder that holds the split's files: `test.parquet`, `test-00000-of-00003.parquet` and
            its like, others with the split as a word of their names, or any in a folder `test`; also one folder
            deeper.
        class_space: whose indices the labels become.
        split: which files of a folder, and the first part of every id.
        name: of the data set, for messages.
        image_column: empty for the usual names.
        label_column: empty for the usual names.
        several: whether its values are lists of labels.

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
    several: bool = False
    ids: Array = field(init=False, repr=False)
    labels: Array = field(init=False, repr=False)
    sizes: Array = field(init=False, repr=False)
    stamps: Array = field(init=False, repr=False)
    uncompressed: bool = field(init=False, repr=False)
    """Whether there are images of a format whose files have one size whatever they show."""
    class_names: tuple[str, ...] | None = field(init=False, repr=False)
    """What the data calls its classes, where it does."""
    label_sets: Array | None = field(init=False, repr=False)
    """See `bench.datasets.Samples`."""

    def __post_init__(self) -> None:
        files = [_File.open(path, self) for path in split_files(self.place, self.split, self.name)]
        self._files = files
        self.class_names = files[0].class_names
        self.labels = np.concatenate([file.labels for file in files])
        every = [labels[labels >= 0] for file in files if file.label_sets is not None for labels in file.label_sets]
        self.label_sets = padded(every) if every else None
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
    label_sets: Array | None = field(repr=False)
    sizes: Array = field(repr=False)
    first_rows: Array = field(repr=False)
    """(row groups + 1,) int64: the row that each group begins with, then the number of rows."""
    _reader: Any = field(default=None, repr=False)
    _group: tuple[int, Any] = field(default=(-1, None), repr=False)

    @classmethod
    def open(cls, path: Path, samples: ParquetSamples) -> "_File":
        subject = f"{path} ({samples.name})"
        with whole(path, _KIND):
            stamp = stamp_of(path.stat())
        with whole(path, _KIND), pq.ParquetFile(path) as reader:
            schema = reader.schema_arrow
            image = choose_column(schema.names, samples.image_column, IMAGE_COLUMNS, "image", subject)
            label = choose_column(schema.names, samples.label_column, LABEL_COLUMNS, "label", subject)
            _check_declared(reader.metadata, (image, label), path)
            groups = [reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)]
            first_rows = np.cumsum([0, *groups])
            measured = [_measured(reader, i, image, subject, int(first_rows[i]), path) for i in range(len(groups))]
        # As a dictionary: a long name that stands for many rows is not unfolded. Lists can be none.
        folded = [] if is_list(schema.field(label).type) else [label]
        with whole(path, _KIND), pq.ParquetFile(path, read_dictionary=folded) as reader:
            values = reader.read(columns=[label], use_threads=False)[label]
        check_unchanged(path, stamp)
        names = class_label_names(schema.metadata, label)
        labels, sets = labels_and_sets(values, names, samples.class_space, subject, several=samples.several)
        return cls(
            path=path,
            image_column=image,
            class_names=names,
            stamp=stamp,
            uncompressed=any(uncompressed for _, uncompressed in measured),
            labels=labels,
            label_sets=sets,
            sizes=np.concatenate([np.empty(0, dtype=np.int64), *(sizes for sizes, _ in measured)]),
            first_rows=first_rows,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_group": (-1, None)}

    def read(self, row: int) -> bytes:
        number = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        if self._group[0] != number:
            with whole(self.path, _KIND):
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


def _check_declared(metadata: Any, columns: tuple[str, ...], path: Path) -> None:
    """Refuse what says itself that it would fill the memory, before it is unpacked."""
    if metadata.num_rows > _MOST_ROWS:
        raise BenchError(f"{path} has {metadata.num_rows:,} rows, and at most {_MOST_ROWS:,} are read; cut it.")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        parts = map(group.column, range(group.num_columns))
        _check_group(
            sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in columns), path
        )


def _check_group(unpacked: int, path: Path) -> None:
    most = max(_MOST_GROUP, _MOST_UNPACKED * path.stat().st_size)
    if unpacked > most:
        raise BenchError(
            f"{path} has a row group that unpacks to more than {size(most)}, as no group of images does; "
            "write it again in smaller ones."
        )


def _measured(reader: Any, group: int, column: str, subject: str, first: int, path: Path) -> tuple[Array, bool]:
    """Of a row group, from a few rows in memory at a time.

    Returns:
        The bytes of each image, (n,) int64, and whether one is of a format without compression.
    """
    sizes, total, uncompressed = [np.empty(0, dtype=np.int64)], 0, False
    for batch in reader.iter_batches(
        _ROWS_AT_ONCE, row_groups=[group], columns=_stored_column(reader, column), use_threads=False
    ):
        images = _blobs_of(pa.Table.from_batches([batch]), column, subject)
        sizes.append(lengths(images, subject, first + sum(map(len, sizes))))
        uncompressed = uncompressed or any_uncompressed(images)
        total += int(sizes[-1].sum())
        _check_group(total, path)
    return np.concatenate(sizes), uncompressed


def _stored_column(reader: Any, column: str) -> list[str]:
    struct = pa.types.is_struct(reader.schema_arrow.field(column).type)
    return [f"{column}.bytes" if struct else column]


def _images(reader: Any, group: int, column: str, subject: str) -> pa.ChunkedArray:
    # One thread: Arrow's pool would be copied half-alive into worker processes.
    table = reader.read_row_group(group, columns=_stored_column(reader, column), use_threads=False)
    return _blobs_of(table, column, subject)


def _blobs_of(table: pa.Table, column: str, subject: str) -> pa.ChunkedArray:
    if column not in table.column_names:
        raise BenchError(
            f"the image column {column!r} of {subject} holds no bytes of image files; obtain the data again."
        )
    return blobs(table[column], subject)


def split_files(place: Path, split: str, subject: str) -> list[Path]:
    """The Parquet files of a split, in order.

    Raises:
        AbsentError: there is none.
        BenchError: several folders have one, or there is more than one copy of it.
        RunError: `-of-00003` promises files that are not there.
    """
    if place.is_file():
        named = split_words(_base(place)).values()
        if named and canonical(split) not in named and not _is_of(place, split):
            raise AbsentError(
                f"split {split!r} of {subject} is wanted, but {place} is by its name the split {next(iter(named))!r}; "
                "name the folder that holds both."
            )
        return [place]
    if not place.is_dir():
        raise AbsentError(
            f"there is no file or folder {place}, the place that was given for {subject}; check the path."
        )
    files = _named(place, split, subject) or _unnamed(place, split)
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


def parquet_files(place: Path) -> list[Path]:
    """The Parquet files in a folder and one folder deeper, hidden ones left out."""
    folders = [place, *visible(path for path in place.iterdir() if path.is_dir())]
    return [path for folder in folders for path in visible(folder.glob("*.parquet"))]


def _base(path: Path) -> str:
    """A file's name without what tells it from other parts of the same table."""
    shard = _SHARD.fullmatch(path.stem)
    return shard[1] if shard else path.stem


def _is_of(path: Path, split: str) -> bool:
    return _base(path) == split or names_split(_base(path), split)


def _named(place: Path, split: str, subject: str) -> list[Path]:
    """The files that are called after the split itself, else those with it among their words, else a folder's."""
    files = parquet_files(place)
    exact = [path for path in files if _base(path) == split]
    by_word = [path for path in files if _is_of(path, split)]
    # In a folder of the split, a file that names another one is of that.
    folders = [path for path in files if path.parent != place and names_split(path.parent.name, split)]
    found = exact or by_word or [path for path in folders if not split_words(_base(path))]
    check_same_split(
        found, f"split {split!r} of {subject} in {place}", "keep those of one, or name the file to be read"
    )
    return found


def _unnamed(place: Path, split: str) -> list[Path]:
    """A folder whose files name no split is one split; of a split with a name of its own, only if it is one table."""
    files = visible(place.glob("*.parquet"))
    several = canonical(split) not in SPLITS and len({_base(path) for path in files}) > 1
    return [] if several or any(split_words(_base(path)) for path in files) else files


def _check_shards(files: list[Path], subject: str) -> None:
    """Parts of one table are all there, and no second table lies beside them."""
    parts = {path: shard for path in files if (shard := _SHARD.fullmatch(path.stem))}
    for base in dict.fromkeys(shard[1] for shard in parts.values()):
        counts = {shard[3] for shard in parts.values() if shard[1] == base}
        numbers = [int(shard[2]) for shard in parts.values() if shard[1] == base]
        uncut = any(path.stem == base for path in files)
        if len(counts) > 1 or len(set(numbers)) < len(numbers) or uncut:
            names = some([path.name for path in files])
            raise BenchError(f"{files[0].parent} holds {base!r} of {subject} more than once ({names}); keep one copy.")
        missing = sorted(set(range(int(counts.pop()))) - set(numbers))
        if missing:
            raise RunError(
                f"{len(missing)} of the {len(missing) + len(numbers)} files of {subject} are missing in "
                f"{files[0].parent} (the first is number {missing[0]:05d}); obtain them too."
            )
