"""Saving as JPEG and reading again, as the files of ImageNet-C were."""

import io

import numpy as np
from PIL import Image

from bench.images.decode import decode
from bench.records import Array


def round_trip(images_NHWC: Array, quality: int) -> Array:
    """Encode each image as JPEG with Pillow and decode it.

    The original was saved with `optimize`, which packs the same coefficients tighter: the pixels do not depend on it.

    Args:
        images_NHWC: (n, h, w, 3) uint8.
        quality: Pillow's, 1 to 95.

    Returns:
        uint8 of the same shape.
    """
    return np.stack([_round_trip(image, quality) for image in images_NHWC])


def _round_trip(image_HWC: Array, quality: int) -> Array:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, format="JPEG", quality=quality)
    return decode(file.getvalue(), "a JPEG made in memory")
