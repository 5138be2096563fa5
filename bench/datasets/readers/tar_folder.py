"""Folders in a tar file that was downloaded and never unpacked: listed once, and read by offset.

    USER CACHE/rtbench/tars/STAMP.npy    the members of a tar file: name, offset and size, in the order of names

A tar file has no table of its members, and one of ImageNet-C's has a million: reading their headers takes minutes.
"""

import contextlib
import functools
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bench.datasets.readers import tars
from bench.datasets.readers.listing import SUFFIXES, Listing, is_hidden
from bench.datasets.readers.passed_over import has_image_name
from bench.datasets.readers.stamps import check_unchanged, stamp_of, stamps_within
from bench.errors import AbsentError, BenchError, RunError
from bench.machine.files import replacing
from bench.machine.places import user_cache
from bench.records import Array

SUFFIX = ".tar"
_LONGEST_NAME = 1_024
"""Bytes: every name takes as much memory as the longest."""
_AFTER_SLASH = b"0"
"""The byte after `/`: what begins with `FOLDER/` stands before `FOLDER0`."""


class TarFolder:
    """A folder in a tar file, in those words of `pathlib.Path` that readers of folders use.

    Args:
        path: the tar file.
        inside: the folder; empty for the whole file.

    Raises:
        AbsentError: there is no such file.
        BenchError: it is compressed, or holds what cannot be read by offset.
        RunError: it is damaged.
    """

    def __init__(self, path: Path, inside: str = "") -> None:
        tars.refuse_packed(path)
        if not path.is_file():
            raise AbsentError(f"there is no file {path}; correct the path.")
        self.path = path
        self.inside = inside
        self.tar_stamp = stamp_of(path.stat())
        self._table = _table(path, self.tar_stamp)

    def __truediv__(self, name: str) -> "TarFolder":
        return TarFolder(self.path, f"{self.inside}/{name}" if self.inside else name)

    def __str__(self) -> str:
        return str(self.as_path())

    def absolute(self) -> "TarFolder":
        """Itself, which has a name."""
        return self

    def as_path(self) -> Path:
        """Where it is, for messages."""
        return self.path / self.inside

    @property
    def name(self) -> str:
        """Its own name; of the whole file, the file's without `.tar`."""
        return posixpath.basename(self.inside) or self.path.name.removesuffix(SUFFIX)

    def is_dir(self) -> bool:
        """Whether something lies in it."""
        first, end = self._rows()
        return first < end

    def iterdir(self) -> "Iterator[TarFolder]":
        """The folders in it."""
        return (self / name for name in self.listing().folders)

    def listing(self) -> Listing:
        """What it holds."""
        listing = Listing()
        row, end = self._rows()
        skipped = len(self.inside) + bool(self.inside)
        stamps = stamps_within(self.tar_stamp, self._table["offset"][row:end])
        first = row
        while row < end:
            name, slash, _ = self._table["name"][row][skipped:].decode().partition("/")
            if slash:
                if not is_hidden(name):
                    listing.folders.append(name)
                row = self._rows(f"{self.inside}/{name}" if self.inside else name)[1]
                continue
            if not is_hidden(name):
                if name.lower().endswith(SUFFIXES):
                    listing.pictures.append((name, (int(self._table["size"][row]), int(stamps[row - first]))))
                elif has_image_name(name):
                    listing.others.append(name)
            row += 1
        return listing

    def images_below(self) -> Iterator[str]:
        """Paths, from this folder, of what looks like an image in it and those within."""
        first, end = self._rows()
        skipped = len(self.inside) + bool(self.inside)
        names = (name[skipped:].decode() for name in self._table["name"][first:end])
        return (name for name in names if has_image_name(name))

    def offsets(self, files: Iterable[str]) -> Array:
        """Where the bytes of files begin, (n,) int64; by their paths from this folder, which must be there."""
        before = f"{self.inside}/" if self.inside else ""
        rows = np.searchsorted(self._table["name"], np.array([f"{before}{file}".encode() for file in files]))
        found: Array = self._table["offset"][rows]
        return found

    def _rows(self, inside: str | None = None) -> tuple[int, int]:
        """First row of what lies in a folder, this one if None, and the row after the last."""
        folder = self.inside if inside is None else inside
        if not folder:
            return 0, len(self._table)
        names = self._table["name"]
        first, end = (np.searchsorted(names, folder.encode() + mark) for mark in (b"/", _AFTER_SLASH))
        return int(first), int(end)


@functools.lru_cache(maxsize=32)
def _table(path: Path, stamp: int) -> Array:
    """The members of a tar file, (n,) of `name`, `offset` and `size`, in the order of names."""
    cache = user_cache()
    kept = cache / "tars" / f"{stamp:016x}.npy" if cache else None
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, EOFError):  # none, or a damaged one
            known: Array = np.load(kept, mmap_mode="r", allow_pickle=False)
            if known.dtype.names == ("name", "offset", "size"):
                return known
    table = _read(path)
    check_unchanged(path, stamp)
    if kept is not None:
        with contextlib.suppress(OSError), replacing(kept) as half, half.open("wb") as file:
            np.save(file, table)
    return table


def _read(path: Path) -> Array:
    rows = list(_members(path))
    longest = max((len(name) for name, _, _ in rows), default=1)
    table = np.array(rows, dtype=[("name", f"S{longest}"), ("offset", "<i8"), ("size", "<i8")])
    table = table[np.argsort(table["name"], kind="stable")]
    twice = np.flatnonzero(table["name"][1:] == table["name"][:-1])
    if len(twice):
        name = table["name"][twice[0]].decode()
        raise BenchError(f"{path} holds {name} twice, so it is not clear which is meant; pack it again.")
    return table


def _members(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and size of every file; what lies in a tar file within lies in a folder of its name."""
    for tar, member in tars.members(path):
        if member.issym() or member.islnk():
            raise BenchError(f"{path} holds {member.name}, a link and no file; unpack it and give the folder.")
        if not member.isfile():
            continue
        if member.issparse():  # its bytes are not those in the file
            raise BenchError(f"{path} holds {member.name} as a sparse file; pack it again without that.")
        if member.name.endswith(SUFFIX):
            folder = member.name.removesuffix(SUFFIX)
            found = [(f"{folder}/{inside.name}", inside) for inside in tars.inner(tar, member) if inside.isfile()]
        else:
            found = [(member.name, member)]
        for name, file in found:
            yield _checked_name(name, path), file.offset_data, file.size


def _checked_name(name: str, path: Path) -> bytes:
    name = posixpath.normpath(name).lstrip("/")
    try:
        data = name.encode()
    except UnicodeEncodeError:
        data = b""
    if not data or len(data) > _LONGEST_NAME or "\0" in name:
        raise RunError(f"{path} holds a file whose name is no text, or too long: {name[:80]!a}; pack it again.")
    return data
