"""Enlarging the middle of images, as imagecorruptions' `clipped_zoom` does with scipy.ndimage.zoom of order 1.

Legend: N images, C channels, H × W pixels, X = W·C values of a row, Z factors.
"""

import functools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

from bench.corruptions.kernels.filters import as_images, as_rows
from bench.corruptions.kernels.pixels import to_bytes
from bench.machine import triton_op
from bench.machine.compiled import compiled
from bench.machine.tables import table
from bench.records import Array

_Taps: TypeAlias = tuple[Array, Array]
"""(n,) int64, the first of two neighbours that make each output pixel, and (n, 2) float32, how much of each."""


def middle(size: int, factor: float) -> tuple[int, int]:
    """Where the part of an axis that is enlarged begins, and how long it is."""
    count = math.ceil(size / factor)
    return (size - count) // 2, count


def enlarged(count: int, factor: float) -> int:
    """Pixels of `count` once enlarged; Python's rounding, as scipy takes it."""
    return round(count * factor)


@functools.lru_cache(maxsize=512)
def _taps(count: int, factor: float, start: int, wanted: int) -> _Taps:
    """The first `wanted` pixels of an axis whose pixels `start` … `start + count − 1` are enlarged."""
    place = np.arange(wanted) * ((count - 1) / (enlarged(count, factor) - 1))
    first = np.minimum(place.astype(np.int64), count - 2)
    weights = np.stack([1 - (place - first), place - first], 1)
    # Where rounding leads beyond the last pixel, scipy finds nothing there: the edge of a few sizes is black.
    weights[place > count - 1] = 0
    return first + start, weights.astype(np.float32)


def zoom(planes_NHW: Tensor, factor: float) -> Tensor:
    """Enlarge whole planes.

    Args:
        planes_NHW: float32.
        factor: above 1.

    Returns:
        float32, (n, round(h · factor), round(w · factor)).
    """
    counts = planes_NHW.shape[1:]
    if triton_op.takes(planes_NHW):
        return _zoom_by_triton(planes_NHW, factor)
    if not planes_NHW.is_cpu:
        left, right = (table(planes_NHW.device, _matrix_of_whole, count, factor) for count in counts)
        enlarged_NHW: Tensor = left @ planes_NHW @ right.T
        return enlarged_NHW
    down, across = (_taps_of_whole(count, factor) for count in counts)
    size = [len(first) for first, _ in (down, across)]
    return _add_zooms(planes_NHW.new_zeros(len(planes_NHW), *size), planes_NHW, [down], [across])


def _zoom_by_triton(planes_NHW: Tensor, factor: float) -> Tensor:
    from bench.corruptions.kernels import warp_triton

    taps = [
        table(planes_NHW.device, make, count, factor)
        for count in planes_NHW.shape[1:]
        for make in (_first_of_whole, _weights_of_whole)
    ]
    out_NHW = planes_NHW.new_empty(len(planes_NHW), len(taps[0]), len(taps[2]))
    warp_triton.enlarge(planes_NHW.contiguous(), *taps, out_NHW)
    return out_NHW


def _first_of_whole(count: int, factor: float) -> Array:
    return _taps_of_whole(count, factor)[0].astype(np.int32)


def _weights_of_whole(count: int, factor: float) -> Array:
    return _taps_of_whole(count, factor)[1]


def _taps_of_whole(count: int, factor: float) -> _Taps:
    return _taps(count, factor, 0, enlarged(count, factor))


def _matrix_of_whole(count: int, factor: float) -> Array:
    return _matrix(_taps_of_whole(count, factor), count)


