"""Noise of ImageNet-C: Hendrycks & Dietterich 2019, arXiv 1903.12261; strengths and arithmetic of imagecorruptions.

Every function takes (images_NCHW uint8, severity 1 to 5, draws of the N samples) and gives uint8 of the same shape.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.pixels import look_up, pixelwise, to_bytes
from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array
from bench.rng import Draws, poisson_words

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, of 1
_SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation, of the pixel
SHOT = (60, 25, 12, 5, 3)  # photons that make white
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of values hit


def gaussian_noise(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add normal noise of one size."""
    if triton_op.takes(images_NCHW):
        return _normal_noise(images_NCHW, 255 * _GAUSSIAN[severity - 1], draws, by_pixel=False)
    noise_NCHW = pixelwise(draws.normal, images_NCHW)
    return to_bytes(noise_NCHW.mul_(255 * _GAUSSIAN[severity - 1]).add_(images_NCHW))


def speckle_noise(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add normal noise that grows with the pixel."""
    if triton_op.takes(images_NCHW):
        return _normal_noise(images_NCHW, _SPECKLE[severity - 1], draws, by_pixel=True)
    noise_NCHW = pixelwise(draws.normal, images_NCHW)
    return to_bytes(noise_NCHW.mul_(_SPECKLE[severity - 1]).add_(1).mul_(images_NCHW))


def _normal_noise(images_NCHW: Tensor, strength: float, draws: Draws, *, by_pixel: bool) -> Tensor:
    from bench.corruptions.kernels import noise_triton

    return triton_op.applied(noise_triton.normal_noise, images_NCHW, *draws.take(), strength, by_pixel)


def shot_noise(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Count the photons that arrive where so few make white that their number varies."""
    photons = SHOT[severity - 1]
    rates = [value / 255 * photons for value in range(256)]
    if triton_op.takes(images_NCHW):
        return _shot_noise(images_NCHW, photons, rates, draws)
    count_NCHW = draws.poisson(images_NCHW.permute(0, 2, 3, 1), rates).permute(0, 3, 1, 2)
    return look_up(_brightness_of, (photons,), count_NCHW.clamp_(max=photons))


def _shot_noise(images_NCHW: Tensor, photons: int, rates: list[float], draws: Draws) -> Tensor:
    from bench.corruptions.kernels import noise_triton

    device = images_NCHW.device
    last_LC = poisson_words(rates, photons.bit_length(), device)  # what is above the photons shows the same
    shown_C = table(device, _brightness_of, photons)
    return triton_op.applied(noise_triton.poisson_noise, images_NCHW, *draws.take(), last_LC, shown_C)


@functools.lru_cache(maxsize=len(SHOT))
def _brightness_of(photons: int) -> Array:
    """(photons + 1,) uint8: what each count shows; in float64, as the reference cuts off what it just misses."""
    return (np.arange(photons + 1) / float(photons) * 255).astype(np.uint8)


def impulse_noise(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Turn a share of the values white or black (salt and pepper)."""
    share = _IMPULSE[severity - 1]
    if triton_op.takes(images_NCHW):
        return _impulse_noise(images_NCHW, share, draws)
    hit_NCHW = (pixelwise(draws.uniform, images_NCHW) <= share).to(torch.uint8).mul_(255)
    salt_NCHW = (pixelwise(draws.uniform, images_NCHW) <= 0.5).to(torch.uint8).mul_(255)
    # One or the other by bits: `torch.where` takes ten times as long on bytes.
    return images_NCHW ^ (images_NCHW ^ salt_NCHW).bitwise_and_(hit_NCHW)


def _impulse_noise(images_NCHW: Tensor, share: float, draws: Draws) -> Tensor:
    from bench.corruptions.kernels import noise_triton

    (keys_N2, hit), (_, salt) = draws.take(), draws.take()
    return triton_op.applied(noise_triton.impulse_noise, images_NCHW, keys_N2, hit, salt, share)
