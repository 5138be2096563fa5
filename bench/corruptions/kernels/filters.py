"""Linear filters of batches: compiled loops on a CPU, whole-batch tensor operations elsewhere.

Legend: N images, C channels, H × W pixels, K taps of a filter.
"""

import functools
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from scipy.fft import next_fast_len  # type: ignore[import-untyped]
from torch import Tensor

from bench.corruptions.kernels import filters_cpu
from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array

Border: TypeAlias = Literal["nearest", "reflect", "mirror"]
"""What lies beyond the edge of `abc`: `aaa|abc|ccc`, `cba|abc|cba`, `cb|abc|ba`; the names are scipy.ndimage's."""


def widened(size: int, reach: int, border: Border) -> Array:
    """(size + 2 reach,) int64: the places of an axis that stand at the places of the widened one."""
    place = np.arange(-reach, size + reach)
    if border == "nearest":
        return place.clip(0, size - 1)
    if border == "reflect":
        place %= 2 * size
        return np.minimum(place, 2 * size - 1 - place)
    place %= 2 * size - 2
    return np.minimum(place, 2 * size - 2 - place)


@functools.lru_cache(maxsize=64)
def gaussian_kernel(sigma: float, truncate: float = 4.0) -> Array:
    """(2 R + 1,) float64 that sum to 1, R = ⌊truncate · sigma + ½⌋, as scipy.ndimage.gaussian_filter1d's."""
    reach = int(truncate * sigma + 0.5)
    weights: Array = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    return weights


def gaussian_filter(
    images: Tensor, sigma: float | tuple[float, float], *, border: Border, truncate: float = 4.0
) -> Tensor:
    """Blur by a Gaussian, as skimage.filters.gaussian does.

    Args:
        images: (n, c, h, w) or (n, h, w), uint8 or float32.
        sigma: standard deviation in pixels, or one down and one across.
        border: what lies beyond the edges.
        truncate: where the kernel ends, in standard deviations.

    Returns:
        float32 in the same shape.
    """
    sigmas = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if images.is_cpu:
        down, across = (gaussian_kernel(s, truncate) for s in sigmas)
        return _separable(images, down, across, border)
    if triton_op.takes(images):
        return _separable_by_triton(images, sigmas, truncate, border)
    return _separable_by_products(images, sigmas, truncate, border)


