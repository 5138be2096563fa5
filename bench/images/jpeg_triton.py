"""`jpeg_torch.round_trip` as three Triton kernels: the blocks of luma, those of chroma, and the way back to colours.

Integers all, with one rounding shift at the end of each sum: the same in any order. What is a sample here is a pixel
of luma, or the mean of four pixels of chroma, less 128. Files named below are libjpeg's.

Legend: N images, H × W pixels; blocks are 8 × 8 samples.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, grid_over, pixels_of, strides_of
from bench.machine.triton_op import operation

_BLOCKS = 8
"""That a program takes."""


@triton.jit
def _component(images, place, stride_c, red, green, blue, offset):
    """One of luma and the chromas, of jccolor.c."""
    total = tl.load(images + place).to(tl.int32) * red
    total += tl.load(images + place + stride_c).to(tl.int32) * green
    total += tl.load(images + place + 2 * stride_c).to(tl.int32) * blue
    return (total + offset) >> 16


@triton.jit
def _rows_summed(values, weights, SHIFT: tl.constexpr):
    """Σ_x weights[u, x] · values[b, i, x], rounded."""
    return (tl.sum(values[:, :, None, :] * weights[None, None, :, :], 3) + (1 << (SHIFT - 1))) >> SHIFT


@triton.jit
def _columns_summed(values, weights, SHIFT: tl.constexpr):
    """Σ_i weights[v, i] · values[b, i, u], rounded."""
    return (tl.sum(values[:, None, :, :] * weights[None, :, :, None], 2) + (1 << (SHIFT - 1))) >> SHIFT


@triton.jit(do_not_specialize=[*SPARED, "count", "across", "down"])
def _blocks_kernel(
    images, out, cosines, steps, count, across, down, height, width, stride_n, stride_c, stride_p,
    CHROMA: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    there = block < count
    block = tl.where(there, block, 0)
    sample, of_image = block // (across * down), block % (across * down)
    eight = tl.arange(0, 8)
    row = (of_image // across * 8)[:, None, None] + eight[None, :, None]
    column = (of_image % across * 8)[:, None, None] + eight[None, None, :]
    first = sample.to(tl.int64)[:, None, None] * stride_n
    table = cosines + 8 * eight[:, None] + eight[None, :]  # of frequency u, a row, at place x, a column
    forward, back = tl.load(table), tl.load(cosines + 8 * eight[None, :] + eight[:, None])
    for component in tl.static_range(2 if CHROMA else 1):
        if CHROMA:
            red, blue = -11059 if component == 0 else 32768, 32768 if component == 0 else -5329
            green, offset = -21709 if component == 0 else -27439, 32767
            # The last column is repeated before the halving, the last row after it, but for one without its pair.
            y = 2 * tl.minimum(row, (height + 1) // 2 - 1)
            upper, lower = y * width, tl.minimum(y + 1, height - 1) * width
            left, right = tl.minimum(2 * column, width - 1), tl.minimum(2 * column + 1, width - 1)
            total = _component(images, first + (upper + left) * stride_p, stride_c, red, green, blue, offset)
            total += _component(images, first + (upper + right) * stride_p, stride_c, red, green, blue, offset)
            total += _component(images, first + (lower + left) * stride_p, stride_c, red, green, blue, offset)
            total += _component(images, first + (lower + right) * stride_p, stride_c, red, green, blue, offset)
            values = (total + 1 + (column & 1)) >> 2
        else:
            pixel = tl.minimum(row, height - 1) * width + tl.minimum(column, width - 1)
            values = _component(images, first + pixel * stride_p, stride_c, 19595, 38470, 7471, 32768 - (128 << 16))
        values = _columns_summed(_rows_summed(values, forward, 11), forward, 15)
        # Halves are rounded away from 0 (jcdctmgr.c).
        step = tl.load(steps + 8 * eight[:, None] + eight[None, :])[None, :, :]
        values += (values >> 31) + (step << 2)
        # The quotient is rounded down, also below 0.
        values = (values - tl.where(values < 0, 8 * step - 1, 0)) // (8 * step) * step
        values = _rows_summed(_columns_summed(values, back, 11), back, 18)
        values = tl.minimum(tl.maximum(values, -128), 127).to(tl.int8)
        plane = sample.to(tl.int64)[:, None, None] * (2 if CHROMA else 1) + component
        place = plane * (64 * across * down) + row * (8 * across) + column
        tl.store(out + place, values, mask=there[:, None, None])


@triton.jit
def _doubled(plane, y, x, high, wide, row_length, NARROW: tl.constexpr):
    """A sample of chroma for each pixel, of jdsample.c: its own three times and its neighbour's once, both ways."""
    k, m = y // 2, x // 2
    if NARROW:
        return tl.load(plane + k * row_length + m).to(tl.int32)
    j = tl.minimum(tl.maximum(k + 2 * (y & 1) - 1, 0), high - 1)
    n = tl.minimum(tl.maximum(m + 2 * (x & 1) - 1, 0), wide - 1)
    own = 3 * tl.load(plane + k * row_length + m).to(tl.int32) + tl.load(plane + j * row_length + m).to(tl.int32)
    next_ = 3 * tl.load(plane + k * row_length + n).to(tl.int32) + tl.load(plane + j * row_length + n).to(tl.int32)
    return (3 * own + next_ + 8 - (x & 1)) >> 4


