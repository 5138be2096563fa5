"""The six photographs of frost, which come with imagecorruptions-imaug.

They are read without importing the package, which would bring OpenCV and the system libraries it needs.

Legend: H × W pixels, C channels.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from bench.errors import RunError
from bench.images.decode import decode
from bench.records import Array

_NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
_ENLARGED = 1.1  # beyond what covers the image
_SHARPNESS = -0.75  # of OpenCV's cubic interpolation


def frost_pictures(height: int, width: int) -> tuple[Array, ...]:
    """The pictures, each (h, w, 3) uint8 and at least a tenth larger than the images that it is laid over.

    Args:
        height: of the images, pixels.
        width: of the images, pixels.

    Raises:
        RunError: imagecorruptions-imaug is not installed.
    """
    return tuple(_enlarged(name, height, width) for name in _NAMES)


def all_pictures(height: int, width: int) -> Array:
    """The bytes of `frost_pictures`, one picture after the other."""
    return np.concatenate([picture.ravel() for picture in frost_pictures(height, width)])


def picture_frames(height: int, width: int) -> Array:
    """(6, 3) int64: where each picture begins in `all_pictures`, its rows and columns."""
    pictures = frost_pictures(height, width)
    first = np.cumsum([0, *(picture.size for picture in pictures[:-1])])
    return np.column_stack([first, [picture.shape[:2] for picture in pictures]])


def _enlarged(name: str, height: int, width: int) -> Array:
    picture = _read(name)
    larger = max(1.0, height / picture.shape[0], width / picture.shape[1]) * _ENLARGED
    return _resize(name, *(int(np.ceil(side * larger)) for side in picture.shape[:2]))


@functools.lru_cache(maxsize=len(_NAMES))
def _read(name: str) -> Array:
    package = importlib.util.find_spec("imagecorruptions")
    if package is None or not package.submodule_search_locations:
        raise RunError(
            "frost needs the photographs of imagecorruptions-imaug, which is not installed; "
            "install it (pip install imagecorruptions-imaug)."
        )
    path = Path(package.submodule_search_locations[0]) / "frost" / name
    return decode(path.read_bytes(), str(path))


@functools.lru_cache(maxsize=len(_NAMES))
def _resize(name: str, height: int, width: int) -> Array:
    """Resize as OpenCV does with INTER_CUBIC: no averaging where a picture shrinks; it never does here."""
    resized = _cubic(_cubic(_read(name).astype(np.float32), height), width)
    rounded: Array = np.rint(resized).clip(0, 255).astype(np.uint8)
    return rounded


def _cubic(picture: Array, size: int) -> Array:
    """The first axis resized and put behind the second: two calls resize both."""
    before = len(picture)
    place = (np.arange(size) + 0.5) * (before / size) - 0.5
    first = np.floor(place).astype(np.int64)
    total = np.zeros((size, *picture.shape[1:]), np.float32)
    for k in range(-1, 3):
        distance = np.abs(place - first - k)
        near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
        far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, far).astype(np.float32)
        total += weight[:, None, None] * picture[(first + k).clip(0, before - 1)]
    return total.swapaxes(0, 1)
