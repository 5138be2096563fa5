"""Files of a data set, which may come from anywhere: how much of one is read, what is said of a damaged one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.errors import AbsentError, BenchError, RunError, one_line
from bench.text import size


def contents(path: Path, most: int, advice: str = "obtain it too") -> bytes:
    """A file's bytes.

    Args:
        path: the file.
        most: bytes that it may have.
        advice: what to do where it is missing.

    Raises:
        AbsentError: there is no such file.
        RunError: it is larger, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise AbsentError(f"{path} is missing; {advice}.") from None
    except OSError as error:
        raise RunError(f"{path} can't be read ({error.strerror or error}); see that you may read it.") from None
    if len(data) > most:
        raise RunError(f"{path} is larger than {size(most)}, which nothing of its kind is; obtain it again.")
    return data


@contextlib.contextmanager
def whole(path: Path, kind: str) -> Iterator[None]:
    """Turns what a library raises while it reads a file into one sentence.

    Args:
        path: the file.
        kind: of file, for messages, such as `tar file`.

    Raises:
        RunError: whatever is raised in the block, other than our own errors.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # what a damaged file makes of a library depends on where the damage is
        raise RunError(
            f"{path} is no whole {kind} ({one_line(error)}), so it is damaged or cut short; obtain it again."
        ) from error
