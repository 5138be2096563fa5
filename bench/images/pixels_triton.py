"""What the Triton kernels of the corruptions share.

A program takes some pixels of one image. Pixel p of sample n lies at n · stride_n + p · stride_p, of each channel c
at c · stride_c further on: so planes and images whose channels lie side by side are both read where they are.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.machine.triton_op import operation

PIXELS = 512
"""That a program takes."""
SPARED = ["programs", "height", "width", "stride_n", "stride_c", "stride_p"]
"""Numbers that no kernel is compiled anew for."""


@triton.jit
def as_byte(value):
    """From 0 to 255, cut off as `bench.corruptions.kernels.pixels.to_bytes` does."""
    return tl.minimum(tl.maximum(value, 0.0), 255.0).to(tl.int32).to(tl.uint8)


@triton.jit
def pixels_of(programs, width, PIXELS: tl.constexpr):
    """The sample of a program, and its pixels: their number in the image, row and column."""
    sample = tl.program_id(0) // programs
    pixel = tl.program_id(0) % programs * PIXELS + tl.arange(0, PIXELS)
    return sample.to(tl.int64), pixel, pixel // width, pixel % width


def grid_over(images: Tensor) -> tuple[tuple[int], int]:
    """The grid of kernels that take the pixels of (n, …, h, w), and the programs of an image."""
    programs = triton.cdiv(images.shape[-2] * images.shape[-1], PIXELS)
    return (images.shape[0] * programs,), programs


def strides_of(images_NCHW: Tensor) -> tuple[int, int, int]:
    """stride_n, stride_c and stride_p of images that `triton_op.in_order` has given."""
    stride_n, stride_c, _, stride_p = images_NCHW.stride()
    return stride_n, stride_c, stride_p


@triton.jit
def _bytes_kernel(values, out, count, PIXELS: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    tl.store(out + place, as_byte(tl.load(values + place, mask=place < count, other=0)), mask=place < count)


@operation("out")
def to_bytes(values: Tensor, out: Tensor) -> None:
    """`bench.corruptions.kernels.pixels.to_bytes` of float32 or float64.

    Args:
        values: dense in memory.
        out: uint8 with the shape and strides of the values, overwritten.
    """
    count = values.numel()
    _bytes_kernel[(triton.cdiv(count, 4 * PIXELS),)](values, out, count, 4 * PIXELS)
