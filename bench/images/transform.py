"""Code of others that makes squares of pictures, held to what it gives: from a picture to numbers for a model.

A transform gives normalised numbers. Undone by its mean and standard deviation they are pixels again, which every
corruption and attack works on; the model is given these pixels normalised by the same two, so that it sees the
transform's numbers. Pixels that are whole are kept as bytes, others as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bench.errors import RunError
from bench.foreign.faults import blamed
from bench.records import Array

_WHOLE = 0.02
"""How far from a whole number a pixel in [0, 255] may be that is one: the rounding of normalised fp32 is a tenth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transform:
    """A function from a picture to a model's numbers, and how these become pixels again."""

    name: str
    """For messages and listings."""
    digest: str
    """Of its source and its settings: 16 hexadecimal digits."""
    function: Callable[[Image.Image], Any]
    """From a picture (RGB) to (3, size, size) normalised numbers, an array or a tensor."""
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    whole: bool
    """Whether the pixels that it makes are whole numbers in [0, 255]."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of the squares."""
        return np.dtype(np.uint8 if self.whole else np.float32)

    def __call__(self, image_HWC: Array, name: str) -> Array:
        """The square of a picture.

        Args:
            image_HWC: (h, w, 3) uint8.
            name: of the picture, for messages.

        Returns:
            (size, size, 3) of `dtype`, in [0, 255].

        Raises:
            RunError: the code fails, or gives something else than it did when it was tried out.
        """
        with blamed(f"the transform {self.name} failed on {name}"):
            numbers = as_numbers(self.function(Image.fromarray(image_HWC)))
        if numbers.shape != (3, self.size, self.size) or not np.isfinite(numbers).all():
            raise RunError(
                f"the transform {self.name} gives numbers of the shape {numbers.shape} for {name}, not finite ones of "
                f"(3, {self.size}, {self.size}) as when it was tried out; give one that makes all pictures alike."
            )
        pixels = to_pixels(numbers, self.mean, self.std)
        if not self.whole:
            return np.ascontiguousarray(pixels, dtype=np.float32)
        if not are_whole(pixels):
            raise RunError(
                f"the transform {self.name} gives other numbers for {name} than those of 8-bit pixels, which it gave "
                "when it was tried out; give one that makes all pictures alike."
            )
        return np.ascontiguousarray(np.rint(pixels), dtype=np.uint8)


def as_numbers(made: Any) -> Array:
    """What a transform gave, as an array of float64; a batch of one is that one."""
    array = np.asarray(made.detach().cpu().numpy() if hasattr(made, "detach") else made, dtype=np.float64)
    return array[0] if array.ndim == 4 and len(array) == 1 else array


def to_pixels(numbers_CHW: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """(H, W, C) float64 in [0, 255] where the numbers are normalised pixels."""
    pixels: Array = (numbers_CHW.transpose(1, 2, 0) * np.array(std) + np.array(mean)) * 255
    return pixels


def are_whole(pixels: Array) -> bool:
    """Whether all are whole numbers in [0, 255], as near as normalising and back leaves them."""
    whole = np.rint(pixels)
    return bool(np.abs(pixels - whole).max() < _WHOLE and whole.min() >= 0 and whole.max() <= 255)


_held: dict[str, Transform] = {}
"""Those of this process by their digest; processes that make crops are given a copy of theirs."""


def hold(transform: Transform) -> Transform:
    """Have crops made by the transform whose recipe bears its digest."""
    _held[transform.digest] = transform
    return transform


def find(digest: str) -> Transform:
    """The transform of a recipe.

    Raises:
        RunError: this process does not hold it.
    """
    if digest not in _held:
        raise RunError(
            f"the code that makes images for this model (transform {digest}) is not in this process; name the model as "
            "it was named when it was measured."
        )
    return _held[digest]
