"""The draws of `bench.rng` as Triton kernels, for CUDA: the same arithmetic, step by step, and the same numbers.

Other kernels take their draws where they need them, from `words` and what makes numbers of words: so no draw is ever
written to memory. Products and sums are rounded one by one (`EXACT`), and the root and the conversions are those of
IEEE 754: nothing is left that a device could round in its own way.

Legend: N samples, M elements of a sample.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.machine.triton_op import EXACT, operation
from bench.rng.on_cpu import BITS, COS, LOG, MINUS_2_LOG_2, NORMAL, SIN, UNIFORM

_COS, _LOG, _SIN = tl.constexpr(COS), tl.constexpr(LOG), tl.constexpr(SIN)
_MINUS_2_LOG_2 = tl.constexpr(MINUS_2_LOG_2)
_BITS, _UNIFORM, _NORMAL = tl.constexpr(BITS), tl.constexpr(UNIFORM), tl.constexpr(NORMAL)
_BLOCKS = 512
"""Of the generator, two values each, that a program makes."""


@triton.jit
def _turn(x0, x1, left: tl.constexpr):
    x0 = x0 + x1
    return x0, ((x1 << left) | (x1 >> (32 - left))) ^ x0


@triton.jit
def _four_turns(x0, x1, a: tl.constexpr, b: tl.constexpr, c: tl.constexpr, d: tl.constexpr):
    x0, x1 = _turn(x0, x1, a)
    x0, x1 = _turn(x0, x1, b)
    x0, x1 = _turn(x0, x1, c)
    return _turn(x0, x1, d)


@triton.jit
def words(key0, key1, block, stream):
    """Both words of Threefry-2x32-20, int32, for blocks; keys and stream broadcast with them."""
    zero = (block * 0).to(tl.uint32, bitcast=True)  # numbers of a key become blocks, which wrap around silently
    k0, k1 = zero + key0.to(tl.uint32, bitcast=True), zero + key1.to(tl.uint32, bitcast=True)
    k2 = k0 ^ k1 ^ 0x1BD11BDA
    x0, x1 = block.to(tl.uint32, bitcast=True) + k0, k1 + stream.to(tl.uint32)
    x0, x1 = _four_turns(x0, x1, 13, 15, 26, 6)
    x0, x1 = _four_turns(x0 + k1, x1 + (k2 + 1), 17, 29, 16, 24)
    x0, x1 = _four_turns(x0 + k2, x1 + (k0 + 2), 13, 15, 26, 6)
    x0, x1 = _four_turns(x0 + k0, x1 + (k1 + 3), 17, 29, 16, 24)
    x0, x1 = _four_turns(x0 + k1, x1 + (k2 + 4), 13, 15, 26, 6)
    return (x0 + k2).to(tl.int32, bitcast=True), (x1 + (k0 + 5)).to(tl.int32, bitcast=True)


@triton.jit
def unit(word):
    """float32 in [0, 1): a multiple of 2^-24."""
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08 + 0.5


@triton.jit
def _minus_2_log(x):
    word = x.to(tl.int32, bitcast=True)
    exponent = (word - 0x3F2AAAAB) >> 23
    f = (word - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    p = f * _LOG[0]
    for k in tl.static_range(1, 8):
        p = (p + _LOG[k]) * f
    return (p + _LOG[8]) * f + exponent.to(tl.float32) * _MINUS_2_LOG_2


@triton.jit
def normals(word0, word1):
    """Two standard normal float32 of the two words of a block."""
    mark = ((word0 & 0x7FFFFFFF).to(tl.float32) + 0.5) * 4.656612873077393e-10
    size = tl.sqrt_rn(_minus_2_log(mark)).to(tl.int32, bitcast=True)
    radius = (size | (word0 & -0x80000000)).to(tl.float32, bitcast=True)
    angle = word1.to(tl.float32) * 4.656612873077393e-10
    square = angle * angle
    sine, cosine = square * _SIN[0], square * _COS[0]
    for k in tl.static_range(1, 4):
        sine = (sine + _SIN[k]) * square
    for k in tl.static_range(1, 5):
        cosine = (cosine + _COS[k]) * square
    return (cosine + _COS[5]) * radius, (sine + _SIN[4]) * angle * radius


@triton.jit
def count(word, last, level, BISECTIONS: tl.constexpr):
    """Poisson counts by inversion, below 2^BISECTIONS; see `bench.rng.poisson`.

    `last` points to rows of 2^BISECTIONS ascending words, of which each element searches its level's.
    """
    place = level << BISECTIONS
    for k in tl.static_range(1, BISECTIONS + 1):
        # A name for the half would be assigned twice, which a constant may not be.
        place += (tl.load(last + place + ((1 << (BISECTIONS - k)) - 1)) < word).to(tl.int32) << (BISECTIONS - k)
    return place - (level << BISECTIONS)


@triton.jit(do_not_specialize=["stream", "size", "programs"])
def _fill_kernel(keys, stream, out, size, programs, LAW: tl.constexpr, BLOCKS: tl.constexpr):
    sample, first = tl.program_id(0) // programs, tl.program_id(0) % programs * BLOCKS
    key0, key1 = tl.load(keys + 2 * sample), tl.load(keys + 2 * sample + 1)
    word0, word1 = words(key0, key1, first + tl.arange(0, BLOCKS), stream)
    if LAW == _UNIFORM:
        even, odd = unit(word0), unit(word1)
    elif LAW == _NORMAL:
        even, odd = normals(word0, word1)
    else:
        even, odd = word0, word1
    element = 2 * first + tl.arange(0, 2 * BLOCKS)
    tl.store(out + sample.to(tl.int64) * size + element, tl.interleave(even, odd), mask=element < size)


@operation("out_NM")
def fill(law: int, words_N2: Tensor, stream: int, out_NM: Tensor) -> None:
    """Fill a contiguous tensor of 32-bit numbers with draws.

    Args:
        law: BITS, UNIFORM or NORMAL.
        words_N2: int32 keys, contiguous.
        stream: 0 to 2^31 - 1.
        out_NM: int32 for BITS, else float32; overwritten.
    """
    n, size = out_NM.shape
    programs = triton.cdiv(size, 2 * _BLOCKS)
    if out_NM.numel():
        _fill_kernel[(n * programs,)](words_N2, stream, out_NM, size, programs, law, _BLOCKS, **EXACT)
