"""Blur along a line, as imagecorruptions' `_motion_blur` does."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.filters import correlate
from bench.machine.tables import table
from bench.records import Array


@dataclass(frozen=True, slots=True)
class Motion:
    """A trail of 2 · radius + 1 copies that fade as half a Gaussian does."""

    radius: int
    """Half the length of the trail, pixels."""
    sigma: float
    """How fast it fades, pixels."""

    def blur(self, images_NCHW: Tensor, angle_N: Tensor) -> Tensor:
        """Blur each image in its direction.

        Args:
            images_NCHW: uint8 or float32.
            angle_N: degrees.

        Returns:
            float32 in the shape of the images.
        """
        length, device = 2 * self.radius + 1, images_NCHW.device
        step_K = torch.arange(length, dtype=torch.float64, device=device)
        # In float64: where a shift lies near a half, another rounding would move a whole copy.
        turn_N1 = angle_N.double().mul(math.pi / 180)[:, None]
        down_NK, across_NK = (torch.ceil(step_K * part - 0.5).long() for part in (turn_N1.sin(), turn_N1.cos()))
        height, width = images_NCHW.shape[2:]
        # Once a copy has left the image, it and all after it are left out, and what is there stays darker.
        gone_NK = ((down_NK.abs() >= height) | (across_NK.abs() >= width)).cumsum(1) > 0
        weights_NK = table(device, _fading, length, self.sigma).masked_fill(gone_NK, 0)
        down_NK, across_NK = (shift.masked_fill(gone_NK, 0) for shift in (down_NK, across_NK))
        return correlate(images_NCHW, down_NK, across_NK, weights_NK, reach=length, border="nearest")


def _fading(length: int, sigma: float) -> Array:
    """(length,) float32 that sum to 1: half a Gaussian."""
    weights: Array = np.exp(-(np.arange(length) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    return weights.astype(np.float32)
