"""One pass of Pillow's resampling as a Triton kernel: sums of integers, the same in any order.

Legend: N images, C channels, H × W pixels.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, grid_over, pixels_of, strides_of
from bench.images.resample import BITS
from bench.machine.triton_op import operation

_BITS, _HALF = tl.constexpr(BITS), tl.constexpr(1 << (BITS - 1))


@triton.jit(do_not_specialize=["taps", "before", "old_n", "old_c", "programs", "height", "width", "new_n", "new_c"])
def _average_kernel(
    images, out, firsts, weights, taps, before, old_n, old_c, old_p, programs, height, width, new_n, new_c, new_p,
    CHANNELS: tl.constexpr, DOWN: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    index = tl.where(there, row if DOWN else column, 0)
    first = tl.load(firsts + index).to(tl.int32)
    for c in tl.static_range(CHANNELS):
        total = tl.full([PIXELS], _HALF, tl.int32)
        for k in range(taps):
            # Beyond the last pixel the weight is 0.
            source = tl.minimum(first + k, before - 1)
            place = source * width + column if DOWN else row * before + source
            value = tl.load(images + sample * old_n + c * old_c + place * old_p, mask=there, other=0)
            total += value.to(tl.int32) * tl.load(weights + index * taps + k)
        made = tl.minimum(tl.maximum(total >> _BITS, 0), 255).to(tl.uint8)
        tl.store(out + sample * new_n + c * new_c + pixel * new_p, made, mask=there)


@operation("out")
def average(images_NCHW: Tensor, first: Tensor, weights: Tensor, down: bool, out: Tensor) -> None:
    """Make each pixel of an axis a weighted sum of consecutive ones.

    Args:
        images_NCHW: uint8, of `triton_op.in_order`.
        first: (pixels,) int64, the first that goes into each.
        weights: (pixels, taps) int32, contiguous, of fixed point.
        down: along columns; else along rows.
        out: uint8 with so many pixels along the axis, in order as the images, overwritten.
    """
    grid, programs = grid_over(out)
    before = images_NCHW.shape[2 if down else 3]
    _average_kernel[grid](
        images_NCHW, out, first, weights, weights.shape[1], before, *strides_of(images_NCHW), programs, *out.shape[2:],
        *strides_of(out), out.shape[1], down, PIXELS,
    )  # fmt: skip
