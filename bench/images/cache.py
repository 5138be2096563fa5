"""Crops kept between runs: one sparse file a data set and crop recipe, safe with any number of runs at once.

Each sample has a fixed place, and a record with a checksum that says whether what stands there is the whole crop
of the sample's present bytes. Two runs write the same bytes to the same place; a torn write or a changed file
fails the check and is made again. Reading and writing go through file descriptors, not a memory map: on a full
disk a write to a sparse map kills the process, where `pwrite` gives an error that can be handled.
"""

import contextlib
import json
import os
import re
import struct
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from xxhash import xxh3_64_intdigest

from bench.errors import DISK_FULL, RunError
from bench.images import VERSION
from bench.records import Array, Crop

_NAME = re.compile(r"[0-9a-f]{20}-((?:v\d+-)?\d+px-[0-9.e+-]+-(?:nearest|bilinear|bicubic))")
"""Of a folder that this cache made: part of the fingerprint, and the recipe; version 0.1.0 wrote none of its own."""
_FILES = ("crops", "records", "meta.json")
"""In the order in which they go: a folder is listed as long as its last one is there."""
_HEAD = struct.Struct("<QQ")  # stamp of the source, XXH3 of the crop
_RECORD = struct.Struct("<QQI")  # these two and their crc32


@dataclass
class CropFile:
    """The crops of one data set under one recipe. May be copied to worker processes."""

    folder: Path
    crop: Crop
    writable: bool = True
    _files: dict[str, int] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "crop": self.crop, "writable": self.writable, "_files": {}}

    def read(self, index: int, stamp: int, image: Array) -> bool:
        """Read the crop of sample `index` whose source has this stamp.

        Args:
            index: of the sample.
            stamp: of its source.
            image: (h, w, 3) uint8, contiguous; written. What it then holds means nothing where there is no such crop.

        Returns:
            Whether there is.
        """
        try:
            checksum = self._checksum(index, stamp)
            if checksum is None:
                return False
            count = os.preadv(self._open("crops"), [image.data], index * image.nbytes)
        except OSError:  # another run has just cleared the folder, or the disk is full
            return False
        return count == image.nbytes and xxh3_64_intdigest(image.data) == checksum

    def holds(self, index: int, stamp: int) -> bool:
        """Whether a crop of this stamp has been kept; only `read` can tell whether it is whole."""
        try:
            return self._checksum(index, stamp) is not None
        except OSError:
            return False

    def _checksum(self, index: int, stamp: int) -> int | None:
        record = os.pread(self._open("records"), _RECORD.size, index * _RECORD.size)
        if len(record) < _RECORD.size:
            return None
        kept_stamp, checksum, check = _RECORD.unpack(record)
        whole = check == zlib.crc32(record[: _HEAD.size])
        return int(checksum) if whole and kept_stamp == stamp else None

    def put(self, index: int, stamp: int, image: Array) -> None:
        """Keep a crop; once the disk is full this does nothing, for a run does not need its cache."""
        if not self.writable:
            return
        try:
            _pwrite(self._open("crops"), image.data.cast("B"), index * image.nbytes)
            head = _HEAD.pack(stamp, xxh3_64_intdigest(image.data))
            _pwrite(
                self._open("records"),
                memoryview(head + struct.pack("<I", zlib.crc32(head))),
                index * _RECORD.size,
            )
        except OSError as error:
            self.writable = False
            _say_full(self.folder, error)

    def _open(self, name: str) -> int:
        if name not in self._files:
            self._files[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        return self._files[name]

    def close(self) -> None:
        """Give the file descriptors back."""
        while self._files:
            os.close(self._files.popitem()[1])


def _say_full(folder: Path, error: OSError) -> None:
    print(f"the crop cache {folder} takes no more ({error.strerror}); going on without it.", file=sys.stderr)


def _about(folder: Path) -> dict[str, str] | None:
    """What a folder of the cache says of itself; None where it is somebody else's.

    Raises:
        OSError: it cannot be read, or has just gone.
    """
    name = _NAME.fullmatch(folder.name)
    if name is None or folder.is_symlink():
        return None
    text = (folder / "meta.json").read_text(encoding="utf-8", errors="replace")
    try:
        about = json.loads(text)
    except ValueError:  # cut short by a full disk
        return {} if text.startswith(_BEGINNING[: len(text)]) else None
    ours = isinstance(about, dict) and about.keys() == {"dataset", "crop"} and about["crop"] == name[1]
    return about if ours else None


_BEGINNING = '{"dataset": "'


def _remove(folder: Path) -> None:
    """Remove what the cache wrote into a folder, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):  # another run removes it too; one that reads it keeps its open files
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _pwrite(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """One folder of the cache, as `bench cache ls` shows it."""

    folder: Path
    dataset: str
    crop: str
    bytes: int
    """Taken on disk; holes of the sparse file do not count."""
    used: float
    """When a run last opened it, seconds since the epoch."""


class CropCache:
    """A folder of crop files within a size budget.

    Args:
        root: the folder; made when needed.
        budget: bytes; the least recently used entries go when it is passed.
    """

    def __init__(self, root: Path, budget: int) -> None:
        self.root = root
        self.budget = budget
        self._in_use: dict[Path, int] = {}  # folders opened here to the bytes that they may grow to

    def open(self, dataset: str, fingerprint: str, crop: Crop, expected: int) -> CropFile | None:
        """The crop file of a data set under a recipe.

        Args:
            dataset: its name, for listings.
            fingerprint: of the samples; another fingerprint is another file.
            crop: the recipe.
            expected: samples that the run will read.

        Returns:
            None where these samples, beside those opened before, are over the budget.

        Raises:
            RunError: the folder cannot be written, and not for want of room.
        """
        name = f"v{VERSION}-{crop.name}"
        folder = self.root / f"{fingerprint[:20]}-{name}"
        needed = {**self._in_use, folder: expected * crop.size * crop.size * 3}
        if sum(needed.values()) > self.budget:
            return None
        self._in_use = needed
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._evict()
            (folder / "meta.json").write_text(json.dumps({"dataset": dataset, "crop": name}))
        except OSError as error:
            if error.errno in DISK_FULL:
                _say_full(folder, error)
                return CropFile(folder, crop, writable=False)
            raise RunError(
                f"the crop cache {self.root} cannot be written ({error.strerror}); "
                "give another folder with --cache DIR, or --cache off."
            ) from error
        return CropFile(folder, crop)

    def entries(self) -> list[CacheEntry]:
        """What is kept, the least recently used first; folders that this cache did not make are none of it."""
        entries = []
        for meta in self.root.glob("*/meta.json"):
            try:
                about = _about(meta.parent)
                if about is None:
                    continue
                files = [meta.parent / name for name in _FILES]
                taken = sum(file.stat().st_blocks * 512 for file in files if file.exists())
                used = meta.stat().st_mtime
            except OSError:  # another run is making or removing it
                continue
            entries.append(
                CacheEntry(
                    folder=meta.parent,
                    bytes=taken,
                    used=used,
                    dataset=about.get("dataset", "?"),
                    crop=about.get("crop", "?"),
                )
            )
        return sorted(entries, key=lambda entry: entry.used)

    def clear(self) -> int:
        """Remove everything; the bytes freed."""
        entries = self.entries()
        for entry in entries:
            _remove(entry.folder)
        return sum(entry.bytes for entry in entries)

    def _evict(self) -> None:
        """Make room for what is in use."""
        others = [entry for entry in self.entries() if entry.folder not in self._in_use]
        excess = sum(entry.bytes for entry in others) + sum(self._in_use.values()) - self.budget
        for entry in others:
            if excess <= 0:
                return
            _remove(entry.folder)
            excess -= entry.bytes
