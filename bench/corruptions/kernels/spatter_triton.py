"""Following edges along ridges, in a Triton kernel: how far it goes is known on the device alone.

Legend: N images, H × W pixels.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.machine.triton_op import operation

_TILE = 4096
"""Pixels that are looked at together."""


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


@operation("state_NHW")
def grow(state_NHW: Tensor) -> None:
    """Turn what can be reached from edges along ridges into edges.

    Args:
        state_NHW: uint8, contiguous: 2 on an edge, 1 on a ridge, else 0; overwritten.
    """
    n, height, width = state_NHW.shape
    columns = triton.next_power_of_2(width)
    _grow_kernel[(n,)](state_NHW, height, width, max(1, _TILE // columns), columns, num_warps=8)
