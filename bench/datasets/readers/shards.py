"""Images and labels in tar shards, as webdataset writes them: `KEY.jpg` beside `KEY.cls` or `KEY.json`."""

import glob
import itertools
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.datasets.readers.columns import has_numbers_for_names, label_indices, written_labels
from bench.datasets.readers.passed_over import PassedOver, has_image_name, visible
from bench.datasets.readers.remote_shards import address_of, kept_shards
from bench.datasets.readers.splits import check_same_split
from bench.datasets.readers.stamps import check_unchanged, read_planned, stamp_of, stamps_within
from bench.datasets.readers.tars import PACKED, members, refuse_packed
from bench.errors import AbsentError, BenchError
from bench.records import Array, ClassSpace
from bench.text import size

IMAGES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "json")
_RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
_MOST_SHARDS, _MOST_BRACES = 100_000, 8
"""That a pattern may stand for and have: with a thousand images each, a hundred million; a wrong digit must not take
all memory."""
_MOST_LABEL = 2**24
"""Bytes of a label file, which may hold all that was known of an image, in JSON."""
_LONGEST_KEY = 1_024
"""Characters: every id takes as much memory as the longest."""


@dataclass(eq=False)
class _Sample:
    """What the shards hold under one key."""

    shard: int
    offset: int = -1
    size: int = 0
    label: int | str | None = None


@dataclass(eq=False)
class ShardSamples:
    """Samples of tar shards, read in place: opening reads the headers and the labels. May be copied to processes.

    Ids are webdataset's keys: the member's path up to the first dot of its name. Labels are whole numbers or class
    names: the text of `KEY.cls`, or `label` in `KEY.json`.

    Args:
        place: a folder of `*.tar`, a shard, or a pattern such as `val-{000..063}.tar` or `val-*.tar`; or the address
            of a shard, or of several by braces, which are fetched and kept.
        class_space: whose indices the labels become.
        name: of the data set, for messages.

    Raises:
        AbsentError: a shard is not there.
        BenchError: the shards are packed or of several splits, a key comes twice, or an image or a label is missing.
        RunError: a shard is damaged or cut short.
    """

    place: Path
    class_space: ClassSpace
    name: str
    ids: Array = field(init=False, repr=False)
    labels: Array = field(init=False, repr=False)
    sizes: Array = field(init=False, repr=False)
    stamps: Array = field(init=False, repr=False)
    passed_over: PassedOver | None = field(init=False, repr=False)
    """What looks like an image of these and is none."""
    label_sets: Array | None = field(init=False, repr=False, default=None)
    """See `bench.datasets.Samples`."""

    def __post_init__(self) -> None:
        others: list[str] = []
        self._shards = shard_files(self.place, self.name)
        check_same_split(self._shards, f"{self.name} at {self.place}", "name those of one, as in FOLDER/test-*.tar")
        self._stamps = [stamp_of(path.stat()) for path in self._shards]
        samples: dict[str, _Sample] = {}
        for number, path in enumerate(self._shards):
            for key, sample in _read_shard(path, number, others):
                if key in samples:
                    earlier = self._shards[samples[key].shard]
                    raise BenchError(f"the key {key!r} is in {earlier} and in {path}; keys must be unique.")
                samples[key] = sample
            check_unchanged(path, self._stamps[number])
        if not samples:
            raise BenchError(f"{self.place} ({self.name}) holds no samples; KEY.jpg with KEY.cls were looked for.")
        self.passed_over = (
            PassedOver(tuple(others), f"files KEY.{', KEY.'.join(IMAGES)}, no dot in KEY") if others else None
        )
        self.ids = np.array(list(samples), dtype=np.str_)
        self.sizes = np.array([sample.size for sample in samples.values()], dtype=np.int64)
        self._numbers = np.array([sample.shard for sample in samples.values()], dtype=np.int64)
        self._offsets = np.array([sample.offset for sample in samples.values()], dtype=np.int64)
        self.stamps = np.zeros(len(samples), dtype=np.uint64)
        for number, stamp in enumerate(self._stamps):
            rows = self._numbers == number
            self.stamps[rows] = stamps_within(stamp, self._offsets[rows])
        self.labels = self._labels(
            [sample.label for sample in samples.values() if sample.label is not None], f"{self.place} ({self.name})"
        )

    def _labels(self, labels: list[int | str], subject: str) -> Array:
        if has_numbers_for_names(self.class_space):
            return written_labels(labels, self.class_space, subject)
        try:
            values = pa.chunked_array([pa.array([_as_number(label) for label in labels])])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise BenchError(f"{subject} has numbers and names among its labels; use one or the other.") from None
        return label_indices(values, None, self.class_space, subject)

    def read(self, index: int) -> bytes:
        """The bytes of an image file.

        Raises:
            RunError: the shard has changed since it was opened.
        """
        number = int(self._numbers[index])
        place = int(self._offsets[index]), int(self.sizes[index])
        return read_planned(self._shards[number], self._stamps[number], *place)

    def stamp(self, index: int) -> int:
        """The stamp of the shard that was there when the split was opened, and the image's place in it."""
        return int(self.stamps[index])


