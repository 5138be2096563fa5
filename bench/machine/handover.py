"""Values from one process to another, over a connection; large arrays go in memory of their own.

Such memory is a file without a name (memfd): /dev/shm, which containers keep to 64 MB, has no part in it, and nothing
is left where a process is killed. Where the system has none, arrays go through the connection.
"""

import contextlib
import errno
import mmap
import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from bench.errors import RunError, one_line

_LARGE = 2**16
"""Bytes from which on an array goes in memory of its own."""
_ALIGNED = 64
"""Each array begins at a multiple of so many bytes."""


def send(connection: "Connection[Any, Any]", value: object) -> None:
    """Send a value.

    Args:
        connection: one end of a duplex pipe.
        value: what can be pickled.

    Raises:
        OSError: nobody holds the other end any more. What pickling raises passes through, and nothing was sent.
    """
    arrays: list[pickle.PickleBuffer] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _LARGE:
            return True
        arrays.append(buffer)
        return False

    message = pickle.dumps(value, protocol=5, buffer_callback=in_band)
    with _in_memory(arrays) as (memory, spans):
        if arrays and memory is None:
            message = pickle.dumps(value, protocol=5)
        connection.send_bytes(pickle.dumps((message, spans)))
        if memory is not None:
            with _as_socket(connection) as unix:
                reduction.sendfds(unix, [memory])


def receive(connection: "Connection[Any, Any]") -> Any:
    """The next value; its arrays can be written to, and their memory is given back with them.

    Raises:
        EOFError: nobody holds the other end any more.
        OSError: likewise, in the middle of a value.
        RunError: there is no descriptor or no memory for the arrays of this value; the next one may come.
    """
    message, spans = pickle.loads(connection.recv_bytes())
    if not spans:
        return pickle.loads(message)
    mapped = _mapped(connection, spans[-1][1])
    return pickle.loads(message, buffers=[mapped[start:end] for start, end in spans])


def _mapped(connection: "Connection[Any, Any]", size: int) -> memoryview:
    """The memory whose descriptor comes next; `mmap` keeps one of its own while the arrays are there."""
    try:
        with _as_socket(connection) as unix:
            [memory] = reduction.recvfds(unix, 1)
        try:
            return memoryview(mmap.mmap(memory, size))
        finally:
            os.close(memory)
    except RuntimeError as error:  # the message came, and the descriptor did not
        raise RunError(_refusal(size, os.strerror(errno.EMFILE))) from error
    except OSError as error:
        raise RunError(_refusal(size, error.strerror or one_line(error))) from error


def _refusal(size: int, reason: str) -> str:
    return (
        f"the {size:,} bytes that another process hands over cannot be taken ({reason}); let this process open more "
        "files (ulimit -n) and have more memory, or ask for less at once (--workers, --batch-size)."
    )


@contextlib.contextmanager
def _as_socket(connection: "Connection[Any, Any]") -> Iterator[socket.socket]:
    """The connection itself, and no duplicate: for that there may be no descriptor left."""
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=connection.fileno())
    try:
        yield unix
    finally:
        unix.detach()


@contextlib.contextmanager
def _in_memory(arrays: Sequence[pickle.PickleBuffer]) -> Iterator[tuple[int | None, list[tuple[int, int]]]]:
    """A descriptor of memory that holds arrays, and where each begins and ends; None and no place if there is none."""
    if not arrays or not hasattr(os, "memfd_create"):
        yield None, []
        return
    with contextlib.ExitStack() as stack:
        try:
            memory = os.memfd_create("rtbench")
            stack.callback(os.close, memory)
            spans = _fill(memory, arrays)
        except OSError:  # forbidden in some sandboxes; or there is no room, or no descriptor
            yield None, []
        else:
            yield memory, spans


def _fill(memory: int, arrays: Sequence[pickle.PickleBuffer]) -> list[tuple[int, int]]:
    spans, end = [], 0
    with open(memory, "wb", closefd=False) as file:
        for array in arrays:
            start = -(-end // _ALIGNED) * _ALIGNED
            file.seek(start)
            file.write(array.raw())
            end = start + array.raw().nbytes
            spans.append((start, end))
    return spans
