"""Image files to pixels, as Pillow gives them: published accuracies are Pillow's."""

import io

import numpy as np
import simplejpeg
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
        picture = Image.open(io.BytesIO(data))
        pixels = _decode_jpeg(data) if picture.format == "JPEG" and picture.mode == "RGB" else None
        # Another size: the headers contradict each other, and Pillow's reading of them counts.
        if pixels is not None and pixels.shape[1::-1] == picture.size:
            return pixels
        return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        raise RunError(
            f"{name} does not decode as an image (of no format that Pillow knows); fetch it again."
        ) from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"{name} does not decode as an image ({error}); fetch it again.") from error


def _decode_jpeg(data: bytes) -> Array | None:
    """Pillow's pixels without its copies; None where anything is amiss, so that Pillow says whether it reads it."""
    try:
        # The exact transforms, which are Pillow's; simplejpeg's faster ones give other pixels.
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True))
    except ValueError:
        return None