def shard_files(place: Path, subject: str) -> list[Path]:
    """The shards that a folder, a file, a pattern or an address names, in order; those of a server are fetched.

    Raises:
        AbsentError: there is none, or one of a `{000..063}` is missing.
        BenchError: they are packed, or too many.
        UnreachableError: a server cannot be reached.
        RunError: what a server gave is no whole tar file.
    """
    address = address_of(place)
    if address:
        return kept_shards(_expanded(address), subject)
    if place.is_dir():
        paths = visible(place.glob("*.tar")) or visible(p for p in place.iterdir() if p.name.endswith(PACKED))
    else:
        paths = [path for text in _expanded(str(place)) for path in _globbed(text)]
    for path in paths:
        refuse_packed(path)
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise AbsentError(
            f"{missing[0] if missing else f'{place}: a .tar file'} is wanted for {subject}, but is not there; "
            "check the path, or obtain all shards."
        )
    return paths


def _expanded(text: str) -> list[str]:
    texts = list(itertools.islice(_braces(text), _MOST_SHARDS + 1))
    if len(texts) > _MOST_SHARDS:
        raise BenchError(f"{text} names more than {_MOST_SHARDS:,} shards; correct the numbers in its braces.")
    return texts


def _braces(text: str) -> Iterator[str]:
    """The texts that one with `{000..063}` and `{a,b}` stands for."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        yield text
        return
    if text.count("{") > _MOST_BRACES:
        raise BenchError(f"a pattern of shards must have at most {_MOST_BRACES} braces, not {text.count('{'):,}.")
    ends = _RANGE.fullmatch(match[1])
    words: Iterable[str] = match[1].split(",")
    if ends:
        words = (str(number).zfill(len(ends[1])) for number in range(int(ends[1]), int(ends[2]) + 1))
    for word in words:
        yield from _braces(text[: match.start()] + word + text[match.end() :])


def _globbed(text: str) -> list[Path]:
    return [Path(path) for path in sorted(glob.glob(text))] if glob.has_magic(text) else [Path(text)]


def _read_shard(path: Path, number: int, others: list[str]) -> Iterator[tuple[str, _Sample]]:
    """The samples of a shard in the order of their first members, each with its image and its label.

    Members that look like images and are no sample's are added to `others`.
    """
    samples: dict[str, _Sample] = {}
    for tar, member in members(path):
        key, ending = _split_name(member.name)
        if member.isfile() and key and ending in (*IMAGES, *LABELS):
            where = f"{path}, key {key[:_LONGEST_KEY]!r}"
            _check_member(member, key, where)
            _fill(samples.setdefault(key, _Sample(number)), tar, member, ending, where)
        elif not member.isdir() and has_image_name(member.name):
            others.append(member.name)
    for key, sample in samples.items():
        if sample.offset < 0 or sample.label is None:
            lacks, endings = ("image", IMAGES) if sample.offset < 0 else ("label", LABELS)
            raise BenchError(
                f"{path}, key {key!r}: there is no {lacks}; each key needs KEY.{' or KEY.'.join(endings)} there."
            )
        yield key, sample


def _check_member(member: tarfile.TarInfo, key: str, where: str) -> None:
    if member.issparse():  # its bytes are not those in the shard, and may be any number of zeros
        raise BenchError(f"{where}: is stored as a sparse file; pack the shard again without that.")
    if len(key) > _LONGEST_KEY:
        raise BenchError(f"{where}: keys have at most {_LONGEST_KEY:,} characters; pack the shard again.")


def _split_name(name: str) -> tuple[str, str]:
    """Webdataset's key and ending: cut at the first dot of the last part of the path."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, ending = last.partition(".")
    return (f"{folder}{slash}{stem}" if stem else ""), ending.lower()


def _fill(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, where: str) -> None:
    if ending in LABELS:
        if member.size > _MOST_LABEL:
            raise BenchError(f"{where}: a label of {size(member.size)} is none; pack the shard again.")
        if sample.label is None:
            sample.label = _label(tar.extractfile(member), ending)
    elif sample.offset >= 0:
        raise BenchError(f"{where}: there are two images; each key needs one.")
    else:
        sample.offset, sample.size = member.offset_data, member.size


def _label(file: Any, ending: str) -> int | str | None:
    """A label as it is written; None where JSON has none, or the text is nothing of the kind."""
    try:
        text = file.read().decode().strip()
        value = json.loads(text)["label"] if ending == "json" else text
        number = _as_number(value)
    except (ValueError, TypeError, KeyError, RecursionError):  # the last where JSON is nested without end
        return None
    if isinstance(number, int):
        return value if not isinstance(number, bool) and abs(number) < 2**63 else None
    return value if isinstance(value, str) and value != "" else None


def _as_number(value: Any) -> Any:
    """A whole number that is written as text, or else the value."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value
