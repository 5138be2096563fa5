"""Running out of memory: how it is told from other faults, and how many images are tried next."""

import torch

from bench.errors import RunError


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
    if fixed or tried == 1:
        raise RunError(f"out of memory with {tried} images at once; use a smaller --batch-size, or auto.") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return tried // 2
