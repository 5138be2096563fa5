"""Warps and zooms as Triton kernels, rounded as the compiled loops beside them are.

Legend: N images, C channels, H × W pixels, Z zooms.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, as_byte, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation


@triton.jit
def _mirror(place, size):
    place = (place % (2 * size) + 2 * size) % (2 * size)
    return tl.minimum(place, 2 * size - 1 - place)


@triton.jit(do_not_specialize=SPARED)
def _warp_kernel(
    images, downs, acrosses, out, programs, height, width, stride_n, stride_c, stride_p, PIXELS: tl.constexpr
):
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    down = tl.load(downs + sample * height * width + pixel, mask=there, other=0)
    across = tl.load(acrosses + sample * height * width + pixel, mask=there, other=0)
    rows, columns = tl.floor(down), tl.floor(across)
    lower, right = down - rows, across - columns
    top, left = row + rows.to(tl.int32), column + columns.to(tl.int32)
    upper_row, lower_row = _mirror(top, height) * width, _mirror(top + 1, height) * width
    left_x, right_x = _mirror(left, width), _mirror(left + 1, width)
    for c in tl.static_range(3):
        image = images + sample * stride_n + c * stride_c
        a = tl.load(image + (upper_row + left_x) * stride_p, mask=there, other=0).to(tl.float32)
        b = tl.load(image + (upper_row + right_x) * stride_p, mask=there, other=0).to(tl.float32)
        upper = (b - a) * right + a
        a = tl.load(image + (lower_row + left_x) * stride_p, mask=there, other=0).to(tl.float32)
        b = tl.load(image + (lower_row + right_x) * stride_p, mask=there, other=0).to(tl.float32)
        value = ((b - a) * right + a - upper) * lower + upper
        tl.store(out + sample * stride_n + c * stride_c + pixel * stride_p, as_byte(value), mask=there)


@triton.jit(do_not_specialize=[*SPARED, "zooms", "alike"])
def _zooms_kernel(
    images, rows, downs, columns, acrosses, out, zooms, alike, programs, height, width, stride_n, stride_c, stride_p,
    PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    count = (alike + zooms).to(tl.float32)
    for c in tl.static_range(3):
        image = images + sample * stride_n + c * stride_c
        total = tl.load(image + pixel * stride_p, mask=there, other=0).to(tl.float32) * alike.to(tl.float32)
        for z in range(zooms):
            y, x = z * height + row, z * width + column
            place = tl.load(rows + y, mask=there, other=0) * width + tl.load(columns + x, mask=there, other=0)
            down_a = tl.load(downs + 2 * y, mask=there, other=0)
            down_b = tl.load(downs + 2 * y + 1, mask=there, other=0)
            a = tl.load(image + place * stride_p, mask=there, other=0).to(tl.float32)
            b = tl.load(image + (place + width) * stride_p, mask=there, other=0).to(tl.float32)
            left = down_a * a + down_b * b
            a = tl.load(image + (place + 1) * stride_p, mask=there, other=0).to(tl.float32)
            b = tl.load(image + (place + width + 1) * stride_p, mask=there, other=0).to(tl.float32)
            right = down_a * a + down_b * b
            across_a = tl.load(acrosses + 2 * x, mask=there, other=0)
            across_b = tl.load(acrosses + 2 * x + 1, mask=there, other=0)
            total += across_a * left + across_b * right
        value = as_byte(tl.div_rn(total, tl.zeros([PIXELS], tl.float32) + count))
        tl.store(out + sample * stride_n + c * stride_c + pixel * stride_p, value, mask=there)


@triton.jit(do_not_specialize=["programs", "height", "width", "old_height", "old_width"])
def _enlarge_kernel(
    planes, rows, downs, columns, acrosses, out, old_height, old_width, programs, height, width, PIXELS: tl.constexpr
):
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    row, column = tl.where(there, row, 0), tl.where(there, column, 0)
    place = tl.load(rows + row) * old_width + tl.load(columns + column) + sample * old_height * old_width
    down_a, down_b = tl.load(downs + 2 * row), tl.load(downs + 2 * row + 1)
    left = down_a * tl.load(planes + place) + down_b * tl.load(planes + place + old_width)
    right = down_a * tl.load(planes + place + 1) + down_b * tl.load(planes + place + old_width + 1)
    value = tl.load(acrosses + 2 * column) * left + tl.load(acrosses + 2 * column + 1) * right
    tl.store(out + sample * height * width + pixel, value, mask=there)


@operation("out_NHW")
def enlarge(
    planes_NHW: Tensor, row_H: Tensor, down_H2: Tensor, column_W: Tensor, across_W2: Tensor, out_NHW: Tensor
) -> None:
    """Make planes larger.

    Args:
        planes_NHW: float32, contiguous.
        row_H: int32, the first of two rows that make a row.
        down_H2: float32, how much of either.
        column_W: int32, likewise columns.
        across_W2: float32, how much of either.
        out_NHW: float32, overwritten.
    """
    grid, programs = grid_over(out_NHW)
    _enlarge_kernel[grid](
        planes_NHW, row_H, down_H2, column_W, across_W2, out_NHW, *planes_NHW.shape[1:], programs, *out_NHW.shape[1:],
        PIXELS, **EXACT,
    )  # fmt: skip


@operation("out")
def warp(images_NCHW: Tensor, down_NHW: Tensor, across_NHW: Tensor, out: Tensor) -> None:
    """`warp.warp`, and cut off to bytes.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        down_NHW: float32, contiguous, pixels.
        across_NHW: float32, contiguous, pixels.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _warp_kernel[grid](
        images_NCHW, down_NHW, across_NHW, out, programs, *images_NCHW.shape[2:], *strides_of(images_NCHW), PIXELS,
        **EXACT,
    )  # fmt: skip


@operation("out")
def mean_of_zooms(
    images_NCHW: Tensor, row_ZH: Tensor, down_ZH2: Tensor, column_ZW: Tensor, across_ZW2: Tensor, alike: int,
    out: Tensor,
) -> None:  # fmt: skip
    """The mean of an image, counted more than once, and of its enlarged middles; cut off to bytes.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        row_ZH: int32, the first of two rows that make a row of each zoom.
        down_ZH2: float32, how much of either.
        column_ZW: int32, likewise columns.
        across_ZW2: float32, how much of either.
        alike: how often the image itself counts.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _zooms_kernel[grid](
        images_NCHW, row_ZH, down_ZH2, column_ZW, across_ZW2, out, len(row_ZH), alike, programs,
        *images_NCHW.shape[2:], *strides_of(images_NCHW), PIXELS, **EXACT,
    )  # fmt: skip
