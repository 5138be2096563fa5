"""Coarser pixels: Pillow's BOX filter down and NEAREST up; its bytes on every device.

Legend: N images, C channels, H × W pixels.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.images.resize import average
from bench.machine.tables import table
from bench.records import Array


def pixelated(images_NCHW: Tensor, share: float) -> Tensor:
    """Average over boxes and repeat the averages.

    Args:
        images_NCHW: uint8.
        share: of the side that remains; the smaller side is cut off to whole pixels.

    Returns:
        uint8 of the same shape.
    """
    height, width = images_NCHW.shape[2:]
    # Tall ones are left to Pillow, whose newer versions run the vertical pass first on some (Pillow#9524, #9549).
    if not images_NCHW.is_cpu and height <= 2 * width:
        return _by_tensors(images_NCHW, share)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    out_NHWC = np.empty_like(images_NHWC)
    for image, out in zip(images_NHWC, out_NHWC, strict=True):
        coarse = Image.fromarray(image).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
        out[:] = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2).to(images_NCHW.device)


def _by_tensors(images_NCHW: Tensor, share: float) -> Tensor:
    height, width = images_NCHW.shape[2:]
    coarse = average(average(images_NCHW, 3, int(width * share), "box"), 2, int(height * share), "box")
    for axis, size in ((2, height), (3, width)):
        coarse = coarse.index_select(axis, table(coarse.device, _repeated, coarse.shape[axis], size))
    return coarse


def _repeated(before: int, after: int) -> Array:
    """(after,) int64: which of the coarse pixels each place of an axis shows."""
    step = before / after
    # Added up, as Pillow does: ties fall as there.
    return np.cumsum(np.r_[0.5 * step, np.full(after - 1, step)]).astype(np.int64)
