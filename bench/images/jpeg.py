"""Saving as JPEG and reading again, as the files of ImageNet-C were: Pillow's bytes on every device."""

import functools
import io
from collections.abc import Callable

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
    fill_images(functools.partial(_saved, quality=quality), images_NHWC, out_NHWC)
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)


def _saved(image_HWC: Array, quality: int) -> Array:
    return decode(_encoder()(image_HWC, quality), "a JPEG made in memory")


def _by_pillow(image_HWC: Array, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, format="JPEG", quality=quality)
    return file.getvalue()


def _by_torchvision(image_HWC: Array, quality: int) -> bytes:
    import torchvision.io  # noqa: F401 - registers the operation

    # Not torchvision's own function: it warns at every call, since 0.29, that a later version will have none.
    data: Tensor = torch.ops.image.encode_jpeg(torch.from_numpy(image_HWC).permute(2, 0, 1), quality)
    return data.numpy().tobytes()


@functools.cache
def _encoder() -> Callable[[Array, int], bytes]:
    """Torchvision's, where it gives Pillow's bytes: in it threads need not wait for each other. Else Pillow's.

    Both bring a libjpeg-turbo along, mostly; of another library, or another version, the bytes might be others.
    """
    rows, columns, channels = np.ogrid[:37, :43, :3]
    image_HWC = ((rows * 7 + columns * (5 + channels) + (rows * columns) % 11 * 20) % 256).astype(np.uint8)
    try:
        same = all(_by_torchvision(image_HWC, q) == _by_pillow(image_HWC, q) for q in (7, 25, 85, 95))
    except (ImportError, RuntimeError, AttributeError):  # it was built without, or does not fit this torch
        return _by_pillow
    return _by_torchvision if same else _by_pillow
