"""Random parts of images, at the size that the model is shown.

Legend: N images, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

ASPECT = (3 / 4, 4 / 3)  # least and largest width over height of Inception's crop
PADDED = 4  # pixels on each side, DeiT III
_TRIES = 10  # at a part that lies within the image, as torchvision's


def inception_crop(images_NCHW: Tensor, size: int, area: float, generator: torch.Generator) -> Tensor:
    """Cut a part of random area and aspect out of each image (Szegedy et al. 2015), resized bicubically.

    Args:
        images_NCHW: Floats in [0, 1].
        size: Side wanted, pixels.
        area: Least share of the image that a part covers.
        generator: On the CPU.

    Returns:
        (N, C, size, size), in [0, 1].
    """
    height, width = images_NCHW.shape[2:]
    draws_NT4 = torch.rand((len(images_NCHW), _TRIES, 4), generator=generator, dtype=torch.float64)
    areas_NT = (area + (1 - area) * draws_NT4[..., 0]) * height * width
    aspects_NT = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** draws_NT4[..., 1]
    heights_NT, widths_NT = (areas_NT / aspects_NT).sqrt().round(), (areas_NT * aspects_NT).sqrt().round()
    fits_NT = (heights_NT >= 1) & (heights_NT <= height) & (widths_NT >= 1) & (widths_NT <= width)
    crops = []
    for image, fits, tall, wide, draws in zip(images_NCHW, fits_NT, heights_NT, widths_NT, draws_NT4, strict=True):
        if not fits.any():
            crops.append(simple_resize(image[None], size)[0])  # torchvision's middle part, of an image that is square
            continue
        first = int(fits.int().argmax())
        h, w = int(tall[first]), int(wide[first])
        top, left = int(draws[first, 2] * (height - h + 1)), int(draws[first, 3] * (width - w + 1))
        crops.append(simple_resize(image[None, :, top : top + h, left : left + w], size)[0])
    return torch.stack(crops)


def simple_crop(images_NCHW: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Resize the short side, mirror 4 pixels onto every border, cut a square at random: DeiT III's simple random crop.

    Touvron, Cord and Jégou, ECCV 2022, https://arxiv.org/abs/2204.07118, section 3.3. Arguments as of `inception_crop`.
    """
    shortest = min(images_NCHW.shape[2:])
    sides = [round(side * size / shortest) for side in images_NCHW.shape[2:]]
    padded_NCHW = F.pad(_resized(images_NCHW, sides), [PADDED] * 4, mode="reflect")
    free = [side - size + 1 for side in padded_NCHW.shape[2:]]
    corners_N2 = (torch.rand((len(images_NCHW), 2), generator=generator) * torch.tensor(free)).long().tolist()
    parts = zip(padded_NCHW, corners_N2, strict=True)
    return torch.stack([image[:, top : top + size, left : left + size] for image, (top, left) in parts])


def simple_resize(images_NCHW: Tensor, size: int) -> Tensor:
    """Return images (N, C, size, size), whatever their aspect was."""
    return _resized(images_NCHW, [size, size])


def _resized(images_NCHW: Tensor, sides: list[int]) -> Tensor:
    if list(images_NCHW.shape[2:]) == sides:
        return images_NCHW
    # Bicubic resizing overshoots.
    resized: Tensor = tv.resize(images_NCHW, sides, tv.InterpolationMode.BICUBIC, antialias=True)
    return resized.clamp(0, 1)
