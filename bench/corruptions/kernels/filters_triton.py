"""Linear filters as Triton kernels, in the order of sums of `filters_cpu`, and so its numbers.

Legend: N images, C channels, H × W pixels, K taps of a filter; a kernel of 2R + 1 weights.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation


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


@triton.jit(do_not_specialize=[*SPARED, "taps"])
def _correlate_kernel(
    images, out, downs, acrosses, weights, taps, programs, height, width, stride_n, stride_c, stride_p,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    first = sample * taps
    for c in tl.static_range(CHANNELS):
        image = images + sample * stride_n + c * stride_c
        total = tl.zeros([PIXELS], tl.float32)
        for k in range(taps):
            y = _within(row + tl.load(downs + first + k), height, False)
            x = _within(column + tl.load(acrosses + first + k), width, False)
            value = tl.load(image + (y * width + x) * stride_p, mask=there, other=0).to(tl.float32)
            total += tl.load(weights + first + k) * value
        place = out + sample * stride_n + c * stride_c + pixel * stride_p
        tl.store(place, total, mask=there)


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


@operation("out")
def correlate(images_NCHW: Tensor, down_NK: Tensor, across_NK: Tensor, weights_NK: Tensor, out: Tensor) -> None:
    """`filters.correlate` with the border `nearest`.

    Args:
        images_NCHW: uint8 or float32, of `triton_op.in_order`.
        down_NK: int64 shifts, contiguous, as the next two.
        across_NK: int64 shifts.
        weights_NK: float32.
        out: float32 with the shape and strides of the images, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _correlate_kernel[grid](
        images_NCHW, out, down_NK, across_NK, weights_NK, down_NK.shape[1], programs, *images_NCHW.shape[2:],
        *strides_of(images_NCHW), images_NCHW.shape[1], PIXELS, **EXACT,
    )  # fmt: skip


def _as_channels(images: Tensor) -> Tensor:
    return images if images.dim() == 4 else images[:, None]
