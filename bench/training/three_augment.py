"""3-Augment of DeiT III: exactly one of grey, solarised and blurred, then colours jittered.

Touvron, Cord and Jégou, ECCV 2022, https://arxiv.org/abs/2204.07118, section 3.3 and the authors' code.

Legend: N images, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue; ITU-R 601-2, as torchvision's rgb_to_grayscale
SOLARISE_FROM = 128 / 255  # values from here on are inverted
RADII = (0.1, 2.0)  # of the blur, pixels
_REACH = 6  # pixels: three times the largest radius


def three_augment(images_NCHW: Tensor, *, jitter: float, generator: torch.Generator) -> Tensor:
    """Make each image grey, solarise it or blur it, with equal chances; then jitter its colours.

    Args:
        images_NCHW: RGB, floats in [0, 1].
        jitter: Most that brightness, contrast and saturation change by, as a share.
        generator: On the CPU wherever the images are.

    Returns:
        Images of the same shape, in [0, 1].
    """
    which_N111 = torch.randint(3, (len(images_NCHW), 1, 1, 1), generator=generator).to(images_NCHW.device)
    radii_N = RADII[0] + (RADII[1] - RADII[0]) * torch.rand(len(images_NCHW), generator=generator)
    images_NCHW = torch.where(
        which_N111 == 0,
        grey(images_NCHW).expand_as(images_NCHW),
        torch.where(which_N111 == 1, solarised(images_NCHW), blurred(images_NCHW, radii_N.to(images_NCHW))),
    )
    return jittered(images_NCHW, jitter, generator)


def grey(images_NCHW: Tensor) -> Tensor:
    """Return the brightness of each pixel (N, 1, H, W)."""
    return (images_NCHW * torch.tensor(GREY).to(images_NCHW)[:, None, None]).sum(1, keepdim=True)


def solarised(images_NCHW: Tensor) -> Tensor:
    """Invert the values of at least 128 of 255."""
    return torch.where(images_NCHW >= SOLARISE_FROM, 1 - images_NCHW, images_NCHW)


def blurred(images_NCHW: Tensor, radii_N: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its own radius (standard deviation), pixels; borders are mirrored."""
    offsets_L = torch.arange(-_REACH, _REACH + 1, device=images_NCHW.device)
    weights_NL = torch.exp(-0.5 * (offsets_L / radii_N[:, None]) ** 2)
    weights_NL = weights_NL / weights_NL.sum(1, keepdim=True)
    n, c, h, w = images_NCHW.shape
    flat = F.pad(images_NCHW, [_REACH] * 4, mode="reflect").reshape(1, n * c, h + 2 * _REACH, w + 2 * _REACH)
    kernels = weights_NL.repeat_interleave(c, dim=0)[:, None]
    flat = F.conv2d(flat, kernels[..., None], groups=n * c)
    return F.conv2d(flat, kernels[:, :, None], groups=n * c).reshape(n, c, h, w)


def jittered(images_NCHW: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of each image by factors in [1 - most, 1 + most], in random order."""
    n = len(images_NCHW)
    factors_3N = 1 + most * (2 * torch.rand((3, n), generator=generator) - 1)
    order_N3 = torch.rand((n, 3), generator=generator).argsort(1)
    for place in range(3):
        changed = images_NCHW
        for number, factors_N in enumerate(factors_3N):
            factors_N111 = factors_N.to(images_NCHW)[:, None, None, None]
            if number == 0:
                others = torch.zeros_like(images_NCHW)
            else:
                others = grey(images_NCHW) if number == 2 else grey(images_NCHW).mean((2, 3), keepdim=True)
            mixed = (others + factors_N111 * (images_NCHW - others)).clamp(0, 1)
            now_N111 = (order_N3[:, place] == number).to(images_NCHW.device)[:, None, None, None]
            changed = torch.where(now_N111, mixed, changed)
        images_NCHW = changed
    return images_NCHW
