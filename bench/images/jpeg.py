"""Saving as JPEG and reading again, as the files of ImageNet-C were: Pillow's bytes on every device."""

import functools
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.images import jpeg_torch
from bench.images.decode import decode
from bench.machine.threads import fill_images
from bench.records import Array


def round_trip(images_NCHW: Tensor, quality: int) -> Tensor:
    """Encode each image as JPEG and decode it.

    The original was saved with `optimize`, which packs the same coefficients tighter: the pixels do not depend on it.

    Args:
        images_NCHW: uint8.
        quality: Pillow's, 1 to 95.

    Returns:
        uint8 of the same shape.
    """
    if not images_NCHW.is_cpu:
        return jpeg_torch.round_trip(images_NCHW, quality)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    out_NHWC = np.empty_like(images_NHWC)
    fill_images(functools.partial(_by_pillow, quality=quality), images_NHWC, out_NHWC)
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)


def _by_pillow(image_HWC: Array, quality: int) -> Array:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, format="JPEG", quality=quality)
    return decode(file.getvalue(), "a JPEG made in memory")
