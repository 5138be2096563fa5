"""Work that is cut into pieces, in as many threads as torch uses; each piece runs its tensor operations alone.

Kernels and codecs release the interpreter, and tensor operations on pieces that fit a cache run faster side by side
than one after the other with all threads each.
"""

import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from bench.records import Array

_T = TypeVar("_T")
_IMAGES = 16
"""That a thread takes at a time, where they are worked on one by one."""


def pieces(n: int, most: int) -> list[slice]:
    """Cut n things into pieces of nearly the same size, at most `most` each, that keep all threads busy."""
    threads = torch.get_num_threads()
    count = -(-n // most)
    count = min(n, -(-count // threads) * threads)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def in_threads(function: Callable[[_T], object], items: Iterable[_T], threads: int | None = None) -> None:
    """Call a function with each item; what one of them raises stops the others, and is raised.

    Within such a call everything runs in its own thread, without the caller's autocast or inference mode.

    Args:
        function: what to do.
        items: what with.
        threads: None takes as many as torch's operations have in the calling thread.
    """
    own, items = torch.get_num_threads(), list(items)
    threads = threads or own
    if threads == 1 or len(items) == 1 or getattr(_here, "is_piece", False):
        for item in items:
            function(item)
        return
    waiting = [_pool(threads, os.getpid()).submit(function, item) for item in items]
    try:
        concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_EXCEPTION)
    finally:
        begun = [piece for piece in waiting if not piece.cancel()]
        concurrent.futures.wait(begun)
        # A thread's own number lives in it, but torch also keeps the last one set, for threads that are yet to come.
        torch.set_num_threads(own)
    for piece in begun:
        piece.result()


def fill_images(function: Callable[[Array], Array], images_NHWC: Array, out_NHWC: Array) -> None:
    """Fill each image of `out_NHWC` with what a function makes of its image, in threads."""

    def fill(piece: slice) -> None:
        for image_HWC, out_HWC in zip(images_NHWC[piece], out_NHWC[piece], strict=True):
            out_HWC[:] = function(image_HWC)

    in_threads(fill, pieces(len(images_NHWC), _IMAGES))


def one_thread() -> None:
    """Keep torch to one thread, in a process that is one of many."""
    torch.set_num_threads(1)


_here = threading.local()


@functools.lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> concurrent.futures.ThreadPoolExecutor:
    """Kept from call to call; threads do not outlive a fork, so each process has its own."""
    return concurrent.futures.ThreadPoolExecutor(threads, "bench-piece", initializer=_alone)


def _alone() -> None:
    _here.is_piece = True
    torch.get_num_threads()  # the first call in a thread takes the number of all, whatever was set before
    torch.set_num_threads(1)
