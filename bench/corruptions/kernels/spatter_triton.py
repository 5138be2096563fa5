"""What drops of water need of their edges, as Triton kernels: to follow them, and how far each pixel is from them.

Legend: N images, H × W pixels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.corruptions.kernels.spatter_cpu import FARTHEST, HIGH, LOW, TAN_22, TAN_SHIFT
from bench.images.pixels_triton import PIXELS, SPARED, as_byte, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation

_TILE = 4096
"""Pixels that are looked at together."""


@triton.jit
def _liquid(image, row, column, height, width):
    """A pixel; beyond the edges, the nearest."""
    y, x = tl.minimum(tl.maximum(row, 0), height - 1), tl.minimum(tl.maximum(column, 0), width - 1)
    return tl.load(image + y * width + x).to(tl.int32)


@triton.jit(do_not_specialize=["programs", "height", "width"])
def _gradient_kernel(liquids, acrosses, downs, programs, height, width, PIXELS: tl.constexpr):
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    image = liquids + sample * height * width
    corners = _liquid(image, row + 1, column + 1, height, width) - _liquid(image, row - 1, column - 1, height, width)
    others = _liquid(image, row - 1, column + 1, height, width) - _liquid(image, row + 1, column - 1, height, width)
    beside = _liquid(image, row, column + 1, height, width) - _liquid(image, row, column - 1, height, width)
    below = _liquid(image, row + 1, column, height, width) - _liquid(image, row - 1, column, height, width)
    place, there = sample * height * width + pixel, pixel < height * width
    tl.store(acrosses + place, (corners + others + 2 * beside).to(tl.int16), mask=there)
    tl.store(downs + place, (corners - others + 2 * below).to(tl.int16), mask=there)


@triton.jit
def _size_at(acrosses, downs, first, row, column, height, width):
    """The L1 size of a gradient; 0 beyond the edges."""
    there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = first + row * width + column
    across = tl.load(acrosses + place, mask=there, other=0).to(tl.int32)
    return tl.abs(across) + tl.abs(tl.load(downs + place, mask=there, other=0).to(tl.int32))


@triton.jit(do_not_specialize=["programs", "height", "width"])
def _ridge_kernel(
    acrosses, downs, states, programs, height, width, LOW: tl.constexpr, HIGH: tl.constexpr, TAN: tl.constexpr,
    SHIFT: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    first, there = sample * height * width, pixel < height * width
    across = tl.load(acrosses + first + pixel, mask=there, other=0).to(tl.int32)
    down = tl.load(downs + first + pixel, mask=there, other=0).to(tl.int32)
    size = tl.abs(across) + tl.abs(down)
    slope, rise = tl.abs(across) * TAN, tl.abs(down) << SHIFT
    flat, steep = rise < slope, rise > slope + (tl.abs(across) << (SHIFT + 1))
    side = tl.where((across < 0) != (down < 0), -1, 1)
    # Where the two lie between which the gradient must be the largest; of two equals, the right or lower one counts.
    up, left = tl.where(flat, 0, 1), tl.where(flat, 1, tl.where(steep, 0, side))
    before = _size_at(acrosses, downs, first, row - up, column - left, height, width)
    behind = _size_at(acrosses, downs, first, row + up, column + left, height, width)
    ridge = (size > LOW) & (size > before) & ((size > behind) | ((flat | steep) & (size == behind)))
    state = ridge.to(tl.uint8) + (ridge & (size > HIGH)).to(tl.uint8)
    tl.store(states + first + pixel, state, mask=there)


@triton.jit
def _edge_at(image, y, x, height, width):
    there = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return tl.load(image + y * width + x, mask=there, other=0) == 2


@triton.jit(do_not_specialize=["height", "width"])
def _grow_kernel(states, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    image = states + tl.program_id(0).to(tl.int64) * height * width
    x = tl.arange(0, COLUMNS)[None, :] + tl.zeros([ROWS, COLUMNS], tl.int32)
    growing = 1
    while growing > 0:
        growing = 0
        for top in range(0, height, ROWS):
            y = top + tl.arange(0, ROWS)[:, None] + tl.zeros([ROWS, COLUMNS], tl.int32)
            there = (y < height) & (x < width)
            here = 1
            while here > 0:
                near = _edge_at(image, y - 1, x - 1, height, width) | _edge_at(image, y - 1, x, height, width)
                near |= _edge_at(image, y - 1, x + 1, height, width) | _edge_at(image, y, x - 1, height, width)
                near |= _edge_at(image, y, x + 1, height, width) | _edge_at(image, y + 1, x - 1, height, width)
                near |= _edge_at(image, y + 1, x, height, width) | _edge_at(image, y + 1, x + 1, height, width)
                grown = near & (tl.load(image + y * width + x, mask=there, other=0) == 1)
                tl.debug_barrier()  # all have looked
                tl.store(image + y * width + x, tl.full([ROWS, COLUMNS], 2, tl.uint8), mask=grown)
                tl.debug_barrier()  # all have written
                here = tl.sum(tl.sum(grown.to(tl.int32), 1), 0)
                growing += here


@triton.jit(do_not_specialize=["programs", "height", "width"])
def _down_kernel(edges, out, programs, height, width, FARTHEST: tl.constexpr, PIXELS: tl.constexpr):
    sample, pixel, row, _ = pixels_of(programs, width, PIXELS)
    image = edges + sample * height * width
    nearest = tl.full([PIXELS], FARTHEST + 1, tl.int32)
    for back in range(FARTHEST + 1):
        k = FARTHEST - back
        above = tl.load(image + pixel - k * width, mask=(row >= k) & (row < height), other=0)
        below = tl.load(image + pixel + k * width, mask=row + k < height, other=0)
        nearest = tl.where((above | below) != 0, k, nearest)
    tl.store(out + sample * height * width + pixel, nearest.to(tl.uint8), mask=pixel < height * width)


@triton.jit(do_not_specialize=["programs", "height", "width"])
def _nearest_kernel(downs, steps, out, programs, height, width, FARTHEST: tl.constexpr, PIXELS: tl.constexpr):
    sample, pixel, _, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    image = downs + sample * height * width + pixel
    nearest = tl.load(steps + tl.load(image, mask=there, other=0).to(tl.int32))
    for across in range(1, FARTHEST):
        row = steps + across * (FARTHEST + 2)
        before = tl.load(image - across, mask=there & (column >= across), other=FARTHEST + 1)
        behind = tl.load(image + across, mask=there & (column + across < width), other=FARTHEST + 1)
        path = tl.minimum(tl.load(row + before.to(tl.int32)), tl.load(row + behind.to(tl.int32)))
        nearest = tl.minimum(nearest, path)
    tl.store(out + sample * height * width + pixel, nearest, mask=there)


@triton.jit(do_not_specialize=SPARED)
def _cover_kernel(
    images, masks, colours, out, opacity, programs, height, width, stride_n, stride_c, stride_p, PIXELS: tl.constexpr
):
    sample, pixel, _, _ = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    mask = tl.load(masks + sample * height * width + pixel, mask=there, other=0)
    kept = 1.0 - opacity * mask
    for c in tl.static_range(3):
        place = sample * stride_n + c * stride_c + pixel * stride_p
        value = tl.load(images + place, mask=there, other=0).to(tl.float32) * kept
        tl.store(out + place, as_byte(value + tl.load(colours + c) * mask), mask=there)


@operation("out")
def cover(images_NCHW: Tensor, mask_NHW: Tensor, colour_C: Tensor, opacity: float, out: Tensor) -> None:
    """Add a colour as far as a mask says.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        mask_NHW: float32, contiguous, in [0, 1].
        colour_C: float32.
        opacity: of what is beneath, mask · opacity is lost.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _cover_kernel[grid](
        images_NCHW, mask_NHW, colour_C, out, opacity, programs, *mask_NHW.shape[1:], *strides_of(images_NCHW), PIXELS,
        **EXACT,
    )  # fmt: skip


