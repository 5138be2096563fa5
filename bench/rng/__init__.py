"""One counter-based random generator: the same numbers on every device, in every batch.

A draw is a pure function of (key, stream, element index), and a key is a hash of (seed, condition, sample
id). So neither the batch that a sample sits in nor the shape that is asked for can change a number, and there
is no state. Every draw takes the `keys` of n samples, the `shape` of one sample and a `stream` from 0 to
2^31 - 1. Two draws from one stream see the same bits: independent draws take different streams, or keys
folded with different texts.

The bits are Threefry-2x32-20 of J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011 (doi:10.1145/2063384.2063405). It adds, rotates and xors 32-bit words,
which int32 tensors do natively; Philox needs 64-bit products and was slower. What follows the bits is only
+, -, ×, comparison and conversion, one eager tensor operation each, which IEEE 754 rounds in one way. Library
functions differ between devices: even `torch.sqrt` on a CPU gets the last bit of one float32 in six wrong.
On a CPU `bench.rng.on_cpu` does the same steps compiled, on CUDA `bench.rng.on_triton`.

Legend: N samples, M elements of a sample, R rows of a tile, L levels and C counts of a table, X any axes.
"""

import hashlib
import itertools
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array
from bench.rng.on_cpu import BITS, COS, LOG, MINUS_2_LOG_2, NORMAL, SIN, UNIFORM, fill, fill_poisson, poisson_guide

MAX_RATE = 700
"""Largest rate of `poisson`: its table holds weights up to exp(rate), and float64 ends near exp(709)."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits to the left; R_32x2 in Random123's threefry.h
# Right shift and mask of each rotation, as tensors: wrapping a Python number costs torch 2 µs a call.
_RIGHT = {left: torch.tensor(32 - left, dtype=torch.int32, device="cpu") for left in sum(_ROTATIONS, ())}
_MASK = {left: torch.tensor((1 << left) - 1, dtype=torch.int32, device="cpu") for left in _RIGHT}
_PARITY = 0x1BD11BDA  # SKEIN_KS_PARITY32 in Random123's threefry.h
_TILE = 1 << 21  # blocks at once: long enough to hide the launch of a kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """One key a sample, made by `keys`."""

    words_N2: Tensor
    """(n, 2) int32, on the device where the draws will be made."""

    def fold(self, text: str) -> "Keys":
        """Keys of the same samples for an independent family of streams, named by `text`."""
        counter = self.words_N2.new_tensor(_words(hashlib.blake2b(_utf8(text), digest_size=8).digest()))
        return Keys(words_N2=torch.stack(threefry(*self.words_N2.unbind(1), *counter.unbind()), 1))


def keys(seed: int, condition: str, ids: Sequence[str], device: str | torch.device = "cpu") -> Keys:
    """Keys of n samples: 64 bits of BLAKE2b each, so two of a million share one with probability 3e-8.

    Args:
        seed: any integer.
        condition: what else the draws depend on, as text.
        ids: the n sample ids; n may be 0.
        device: where the draws will be made.
    """
    # The closing bracket ends the JSON, so no two (seed, condition, id) give the same bytes.
    prefix = hashlib.blake2b(json.dumps([seed, condition]).encode(), digest_size=8)
    rows = []
    for sample_id in ids:
        sample = prefix.copy()
        sample.update(_utf8(sample_id))
        rows.append(_words(sample.digest()))
    return Keys(words_N2=torch.tensor(rows, dtype=torch.int32, device=device).reshape(-1, 2))


def threefry(key0: Tensor, key1: Tensor, counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Both words of Threefry-2x32-20; int32 tensors that broadcast in, int32 tensors of their shape out."""
    schedule = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0 = torch.zeros_like(counter1 + key1) + (counter0 + key0)  # both words are full size from here on
    x1 = torch.zeros_like(x0) + (counter1 + key1)
    low = torch.empty_like(x0)
    for group in range(5):
        for left in _ROTATIONS[group % 2]:
            x0.add_(x1)
            # `>>` copies the sign, so the mask makes it logical; `alpha` shifts left and joins in one pass.
            torch.bitwise_right_shift(x1, _RIGHT[left], out=low).bitwise_and_(_MASK[left])
            torch.add(low, x1, alpha=1 << left, out=x1).bitwise_xor_(x0)
        x0.add_(schedule[(group + 1) % 3])
        x1.add_(schedule[(group + 2) % 3] + (group + 1))
    return x0, x1


def bits(keys: Keys, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) int32, all 2^32 words equally likely: element j is word j % 2 of block j // 2."""
    return _draw(keys, shape, stream, BITS)


def uniform(keys: Keys, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) float32 in [0, 1): multiples of 2^-24, equally likely."""
    return _draw(keys, shape, stream, UNIFORM)


def integers(keys: Keys, low: int, high: int, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) int64 in [low, high); each probability is off by less than 2^-32.

    Raises:
        ValueError: if `high` is not above `low`, or more than 2^31 above it.
    """
    if not 0 < high - low <= 1 << 31:
        raise ValueError(f"integers need low < high <= low + 2^31, got low={low}, high={high}")
    words = bits(keys, shape, stream).long().bitwise_and_(0xFFFFFFFF)
    return words.mul_(high - low).bitwise_right_shift_(32).add_(low)


