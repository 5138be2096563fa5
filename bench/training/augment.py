"""Random small motions and mirrorings of a batch: the light augmentation of the recipes.

Legend: N images, C channels, H height, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def flip(images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability a half.

    Args:
        images_NCHW: Images of any range.
        generator: On the CPU wherever the images are, so that every device mirrors the same ones.

    Returns:
        Images of the same shape, with the same values.
    """
    mirrored_N = (torch.rand(len(images_NCHW), generator=generator) < 0.5).to(images_NCHW.device)
    return torch.where(mirrored_N[:, None, None, None], images_NCHW.flip(-1), images_NCHW)


def rotate_and_shift(images_NCHW: Tensor, *, degrees: float, shift: float, generator: torch.Generator) -> Tensor:
    """Turn each image about its centre and move it, by its own random amounts.

    Args:
        images_NCHW: Square images, floats in [0, 1].
        degrees: Largest angle either way, in degrees; each image's is uniform in between.
        shift: Largest motion either way, in pixels, uniform in between, down and across on their own.
        generator: On the CPU wherever the images are, so that every device gets the same motions.

    Returns:
        Images of the same shape, bilinearly interpolated, in [0, 1]; what comes into the frame is black (0).
    """
    count, size = images_NCHW.shape[0], images_NCHW.shape[-1]
    angle_N, across_N, down_N = torch.rand((3, count), generator=generator) * 2 - 1
    cos_N, sin_N = (angle_N * math.radians(degrees)).cos(), (angle_N * math.radians(degrees)).sin()
    # In the grid's units the frame goes from -1 to 1, so a pixel is 2 / size wide.
    across_N, down_N = across_N * shift * 2 / size, down_N * shift * 2 / size
    rows_6N = torch.stack([cos_N, -sin_N, across_N, sin_N, cos_N, down_N])
    maps_N23 = rows_6N.T.reshape(count, 2, 3).to(images_NCHW)
    grid_NHW2 = F.affine_grid(maps_N23, list(images_NCHW.shape), align_corners=False)
    return F.grid_sample(images_NCHW, grid_NHW2, padding_mode="zeros", align_corners=False)
