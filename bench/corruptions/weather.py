"""Weather of ImageNet-C: Hendrycks & Dietterich 2019, arXiv 1903.12261; strengths and arithmetic of imagecorruptions.

Every function takes (images_NCHW uint8, severity 1 to 5, draws of the N samples) and gives uint8 of the same shape.

Legend: N images, C channels, H × W pixels.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.frost_pictures import frost_pictures
from bench.corruptions.kernels.motion import Motion
from bench.corruptions.kernels.pixels import brightest, look_up, to_bytes
from bench.corruptions.kernels.plasma import plasma
from bench.corruptions.kernels.zoom import middle, zoom
from bench.records import Array
from bench.rng import Draws

FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))  # thickness, and how fast its structure fades
_FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # shares of the image and of the frost
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of hue, saturation, value


@dataclass(frozen=True, slots=True)
class _Snow:
    mean: float
    deviation: float
    """Of the normal field that flakes are the peaks of."""
    size: float
    """How much the field is enlarged."""
    threshold: float
    """What lies below is no flake."""
    fall: Motion
    clarity: float
    """The image's share; the rest is whitened."""


SNOW = (
    _Snow(0.1, 0.3, 3, 0.5, Motion(10, 4), 0.8),
    _Snow(0.2, 0.3, 2, 0.5, Motion(12, 4), 0.7),
    _Snow(0.55, 0.3, 4, 0.9, Motion(12, 8), 0.7),
    _Snow(0.55, 0.3, 4.5, 0.85, Motion(12, 8), 0.65),
    _Snow(0.55, 0.3, 2.5, 0.85, Motion(12, 12), 0.55),
)


def snow(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Whiten the image and let flakes fall on it, in two layers of which one is the other turned by 180°."""
    strength = SNOW[severity - 1]
    height, width = images_NCHW.shape[2:]
    (_, rows), (_, columns) = middle(height, strength.size), middle(width, strength.size)
    field_NHW = draws.normal(rows, columns).mul_(strength.deviation).add_(strength.mean)
    flakes_NHW = zoom(field_NHW, strength.size)
    flakes_NHW = flakes_NHW.masked_fill_(flakes_NHW < strength.threshold, 0).clamp_(0, 1)
    angle_N = draws.uniform() * 90 - 135
    fallen_N1HW = strength.fall.blur(flakes_NHW[:, None], angle_N)[..., :height, :width]
    layer_N1HW = fallen_N1HW.mul(255).round_().div_(255)
    return to_bytes(_whitened(images_NCHW, strength.clarity).add_(layer_N1HW + layer_N1HW.flip(2, 3)).mul_(255))


def _whitened(images_NCHW: Tensor, clarity: float) -> Tensor:
    """The image mixed with the brighter of itself and its grey, which is lifted; in [0, 1] and above."""
    pixels_NCHW = images_NCHW.float().div_(255)
    red, green, blue = pixels_NCHW.unbind(1)
    # OpenCV's weights, which are ITU-R BT.601's.
    grey_NHW = (red * 0.299).add_(green * 0.587).add_(blue * 0.114).mul_(1.5).add_(0.5)
    return torch.maximum(pixels_NCHW, grey_NHW[:, None]).mul_(1 - clarity).add_(pixels_NCHW.mul_(clarity))


def frost(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Lay a piece of one of six photographs of frost over the image."""
    image_share, frost_share = _FROST[severity - 1]
    height, width = images_NCHW.shape[2:]
    pictures = frost_pictures(height, width)
    which, down, across = draws.integers(0, len(pictures)), draws.uniform(), draws.uniform()
    pieces = []
    for picture, y, x in zip((pictures[i] for i in which.tolist()), down.tolist(), across.tolist(), strict=True):
        top, left = int(y * (picture.shape[0] - height)), int(x * (picture.shape[1] - width))
        pieces.append(picture[top : top + height, left : left + width])
    frost_NCHW = torch.from_numpy(np.stack(pieces)).to(images_NCHW.device).permute(0, 3, 1, 2)
    # In float64, as the reference: many sums are whole numbers but for rounding, and what is below is cut off.
    return to_bytes(images_NCHW.double().mul_(image_share).add_(frost_NCHW.double().mul_(frost_share)))


def fog(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Brighten by a plasma fractal and dim so that the brightest pixel could stay."""
    thickness, decay = FOG[severity - 1]
    height, width = images_NCHW.shape[2:]
    plasma_N1HW = plasma(draws, 1 << (max(height, width) - 1).bit_length(), decay)[:, None, :height, :width]
    brightest_N111 = images_NCHW.flatten(1).amax(1)[:, None, None, None].float().div_(255)
    foggy_NCHW = images_NCHW.float().div_(255).add_(plasma_N1HW * thickness)
    return to_bytes(foggy_NCHW.mul_(brightest_N111 / (brightest_N111 + thickness)).mul_(255))


def brightness(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Raise the value of each pixel, and keep its hue and saturation."""
    value_N1HW = brightest(images_NCHW)
    return look_up(_brightened, (_BRIGHTNESS[severity - 1],), value_N1HW.int().mul_(256) + images_NCHW)


@functools.lru_cache(maxsize=len(_BRIGHTNESS))
def _brightened(added: float) -> Array:
    """(65536,) uint8: at 256 · value + channel, what becomes of a channel. Hue and saturation stay if ratios do."""
    value, channel = np.divmod(np.arange(65536), 256)
    raised = (value / 255.0 + added).clip(0, 1)
    share = np.where(value == 0, 1.0, channel / np.maximum(value, 1))  # black becomes grey
    return (raised * share * 255).clip(0, 255).astype(np.uint8)
