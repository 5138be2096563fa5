"""Pillow's resize, bit for bit, of the part of a picture that a crop keeps.

Pillow resamples 8-bit pictures with weights in fixed point, across first and then down, rounding to 8 bits in between.
Integer sums come out the same in any order, so kernels that the processor's vector units run give its bytes in a
quarter of its time. Both passes are the same kernel: the first runs on the transposed picture.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.machine.compiled import compiled
from bench.records import Array

BITS = 22
"""Of the weights' fractions: 32, less 8 of a pixel and 2 for weights that sum to more than 1 (Pillow's Resample.c)."""


def _box(x: Array) -> Array:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _triangle(x: Array) -> Array:
    return np.where(np.abs(x) < 1, 1 - np.abs(x), 0.0)


def _cubic(x: Array) -> Array:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), a = −1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
"""The weight at a distance of x pixels, and the distance from which on it is 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Which input pixels make each output pixel of one axis, and how much of each."""

    first: Array
    """(n,) int64: the first input pixel, ascending."""
    weights: Array
    """(n, k) int32 in fixed point; 0 where an output pixel has fewer than k."""
    counts: Array
    """(n,) int64: input pixels used."""

    @property
    def span(self) -> slice:
        """The input pixels that are needed at all."""
        return slice(int(self.first[0]), int((self.first + self.counts).max()))


@functools.lru_cache(maxsize=512)
def taps(before: int, after: int, start: int, count: int, interpolation: str) -> Taps:
    """Weights for output pixels `start` … `start + count − 1` of an axis resized from `before` to `after` pixels."""
    kernel, reach = _KERNELS[interpolation]
    scale = before / after
    stretch = max(scale, 1.0)  # a picture made smaller is averaged over as many more pixels
    centre = (np.arange(start, start + count) + 0.5) * scale
    first = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
    counts = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), before) - first
    offsets = np.arange(counts.max())
    distances = (offsets + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch)
    weights = np.where(offsets < counts[:, None], kernel(distances), 0.0)
    # One after the other, as Pillow sums them: numpy's pairwise sum may differ in the last bit.
    weights /= functools.reduce(np.add, weights.T)[:, None]
    fixed = weights * (1 << BITS)
    return Taps(first, np.trunc(fixed + np.copysign(0.5, fixed)).astype(np.int32), counts)


@compiled
def _average(rows: Array, first: Array, counts: Array, weights: Array, out: Array) -> None:
    """Each row of `out` is a weighted sum of consecutive `rows`."""
    total = np.empty(rows.shape[1], np.int32)
    for y in range(out.shape[0]):
        total[:] = 1 << (BITS - 1)
        for k in range(counts[y]):
            weight, row = weights[y, k], rows[first[y] + k]
            for x in range(row.shape[0]):
                total[x] += weight * row[x]
        for x in range(total.shape[0]):
            out[y, x] = min(max(total[x] >> BITS, 0), 255)


def _resize_rows(rows: Array, taps: Taps) -> Array:
    """Resize the first axis of (rows, bytes), which holds the rows of the span only."""
    out = np.empty((len(taps.first), rows.shape[1]), dtype=np.uint8)
    _average(rows, taps.first - taps.first[0], taps.counts, taps.weights, out)
    return out


def resize_part(
    image_HWC: Array, shape: tuple[int, int], corner: tuple[int, int], size: int, interpolation: str
) -> Array:
    """Resize a picture and cut a square out, computing no other pixels.

    Args:
        image_HWC: (h, w, 3) uint8.
        shape: (height, width) of the whole picture once resized.
        corner: (top, left) of the square in it.
        size: side of the square, pixels; it lies within `shape`.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        (size, size, 3) uint8.
    """
    height, width, channels = image_HWC.shape
    down = taps(height, shape[0], corner[0], size, interpolation)
    across = taps(width, shape[1], corner[1], size, interpolation)
    part = image_HWC[down.span, across.span]
    h, w = part.shape[:2]
    columns = np.ascontiguousarray(part.reshape(h, w * channels).T).reshape(w, channels * h)
    narrowed = _resize_rows(columns, across).reshape(size * channels, h)
    return _resize_rows(np.ascontiguousarray(narrowed.T), down).reshape(size, size, channels)