def mean_of_zooms(images_NCHW: Tensor, factors: Sequence[float]) -> Tensor:
    """The mean of the image and all its enlarged middles, cut to its size and off to bytes.

    Args:
        images_NCHW: uint8, three channels.
        factors: the first may be 1.

    Returns:
        uint8 in the shape of the images.
    """
    larger = tuple(factor for factor in factors if factor != 1)
    alike = 1 + len(factors) - len(larger)
    if triton_op.takes(images_NCHW):
        return _mean_by_triton(images_NCHW, larger, alike)
    total = images_NCHW.float().mul_(alike)
    if images_NCHW.is_cpu:
        down, across = ([_taps_of_middle(size, factor) for factor in larger] for size in images_NCHW.shape[2:])
        total = _add_zooms(total, images_NCHW, down, across)
    else:
        total = _add_products(total, images_NCHW, larger)
    return to_bytes(total.div_(len(factors) + 1))


def _mean_by_triton(images_NCHW: Tensor, larger: tuple[float, ...], alike: int) -> Tensor:
    from bench.corruptions.kernels import warp_triton

    taps = [
        table(images_NCHW.device, make, size, larger)
        for size in images_NCHW.shape[2:]
        for make in (_first_of_all, _weights_of_all)
    ]
    return triton_op.applied(warp_triton.mean_of_zooms, images_NCHW, *taps, alike)


def _first_of_all(size: int, factors: tuple[float, ...]) -> Array:
    """(z, size) int32: the first of two neighbours, for each zoom."""
    return np.stack([_taps_of_middle(size, factor)[0] for factor in factors]).astype(np.int32)


def _weights_of_all(size: int, factors: tuple[float, ...]) -> Array:
    """(z, size, 2) float32: how much of each."""
    return np.stack([_taps_of_middle(size, factor)[1] for factor in factors])


def _taps_of_middle(size: int, factor: float) -> _Taps:
    start, count = middle(size, factor)
    return _taps(count, factor, start, size)


def _matrix_of_middle(size: int, factor: float) -> Array:
    return _matrix(_taps_of_middle(size, factor), size)


def _add_zooms(total: Tensor, images: Tensor, down: Sequence[_Taps], across: Sequence[_Taps]) -> Tensor:
    images_NHX, channels = as_rows(images)
    total_NHX, _ = as_rows(total)
    place_ZX = np.stack([(first[:, None] * channels + np.arange(channels)).ravel() for first, _ in across])
    across_Z2X = np.stack([np.repeat(weights.T, channels, axis=1) for _, weights in across])
    row_ZH, down_ZH2 = np.stack([first for first, _ in down]), np.stack([weights for _, weights in down])
    _add(images_NHX, channels, row_ZH, down_ZH2, place_ZX, across_Z2X, total_NHX)
    return as_images(total_NHX, total)


def _add_products(total: Tensor, images: Tensor, factors: Sequence[float]) -> Tensor:
    """Add the enlargements as matrix products, for a GPU."""
    planes = images.float().contiguous()
    for factor in factors:
        left, right = (table(images.device, _matrix_of_middle, size, factor) for size in images.shape[-2:])
        total += left @ planes @ right.T
    return total


def _matrix(taps: _Taps, size: int) -> Array:
    """(wanted, size) float32."""
    first, weights = taps
    matrix = np.zeros((len(first), size), np.float32)
    for k in range(2):
        matrix[np.arange(len(first)), first + k] = weights[:, k]
    return matrix


@compiled
def _add(
    images_NHX: Array,
    channels: int,
    row_ZH: Array,
    down_ZH2: Array,
    place_ZX: Array,
    across_Z2X: Array,
    total_NHX: Array,
) -> None:
    """Add every zoom of each image to its total."""
    between_X = np.empty(images_NHX.shape[2], np.float32)
    for n in range(len(images_NHX)):
        for y in range(total_NHX.shape[1]):
            total = total_NHX[n, y]
            for z in range(len(row_ZH)):
                first, place, across = row_ZH[z, y], place_ZX[z], across_Z2X[z]
                upper, lower = images_NHX[n, first], images_NHX[n, first + 1]
                a, b = down_ZH2[z, y]
                for x in range(len(between_X)):
                    between_X[x] = a * upper[x] + b * lower[x]
                for x in range(len(total)):
                    total[x] += across[0, x] * between_X[place[x]] + across[1, x] * between_X[place[x] + channels]
