"""Tar files that are read where they are, by the offset of each member; nothing is unpacked."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from bench.datasets.readers.files import whole
from bench.errors import BenchError, RunError

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""What tar files are called in which nothing can be found without unpacking all before it."""


def refuse_packed(path: Path) -> None:
    """Refuse a tar file that is compressed as a whole.

    Raises:
        BenchError: it is, by its name.
    """
    if path.name.endswith(PACKED):
        raise BenchError(f"{path} is a packed tar file, in which nothing can be found quickly; unpack it to .tar.")


def members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tar file in their order, each with the open file.

    Raises:
        RunError: it is damaged or cut short.
    """
    with whole(path, "tar file"):
        with tarfile.open(path, mode="r:") as tar:
            for member in _forward(tar):
                yield tar, member
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            mark = file.read(tarfile.BLOCKSIZE)
    # tarfile takes the end of the file, or anything that is no header, for the end of the archive.
    if mark != tarfile.NUL * tarfile.BLOCKSIZE:
        raise RunError(f"{path} lacks the end mark of a tar file, so it is damaged or cut short; obtain it again.")


def inner(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file that is itself a member; their offsets are of the outer file.

    Raises:
        RunError: it lacks its end mark, so it is damaged.
    """
    assert tar.fileobj is not None
    here = tar.fileobj.tell()
    tar.fileobj.seek(member.offset_data)
    with tarfile.open(fileobj=tar.fileobj, mode="r:") as inside:
        end = member.offset_data + member.size
        for found in _forward(inside):
            if found.offset_data + found.size > end:
                raise tarfile.TarError(f"{member.name} in it is cut short")
            yield found
    tar.fileobj.seek(here)


def _forward(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file. A negative size would lead back, and round and round."""
    end = -1
    while (member := tar.next()) is not None:
        if tar.offset <= end:
            raise tarfile.TarError("a member's size is negative")
        end = tar.offset
        tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all: ImageNet-C's are a gigabyte
        yield member
