"""Memory: how much is free, how running out of it is told from other faults, how many images are tried next."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from bench.errors import RunError
from bench.machine.hardware import physical_memory

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Made(Generic[_T]):
    """What was made of images, piece after piece."""

    parts: list[_T]
    at_once: int
    """Images to take at once from now on."""


def in_pieces(make: Callable[..., _T], *batch: Any, at_once: int, fixed: bool = False) -> Made[_T]:
    """Make something of a batch in pieces; what memory has no room for is made again in halves.

    Args:
        make: takes a piece of each of `batch`.
        batch: tensors or sequences with a row an image.
        at_once: images that are tried at once.
        fixed: whether the user chose that number: running out of memory is then an error.

    Raises:
        RunError: a single image does not fit. What `make` raises otherwise passes through.
    """
    parts: list[_T] = []
    done, n = 0, len(batch[0])
    while done < n:
        end = min(done + at_once, n)
        fault: Exception | None = None
        try:
            parts.append(make(*(rows[done:end] for rows in batch)))
        except Exception as error:
            # Its frames hold the tensors that filled the memory: they must be gone before it is given back.
            fault = error.with_traceback(None) if is_out_of_memory(error) else error
        if fault is None:
            done = end
        else:
            at_once = fewer(end - done, fault, fixed=fixed)
    return Made(parts=parts, at_once=at_once)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the machine, had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # Of torch's CPU allocator, on Windows and elsewhere.
    words = ("not enough memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def fewer(tried: int, error: Exception, *, fixed: bool) -> int:
    """Images to try at once after `tried` failed: half as many.

    Args:
        tried: images that were tried at once.
        error: what came of it; raised again if it was not for want of memory.
        fixed: whether the user chose the batch size.

    Raises:
        RunError: there is no smaller number to try.
    """
    if not is_out_of_memory(error):
        raise error
    if tried == 1:
        raise RunError("out of memory with 1 image at once; free some of the device's.") from error
    if fixed:
        raise RunError(f"out of memory with {tried} images at once; use a smaller --batch-size, or auto.") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return tried // 2


def free_memory(device: str) -> int:
    """Bytes free on the device; half of all memory where the system does not say what is free (macOS)."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return physical_memory() // 2
