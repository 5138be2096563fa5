"""The errors that a user reads: one sentence each, never a traceback."""

import difflib
import errno
from collections.abc import Iterable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of an OSError that want of room gives: a full disk, a quota, a file over its limit."""


class BenchError(Exception):
    """A mistake or a fault that the user can act on; printed without a traceback.

    Args:
        message: what was wanted, what came, and what to do next.
    """

    exit_code = 2
    """What the command line returns: 2 means that the call must change."""


class RunError(BenchError):
    """A fault of the run, not of the call: a full disk, a damaged file, a checkpoint that gives NaN."""

    exit_code = 1


class AbsentError(BenchError):
    """Data or weights that are not on this machine; the message says where to obtain them and where to put them."""


class UnreachableError(AbsentError):
    """Data or weights that lie where no network leads at present: the same holds for all that lie there."""


class DoesNotApplyError(BenchError):
    """A score of what a checkpoint does not have, such as attention in a ResNet: it is left out, and needs no word."""


class UnknownNameError(BenchError):
    """A name that no registry, table or file holds; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], see: str | None = None) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            hint = f"Did you mean {' or '.join(repr(n) for n in near)}?"
        elif known and len(known) <= 12:
            hint = f"Known: {', '.join(known)}."
        else:
            hint = f"{len(known)} are known." if known else "There is none."
        super().__init__(f"no {kind} {name!r}. {hint}" + (f" See: {see}" if see else ""))


class BenchWarning(UserWarning):
    """What a user should know and what stops nothing; the command line shows it as one line."""


def one_line(error: BaseException) -> str:
    """The first line of an exception's text, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
