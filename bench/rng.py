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

Legend: N samples, M elements of a sample, B blocks of two words, R rows and C columns of a table, X any axes.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

MAX_RATE = 700
"""Largest rate of `poisson`: its table holds weights up to exp(rate), and float64 ends near exp(709)."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits to the left; R_32x2 in Random123's threefry.h
# Right shift and mask of each rotation, as tensors: wrapping a Python number costs torch 2 µs a call.
_RIGHT = {left: torch.tensor(32 - left, dtype=torch.int32, device="cpu") for left in sum(_ROTATIONS, ())}
_MASK = {left: torch.tensor((1 << left) - 1, dtype=torch.int32, device="cpu") for left in _RIGHT}
_PARITY = 0x1BD11BDA  # SKEIN_KS_PARITY32 in Random123's threefry.h
_CPU_TILE = 1 << 18  # blocks at once: of 2^14 to 2^19 the fastest that keeps temporaries near 1 MiB
_GPU_TILE = 1 << 21  # long enough to hide the launch of a kernel
_GRID = 8  # tabulated Poisson rates in a unit of rate
_TERMS = 6  # P(Poisson(1 / _GRID) > 6) = 1e-10

# Near-minimax polynomials, highest power first; in brackets the largest error before float32 rounds.
# fmt: off
_LOG = (-0.288698746, 0.3080646555, -0.2780692955, 0.328255685, -0.4003558181, 0.500160553, -0.6666607754,
        0.9999986423, -2.000000016)  # -2 log(1 + f) / f for |f| <= 1/3 [5e-8]
_COS = (-2.382491853e-05, 9.177248396e-04, -0.02086268839, 0.2536693228, -1.233700534,
        1.0)  # cos(πv/2) in v² for |v| <= 1 [2e-10]
_SIN = (1.516785318e-04, -4.674157496e-03, 0.07968992687, -0.6459637613,
        1.57079632)  # sin(πv/2) / v in v² for |v| <= 1 [7e-9]
# fmt: on


_Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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
    return _draw(keys, shape, stream, torch.int32, lambda word0, word1: (word0, word1))


def uniform(keys: Keys, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) float32 in [0, 1): multiples of 2^-24, equally likely."""
    return _draw(keys, shape, stream, torch.float32, lambda word0, word1: (_unit(word0), _unit(word1)))


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
    return _draw(keys, shape, stream, torch.float32, _box_muller)


def poisson(keys: Keys, rate_NX: Tensor, stream: int = 0) -> Tensor:
    """Poisson counts by inversion; each probability is off by less than 1e-8.

    Independent Poisson counts add up to a Poisson count, so the rate is cut into a multiple of 1/8, whose
    distribution is tabulated, and a rest, which needs few terms of its series. Element j takes block j: a
    word for each part.

    Args:
        keys: keys of n samples.
        rate_NX: (n, ...) rates in [0, 700], used as float32, on the device of the keys, in any memory layout.
        stream: 0 to 2^31 - 1.

    Returns:
        Counts as float32, in the shape of `rate_NX`.

    Raises:
        ValueError: if there is not one row of rates a key, or a rate is negative, above 700 or not a number.
    """
    n, shape = len(keys.words_N2), rate_NX.shape
    if shape[:1] != (n,):
        raise ValueError(f"poisson needs a row of rates for each of {n} keys, got shape {tuple(shape)}")
    rate_NM = rate_NX.detach().reshape(n, math.prod(shape[1:])).float()
    count_NM = torch.empty(rate_NM.shape, dtype=torch.float32, device=rate_NM.device)
    low, high = (bound.item() for bound in rate_NM.aminmax()) if rate_NM.numel() else (0, 0)
    if not 0 <= low <= high <= MAX_RATE:
        raise ValueError(f"poisson needs rates in [0, {MAX_RATE}], got {low:g} to {high:g}")
    # Rounded up, so that a few tables serve all batches; a larger one gives the same counts.
    table_RC = _poisson_table(min(1 << int(high).bit_length(), MAX_RATE), rate_NM.device)
    for rows, columns in _tiles(n, rate_NM.shape[1], rate_NM.device):
        word0, word1 = _blocks(keys, rows, columns, stream)
        rate = rate_NM[rows, columns]
        row = (rate * _GRID).int()
        count = _series(rate - row.float() * (1 / _GRID), word1)
        count_NM[rows, columns] = count.add_(_search(row, word0, table_RC))
    return count_NM.view(shape)


def _utf8(text: str) -> bytes:
    # A file name that is not UTF-8 reaches Python with surrogates in it.
    return text.encode("utf-8", "surrogatepass")


def _words(digest: bytes) -> tuple[int, int]:
    first, second = struct.unpack("<2i", digest)
    return first, second


