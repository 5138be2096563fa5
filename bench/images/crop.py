"""The evaluation crop, as timm and torchvision take it with Pillow: resize the short side, cut the centre."""

import numpy as np
from PIL import Image

from bench.errors import RunError
from bench.images.decode import MOST_PIXELS
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


def resized(image: Array, shape: tuple[int, int], interpolation: str, name: str = "the picture") -> Array:
    """A whole picture, or a mask, of another size.

    Args:
        image: (h, w, 3) or (h, w), uint8.
        shape: height and width wanted.
        interpolation: a key of Pillow's filters: nearest, bilinear, bicubic.
        name: for messages.

    Raises:
        RunError: the picture is so narrow that, enlarged, it would fill the memory.
    """
    if shape == image.shape[:2]:
        return image
    if shape[0] * shape[1] > MOST_PIXELS:
        height, width = image.shape[:2]
        raise RunError(
            f"{name} has {width:,}×{height:,} pixels, too narrow a strip: with its short side at {min(shape)} it "
            f"would have {shape[0] * shape[1] / 1e6:,.0f} million; cut it."
        )
    return np.asarray(Image.fromarray(image).resize(shape[::-1], _FILTERS[interpolation]))


def target_shape(height: int, width: int, crop: Crop) -> tuple[int, int]:
    """(height, width) of the whole picture once resized as a crop recipe asks."""
    if crop.mode == "squash":
        return crop.resize, crop.resize
    if crop.mode == "border":
        ratio = max(height, width) / crop.resize
        return round(height / ratio), round(width / ratio)
    return resized_shape(height, width, crop.resize)


def crop_image(image_HWC: Array, crop: Crop, name: str = "the picture") -> Array:
    """Apply a crop recipe that is no transform.

    Args:
        image_HWC: (h, w, 3) uint8.
        crop: the recipe.
        name: for messages.

    Returns:
        (crop.size, crop.size, 3) uint8.

    Raises:
        RunError: the picture is so narrow that, enlarged, it would fill the memory, or shrunk, nothing would be left.
    """
    height, width = image_HWC.shape[:2]
    shape = target_shape(height, width, crop)
    if min(shape) < 1:
        raise RunError(f"{name} has {width:,}×{height:,} pixels, too narrow a strip to be shrunk; cut it.")
    if min(shape) < crop.size:
        image_HWC = _padded(resized(image_HWC, shape, crop.interpolation, name), crop)
        shape = image_HWC.shape[0], image_HWC.shape[1]
        height, width = shape
    top, left = _corner(shape, crop.size)
    if shape != (height, width):
        # Taller ones are left to Pillow, whose newer versions run the vertical pass first on some (Pillow#9524, #9549).
        if crop.interpolation != "nearest" and height <= 2 * width:
            # Here: its compiler takes a quarter of a second to import, and pictures that have the size need none.
            from bench.images.resample import resize_part

            return resize_part(image_HWC, shape, (top, left), crop.size, crop.interpolation)
        image_HWC = resized(image_HWC, shape, crop.interpolation, name)
    return np.ascontiguousarray(image_HWC[top : top + crop.size, left : left + crop.size])


def _corner(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Top and left of the centre: Python's rounding of halves to even, as torchvision's center_crop has it."""
    return round((shape[0] - size) / 2), round((shape[1] - size) / 2)


def _padded(image_HWC: Array, crop: Crop) -> Array:
    """With borders where a side is shorter than the crop; of an odd number of pixels, the last side has one more."""
    height, width = image_HWC.shape[:2]
    down, across = max(0, crop.size - height), max(0, crop.size - width)
    padded = np.empty((height + down, width + across, 3), np.uint8)
    padded[:] = crop.fill_bytes
    padded[down // 2 : down // 2 + height, across // 2 : across // 2 + width] = image_HWC
    return padded
