"""The noises as Triton kernels, one each: bytes are read, their draws made, and bytes written; nothing else is.

Draws are numbered as `pixels.pixelwise` numbers them, (h, w, c), wherever the values of a batch lie in memory.

Legend: N images, C channels, H × W pixels.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import as_byte
from bench.machine.triton_op import EXACT, operation
from bench.rng.on_triton import count, normals, unit, words

_BLOCKS = 512
"""Of the generator, two values each, that a program makes."""


@triton.jit
def _begin(keys, programs, per_image, stride_n, stride_c, stride_p, LAST: tl.constexpr, BLOCKS: tl.constexpr):
    """The sample's key, the blocks and where in memory the values of a program lie, and which there are."""
    sample, first = tl.program_id(0) // programs, tl.program_id(0) % programs * BLOCKS
    value = 2 * first + tl.arange(0, 2 * BLOCKS)
    place = value if LAST else (value % 3) * stride_c + (value // 3) * stride_p
    key0, key1 = tl.load(keys + 2 * sample), tl.load(keys + 2 * sample + 1)
    return key0, key1, first + tl.arange(0, BLOCKS), sample.to(tl.int64) * stride_n + place, value < per_image


_SPARED = ["programs", "per_image", "stride_n", "stride_c", "stride_p", "stream"]
"""Numbers that no kernel is compiled anew for."""


@triton.jit(do_not_specialize=_SPARED)
def _normal_kernel(
    images, out, keys, stream, strength, programs, per_image, stride_n, stride_c, stride_p,
    LAST: tl.constexpr, BY_PIXEL: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    key0, key1, block, place, there = _begin(keys, programs, per_image, stride_n, stride_c, stride_p, LAST, BLOCKS)
    word0, word1 = words(key0, key1, block, stream)
    cosine, sine = normals(word0, word1)
    noise = tl.interleave(cosine, sine) * strength
    pixel = tl.load(images + place, mask=there, other=0).to(tl.float32)
    noisy = (noise + 1.0) * pixel if BY_PIXEL else noise + pixel
    tl.store(out + place, as_byte(noisy), mask=there)


@triton.jit(do_not_specialize=[*_SPARED, "most"])
def _poisson_kernel(
    images, out, keys, stream, last, shown, most, programs, per_image, stride_n, stride_c, stride_p,
    LAST: tl.constexpr, BISECTIONS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    key0, key1, block, place, there = _begin(keys, programs, per_image, stride_n, stride_c, stride_p, LAST, BLOCKS)
    word0, word1 = words(key0, key1, block, stream)
    level = tl.load(images + place, mask=there, other=0).to(tl.int32)
    counted = tl.minimum(count(tl.interleave(word0, word1), last, level, BISECTIONS), most)
    tl.store(out + place, tl.load(shown + counted), mask=there)


@triton.jit(do_not_specialize=[*_SPARED, "second"])
def _impulse_kernel(
    images, out, keys, stream, second, share, programs, per_image, stride_n, stride_c, stride_p,
    LAST: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    key0, key1, block, place, there = _begin(keys, programs, per_image, stride_n, stride_c, stride_p, LAST, BLOCKS)
    word0, word1 = words(key0, key1, block, stream)
    hit = unit(tl.interleave(word0, word1)) <= share
    word0, word1 = words(key0, key1, block, second)
    salt = unit(tl.interleave(word0, word1)) <= 0.5
    pixel = tl.load(images + place, mask=there, other=0).to(tl.int32)
    made = tl.where(hit, tl.where(salt, 255, 0), pixel)
    tl.store(out + place, made.to(tl.uint8), mask=there)


@operation("out")
def normal_noise(
    images_NCHW: Tensor, keys_N2: Tensor, stream: int, strength: float, by_pixel: bool, out: Tensor
) -> None:
    """Add normal noise.

    Args:
        images_NCHW: uint8, contiguous, or channels last.
        keys_N2: of `Draws.take`, and the stream.
        stream: of the draws.
        strength: standard deviation; of 1 where it goes with the pixel, else of 255.
        by_pixel: the noise goes with the pixel.
        out: uint8 as `images_NCHW`, overwritten.
    """
    grid, sizes = _sizes(images_NCHW)
    _normal_kernel[grid](images_NCHW, out, keys_N2, stream, strength, *sizes, by_pixel, _BLOCKS, **EXACT)


@operation("out")
def poisson_noise(
    images_NCHW: Tensor, keys_N2: Tensor, stream: int, last_LC: Tensor, shown_C: Tensor, out: Tensor
) -> None:
    """Replace values by what Poisson counts show.

    Args:
        images_NCHW: as in `normal_noise`: the level of each value.
        keys_N2: of `Draws.take`, and the stream.
        stream: of the draws.
        last_LC: of `bench.rng.poisson_words`, for counts of at least the length of `shown_C`.
        shown_C: uint8, what a count shows; larger ones show what the last does.
        out: uint8 as `images_NCHW`, overwritten.
    """
    grid, sizes = _sizes(images_NCHW)
    bisections = last_LC.shape[1].bit_length() - 1
    _poisson_kernel[grid](
        images_NCHW, out, keys_N2, stream, last_LC, shown_C, len(shown_C) - 1, *sizes, bisections, _BLOCKS, **EXACT
    )


@operation("out")
def impulse_noise(images_NCHW: Tensor, keys_N2: Tensor, hit: int, salt: int, share: float, out: Tensor) -> None:
    """Turn values white or black.

    Args:
        images_NCHW: as in `normal_noise`.
        keys_N2: of `Draws.take`.
        hit: the stream of draws that say which.
        salt: the stream of draws that say white.
        share: of values that are hit.
        out: uint8 as `images_NCHW`, overwritten.
    """
    grid, sizes = _sizes(images_NCHW)
    _impulse_kernel[grid](images_NCHW, out, keys_N2, hit, salt, share, *sizes, _BLOCKS, **EXACT)


def _sizes(images_NCHW: Tensor) -> tuple[tuple[int], tuple[int, ...]]:
    """The grid, and what `_begin` takes but for the keys; LAST is whether channels lie side by side."""
    n, channels, height, width = images_NCHW.shape
    per_image = channels * height * width
    programs = triton.cdiv(per_image, 2 * _BLOCKS)
    stride_n, stride_c, _, stride_w = images_NCHW.stride()
    last = stride_c == 1 and stride_w == channels
    return (n * programs,), (programs, per_image, stride_n, stride_c, stride_w, last)
