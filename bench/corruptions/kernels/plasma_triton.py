"""`plasma`, and fog made of it, as Triton kernels: one for each level, which makes its draws itself.

Legend: N maps, M their side, K places of a level along a side.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, as_byte, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation
from bench.rng.on_triton import unit, words


@triton.jit
def _added(key0, key1, stream, draw, size):
    word0, word1 = words(key0, key1, draw // 2, stream)
    return (unit(tl.where(draw % 2 == 0, word0, word1)) * 2.0 - 1.0) * size


@triton.jit
def _centre(heights, key0, key1, stream, size, row, column, step, count, side, there):
    """The middle of the square whose upper left corner is `row`, `column` of the level."""
    above, below = row * step * side, (row + 1) % count * step * side
    left, right = column * step, (column + 1) % count * step
    a = tl.load(heights + above + left, mask=there, other=0)
    b = tl.load(heights + below + left, mask=there, other=0)
    c = tl.load(heights + above + right, mask=there, other=0)
    d = tl.load(heights + below + right, mask=there, other=0)
    # The levels before took count² − 1 draws.
    return ((a + b) + (c + d)) * 0.25 + _added(key0, key1, stream, count * count - 1 + row * count + column, size)


@triton.jit(do_not_specialize=["stream", "size", "count", "programs", "side"])
def _level_kernel(keys, stream, maps, size, count, programs, side, PIXELS: tl.constexpr):
    sample, place, row, column = pixels_of(programs, count, PIXELS)
    there = place < count * count
    step, half = side // count, side // count // 2
    heights = maps + sample * side * side
    key0, key1 = tl.load(keys + 2 * sample), tl.load(keys + 2 * sample + 1)
    # What other programs need of a middle they make themselves: so a level is one kernel.
    middle = _centre(heights, key0, key1, stream, size, row, column, step, count, side, there)
    over = _centre(heights, key0, key1, stream, size, (row + count - 1) % count, column, step, count, side, there)
    before = _centre(heights, key0, key1, stream, size, row, (column + count - 1) % count, step, count, side, there)
    corner = tl.load(heights + row * step * side + column * step, mask=there, other=0)
    right = tl.load(heights + row * step * side + (column + 1) % count * step, mask=there, other=0)
    below = tl.load(heights + (row + 1) % count * step * side + column * step, mask=there, other=0)
    draw = count * count * 2 - 1 + place
    edge = (corner + right + middle + over) * 0.25 + _added(key0, key1, stream, draw, size)
    side_edge = (corner + below + middle + before) * 0.25 + _added(key0, key1, stream, draw + count * count, size)
    own = heights + row * step * side + column * step
    tl.store(own + half * side + half, middle, mask=there)
    tl.store(own + half, edge, mask=there)
    tl.store(own + half * side, side_edge, mask=there)


@triton.jit(do_not_specialize=[*SPARED, "side"])
def _fog_kernel(
    images, maps, lowest, highest, brightest, out, thickness, side, programs, height, width, stride_n, stride_c,
    stride_p, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    zero = tl.zeros([PIXELS], tl.float32)
    low, high = tl.load(lowest + sample), tl.load(highest + sample)
    height_here = tl.load(maps + sample * side * side + row * side + column, mask=there, other=0) - low
    fog = tl.div_rn(height_here, zero + (high - low)) * thickness
    bright = tl.div_rn(zero + tl.load(brightest + sample).to(tl.float32), zero + 255.0)
    share = tl.div_rn(bright, bright + thickness)
    for c in tl.static_range(3):
        place = sample * stride_n + c * stride_c + pixel * stride_p
        value = tl.div_rn(tl.load(images + place, mask=there, other=0).to(tl.float32), zero + 255.0)
        tl.store(out + place, as_byte((value + fog) * share * 255.0), mask=there)


@operation("map_NMM")
def level(keys_N2: Tensor, stream: int, size: float, count: int, map_NMM: Tensor) -> None:
    """Fill the places half a step from those of a level.

    Args:
        keys_N2: of `Draws.take`, and the stream.
        stream: of the draws.
        size: how much is added at most.
        count: places of the level along a side; a power of two.
        map_NMM: float32; filled where the level has places.
    """
    programs = triton.cdiv(count * count, PIXELS)
    grid = (len(map_NMM) * programs,)
    _level_kernel[grid](keys_N2, stream, map_NMM, size, count, programs, map_NMM.shape[1], PIXELS, **EXACT)


@operation("out")
def fog(
    images_NCHW: Tensor, map_NMM: Tensor, low_N: Tensor, high_N: Tensor, bright_N: Tensor, thickness: float, out: Tensor
) -> None:
    """Brighten by maps and dim so that the brightest pixel could stay.

    Args:
        images_NCHW: uint8, of `triton_op.in_order`.
        map_NMM: float32; as large as the images or larger.
        low_N: their lowest.
        high_N: their highest.
        bright_N: uint8, the largest value of each image.
        thickness: of the fog.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _fog_kernel[grid](
        images_NCHW, map_NMM, low_N, high_N, bright_N, out, thickness, map_NMM.shape[1], programs,
        *images_NCHW.shape[2:], *strides_of(images_NCHW), PIXELS, **EXACT,
    )  # fmt: skip
