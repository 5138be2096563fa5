"""The draws of `bench.rng` on a CPU: the same arithmetic, compiled; eight times as fast and equal to the last bit.

Legend: N samples, M elements of a sample, L levels, C counts.
"""

import math
from typing import Any

import numpy as np
from numpy import float32, float64, int32, int64, uint32
from torch import Tensor

from bench.machine.compiled import compiled
from bench.records import Array

# Near-minimax polynomials, highest power first; in brackets the largest error before float32 rounds.
# fmt: off
LOG = (-0.288698746, 0.3080646555, -0.2780692955, 0.328255685, -0.4003558181, 0.500160553, -0.6666607754,
       0.9999986423, -2.000000016)  # -2 log(1 + f) / f for |f| <= 1/3 [5e-8]
COS = (-2.382491853e-05, 9.177248396e-04, -0.02086268839, 0.2536693228, -1.233700534,
       1.0)  # cos(πv/2) in v² for |v| <= 1 [2e-10]
SIN = (1.516785318e-04, -4.674157496e-03, 0.07968992687, -0.6459637613,
       1.57079632)  # sin(πv/2) / v in v² for |v| <= 1 [7e-9]
# fmt: on
MINUS_2_LOG_2 = -2.0 * math.log(2.0)

BITS, UNIFORM, NORMAL = range(3)
"""Which law `fill` draws from."""

_GUIDE_SHIFT = 24
"""The first 8 bits of a word look up where the search for its count begins."""

_TILE = 1024
"""Blocks at once: their words stay in the nearest cache."""


@compiled
def _turn(x0: Any, x1: Any, left: int) -> Any:
    # Each step is cut to 32 bits by name: numba widens sums of unsigned words to 64.
    x0 = uint32(x0 + x1)
    return x0, uint32(uint32(uint32(x1 << uint32(left)) | uint32(x1 >> uint32(32 - left))) ^ x0)


@compiled
def _four_turns(x0: Any, x1: Any, even: bool) -> Any:
    # Plain numbers, not a table: the compiler turns shifts by constants into vector rotations.
    if even:
        x0, x1 = _turn(x0, x1, 13)
        x0, x1 = _turn(x0, x1, 15)
        x0, x1 = _turn(x0, x1, 26)
        return _turn(x0, x1, 6)
    x0, x1 = _turn(x0, x1, 17)
    x0, x1 = _turn(x0, x1, 29)
    x0, x1 = _turn(x0, x1, 16)
    return _turn(x0, x1, 24)


@compiled
def _words(k0: Any, k1: Any, first: int, stream: Any, even: Array, odd: Array) -> None:
    """Both words of Threefry-2x32-20 for consecutive blocks."""
    k2 = uint32(k0 ^ k1 ^ uint32(0x1BD11BDA))
    for i in range(even.shape[0]):
        x0, x1 = uint32(uint32(first + i) + k0), uint32(stream + k1)
        x0, x1 = _four_turns(x0, x1, True)
        x0, x1 = _four_turns(uint32(x0 + k1), uint32(x1 + uint32(k2 + uint32(1))), False)
        x0, x1 = _four_turns(uint32(x0 + k2), uint32(x1 + uint32(k0 + uint32(2))), True)
        x0, x1 = _four_turns(uint32(x0 + k0), uint32(x1 + uint32(k1 + uint32(3))), False)
        x0, x1 = _four_turns(uint32(x0 + k1), uint32(x1 + uint32(k2 + uint32(4))), True)
        even[i], odd[i] = uint32(x0 + k2), uint32(x1 + uint32(k0 + uint32(5)))


@compiled
def _to_unit(words: Array) -> None:
    """Turn words in place into bits of float32: multiples of 2^-24 in [0, 1)."""
    values = words.view(float32)
    for i in range(words.shape[0]):
        values[i] = float32(int32(words[i]) >> int32(8)) * float32(2.0**-24) + float32(0.5)