def normal(keys: Keys, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) float32, standard normal, at most 6.7 in size.

    The transform of Box and Muller, "A note on the generation of random normal deviates", 1958, with 31 bits
    for the radius r and 33 for the angle; values are within 1.5e-6 + 2^-25 / r of the exact transform.
    """
    return _draw(keys, shape, stream, NORMAL)


def poisson(keys: Keys, level_NX: Tensor, rates: Sequence[float], stream: int = 0) -> Tensor:
    """Poisson counts by inversion, one word each; every probability is off by less than 2^-32.

    Args:
        keys: keys of n samples.
        level_NX: (n, ...) uint8, which of the rates each element has, on the device of the keys.
        rates: at most 256 of them, in [0, 700].
        stream: 0 to 2^31 - 1.

    Returns:
        Counts as float32, in the shape of `level_NX`.

    Raises:
        ValueError: if there is not one row of levels a key, or a rate is negative, above 700 or not a number.
    """
    n, shape = len(keys.words_N2), level_NX.shape
    if shape[:1] != (n,):
        raise ValueError(f"poisson needs a row of levels for each of {n} keys, got shape {tuple(shape)}")
    if not all(0 <= rate <= MAX_RATE for rate in rates):
        raise ValueError(f"poisson needs rates in [0, {MAX_RATE}], got {min(rates):g} to {max(rates):g}")
    level_NM = level_NX.reshape(n, math.prod(shape[1:]))
    count_NM = torch.empty(level_NM.shape, dtype=torch.float32, device=level_NM.device)
    if level_NM.is_cpu:
        tables = _poisson_table(tuple(rates)), _poisson_guide(tuple(rates))
        fill_poisson(keys.words_N2, _checked(stream), level_NM, *tables, count_NM)
    else:
        last_LC = table(level_NX.device, _poisson_table, tuple(rates))
        word_NM = bits(keys, level_NM.shape[1:], stream)
        for rows, columns in _tiles(n, level_NM.shape[1]):
            count_NM[rows, columns] = _search(level_NM[rows, columns], word_NM[rows, columns], last_LC)
    return count_NM.view(shape)


class Draws:
    """The draws of one condition, for n samples: each call takes the next stream.

    Args:
        keys: of the samples; draws are made on their device.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._stream = itertools.count()

    def __len__(self) -> int:
        return len(self.keys.words_N2)

    @property
    def device(self) -> torch.device:
        """Where draws are made."""
        return self.keys.words_N2.device

    def take(self) -> tuple[Tensor, int]:
        """The keys, contiguous, and the next stream, for a kernel that makes its draws where it needs them."""
        return self.keys.words_N2.contiguous(), next(self._stream)

    def uniform(self, *shape: int) -> Tensor:
        """(n, *shape) float32 in [0, 1)."""
        return uniform(self.keys, shape, next(self._stream))

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) float32, standard normal."""
        return normal(self.keys, shape, next(self._stream))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """(n, *shape) int64 in [low, high)."""
        return integers(self.keys, low, high, shape, next(self._stream))

    def poisson(self, level_NX: Tensor, rates: Sequence[float]) -> Tensor:
        """Counts in the shape of `level_NX`, which says which of the rates each has; see `poisson`."""
        return poisson(self.keys, level_NX, rates, next(self._stream))


def _utf8(text: str) -> bytes:
    # A file name that is not UTF-8 reaches Python with surrogates in it.
    return text.encode("utf-8", "surrogatepass")


def _words(digest: bytes) -> tuple[int, int]:
    first, second = struct.unpack("<2i", digest)
    return first, second


def _checked(stream: int) -> int:
    if not 0 <= stream < 1 << 31:
        raise ValueError(f"a stream is a number from 0 to 2^31 - 1, got {stream}")
    return stream


def _draw(keys: Keys, shape: Sequence[int], stream: int, law: int) -> Tensor:
    """(n, *shape): compiled loops on a CPU, a kernel on CUDA, tensor operations elsewhere, the same numbers."""
    n, size, device = len(keys.words_N2), math.prod(shape), keys.words_N2.device
    value_NM = torch.empty(n, size, dtype=torch.int32 if law == BITS else torch.float32, device=device)
    if keys.words_N2.is_cpu:
        fill(law, keys.words_N2, _checked(stream), value_NM)
    elif triton_op.takes(keys.words_N2):
        from bench.rng import on_triton

        on_triton.fill(law, keys.words_N2.contiguous(), _checked(stream), value_NM)
    else:
        _fill_by_tensors(law, keys.words_N2, _checked(stream), value_NM)
    return value_NM.view(n, *shape)


def _fill_by_tensors(law: int, words_N2: Tensor, stream: int, out_NM: Tensor) -> None:
    """What `bench.rng.on_cpu.fill` does, on any device."""
    transform = {BITS: lambda *words: words, UNIFORM: _units, NORMAL: _box_muller}[law]
    size = out_NM.shape[1]
    for rows, blocks in _tiles(len(out_NM), -(-size // 2)):
        key_R2 = words_N2[rows]
        index = torch.arange(blocks.start, blocks.stop, dtype=torch.int32, device=key_R2.device)
        words = threefry(key_R2[:, :1], key_R2[:, 1:], index, index.new_full((), stream))
        even, odd = transform(*words)
        # Two strided copies: `torch.stack` takes five times as long.
        out_NM[rows, 2 * blocks.start : 2 * blocks.stop : 2] = even
        out_NM[rows, 2 * blocks.start + 1 : 2 * blocks.stop : 2] = odd[:, : min(blocks.stop, size // 2) - blocks.start]


def _tiles(n: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut (n, columns) into pieces, to bound the temporaries: they decide no number."""
    width = min(max(columns, 1), _TILE)
    height = _TILE // width
    for row in range(0, n, height):
        for column in range(0, columns, width):
            yield slice(row, row + height), slice(column, min(column + width, columns))


