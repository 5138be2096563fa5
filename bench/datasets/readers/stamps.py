"""Stamps of files: what tells that one is not the file that it was, and reading that holds a file to its stamp.

A stamp is made when a split is opened, and so belongs to what is planned. Whoever writes a file can set its size and
its time of change as they were; the time of the last change of its status, and its number on the disk, they cannot.
"""

import os
import struct
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from bench.errors import RunError
from bench.records import Array

_STATUS = struct.Struct("<4Q")
_64_BITS = 0xFFFFFFFFFFFFFFFF
_ODD = 0x9E3779B97F4A7C15  # 2⁶⁴ / the golden ratio: spreads positions over 64 bits


def stamp_of(status: os.stat_result) -> int:
    """64 bits over a file's size, both of its times of change, and its number."""
    parts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return int(xxh3_64_intdigest(_STATUS.pack(*(part & _64_BITS for part in parts))))


def stamps_within(stamp: int, positions: Array) -> Array:
    """Stamps of what stands in one file.

    Args:
        stamp: of the file.
        positions: (n,) whole numbers, of rows or bytes.

    Returns:
        (n,) uint64.
    """
    return np.uint64(stamp) + positions.astype(np.uint64) * np.uint64(_ODD)


def read_planned(path: Path, stamp: int, offset: int = 0, size: int = -1) -> bytes:
    """The bytes of a file that bears its stamp before and after they are read.

    Args:
        path: the file.
        stamp: that it had when its split was opened.
        offset: of the first byte.
        size: bytes; -1 reads to the end.

    Raises:
        RunError: it has changed, or can't be read.
    """
    try:
        with path.open("rb") as file:
            before = stamp_of(os.fstat(file.fileno()))
            file.seek(offset)
            data = file.read(size)
            after = stamp_of(os.fstat(file.fileno()))
    except OSError as error:
        raise RunError(f"{path} can't be read ({error.strerror}); was it moved during the run?") from None
    if not before == stamp == after:
        raise changed(path)
    return data


def check_unchanged(path: Path, stamp: int) -> None:
    """Nothing where a file still bears its stamp.

    Raises:
        RunError: it has changed, or is gone.
    """
    try:
        same = stamp_of(path.stat()) == stamp
    except OSError as error:
        raise RunError(f"{path} can't be read ({error.strerror}); was it moved during the run?") from None
    if not same:
        raise changed(path)


def changed(path: Path) -> RunError:
    """The complaint that a file is not the one that was planned with."""
    return RunError(f"{path} has changed since this run began; run again.")
