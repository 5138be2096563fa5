"""Values from one process to another, over a connection; large arrays go in memory of their own.

Such memory is a file without a name (memfd): /dev/shm, which containers keep to 64 MB, has no part in it, and nothing
is left where a process is killed. Where the system has none, arrays go through the connection.
"""

import contextlib
import mmap
import os
import pickle
from collections.abc import Iterator, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

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
            reduction.send_handle(connection, memory, None)  # Windows alone needs the process


def receive(connection: "Connection[Any, Any]") -> Any:
    """The next value; its arrays can be written to, and their memory is given back with them.

    Raises:
        EOFError: nobody holds the other end any more.
        OSError: likewise, in the middle of a value.
    """
    message, spans = pickle.loads(connection.recv_bytes())
    if not spans:
        return pickle.loads(message)
    memory = reduction.recv_handle(connection)
    try:
        mapped = memoryview(mmap.mmap(memory, spans[-1][1]))
    finally:
        os.close(memory)
    return pickle.loads(message, buffers=[mapped[start:end] for start, end in spans])


@contextlib.contextmanager
def _in_memory(arrays: Sequence[pickle.PickleBuffer]) -> Iterator[tuple[int | None, list[tuple[int, int]]]]:
    """A descriptor of memory that holds arrays, and where each begins and ends; None and no place if there is none."""
    if not arrays or not hasattr(os, "memfd_create"):
        yield None, []
        return
    try:
        memory = os.memfd_create("rtbench")
    except OSError:  # forbidden in some sandboxes
        yield None, []
        return
    try:
        yield memory, _fill(memory, arrays)
    finally:
        os.close(memory)


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
