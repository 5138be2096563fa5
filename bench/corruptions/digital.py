"""Digital corruptions of ImageNet-C: Hendrycks & Dietterich 2019, arXiv 1903.12261; as imagecorruptions makes them.

Every function takes (images_NCHW uint8, severity 1 to 5, draws of the N samples) and gives uint8 of the same shape.

Legend: N images, C channels, H × W pixels.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.filters import gaussian_filter
from bench.corruptions.kernels.pixelate import pixelated
from bench.corruptions.kernels.pixels import brightest, darkest, look_up, to_bytes
from bench.corruptions.kernels.warp import warp
from bench.images.jpeg import round_trip
from bench.machine import triton_op
from bench.records import Array
from bench.rng import Draws

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # what remains
_SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))  # factor and summand of the saturation
_ELASTIC = (12.5, 16.25, 21.25, 25, 30)  # how much the smoothed field is multiplied by
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the side
_JPEG = (25, 18, 15, 10, 7)  # quality


def contrast(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Draw every value towards its channel's mean."""
    kept = _CONTRAST[severity - 1]
    total_NC11 = images_NCHW.sum((2, 3), keepdim=True).float()
    # By a tensor: CUDA multiplies by the reciprocal of a plain number, which rounds twice.
    pixels_NC11 = torch.full_like(total_NC11, images_NCHW.shape[2] * images_NCHW.shape[3])
    mean_NC11 = total_NC11.div_(pixels_NC11)
    mean_NC11.mul_(1 - kept)
    if triton_op.takes(images_NCHW):
        from bench.corruptions.kernels import weather_triton

        return triton_op.applied(weather_triton.contrast, images_NCHW, mean_NC11.flatten(1), kept)
    return to_bytes(images_NCHW.float().mul_(kept).add_(mean_NC11))


def saturate(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Multiply the saturation of each pixel, and keep its hue and value."""
    # Doubled, as at severity 3, all is whole numbers. imagecorruptions' rounding puts one in six a little below, which
    # is then cut off to the level below; here they stay as they are.
    value_N1HW = brightest(images_NCHW)
    spread_N1HW = value_N1HW - darkest(images_NCHW)
    factor, summand = _SATURATE[severity - 1]
    stretch_N1HW = look_up(_stretch, (factor, summand), value_N1HW.int().mul_(256).add_(spread_N1HW))
    below_NCHW = (value_N1HW - images_NCHW).float().mul_(stretch_N1HW)
    if summand:
        # Grey has no hue: the reference takes red's, so green and blue fall.
        grey_N1HW = (spread_N1HW == 0) * value_N1HW * min(summand, 1)
        below_NCHW[:, 1:] += grey_N1HW
    return to_bytes(below_NCHW.neg_().add_(value_N1HW))


@functools.lru_cache(maxsize=len(_SATURATE))
def _stretch(factor: float, summand: float) -> Array:
    """(65536,) float32: at 256 · value + spread, the saturation after over the saturation before; 0 for grey."""
    value, spread = np.divmod(np.arange(65536), 256)
    before = np.where(value > 0, spread / np.maximum(value, 1), 0.0)
    after = (before * factor + summand).clip(0, 1)
    return np.where(before > 0, after / np.where(before > 0, before, 1), 0.0).astype(np.float32)


def elastic_transform(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Move every pixel by a smooth random field.

    imagecorruptions leaves out the affine part of the original, and takes the height for both axes' reach.
    """
    height, width = images_NCHW.shape[2:]
    sigma, reach = (height * 0.01, width * 0.01), height * 0.005
    across_NHW, down_NHW = (
        gaussian_filter(
            draws.uniform(height, width).mul_(2 * reach).sub_(reach), sigma, border="reflect", truncate=3
        ).mul_(_ELASTIC[severity - 1])
        for _ in range(2)
    )
    return warp(images_NCHW, down_NHW, across_NHW)


def pixelate(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Make the image smaller by averaging and larger by repeating."""
    return pixelated(images_NCHW, _PIXELATE[severity - 1])


def jpeg_compression(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Save as JPEG and read again."""
    return round_trip(images_NCHW, _JPEG[severity - 1])
