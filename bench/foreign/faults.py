"""What foreign code raises is the fault of the part that brought it, and ends nothing else."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dis import opmap

from bench.errors import BenchError, RunError, one_line
from bench.foreign.sources import is_foreign, is_ours

_log = logging.getLogger("bench")
"""Shown by `--traceback`."""


@contextlib.contextmanager
def blamed(
    says: str, kind: type[BenchError] = RunError, *, but: Callable[[Exception], bool] = lambda error: False
) -> Iterator[None]:
    """Make whatever is raised an error that names the part: also `sys.exit()`, which would end the program silently.

    Args:
        says: the part and what it was to do, as the begin of a sentence: `measure 'lines' failed`.
        kind: of the error.
        but: which exceptions pass through, such as for want of memory.

    Raises:
        BenchError: of that kind, for anything but a BenchError, which says itself what to do, and Ctrl-C.
    """
    try:
        yield
    except BaseException as error:
        passes = isinstance(error, Exception) and but(error)
        if passes or isinstance(error, BenchError) or is_interrupt(error):
            raise
        raise kind(f"{says}: {fault(error)}") from error


def fault(error: BaseException) -> str:
    """An exception in words, on one line, with the line of foreign code that it came from; it is logged whole."""
    _log.debug("", exc_info=error)
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({error.code!r}){place_of(error)}"
    text = one_line(error)
    return (text if text == type(error).__name__ else f"{type(error).__name__}: {text}") + place_of(error)


def place_of(error: BaseException) -> str:
    """The last line of foreign code behind an exception, as ` (my.py, line 3)`; empty where it says so, or has none."""
    if isinstance(error, SyntaxError):
        return ""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if is_foreign(str(frame.f_globals.get("__name__", ""))):
            return f" ({_shown(frame.f_code.co_filename)}, line {line})"
    return ""


def _shown(file: str) -> str:
    """A path as seen from the working directory, where it lies below it."""
    try:
        below = os.path.relpath(file)
    except (OSError, ValueError):  # the folder is gone; another drive
        return file
    return file if below.startswith(os.pardir) else below


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, and not raised by somebody's code in its place."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return True
    module = str(last.tb_frame.f_globals.get("__name__", ""))
    if is_ours(module) or module.partition(".")[0] in sys.stdlib_module_names:  # a signal's handler
        return True
    return last.tb_frame.f_code.co_code[last.tb_lasti] != opmap["RAISE_VARARGS"]
