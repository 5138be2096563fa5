"""Standard output and error that fail nobody: what cannot be printed stops no work, and is told at the end.

A pipe that its reader has closed (`bench … | head`) is no fault. Characters that a stream's encoding lacks are
replaced.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


class Output:
    """What became of standard output."""

    def __init__(self) -> None:
        self._raw: _Raw | None = None

    @property
    def fault(self) -> str:
        """Why something could not be printed; empty where all could, or its reader wanted no more."""
        error = self._raw.error if self._raw else None
        return "" if error is None or isinstance(error, BrokenPipeError) else error.strerror or type(error).__name__


@contextlib.contextmanager
def lasting_streams() -> Iterator[Output]:
    """Replace the process's own standard streams for a while; those that a caller has put there stay."""
    output, before = Output(), (sys.stdout, sys.stderr)
    _take_places()
    with contextlib.ExitStack() as stack:
        if sys.stdout is None or _is_own(sys.stdout):
            sys.stdout, output._raw = _lasting(sys.stdout, 1)
            stack.callback(_flushed, sys.stdout)
        if sys.stderr is None or _is_own(sys.stderr):
            sys.stderr, _ = _lasting(sys.stderr, 2)
            stack.callback(_flushed, sys.stderr)
        try:
            yield output
        finally:
            stack.close()
            sys.stdout, sys.stderr = before


class _Raw(io.FileIO):
    """A descriptor that takes whatever is written; the first fault is kept, and what comes after it is dropped."""

    error: OSError | None = None

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]  # as BufferedWriter gives it
        if self.error is None:
            try:
                return super().write(view) or 0
            except OSError as error:
                self.error = error
        return view.nbytes


def _lasting(stream: TextIO | None, descriptor: int) -> tuple[TextIO, _Raw]:
    if stream is not None:
        _flushed(stream)
        descriptor = stream.fileno()
    raw = _Raw(descriptor, "w", closefd=False)
    is_error, buffered = descriptor == 2, stream is None or _raw(stream) is not stream.buffer
    lasting = io.TextIOWrapper(
        io.BufferedWriter(raw) if buffered else raw,  # the latter as Python itself does
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace" if is_error else "replace",
        line_buffering=is_error or raw.isatty(),
        write_through=not buffered,
    )
    return lasting, raw


def _is_own(stream: TextIO) -> bool:
    """Whether a stream writes to a descriptor as Python made it, and no caller catches what is printed."""
    return type(stream) is io.TextIOWrapper and isinstance(_raw(stream), io.FileIO)


def _raw(stream: TextIO) -> object:
    """What writes to the descriptor: below a buffer, or alone where Python is told to have none (`python -u`)."""
    return getattr(stream.buffer, "raw", stream.buffer)


def _flushed(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()


def _take_places() -> None:
    """Where a stream is closed, the next file that is opened would take its place, and what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                continue
            with contextlib.suppress(OSError):
                # The lowest number that is free: this one. To write to it fails, as to a closed one.
                os.open(os.devnull, os.O_RDONLY)
