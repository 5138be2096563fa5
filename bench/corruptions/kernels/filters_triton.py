"""Linear filters as Triton kernels, in the order of sums of `filters_cpu`, and so its numbers.

Legend: N images, C channels, H × W pixels, K taps of a filter; a kernel of 2R + 1 weights.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, as_byte, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation

_MORE_PIXELS = 2 * PIXELS
"""That a program of few threads takes where each pixel needs the same taps, which are then read less often."""


@triton.jit
def _within(place, size, REFLECT: tl.constexpr):
    """Which place of an axis stands at a place that may lie beyond its edges."""
    if REFLECT:
        place = (place % (2 * size) + 2 * size) % (2 * size)
        return tl.minimum(place, 2 * size - 1 - place)
    return tl.minimum(tl.maximum(place, 0), size - 1)


@triton.jit(do_not_specialize=[*SPARED, "reach", "out_n", "out_c", "out_p"])
def _axis_kernel(
    images, out, weights, reach, programs, height, width, stride_n, stride_c, stride_p, out_n, out_c, out_p,
    CHANNELS: tl.constexpr, DOWN: tl.constexpr, REFLECT: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    for c in tl.static_range(CHANNELS):
        image = images + sample * stride_n + c * stride_c
        middle = tl.load(image + pixel * stride_p, mask=there, other=0).to(tl.float32)
        total = tl.load(weights + reach) * middle
        for k in range(1, reach + 1):
            if DOWN:
                before = _within(row - k, height, REFLECT) * width + column
                behind = _within(row + k, height, REFLECT) * width + column
            else:
                before = row * width + _within(column - k, width, REFLECT)
                behind = row * width + _within(column + k, width, REFLECT)
            a = tl.load(image + before * stride_p, mask=there, other=0).to(tl.float32)
            b = tl.load(image + behind * stride_p, mask=there, other=0).to(tl.float32)
            total += tl.load(weights + reach + k) * (a + b)
        tl.store(out + sample * out_n + c * out_c + pixel * out_p, total, mask=there)


@triton.jit(do_not_specialize=[*SPARED, "taps", "of_sample", "wide_row", "wide_size"])
def _correlate_kernel(
    wides, out, downs, acrosses, weights, taps, of_sample, wide_row, wide_size, programs, height, width,
    stride_n, stride_c, stride_p, CHANNELS: tl.constexpr, BYTES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    # One image has less than 2³¹ places; what is beyond its end sums up the first pixel, and is not stored.
    image, place = wides + sample * wide_size, tl.where(there, row * wide_row + column, 0) * CHANNELS
    first = sample * of_sample
    red = tl.zeros([PIXELS], tl.float32)
    green, blue = red, red
    for k in range(taps):
        shift = (tl.load(downs + first + k) * wide_row + tl.load(acrosses + first + k)).to(tl.int32)
        weight, values = tl.load(weights + first + k), image + (place + shift * CHANNELS)
        red += weight * tl.load(values)
        if CHANNELS == 3:
            green += weight * tl.load(values + 1)
            blue += weight * tl.load(values + 2)
    place = out + sample * stride_n + pixel * stride_p
    tl.store(place, as_byte(red) if BYTES else red, mask=there)
    if CHANNELS == 3:
        tl.store(place + stride_c, as_byte(green) if BYTES else green, mask=there)
        tl.store(place + 2 * stride_c, as_byte(blue) if BYTES else blue, mask=there)


@operation("out")
def filter_axis(images: Tensor, weights_K: Tensor, down: bool, reflect: bool, out: Tensor) -> None:
    """Filter along an axis with a symmetric kernel.

    Args:
        images: (n, c, h, w) or (n, h, w), uint8 or float32, of `triton_op.in_order`.
        weights_K: float32, 2R + 1.
        down: along columns; else along rows.
        reflect: the border is `reflect`; else it is `nearest`.
        out: float32 of the same shape, likewise in order, overwritten.
    """
    grid, programs = grid_over(images)
    planes, places = _as_channels(images), _as_channels(out)
    _axis_kernel[grid](
        planes, places, weights_K, weights_K.shape[0] // 2, programs, *planes.shape[2:], *strides_of(planes),
        *strides_of(places), planes.shape[1], down, reflect, PIXELS, **EXACT,
    )  # fmt: skip


@operation("out_NCHW")
def correlate(wide_NHWC: Tensor, down_NK: Tensor, across_NK: Tensor, weights_NK: Tensor, out_NCHW: Tensor) -> None:
    """Weighted sum of shifted copies, see `filters.correlate`.

    Args:
        wide_NHWC: float32, one channel or three, contiguous: the images with what lies beyond their edges.
        down_NK: int64, where the copies begin, contiguous, as the next two; or (1, k) for all images alike.
        across_NK: int64.
        weights_NK: float32.
        out_NCHW: float32, or uint8 (cut off), of `triton_op.in_order`, overwritten.
    """
    grid, programs = grid_over(out_NCHW, _MORE_PIXELS)
    taps = down_NK.shape[1]
    of_sample = taps if len(down_NK) > 1 else 0
    wide_row, wide_size = wide_NHWC.shape[2], wide_NHWC[0].numel()
    _correlate_kernel[grid](
        wide_NHWC, out_NCHW, down_NK, across_NK, weights_NK, taps, of_sample, wide_row, wide_size,
        programs, *out_NCHW.shape[2:], *strides_of(out_NCHW), out_NCHW.shape[1],
        out_NCHW.dtype == torch.uint8, _MORE_PIXELS, num_warps=2, **EXACT,
    )  # fmt: skip


def _as_channels(images: Tensor) -> Tensor:
    return images if images.dim() == 4 else images[:, None]
