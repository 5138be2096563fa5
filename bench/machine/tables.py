"""Tables that are computed on the host and read on a device: made and sent there once, and kept."""

import functools
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from bench.records import Array


def table(device: torch.device, make: Callable[..., Array], *arguments: Hashable) -> Tensor:
    """What a function makes, as a tensor on a device.

    To send it anew with each batch would let the device wait.

    Args:
        device: where it is read.
        make: gives the same array for the same arguments, whenever it is called.
        arguments: of `make`, in order.

    Returns:
        A tensor that is not to be changed, as others read it too.
    """
    return _kept(device, make, arguments)


@functools.lru_cache(maxsize=256)
def _kept(device: torch.device, make: Callable[..., Array], arguments: tuple[Hashable, ...]) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(make(*arguments)).to(device)
