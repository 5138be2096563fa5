"""`shuffle` as two Triton kernels: where each pixel looks, and what it finds when it follows.

Legend: N images, T rounds, P pixels of an image.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation
from bench.rng.on_triton import words


@triton.jit(do_not_specialize=[*SPARED, "stream", "reach", "rounds"])
def _look_kernel(keys, stream, out, reach, rounds, programs, height, width, PIXELS: tl.constexpr):
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    # Draws go from the last pixel of a round to the first.
    y, x = height - reach - row, width - reach - column
    rows, columns = height - 2 * reach, width - 2 * reach
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    key0, key1 = tl.load(keys + 2 * sample), tl.load(keys + 2 * sample + 1)
    for t in range(rounds):
        word0, word1 = words(key0, key1, (t * rows + y) * columns + x, stream)
        range_ = (word0 * 0 + 2 * reach).to(tl.uint32)
        across = tl.umulhi(word0.to(tl.uint32, bitcast=True), range_).to(tl.int32) - reach
        down = tl.umulhi(word1.to(tl.uint32, bitcast=True), range_).to(tl.int32) - reach
        source = tl.where(inside, pixel + down * width + across, pixel)
        tl.store(out + (sample * rounds + t) * height * width + pixel, source, mask=pixel < height * width)


@triton.jit(do_not_specialize=[*SPARED, "rounds"])
def _follow_kernel(
    images, sources, out, rounds, programs, height, width, stride_n, stride_c, stride_p, PIXELS: tl.constexpr
):
    sample, pixel, _, _ = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    place = pixel
    for back in range(rounds):
        first = sources + (sample * rounds + rounds - 1 - back) * height * width
        source = tl.load(first + place, mask=there, other=0)
        # Later pixels are written earlier; one that keeps its place is its own source, and ends the way.
        going = there & (source > place)
        while tl.max(going.to(tl.int32), 0) > 0:
            place = tl.where(going, source, place)
            source = tl.load(first + place, mask=there, other=0)
            going = going & (source > place)
        place = source
    for c in tl.static_range(3):
        value = tl.load(images + sample * stride_n + c * stride_c + place * stride_p, mask=there, other=0)
        tl.store(out + sample * stride_n + c * stride_c + pixel * stride_p, value, mask=there)


@operation("out_NTP")
def look(keys_N2: Tensor, stream: int, reach: int, height: int, width: int, out_NTP: Tensor) -> None:
    """Draw where each pixel looks in each round.

    Args:
        keys_N2: of `Draws.take`, and the stream.
        stream: of the draws.
        reach: of the moves, pixels.
        height: of the images.
        width: of the images.
        out_NTP: int32, (n, rounds, h, w); the number of another pixel, or of the pixel itself.
    """
    grid, programs = grid_over(out_NTP)
    _look_kernel[grid](keys_N2, stream, out_NTP, reach, out_NTP.shape[1], programs, height, width, PIXELS, **EXACT)


@operation("out")
def follow(images_NCHW: Tensor, sources_NTP: Tensor, out: Tensor) -> None:
    """Copy pixels in the order of the reference.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        sources_NTP: of `look`.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    rounds, height, width = sources_NTP.shape[1:]
    _follow_kernel[grid](
        images_NCHW, sources_NTP, out, rounds, programs, height, width, *strides_of(images_NCHW), PIXELS
    )
