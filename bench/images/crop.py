"""The evaluation crop, as timm and torchvision take it with Pillow: resize the short side, cut the centre."""

import numpy as np
from PIL import Image

from bench.records import Array, Crop

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resized_shape(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) once the short side is `short` pixels; the long side is cut to whole pixels."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def crop_image(image_HWC: Array, crop: Crop) -> Array:
    """Apply a crop recipe.

    Args:
        image_HWC: (h, w, 3) uint8.
        crop: the recipe; its ratio is at most 1, so the resized picture always holds the crop.

    Returns:
        (crop.size, crop.size, 3) uint8.
    """
    height, width = resized_shape(image_HWC.shape[0], image_HWC.shape[1], crop.resize)
    if (height, width) != image_HWC.shape[:2]:
        resized = Image.fromarray(image_HWC).resize((width, height), _FILTERS[crop.interpolation])
        image_HWC = np.asarray(resized)
    # Python's rounding of halves to even, as torchvision's center_crop has it.
    top, left = round((height - crop.size) / 2), round((width - crop.size) / 2)
    return np.ascontiguousarray(image_HWC[top : top + crop.size, left : left + crop.size])
