"""Mixes of two images of a step and of their labels: mixup, CutMix, MixToken.

The partner of an image is the one as far from the end of the step as it is from the beginning, as timm has it.

Legend: N images, C channels, H height, W width, K classes, T tokens, G tokens a side.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mixup(images_NCHW: Tensor, shares_NK: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix pixels by a share of Beta(alpha, alpha) (Zhang et al., ICLR 2018, https://arxiv.org/abs/1710.09412).

    Args:
        images_NCHW: Floats.
        shares_NK: Of each class.
        alpha: Of the distribution, above 0.
        generator: On the CPU.

    Returns:
        Images and shares of the same shapes.
    """
    share = _beta(alpha, generator)
    return share * images_NCHW + (1 - share) * images_NCHW.flip(0), share * shares_NK + (1 - share) * shares_NK.flip(0)


def cutmix(images_NCHW: Tensor, shares_NK: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of the partner; labels go by its area (Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899).

    Arguments and what is returned as of `mixup`.
    """
    height, width = images_NCHW.shape[2:]
    top, bottom, left, right = _box(height, width, alpha, generator)
    images_NCHW = _pasted(images_NCHW, top, bottom, left, right)
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return images_NCHW, share * shares_NK + (1 - share) * shares_NK.flip(0)


def mix_tokens(
    images_NCHW: Tensor, shares_NK: Tensor, alpha: float, generator: torch.Generator, grid: int
) -> tuple[Tensor, Tensor]:
    """Paste a box of whole patches; each token keeps the label of its image (https://arxiv.org/abs/2104.10858).

    Args:
        images_NCHW: Floats, square.
        shares_NK: Of each class.
        alpha: Of the distribution, above 0.
        generator: On the CPU.
        grid: Tokens a side.

    Returns:
        Images of the same shape; shares (N, 1 + T, K) of the image and of each token.
    """
    top, bottom, left, right = _box(grid, grid, alpha, generator)
    pixels = images_NCHW.shape[2] // grid
    images_NCHW = _pasted(images_NCHW, *(edge * pixels for edge in (top, bottom, left, right)))
    inside_GG = torch.zeros(grid, grid, dtype=torch.bool, device=images_NCHW.device)
    inside_GG[top:bottom, left:right] = True
    tokens_NTK = torch.where(inside_GG.flatten()[:, None], shares_NK.flip(0)[:, None], shares_NK[:, None])
    share = 1 - (bottom - top) * (right - left) / grid**2
    whole_N1K = (share * shares_NK + (1 - share) * shares_NK.flip(0))[:, None]
    return images_NCHW, torch.cat([whole_N1K, tokens_NTK], dim=1)


def shares(targets: Tensor, classes: int) -> Tensor:
    """Return the shares of classes (N, K) of targets that are classes (N,), or shares already."""
    return F.one_hot(targets, classes).float() if targets.ndim == 1 else targets


def _pasted(images_NCHW: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    pasted_NCHW = images_NCHW.clone()
    pasted_NCHW[:, :, top:bottom, left:right] = images_NCHW.flip(0)[:, :, top:bottom, left:right]
    return pasted_NCHW


def _box(height: int, width: int, alpha: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box with its middle anywhere; what of it lies outside is cut off."""
    side = math.sqrt(1 - _beta(alpha, generator))
    down, across = torch.rand(2, generator=generator).tolist()
    tall, wide = int(height * side), int(width * side)
    row, column = int(down * height), int(across * width)
    top, left = max(row - tall // 2, 0), max(column - wide // 2, 0)
    return top, min(row + tall // 2, height), left, min(column + wide // 2, width)


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