@operation("out_across_NHW", "out_down_NHW")
def gradient(liquid_NHW: Tensor, out_across_NHW: Tensor, out_down_NHW: Tensor) -> None:
    """Sobel's, of pixels that repeat beyond the edges.

    Args:
        liquid_NHW: uint8, contiguous.
        out_across_NHW: int16, overwritten.
        out_down_NHW: int16, overwritten.
    """
    grid, programs = grid_over(liquid_NHW)
    _gradient_kernel[grid](liquid_NHW, out_across_NHW, out_down_NHW, programs, *liquid_NHW.shape[1:], PIXELS)


@operation("out_NHW")
def ridges(across_NHW: Tensor, down_NHW: Tensor, out_NHW: Tensor) -> None:
    """Where gradients are largest along their own direction: what `grow` begins with.

    Args:
        across_NHW: of `gradient`.
        down_NHW: of `gradient`.
        out_NHW: uint8, overwritten.
    """
    grid, programs = grid_over(out_NHW)
    numbers = LOW, HIGH, TAN_22, TAN_SHIFT
    _ridge_kernel[grid](across_NHW, down_NHW, out_NHW, programs, *out_NHW.shape[1:], *numbers, PIXELS)


@operation("out_NHW")
def down(edges_NHW: Tensor, out_NHW: Tensor) -> None:
    """Pixels up or down to the nearest edge, 21 where there is none within 20.

    Args:
        edges_NHW: bool, contiguous.
        out_NHW: uint8, overwritten.
    """
    grid, programs = grid_over(edges_NHW)
    _down_kernel[grid](edges_NHW.view(torch.uint8), out_NHW, programs, *edges_NHW.shape[1:], FARTHEST, PIXELS)


@operation("out_NHW")
def nearest(down_NHW: Tensor, steps: Tensor, out_NHW: Tensor) -> None:
    """How far the nearest edge is: see `bench.corruptions.spatter`.

    Args:
        down_NHW: of `down`.
        steps: (21, 22) int32, the distance of so many pixels across, a row, and down.
        out_NHW: int32, overwritten.
    """
    grid, programs = grid_over(down_NHW)
    _nearest_kernel[grid](down_NHW, steps, out_NHW, programs, *down_NHW.shape[1:], FARTHEST, PIXELS)


@operation("state_NHW")
def grow(state_NHW: Tensor) -> None:
    """Turn what can be reached from edges along ridges into edges.

    Args:
        state_NHW: uint8, contiguous: 2 on an edge, 1 on a ridge, else 0; overwritten.
    """
    n, height, width = state_NHW.shape
    columns = triton.next_power_of_2(width)
    _grow_kernel[(n,)](state_NHW, height, width, max(1, _TILE // columns), columns, num_warps=8)