def _units(word0: Tensor, word1: Tensor) -> tuple[Tensor, Tensor]:
    # An arithmetic shift leaves [-2^23, 2^23), so every step is exact in float32.
    return (word0 >> 8).float().mul_(2.0**-24).add_(0.5), (word1 >> 8).float().mul_(2.0**-24).add_(0.5)


def _positive_unit(word: Tensor) -> Tensor:
    # 31 bits and a half: never 0, and as precise near 0 as float32 is.
    return (word & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    # `mul` and `add`, never `addcmul`: a fused multiply-add rounds once, and not every device has it.
    total = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        total.add_(coefficient).mul_(x)
    return total.add_(coefficients[-1])


def _minus_2_log(x: Tensor) -> Tensor:
    """-2 log(x) of positive normal float32; never negative for x <= 1, where log(1 + f) has the sign of f."""
    word = x.view(torch.int32)
    exponent = (word - 0x3F2AAAAB) >> 23  # the bits of 2/3: the mantissa falls in [2/3, 4/3)
    f = torch.sub(word, exponent, alpha=1 << 23).view(torch.float32).sub_(1.0)
    return _polynomial(f, LOG).mul_(f).add_(exponent.float().mul_(MINUS_2_LOG_2))


def _box_muller(word0: Tensor, word1: Tensor) -> tuple[Tensor, Tensor]:
    # No square root of a float32 lies within 3 float64 ulps of where rounding to float32 turns, so all agree.
    radius = _minus_2_log(_positive_unit(word0)).double().sqrt_().float()
    # `word1` is an angle in the right half of the circle; the spare bit of `word0` turns half to the left.
    radius.view(torch.int32).bitwise_or_(word0.bitwise_and_(-(1 << 31)))
    quarter_turns = word1.float().mul_(2.0**-31)
    square = quarter_turns * quarter_turns
    sine = _polynomial(square, SIN).mul_(quarter_turns)
    return _polynomial(square, COS).mul_(radius), sine.mul_(radius)


def poisson_words(rates: Sequence[float], bisections: int, device: torch.device) -> Tensor:
    """What `on_triton.count` searches for counts up to 2^bisections − 1, and gives that for all above: (levels, ·)."""
    return table(device, _poisson_words, tuple(rates), bisections)


def _poisson_words(rates: tuple[float, ...], bisections: int) -> Array:
    return np.ascontiguousarray(_poisson_table(rates)[:, : 1 << bisections])


@lru_cache(maxsize=16)
def _poisson_table(rates: tuple[float, ...]) -> Array:
    """Row l, column c: the last int32 word that gives a Poisson(rates[l]) count of at most c."""
    most = max(rates)
    columns = 1 << math.ceil(math.log2(most + 7 * math.sqrt(most) + 16))  # beyond: less than 2^-33
    ratio_LC = np.array(rates)[:, None] / np.arange(columns).clip(min=1)
    ratio_LC[:, 0] = 1.0
    # In order, on the host: the table is the same everywhere, and needs no exponential.
    weight_LC = ratio_LC.cumprod(1).cumsum(1)
    last_LC = np.rint(weight_LC / weight_LC[:, -1:] * 2.0**32) - (1 + 2.0**31)
    words_LC: Array = last_LC.clip(min=-(2.0**31)).astype(np.int32)
    return words_LC


@lru_cache(maxsize=16)
def _poisson_guide(rates: tuple[float, ...]) -> Array:
    return poisson_guide(_poisson_table(rates))


def _search(level: Tensor, word: Tensor, last_LC: Tensor) -> Tensor:
    """The column that a word falls in, in its row of the table."""
    columns = last_LC.shape[1]
    position = level.int() * columns
    # A bisection without branches: `torch.searchsorted` took three times as long, on mispredicted ones.
    for step in (columns >> k for k in range(1, columns.bit_length())):
        last = last_LC.view(-1).index_select(0, (position + (step - 1)).view(-1)).view_as(position)
        position.add_(last.lt_(word), alpha=step)
    return position.bitwise_and_(columns - 1)
