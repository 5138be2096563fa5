"""One counter-based random generator: the same numbers on every device, in every batch.

A draw is a pure function of (key, stream, element index), and a key is a hash of (seed, condition, sample id). So
neither the batch that a sample sits in nor the shape that is asked for can change a number, and there is no state.
Every draw takes the `keys` of n samples, the `shape` of one sample and a `stream` from 0 to 2^31 - 1. Two draws from
one stream see the same bits: independent draws take different streams, or keys folded with different texts.

The bits are Threefry-2x32-20 of J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC 2011 (doi:10.1145/2063384.2063405). It adds, rotates and xors 32-bit words, which int32 tensors
do natively; Philox needs 64-bit products and was slower. What follows the bits is only +, -, ×, square root,
comparison and conversion, one tensor operation each, which IEEE 754 rounds in one way: library logarithms and sines
differ between devices, and between a vector loop and its tail, so none is called.

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
# Right shift and mask of each rotation, as tensors: torch takes 2 µs to wrap a Python number, as long as the work.
_RIGHT = {left: torch.tensor(32 - left, dtype=torch.int32) for group in _ROTATIONS for left in group}
_MASK = {left: torch.tensor((1 << left) - 1, dtype=torch.int32) for left in _RIGHT}
_PARITY = 0x1BD11BDA  # SKEIN_KS_PARITY32 in Random123's threefry.h
_CPU_TILE = 1 << 18  # blocks at once: of 2^14 to 2^19 the fastest that keeps temporaries near 1 MiB
_GPU_TILE = 1 << 21  # long enough to hide the launch of a kernel
_GRID = 8  # tabulated Poisson rates in a unit of rate
_TERMS = 6  # P(Poisson(1 / _GRID) > 6) = 1e-10

# Near-minimax polynomials, highest power first; in brackets the largest error before float32 rounds.
_LOG = (  # -2 log(1 + f) / f for |f| <= 1/3 [5e-8]
    *(-0.288698746, 0.3080646555, -0.2780692955, 0.328255685, -0.4003558181),
    *(0.500160553, -0.6666607754, 0.9999986423, -2.000000016),
)
_COS = (-2.382491853e-05, 9.177248396e-04, -0.02086268839, 0.2536693228, -1.233700534, 1.0)  # cos(πv/2) in v² [2e-10]
_SIN = (1.516785318e-04, -4.674157496e-03, 0.07968992687, -0.6459637613, 1.57079632)  # sin(πv/2) / v in v² [7e-9]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """One key a sample, made by `keys`."""

    words_N2: Tensor
    """(n, 2) int32, on the device where the draws will be made."""

    def fold(self, text: str) -> "Keys":
        """Keys of the same samples for an independent family of streams, named by `text`."""
        counter = self.words_N2.new_tensor(_words(hashlib.blake2b(_utf8(text), digest_size=8)))
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
        rows.append(_words(sample))
    return Keys(words_N2=torch.tensor(rows, dtype=torch.int32, device=device).reshape(-1, 2))


def threefry(key0: Tensor, key1: Tensor, counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Both words of Threefry-2x32-20; int32 tensors that broadcast in, int32 tensors of their shape out."""
    schedule = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0, x1 = (x.clone(memory_format=torch.contiguous_format)
              for x in torch.broadcast_tensors(counter0 + key0, counter1 + key1))  # fmt: skip
    low = torch.empty_like(x1)
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
    return _draw(keys, shape, stream, torch.int32, lambda word: word)


def uniform(keys: Keys, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) float32 in [0, 1): multiples of 2^-24, equally likely."""
    # An arithmetic shift leaves [-2^23, 2^23), so every step is exact in float32.
    return _draw(keys, shape, stream, torch.float32, lambda word: (word >> 8).float().mul_(2.0**-24).add_(0.5))


def integers(keys: Keys, low: int, high: int, shape: Sequence[int], stream: int = 0) -> Tensor:
    """(n, *shape) int64 in [low, high); each probability is off by less than 2^-32.

    Raises:
        ValueError: if `high` is not above `low`, or more than 2^31 above it.
    """
    if not 0 < high - low <= 1 << 31:
        raise ValueError(f"integers need low < high <= low + 2^31, got low={low}, high={high}")
    words = bits(keys, shape, stream).long().bitwise_and_(0xFFFFFFFF)
    return words.mul_(high - low).bitwise_right_shift_(32).add_(low)