@triton.jit
def _colour(value):
    return tl.minimum(tl.maximum((value + 32768 + (128 << 16)) >> 16, 0), 255).to(tl.uint8)


@triton.jit(do_not_specialize=[*SPARED, "luma_size", "luma_row", "chroma_size", "chroma_row"])
def _colours_kernel(
    lumas, chromas, out, luma_size, luma_row, chroma_size, chroma_row, programs, height, width, stride_n, stride_c,
    stride_p, NARROW: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    y, x = tl.where(there, row, 0), tl.where(there, column, 0)
    high, wide = (height + 1) // 2, (width + 1) // 2
    luma = tl.load(lumas + sample * luma_size + y * luma_row + x).to(tl.int32) << 16
    plane = chromas + 2 * sample * chroma_size
    blue = _doubled(plane, y, x, high, wide, chroma_row, NARROW)
    red = _doubled(plane + chroma_size, y, x, high, wide, chroma_row, NARROW)
    place = out + sample * stride_n + pixel * stride_p
    tl.store(place, _colour(luma + 91881 * red), mask=there)
    tl.store(place + stride_c, _colour(luma - 22554 * blue - 46802 * red), mask=there)
    tl.store(place + 2 * stride_c, _colour(luma + 116130 * blue), mask=there)


@operation("out")
def code(images_NCHW: Tensor, cosines: Tensor, steps: Tensor, chroma: bool, out: Tensor) -> None:
    """Samples as the decoder has them before it doubles the chroma.

    Args:
        images_NCHW: uint8, of `triton_op.in_order`.
        cosines: (8, 8) int32, of frequency u, a row, at place x, a column.
        steps: (8, 8) int32, of the quantisation.
        chroma: both planes of the chroma; else the luma.
        out: int8, (n, 1 or 2, rows, columns) of whole blocks, overwritten.
    """
    n, (down, across) = len(out), (side // 8 for side in out.shape[2:])
    count = n * down * across
    _blocks_kernel[(triton.cdiv(count, _BLOCKS),)](
        images_NCHW, out, cosines, steps, count, across, down, *images_NCHW.shape[2:], *strides_of(images_NCHW), chroma,
        _BLOCKS,
    )  # fmt: skip


@operation("out")
def colours(luma_N1HW: Tensor, chroma_N2HW: Tensor, out: Tensor) -> None:
    """Pixels of the samples that `code` gives.

    Args:
        luma_N1HW: int8.
        chroma_N2HW: int8.
        out: uint8, three channels, of `triton_op.in_order`, overwritten.
    """
    grid, programs = grid_over(out)
    (luma_row, chroma_row) = luma_N1HW.shape[3], chroma_N2HW.shape[3]
    luma_size, chroma_size = luma_row * luma_N1HW.shape[2], chroma_row * chroma_N2HW.shape[2]
    narrow = (out.shape[3] + 1) // 2 <= 2  # for h2v2_fancy_upsample
    _colours_kernel[grid](
        luma_N1HW, chroma_N2HW, out, luma_size, luma_row, chroma_size, chroma_row, programs, *out.shape[2:],
        *strides_of(out), narrow, PIXELS,
    )  # fmt: skip
