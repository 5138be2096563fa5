"""Weather of ImageNet-C: Hendrycks & Dietterich 2019, arXiv 1903.12261; strengths and arithmetic of imagecorruptions.

Every function takes (images_NCHW uint8, severity 1 to 5, draws of the N samples) and gives uint8 of the same shape.

Legend: N images, C channels, H × W pixels.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.frost_pictures import all_pictures, frost_pictures, picture_frames
from bench.corruptions.kernels.motion import Motion
from bench.corruptions.kernels.pixels import brightest, look_up, to_bytes
from bench.corruptions.kernels.plasma import fog_over, plasma
from bench.corruptions.kernels.zoom import middle, zoom
from bench.machine import triton_op
from bench.machine.tables import table
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
    if triton_op.takes(images_NCHW):
        return _snow_by_triton(images_NCHW, fallen_N1HW[:, 0], strength.clarity)
    layer_N1HW = fallen_N1HW.mul(255).round_().div_(255)
    return to_bytes(_whitened(images_NCHW, strength.clarity).add_(layer_N1HW + layer_N1HW.flip(2, 3)).mul_(255))


def _snow_by_triton(images_NCHW: Tensor, fallen_NHW: Tensor, clarity: float) -> Tensor:
    from bench.corruptions.kernels import weather_triton

    return triton_op.applied(weather_triton.snow, images_NCHW, fallen_NHW, clarity)


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
    if not images_NCHW.is_cpu:
        return _frost_at_once(images_NCHW, image_share, frost_share, draws)
    height, width = images_NCHW.shape[2:]
    pictures = frost_pictures(height, width)
    which, down, across = draws.integers(0, len(pictures)), draws.uniform(), draws.uniform()
    pieces = []
    for picture, y, x in zip((pictures[i] for i in which.tolist()), down.tolist(), across.tolist(), strict=True):
        top, left = int(y * (picture.shape[0] - height)), int(x * (picture.shape[1] - width))
        pieces.append(picture[top : top + height, left : left + width])
    frost_NCHW = torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2)
    return _frosted(images_NCHW, frost_NCHW, image_share, frost_share)


def _frosted(images_NCHW: Tensor, frost_NCHW: Tensor, image_share: float, frost_share: float) -> Tensor:
    # In float64, as the reference: many sums are whole numbers but for rounding, and what is below is cut off.
    return to_bytes(images_NCHW.double().mul_(image_share).add_(frost_NCHW.double().mul_(frost_share)))


def _frost_at_once(images_NCHW: Tensor, image_share: float, frost_share: float, draws: Draws) -> Tensor:
    """The same where the draws lie on a device, which neither they nor the pictures leave."""
    height, width = images_NCHW.shape[2:]
    device = images_NCHW.device
    pictures, frames_P3 = table(device, all_pictures, height, width), table(device, picture_frames, height, width)
    which_N, down_N, across_N = draws.integers(0, len(frames_P3)), draws.uniform(), draws.uniform()
    if triton_op.takes(images_NCHW):
        from bench.corruptions.kernels import weather_triton

        where = pictures, frames_P3, which_N, down_N, across_N
        return triton_op.applied(weather_triton.frost, images_NCHW, *where, image_share, frost_share)
    first_N, rows_N, columns_N = frames_P3.index_select(0, which_N).unbind(1)
    top_N = (down_N.double() * (rows_N - height)).long()
    left_N = (across_N.double() * (columns_N - width)).long()
    row_NH1 = top_N[:, None, None] + torch.arange(height, device=device)[:, None]
    column_N1W = left_N[:, None, None] + torch.arange(width, device=device)
    place_NHW = (row_NH1 * columns_N[:, None, None] + column_N1W) * 3 + first_N[:, None, None]
    place_NHWC = place_NHW[..., None] + torch.arange(3, device=device)
    frost_NHWC = pictures.index_select(0, place_NHWC.flatten()).view(place_NHWC.shape)
    return _frosted(images_NCHW, frost_NHWC.permute(0, 3, 1, 2), image_share, frost_share)


def fog(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Brighten by a plasma fractal and dim so that the brightest pixel could stay."""
    thickness, decay = FOG[severity - 1]
    side = 1 << (max(images_NCHW.shape[2:]) - 1).bit_length()
    return fog_over(images_NCHW, plasma(draws, side, decay), thickness)


def brightness(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Raise the value of each pixel, and keep its hue and saturation."""
    if triton_op.takes(images_NCHW):
        return _brightness_by_triton(images_NCHW, _BRIGHTNESS[severity - 1])
    value_N1HW = brightest(images_NCHW)
    return look_up(_brightened, (_BRIGHTNESS[severity - 1],), value_N1HW.int().mul_(256) + images_NCHW)


def _brightness_by_triton(images_NCHW: Tensor, added: float) -> Tensor:
    from bench.corruptions.kernels import weather_triton

    return triton_op.applied(weather_triton.brightness, images_NCHW, table(images_NCHW.device, _brightened, added))


@functools.lru_cache(maxsize=len(_BRIGHTNESS))
def _brightened(added: float) -> Array:
    """(65536,) uint8: at 256 · value + channel, what becomes of a channel. Hue and saturation stay if ratios do."""
    value, channel = np.divmod(np.arange(65536), 256)
    raised = (value / 255.0 + added).clip(0, 1)
    share = np.where(value == 0, 1.0, channel / np.maximum(value, 1))  # black becomes grey
    return (raised * share * 255).clip(0, 255).astype(np.uint8)
