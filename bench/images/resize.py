"""Crops of one size for models of another, by Pillow's arithmetic: its bytes on every device."""

import numpy as np
import torch
from torch import Tensor

from bench.images.resample import BITS, resize_part, taps
from bench.machine import triton_op
from bench.machine.tables import table
from bench.machine.threads import fill_images
from bench.records import Array


def resize(images_NCHW: Tensor, size: int) -> Tensor:
    """Resize square images as Pillow does, bicubic; those that have the size are given back as they are.

    Args:
        images_NCHW: uint8, square.
        size: side wanted, pixels.

    Returns:
        uint8 (n, c, size, size).
    """
    if images_NCHW.shape[2] == size:
        return images_NCHW
    if not images_NCHW.is_cpu:
        return average(average(images_NCHW, 3, size, "bicubic"), 2, size, "bicubic")
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).numpy()
    out_NHWC = np.empty((len(images_NHWC), size, size, images_NHWC.shape[3]), np.uint8)
    fill_images(lambda image: resize_part(image, (size, size), (0, 0), size, "bicubic"), images_NHWC, out_NHWC)
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)


def average(images_NCHW: Tensor, axis: int, size: int, interpolation: str) -> Tensor:
    """One pass of Pillow's resampling as tensor operations: sums of integers, the same in any order.

    Args:
        images_NCHW: uint8.
        axis: 2 or 3.
        size: pixels of that axis wanted.
        interpolation: as of `taps`.

    Returns:
        uint8.
    """
    before, device = images_NCHW.shape[axis], images_NCHW.device
    first, weights = (table(device, make, before, size, interpolation) for make in (_first, _weights))
    if triton_op.takes(images_NCHW):
        return _average_by_triton(images_NCHW, axis, first, weights)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    images = images_NCHW.int()
    total = torch.full((), 1 << (BITS - 1), dtype=torch.int32, device=images.device)
    for k in range(weights.shape[1]):
        # Beyond the last pixel the weight is 0.
        part = images.index_select(axis, (first + k).clamp(max=before - 1))
        total = total + part.mul_(weights[:, k].view(shape))
    return total.bitwise_right_shift_(BITS).clamp_(0, 255).to(torch.uint8)


def _first(before: int, after: int, interpolation: str) -> Array:
    return taps(before, after, 0, after, interpolation).first


def _weights(before: int, after: int, interpolation: str) -> Array:
    return taps(before, after, 0, after, interpolation).weights


def _average_by_triton(images_NCHW: Tensor, axis: int, first: Tensor, weights: Tensor) -> Tensor:
    from bench.images import resize_triton

    images_NCHW = triton_op.in_order(images_NCHW)
    shape = [*images_NCHW.shape[:axis], len(first), *images_NCHW.shape[axis + 1 :]]
    last = images_NCHW.is_contiguous(memory_format=torch.channels_last)
    memory_format = torch.channels_last if last else torch.contiguous_format
    out = torch.empty(shape, dtype=torch.uint8, device=images_NCHW.device, memory_format=memory_format)
    resize_triton.average(images_NCHW, first, weights, axis == 2, out)
    return out
