"""The C library's allocator: memory that is freed stays with the process, for the next array of the kind."""

import contextlib
import ctypes
import sys

# malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 32 * 2**20
"""Bytes: glibc takes no higher threshold for what is mapped by itself."""
_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Keep freed memory up to 256 MiB, where the C library is glibc; elsewhere nothing happens.

    By default glibc gives what lies free at the end of its heap back from 128 KiB on, so that every temporary array of
    some 100 KiB comes as fresh pages, which the kernel must clear: a sum of logarithms over 50,000 numbers took three
    times as long. What is larger than 32 MiB still comes and goes by itself. The threshold is this whole process's, and
    its children's: a program sets it, a library does not.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _MOST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
