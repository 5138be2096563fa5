"""How files of a store are read, and what can be wrong: one is not what it must be, or could not be read."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from bench.errors import RunError, one_line


class StoreFileError(RunError):
    """A file of the store that does not give what it holds: nothing is scored without it."""

    path: Path


class DamagedCellError(StoreFileError):
    """A file of the store that was read, and is not what it must be."""

    def __init__(self, root: Path, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged ({reason}); `bench store rm --damaged --store {root}` moves such files aside, "
            "and running again measures those cells anew."
        )
        self.path = path


class UnreadableError(StoreFileError):
    """A file or a folder of the store that could not be read, whatever it holds: no damage, and never removed."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}; {advice}.")
        self.path = path


class NewerFormatError(Exception):
    """A file was written by a newer version."""


@contextlib.contextmanager
def reading(root: Path, path: Path) -> Iterator[None]:
    """What a file of a store is read within.

    Args:
        root: of the store.
        path: the file.

    Raises:
        DamagedCellError: it is not there, or not what it must be.
        UnreadableError: it could not be read, or a newer version wrote it.
    """
    try:
        yield
    except StoreFileError:
        raise
    except FileNotFoundError as error:
        raise DamagedCellError(root, path, "the file is missing") from error
    except NewerFormatError as error:
        raise UnreadableError(path, one_line(error), "update rtbench") from error
    except MemoryError as error:
        raise UnreadableError(path, "memory does not hold it", "use a machine with more, or make room") from error
    except OSError as error:
        if error.errno is None:  # Arrow's, of a file that it has read
            raise DamagedCellError(root, path, one_line(error)) from error
        raise could_not_read(path, error) from error
    except Exception as error:  # a flipped bit makes of a file what any of its readers may stumble over
        if isinstance(error, ImportError | RuntimeError) and not isinstance(error, pa.ArrowException):
            raise  # of the machine or of us, such as no more threads, and not of the file
        raise DamagedCellError(root, path, one_line(error)) from error


def could_not_read(path: Path, error: OSError) -> UnreadableError:
    """The error of a file or a folder that the system did not give."""
    reason = os.strerror(error.errno) if error.errno else one_line(error)
    return UnreadableError(
        path, reason, "see to it that this user may read the store, or give another with --store DIR"
    )


def listed(folder: Path) -> list[str]:
    """Names in a folder of a store, in order; none where it is not there.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise could_not_read(folder, error) from error
