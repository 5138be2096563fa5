"""Standard output and error, where nobody may be listening and the disk may be full."""

import contextlib
import os
import sys


def complain(sentence: str) -> None:
    """Say what is wrong; where nobody reads it, the exit status alone tells."""
    with contextlib.suppress(OSError):
        print(f"bench: {sentence}", file=sys.stderr, flush=True)


def drop_output() -> None:
    """What still waits to be printed goes nowhere: Python would try again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
