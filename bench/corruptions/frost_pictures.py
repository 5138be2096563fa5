"""The six photographs of frost, which come with imagecorruptions-imaug.

They are read without importing the package, which would bring OpenCV and the system libraries it needs.

Legend: H × W pixels, C channels.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from bench.errors import RunError
from bench.records import Array

_NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
_ENLARGED = 1.1  # beyond what covers the image
_SHARPNESS = -0.75  # of OpenCV's cubic interpolation


@functools.lru_cache(maxsize=8)
def frost_pictures(height: int, width: int) -> tuple[Array, ...]:
    """The pictures, each (h, w, 3) uint8 and at least a tenth larger than the images that it is laid over.

    Args:
        height: of the images, pixels.
        width: of the images, pixels.

    Raises:
        RunError: imagecorruptions-imaug is not installed.
    """
    pictures = []
    for picture in map(_read, _NAMES):
        larger = max(1.0, height / picture.shape[0], width / picture.shape[1]) * _ENLARGED
        size = [int(np.ceil(side * larger)) for side in picture.shape[:2]]
        pictures.append(_resize(picture, size[0], size[1]))
    return tuple(pictures)


def _read(name: str) -> Array:
    package = importlib.util.find_spec("imagecorruptions")
    if package is None or not package.submodule_search_locations:
        raise RunError(
            "frost needs the photographs of imagecorruptions-imaug, which is not installed; "
            "install it (pip install imagecorruptions-imaug)."
        )
    with Image.open(Path(package.submodule_search_locations[0]) / "frost" / name) as picture:
        return np.asarray(picture.convert("RGB"))


def _resize(picture_HWC: Array, height: int, width: int) -> Array:
    """As OpenCV resizes with INTER_CUBIC: no averaging where a picture shrinks; it never does here."""
    down, across = _cubic(picture_HWC.shape[0], height), _cubic(picture_HWC.shape[1], width)
    resized_HWC = np.einsum("yh,hwc->ywc", down, picture_HWC, optimize=True)
    resized_HWC = np.einsum("xw,ywc->yxc", across, resized_HWC, optimize=True)
    rounded: Array = np.rint(resized_HWC).clip(0, 255).astype(np.uint8)
    return rounded


def _cubic(before: int, after: int) -> Array:
    """(after, before) float64: weights of four neighbours each, the edges repeated."""
    place = (np.arange(after) + 0.5) * (before / after) - 0.5
    first = np.floor(place).astype(np.int64)
    weights = np.zeros((after, before))
    for k in range(-1, 3):
        distance = np.abs(place - first - k)
        near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
        far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, far)
        np.add.at(weights, (np.arange(after), (first + k).clip(0, before - 1)), weight)
    return weights