def _separable(images: Tensor, down: Array, across: Array, border: Border) -> Tensor:
    images_NHX, channels = as_rows(images)
    height, width = images.shape[-2:]
    out_NHX = np.empty(images_NHX.shape, np.float32)
    rows, columns = widened(height, len(down) // 2, border), widened(width, len(across) // 2, border)
    weights = down.astype(np.float32), across.astype(np.float32)
    filters_cpu.separable(images_NHX, channels, rows, columns, *weights, out_NHX)
    return as_images(out_NHX, images)


def _separable_by_triton(images: Tensor, sigmas: tuple[float, float], truncate: float, border: Border) -> Tensor:
    from bench.corruptions.kernels import filters_triton

    for sigma, down in zip(sigmas, (True, False), strict=True):
        arguments = table(images.device, _gaussian_weights, sigma, truncate), down, border == "reflect"
        images = triton_op.applied(filters_triton.filter_axis, images, *arguments, dtype=torch.float32)
    return images


def _gaussian_weights(sigma: float, truncate: float) -> Array:
    return gaussian_kernel(sigma, truncate).astype(np.float32)


def _separable_by_products(images: Tensor, sigmas: tuple[float, float], truncate: float, border: Border) -> Tensor:
    """Filter by matrix products: they cost less than passing over memory for every tap."""
    down_HH, across_WW = (
        table(images.device, _band, size, sigma, truncate, border)
        for size, sigma in zip(images.shape[-2:], sigmas, strict=True)
    )
    filtered: Tensor = down_HH @ images.float().contiguous() @ across_WW.T
    return filtered


def _band(size: int, sigma: float, truncate: float, border: Border) -> Array:
    """(size, size) float32: the matrix of a filter along an axis."""
    kernel = gaussian_kernel(sigma, truncate)
    place = widened(size, len(kernel) // 2, border)
    band = np.zeros((size, size))
    for k, weight in enumerate(kernel):
        band[np.arange(size), place[k : k + size]] += weight
    return band.astype(np.float32)


def correlate(
    images_NCHW: Tensor, down: Tensor, across: Tensor, weights: Tensor, *, reach: int, border: Border
) -> Tensor:
    """Weighted sum of shifted copies: out[y, x] = Σ_k weights[k] · image[y + down[k], x + across[k]].

    Args:
        images_NCHW: uint8 or float32.
        down: (n, k) int64, or (1, k) for all images alike; on the device of the images, as the next two.
        across: as `down`.
        weights: float32 in the shape of `down`.
        reach: no shift is larger; not taken from the shifts, so that other images of a batch change nothing.
        border: what lies beyond the edges.

    Returns:
        float32 in the shape of the images.
    """
    if images_NCHW.is_cpu:
        rows, columns = (widened(size, reach, border) for size in images_NCHW.shape[-2:])
        return _sum_of_copies(images_NCHW, rows, columns, down + reach, across + reach, weights)
    if triton_op.takes(images_NCHW) and border == "nearest" and len(down) == len(images_NCHW):
        return _correlate_by_triton(images_NCHW, down, across, weights)
    return _correlate_by_fft(images_NCHW, reach, border, down + reach, across + reach, weights)


def _sum_of_copies(
    images_NCHW: Tensor, rows: Array, columns: Array, down: Tensor, across: Tensor, weights: Tensor
) -> Tensor:
    images_NHX, channels = as_rows(images_NCHW)
    n, spare = len(images_NHX), -down.shape[1] % 4
    taps: list[Any] = [
        torch.nn.functional.pad(tap, (0, spare)).expand(n, -1).contiguous().numpy() for tap in (down, across, weights)
    ]
    out_NHX = np.empty(images_NHX.shape, np.float32)
    filters_cpu.correlate(images_NHX, channels, rows, columns, taps[0], taps[1], taps[2], out_NHX)
    return as_images(out_NHX, images_NCHW)


def _correlate_by_triton(images_NCHW: Tensor, down: Tensor, across: Tensor, weights: Tensor) -> Tensor:
    from bench.corruptions.kernels import filters_triton

    taps = [tap.contiguous() for tap in (down, across, weights)]
    return triton_op.applied(filters_triton.correlate, images_NCHW, *taps, dtype=torch.float32)


def _correlate_by_fft(
    images_NCHW: Tensor, reach: int, border: Border, down: Tensor, across: Tensor, weights: Tensor
) -> Tensor:
    device = images_NCHW.device
    rows, columns = (table(device, widened, size, reach, border) for size in images_NCHW.shape[-2:])
    # Sides that have small factors alone take a third of the time of others.
    size = [next_fast_len(len(places), real=True) for places in (rows, columns)]
    wide_NCHW = images_NCHW.index_select(2, rows).index_select(3, columns).float()
    kernel_NX = torch.zeros(len(weights), size[0] * size[1], dtype=torch.float32, device=device)
    kernel_NX.scatter_add_(1, down * size[1] + across, weights)
    spectrum = torch.fft.rfft2(wide_NCHW, s=size).mul_(torch.fft.rfft2(kernel_NX.view(-1, 1, *size)).conj())
    summed: Tensor = torch.fft.irfft2(spectrum, s=size)
    return summed[..., : images_NCHW.shape[2], : images_NCHW.shape[3]]


def as_rows(images: Tensor) -> tuple[Array, int]:
    """(n, h, w · c) in C order, which channels-last images have already; and c."""
    if images.dim() == 3:
        return images.contiguous().numpy(), 1
    return images.permute(0, 2, 3, 1).contiguous().flatten(2).numpy(), images.shape[1]


def as_images(rows_NHX: Array, like: Tensor) -> Tensor:
    """Rows in the shape of `like`; channels last in memory."""
    rows = torch.from_numpy(rows_NHX)
    if like.dim() == 3:
        return rows
    return rows.view(len(rows), rows.shape[1], -1, like.shape[1]).permute(0, 3, 1, 2)