def _tiles(n: int, blocks: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut (n, blocks) into pieces whose temporaries stay in a cache: they decide the speed and no number."""
    tile = _CPU_TILE if device.type == "cpu" else _GPU_TILE
    width = min(max(blocks, 1), tile)
    height = tile // width
    for row in range(0, n, height):
        for column in range(0, blocks, width):
            yield slice(row, row + height), slice(column, min(column + width, blocks))


def _blocks(keys: Keys, rows: slice, columns: slice, stream: int) -> tuple[Tensor, Tensor]:
    """Both words of the blocks `columns` of the samples `rows`."""
    if not 0 <= stream < 1 << 31:
        raise ValueError(f"a stream is a number from 0 to 2^31 - 1, got {stream}")
    key_R2 = keys.words_N2[rows]
    index = torch.arange(columns.start, columns.stop, dtype=torch.int32, device=key_R2.device)
    return threefry(key_R2[:, :1], key_R2[:, 1:], index, index.new_tensor(stream))


def _draw(keys: Keys, shape: Sequence[int], stream: int, dtype: torch.dtype, transform: _Transform) -> Tensor:
    """Fill (n, *shape) with what `transform` makes of the two words of each block."""
    n, size = len(keys.words_N2), math.prod(shape)
    value_NB2 = torch.empty(n, -(-size // 2), 2, dtype=dtype, device=keys.words_N2.device)
    for rows, columns in _tiles(n, value_NB2.shape[1], value_NB2.device):
        # Two strided copies: `torch.stack` takes five times as long.
        even, odd = transform(*_blocks(keys, rows, columns, stream))
        value_NB2[rows, columns, 0], value_NB2[rows, columns, 1] = even, odd
    return value_NB2.flatten(1)[:, :size].reshape(n, *shape)


def _unit(word: Tensor) -> Tensor:
    # An arithmetic shift leaves [-2^23, 2^23), so every step is exact in float32.
    return (word >> 8).float().mul_(2.0**-24).add_(0.5)


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
    return _polynomial(f, _LOG).mul_(f).add_(exponent.float().mul_(-2.0 * math.log(2.0)))


def _box_muller(word0: Tensor, word1: Tensor) -> tuple[Tensor, Tensor]:
    # No square root of a float32 lies within 3 float64 ulps of where rounding to float32 turns, so all agree.
    radius = _minus_2_log(_positive_unit(word0)).double().sqrt_().float()
    # `word1` is an angle in the right half of the circle; the spare bit of `word0` turns half to the left.
    radius.view(torch.int32).bitwise_or_(word0.bitwise_and_(-(1 << 31)))
    quarter_turns = word1.float().mul_(2.0**-31)
    square = quarter_turns * quarter_turns
    sine = _polynomial(square, _SIN).mul_(quarter_turns)
    return _polynomial(square, _COS).mul_(radius), sine.mul_(radius)


@lru_cache(maxsize=4)
def _poisson_table(ceiling: int, device: torch.device) -> Tensor:
    """Row r, column c: the last int32 word that gives a Poisson(r / _GRID) count of at most c."""
    columns = 1 << math.ceil(math.log2(ceiling + 7 * math.sqrt(ceiling) + 16))  # beyond: less than 2^-33
    rate_R1 = torch.arange(ceiling * _GRID + 1, dtype=torch.float64, device="cpu")[:, None] / _GRID
    ratio_RC = rate_R1 / torch.arange(columns, dtype=torch.float64, device="cpu").clamp_(min=1)
    ratio_RC[:, 0] = 1.0
    # On the CPU, where a scan runs in order: the table is the same everywhere, and needs no exponential.
    weight_RC = ratio_RC.cumprod(1).cumsum(1)
    last_RC = (weight_RC / weight_RC[:, -1:]).mul_(2.0**32).round_().sub_(1 + 2.0**31).clamp_(min=-(2.0**31))
    return last_RC.to(device, torch.int32)


def _search(row: Tensor, word: Tensor, table_RC: Tensor) -> Tensor:
    """The column that a word falls in, in its row of the table."""
    columns = table_RC.shape[1]
    position = row * columns
    # A bisection without branches: `torch.searchsorted` took three times as long, on mispredicted ones.
    for step in (columns >> k for k in range(1, columns.bit_length())):
        last = table_RC.view(-1).index_select(0, (position + (step - 1)).view(-1)).view_as(position)
        position.add_(last.lt_(word), alpha=step)
    return position.bitwise_and_(columns - 1)


def _series(rate: Tensor, word: Tensor) -> Tensor:
    """Poisson counts of rates below 1 / _GRID: how many tails P(count >= k) hold the uniform of `word`."""
    terms = [torch.ones_like(rate)]
    for k in range(1, _TERMS + 1):
        terms.append(terms[-1] * rate * (1 / k))
    tails = list(accumulate(reversed(terms)))  # from the small end, so that each is precise for its size
    mark = _positive_unit(word).mul_(tails.pop())  # the sum of all terms stands for exp(rate)
    count = torch.zeros_like(rate)
    for tail in tails:
        count.add_(tail.gt_(mark))
    return count
