"""Files that are written beside their place and brought there whole: whoever is killed leaves the old one, or none.

    .UNIQUE~PROCESS~HERE~.tmp    what is being written, in the folder of its place

The name tells which process writes it, so that `tidy` can remove what a killed one left.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import itertools
import os
import re
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import DISK_FULL, BenchError, RunError

_NAME = re.compile(r"\.[0-9a-f]{32}~(?P<process>[0-9]+)~(?P<here>[0-9a-f]{16})~\.tmp")
_OLD_NAME = re.compile(r"\.(?:[^~]+~[^~]+~[0-9]+~[0-9a-f]{32}~|[0-9a-f]{32})\.tmp")
"""As files half-written by version 0.1.0 are called, in a store and among features."""
_LONGEST_PAUSE = 3600.0
"""Seconds without a byte after which whoever wrote a file is taken to be dead: process numbers come round again."""


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False, folder: Path | None = None) -> Iterator[Path]:
    """Where to write a file that takes its place at `path`, whose folder is made, when the block ends without an error.

    Args:
        path: what stands there is replaced.
        sync: whether the bytes must be on the disk before.
        folder: where it is written, on the same file system; that of `path` if None.
    """
    with _half_written(path, folder) as half:
        yield half
        if sync:
            _sync(half)
        os.replace(half, path)


def create(path: Path, write: Callable[[Path], object], *, folder: Path | None = None) -> bool:
    """Write a file, to the disk, where there is none: of several writers the first wins, and its file stays.

    Args:
        path: its place, whose folder is made.
        write: writes the file to the path that it is given.
        folder: where it is written, on the same file system; that of `path` if None.

    Returns:
        Whether this writer was the first.
    """
    if path.exists():
        return False
    with _half_written(path, folder) as half:
        write(half)
        _sync(half)
        return _link(half, path)


def tidy(folder: Path) -> None:
    """Remove what killed writers left in a folder and those within, as far as this user may."""
    with contextlib.suppress(OSError):  # a folder that another run removes
        for half in folder.rglob(".*.tmp"):
            name = _NAME.fullmatch(half.name)
            with contextlib.suppress(OSError):  # another run removes it too
                dead = name and name["here"] == _here() and not _is_alive(int(name["process"]))
                if dead or ((name or _OLD_NAME.fullmatch(half.name)) and _is_silent(half)):
                    half.unlink()


def move(path: Path, wanted: Path) -> Path:
    """Move a file to a place, whose folder is made, or to the first that is free of this name with a number.

    Args:
        path: the file.
        wanted: where to, on the same file system.

    Returns:
        Its new place.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    places = (wanted.with_name(f"{wanted.name}{number or ''}") for number in itertools.count())
    place = next(place for place in places if not place.exists())
    os.replace(path, place)
    return place


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is within this with the same file; on a file system without locks nobody waits.

    Args:
        lock: a file of its own, in a folder that is there; it stays.
    """
    with lock.open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finish(half: Path, path: Path) -> None:
    """Bring a file that several calls may have written into its place, once its bytes are on the disk.

    Args:
        half: the file, whole by now.
        path: its place, on the same file system; what is there is replaced.
    """
    _sync(half)
    os.replace(half, path)


def ending(path: Path) -> Path:
    """A file that is to be read whole, unless it is a device: /dev/zero never ends. A pipe does.

    Raises:
        OSError: it is one, or cannot be looked at.
    """
    if stat.S_ISCHR(path.stat().st_mode):
        raise OSError(errno.EINVAL, "a device, and not a file", str(path))
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Where to write what the user asked for at `path`; it takes its place there, whose folder is made, once whole.

    Raises:
        BenchError: it cannot be written.
        RunError: the disk is full.
    """
    place = path.resolve()
    try:
        if place.exists() and not place.is_file():  # /dev/stdout, a pipe: nothing to replace
            yield place
        else:
            with replacing(place) as half:
                yield half
    except OSError as error:
        if error.errno in DISK_FULL:
            raise RunError(f"{path} cannot be written: {error.strerror}; make room or name another place.") from error
        reason = f"{place.parent} is not a folder" if isinstance(error, FileExistsError) else error.strerror or error
        raise BenchError(f"{path} cannot be written: {reason}; name another place.") from error


def make_folder(folder: Path) -> None:
    """Make a folder that the user named for files, and see that they can be written: before the work that makes them.

    Raises:
        BenchError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise BenchError(f"nothing can be written to {folder}: {reason}; name another place.") from error


def write(path: Path, text: str) -> None:
    """Write a text that the user asked for, as `writing` does.

    Raises:
        BenchError: it cannot be written.
        RunError: the disk is full.
    """
    with writing(path) as half:
        half.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _half_written(path: Path, folder: Path | None) -> Iterator[Path]:
    """A new name for what will stand at `path`; nothing bears it afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = (folder or path.parent) / f".{uuid.uuid4().hex}~{os.getpid()}~{_here()}~.tmp"
    try:
        yield half
    finally:
        with contextlib.suppress(OSError):
            half.unlink()


def _link(half: Path, path: Path) -> bool:
    """Bring a file to a place where there is none; False where there is one."""
    try:
        os.link(half, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        # File systems without hard links answer with EPERM, EIO, EINVAL and others. Two first writers may then replace
        # each other's files.
        if path.exists():
            return False
        os.replace(half, path)
    return True


def _sync(path: Path) -> None:
    """Have the disk take a file's bytes, where it can; a checksum tells later if it did not."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in DISK_FULL:  # some file systems say so only now
            raise


def _is_silent(half: Path) -> bool:
    return time.time() - half.stat().st_mtime > _LONGEST_PAUSE


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError) as error:
        return isinstance(error, PermissionError)  # another user's
    return True


@functools.cache
def _here() -> str:
    """Where a process number means one process: this boot of this machine, in this container; 16 hexadecimal digits."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # elsewhere than on Linux, host names alone must tell
        words += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
