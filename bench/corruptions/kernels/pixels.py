"""What the corruptions share: draws for every value, tables, and the way back to bytes."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array


def pixelwise(draw: Callable[..., Tensor], images_NCHW: Tensor) -> Tensor:
    """One draw for every value of the images; a sample's are numbered as its pixels stand in a file, (h, w, c)."""
    _, channels, height, width = images_NCHW.shape
    return draw(height, width, channels).permute(0, 3, 1, 2)


def brightest(images_NCHW: Tensor) -> Tensor:
    """(n, 1, h, w): the value of hue, saturation, value. Twice as fast as `amax` over three channels."""
    red, green, blue = images_NCHW.unbind(1)
    return torch.maximum(torch.maximum(red, green), blue)[:, None]


def darkest(images_NCHW: Tensor) -> Tensor:
    """(n, 1, h, w)."""
    red, green, blue = images_NCHW.unbind(1)
    return torch.minimum(torch.minimum(red, green), blue)[:, None]


def look_up(make: Callable[..., Array], arguments: tuple[Hashable, ...], index_NCHW: Tensor) -> Tensor:
    """The entries of a table in the shape of the index; channels last in memory.

    Args:
        make: gives the table, as of `bench.machine.tables.table`.
        arguments: of `make`.
        index_NCHW: of any type that holds whole numbers.
    """
    entries = table(index_NCHW.device, make, *arguments)
    index_NHWC = index_NCHW.permute(0, 2, 3, 1)  # as it mostly lies in memory
    return entries.index_select(0, index_NHWC.reshape(-1).int()).view(index_NHWC.shape).permute(0, 3, 1, 2)


def to_bytes(images_NCHW: Tensor) -> Tensor:
    """Turn values from 0 to 255 into bytes: cut off, not rounded, as imagecorruptions does.

    Args:
        images_NCHW: floating; may be overwritten.
    """
    if triton_op.takes(images_NCHW):
        from bench.images import pixels_triton

        return triton_op.applied(pixels_triton.to_bytes, images_NCHW)
    # By way of int16: straight from float to bytes takes a CPU four times as long.
    return images_NCHW.clamp_(0, 255).to(torch.int16).to(torch.uint8)
