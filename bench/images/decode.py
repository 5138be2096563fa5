"""Image files to pixels, as Pillow gives them: published accuracies are Pillow's."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.errors import RunError
from bench.records import Array


def decode(data: bytes, name: str) -> Array:
    """Decode an image file to RGB.

    Args:
        data: the file's bytes.
        name: for messages.

    Returns:
        (h, w, 3) uint8.

    Raises:
        RunError: the bytes are not an image that Pillow reads.
    """
    if not data:
        raise RunError(f"{name} is empty; fetch it again.")
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise RunError(f"{name} does not decode as an image ({error}); fetch it again.") from error
