"""Triton kernels as operations of torch, for batches on a CUDA device.

As operations they are seen by whatever counts what torch does, and tensors that hold no data take them too. Modules of
kernels import Triton, so they are imported where `takes` has said yes, and nowhere else.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from bench.errors import one_line

_F = TypeVar("_F", bound=Callable[..., None])
_LIBRARY: Any = torch.library.Library("rtbench", "DEF")  # type: ignore[no-untyped-call]
EXACT = {"enable_fp_fusion": False, "sanitize_overflow": False}
"""Options of kernels: products and sums are rounded one by one, as a CPU's are, and words may wrap around."""


def takes(tensor: Tensor) -> bool:
    """Whether Triton kernels run where a tensor lies: on a CUDA device, with Triton and what it needs to compile."""
    return tensor.is_cuda and _works(tensor.device)


def operation(*writes: str) -> Callable[[_F], _F]:
    """Make an operation of a function that launches one kernel; its name is the function's.

    Args:
        writes: the arguments, tensors all, that are overwritten; the function gives nothing back.
    """

    def register(launch: _F) -> _F:
        name = launch.__name__

        def launch_there(*arguments: Any) -> None:
            # Triton takes the current device, which need not be the one that the tensors lie on.
            tensor = next(value for value in arguments if isinstance(value, Tensor))
            with torch.cuda.device_of(tensor):  # type: ignore[no-untyped-call]
                launch(*arguments)

        _LIBRARY.define(name + torch.library.infer_schema(launch, mutates_args=writes))
        _LIBRARY.impl(name, launch_there, "CompositeExplicitAutograd")
        torch.library.register_fake(f"rtbench::{name}", _nothing, lib=_LIBRARY)
        return cast(_F, getattr(torch.ops.rtbench, name).default)

    return register


def applied(launch: Callable[..., None], images: Tensor, *arguments: Any, dtype: torch.dtype = torch.uint8) -> Tensor:
    """What an operation makes of images, in a new tensor of their shape and memory format.

    Args:
        launch: takes images in order, the arguments, and what it overwrites.
        images: (n, c, h, w) or (n, h, w), of any strides.
        arguments: of the operation.
        dtype: of what it makes.
    """
    images = in_order(images)
    out = torch.empty_like(images, dtype=dtype)
    launch(images, *arguments, out)
    return out


def in_order(images: Tensor) -> Tensor:
    """Images contiguous, or channels last, as kernels read them: most are one or the other as they are."""
    if images.dim() == 4 and images.is_contiguous(memory_format=torch.channels_last):
        return images
    return images.contiguous()


def _nothing(*_: Any) -> None:
    """What an operation does with tensors that hold no data: its results are made by the caller."""


@functools.lru_cache(maxsize=16)
def _works(device: torch.device) -> bool:
    """Whether a kernel can be compiled and run; torch's own operations, which are slower, do without."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        _probe()(torch.empty(1, dtype=torch.int32, device=device))
    except Exception as error:  # of a compiler that is missing, a card too old, a driver: there is no end to them
        what = f"{type(error).__name__}: {one_line(error)}"
        warnings.warn(f"Triton does not run on {device} ({what}); slower ways are taken.", stacklevel=3)
        return False
    return True


@functools.cache
def _probe() -> Callable[[Tensor], None]:
    from bench.machine.probe_triton import probe

    return operation("out")(probe)