@compiled
def _to_normal(even: Array, odd: Array) -> None:
    """Turn words in place into bits of float32 as `bench.rng.normal` does: each line here is one there."""
    cosine, sine = even.view(float32), odd.view(float32)
    for i in range(even.shape[0]):
        mark = (float32(int32(even[i] & uint32(0x7FFFFFFF))) + float32(0.5)) * float32(2.0**-31)
        bits = np.float32(mark).view(np.int32)
        exponent = int32(int32(bits - int32(0x3F2AAAAB)) >> int32(23))
        f = np.int32(bits - int32(exponent << int32(23))).view(np.float32) - float32(1.0)
        p = f * float32(LOG[0])
        for k in range(1, len(LOG) - 1):
            p = (p + float32(LOG[k])) * f
        p = (p + float32(LOG[-1])) * f + float32(exponent) * float32(MINUS_2_LOG_2)
        size = np.float32(math.sqrt(float64(p))).view(np.int32)
        radius = np.int32(size | int32(even[i] & uint32(0x80000000))).view(np.float32)
        angle = float32(int32(odd[i])) * float32(2.0**-31)
        square = angle * angle
        s, c = square * float32(SIN[0]), square * float32(COS[0])
        for k in range(1, len(SIN) - 1):
            s = (s + float32(SIN[k])) * square
        for k in range(1, len(COS) - 1):
            c = (c + float32(COS[k])) * square
        cosine[i] = (c + float32(COS[-1])) * radius
        sine[i] = (s + float32(SIN[-1])) * angle * radius


@compiled
def _fill(keys_N2: Array, stream: int, law: int, out_NM: Array) -> None:
    even, odd = np.empty(_TILE, uint32), np.empty(_TILE, uint32)
    for n in range(len(keys_N2)):
        for first in range(0, out_NM.shape[1], 2 * _TILE):
            part = out_NM[n, first : first + 2 * _TILE]
            whole = part.shape[0] // 2
            _words(keys_N2[n, 0], keys_N2[n, 1], first // 2, uint32(stream), even, odd)
            if law == UNIFORM:
                _to_unit(even)
                _to_unit(odd)
            elif law == NORMAL:
                _to_normal(even, odd)
            for i in range(whole):
                part[2 * i], part[2 * i + 1] = even[i], odd[i]
            if part.shape[0] % 2:
                part[2 * whole] = even[whole]


@compiled
def _fill_poisson(keys_N2: Array, stream: int, level_NM: Array, last_LC: Array, guide_LG: Array, out_NM: Array) -> None:
    words = np.empty((2, _TILE), uint32)
    for n in range(len(keys_N2)):
        for first in range(0, out_NM.shape[1], 2 * _TILE):
            _words(keys_N2[n, 0], keys_N2[n, 1], first // 2, uint32(stream), words[0], words[1])
            for i in range(min(2 * _TILE, out_NM.shape[1] - first)):
                word, level = int32(words[i % 2, i // 2]), level_NM[n, first + i]
                count = int32(guide_LG[level, (int64(word) + 2**31) >> _GUIDE_SHIFT])
                while word > last_LC[level, count]:
                    count += 1
                out_NM[n, first + i] = count


def fill(law: int, words_N2: Tensor, stream: int, out_NM: Tensor) -> None:
    """Fill a contiguous tensor of 32-bit numbers with draws.

    Args:
        law: BITS, UNIFORM or NORMAL.
        words_N2: int32 keys.
        stream: 0 to 2^31 - 1.
        out_NM: int32 for BITS, else float32; overwritten.
    """
    keys = words_N2.contiguous().numpy().view(uint32)
    _fill(keys, stream, law, out_NM.numpy().view(uint32))


def poisson_guide(last_LC: Array) -> Array:
    """(levels, 256) int16: the smallest count of all words that begin with these 8 bits."""
    starts = (np.arange(2**32 >> _GUIDE_SHIFT, dtype=np.int64) << _GUIDE_SHIFT) - 2**31
    return np.stack([np.searchsorted(row, starts) for row in last_LC]).astype(np.int16)


def fill_poisson(
    words_N2: Tensor, stream: int, level_NM: Tensor, last_LC: Array, guide_LG: Array, out_NM: Tensor
) -> None:
    """Fill a contiguous float32 tensor with Poisson counts.

    Args:
        words_N2: int32 keys.
        stream: 0 to 2^31 - 1.
        level_NM: uint8 rows of the table.
        last_LC: (levels, counts) int32, ascending: the last word that gives at most this count.
        guide_LG: of `poisson_guide`.
        out_NM: overwritten.
    """
    keys, level = words_N2.contiguous().numpy().view(uint32), level_NM.contiguous().numpy()
    _fill_poisson(keys, stream, level, last_LC, guide_LG, out_NM.numpy())
