"""Work that is cut into pieces, in as many threads as torch uses; each piece runs its tensor operations alone.

Kernels and codecs release the interpreter, and tensor operations on pieces that fit a cache run faster side by side
than one after the other with all threads each.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_T = TypeVar("_T")


def pieces(n: int, most: int) -> list[slice]:
    """Cut n things into pieces of nearly the same size, at most `most` each, that keep all threads busy."""
    threads = torch.get_num_threads()
    count = -(-n // most) or 1
    count = min(n, -(-count // threads) * threads)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def in_threads(function: Callable[[_T], object], items: Iterable[_T]) -> None:
    """Call a function with each item; what one of them raises is raised when all that had begun are done."""
    threads, items = torch.get_num_threads(), list(items)
    if threads == 1 or len(items) == 1:
        for item in items:
            function(item)
        return
    with ThreadPoolExecutor(min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(function, item) for item in items]
    # A thread's own number lives in it, but torch also keeps the last one set, for threads that are yet to come.
    torch.set_num_threads(threads)
    for result in waiting:
        result.result()
