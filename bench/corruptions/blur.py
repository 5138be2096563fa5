"""Blurs of ImageNet-C: Hendrycks & Dietterich 2019, arXiv 1903.12261; strengths and arithmetic of imagecorruptions.

Every function takes (images_NCHW uint8, severity 1 to 5, draws of the N samples) and gives uint8 of the same shape.
"""

import functools

import numpy as np
from torch import Tensor

from bench.corruptions.kernels.filters import correlate, gaussian_filter, widened
from bench.corruptions.kernels.motion import Motion
from bench.corruptions.kernels.pixels import to_bytes
from bench.corruptions.kernels.shuffle import shuffle
from bench.corruptions.kernels.zoom import mean_of_zooms
from bench.machine.tables import table
from bench.records import Array
from bench.rng import Draws

_GAUSSIAN = (1, 2, 3, 4, 6)  # standard deviation, pixels
_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius and smoothing of the disk, pixels
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # smoothing, reach, times
_MOTION = (Motion(10, 3), Motion(15, 5), Motion(15, 8), Motion(15, 12), Motion(20, 15))
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end and step of the factors from 1 on


def gaussian_blur(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur by a Gaussian."""
    return to_bytes(gaussian_filter(images_NCHW, _GAUSSIAN[severity - 1], border="nearest"))


def defocus_blur(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur by a disk with soft edges, as a lens out of focus does."""
    disk = _DEFOCUS[severity - 1]
    down, across = table(images_NCHW.device, _places, *disk).unbind(1)
    weights, reach = table(images_NCHW.device, _weights, *disk), len(_disk(*disk)) // 2
    return to_bytes(correlate(images_NCHW, down, across, weights, reach=reach, border="mirror"))


def _places(radius: int, smoothing: float) -> Array:
    """(1, 2, k) int64: how far down and across the points of a disk lie from its middle."""
    disk = _disk(radius, smoothing)
    return np.stack(np.nonzero(disk))[None] - len(disk) // 2


def _weights(radius: int, smoothing: float) -> Array:
    """(1, k) float32: of the points of a disk."""
    disk = _disk(radius, smoothing)
    return disk[np.nonzero(disk)][None].astype(np.float32)


@functools.lru_cache(maxsize=len(_DEFOCUS))
def _disk(radius: int, smoothing: float) -> Array:
    """(2 r + 1, 2 r + 1) float64 for r of at least 8: a disk, smoothed by 3 × 3 or 5 × 5 pixels within its square."""
    reach, smoother = (8, 1) if radius <= 8 else (radius, 2)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk: Array = (x**2 + y**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    weights = np.exp(-0.5 * (np.arange(-smoother, smoother + 1) / smoothing) ** 2)
    weights /= weights.sum()
    place = widened(len(disk), smoother, "mirror")
    for axis in (0, 1):
        copies = [disk.take(place[k : k + len(disk)], axis) for k in range(len(weights))]
        disk = np.tensordot(weights, copies, 1)
    disk[disk < 1e-9] = 0  # severity 1 smooths by a weight of 2e-22
    return disk


def glass_blur(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur, let pixels change places with near ones, and blur again."""
    sigma, reach, times = GLASS[severity - 1]
    blurred_NCHW = to_bytes(gaussian_filter(images_NCHW, sigma, border="nearest"))
    return to_bytes(gaussian_filter(shuffle(blurred_NCHW, reach, times, draws), sigma, border="nearest"))


def motion_blur(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur along a line in a direction within 45° of the horizontal."""
    angle_N = draws.uniform() * 90 - 45
    return to_bytes(_MOTION[severity - 1].blur(images_NCHW, angle_N))


def zoom_blur(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Average over enlargements of the middle, as a camera that moves towards it sees them.

    The plain image counts twice: once as itself and once as the enlargement by 1.
    """
    end, step = _ZOOM[severity - 1]
    factors = [float(factor) for factor in np.arange(1, end, step)]
    return mean_of_zooms(images_NCHW, factors)
