"""Moving the pixels of images by a field.

Legend: N images, C channels, H × W pixels, P = H·W.
"""

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.pixels import to_bytes
from bench.machine import triton_op
from bench.machine.compiled import compiled
from bench.records import Array


def warp(images_NCHW: Tensor, down_NHW: Tensor, across_NHW: Tensor) -> Tensor:
    """What stands at (y + down, x + across), cut off to bytes: between pixels bilinear, beyond the edges mirrored.

    As scipy.ndimage.map_coordinates with order 1 and `reflect`: edge pixels stand twice.

    Args:
        images_NCHW: uint8, three channels.
        down_NHW: float32, pixels.
        across_NHW: float32, pixels.

    Returns:
        uint8 in the shape of the images.
    """
    if triton_op.takes(images_NCHW):
        return _warp_by_triton(images_NCHW, down_NHW, across_NHW)
    if not images_NCHW.is_cpu:
        return to_bytes(_warp_by_gathers(images_NCHW, down_NHW, across_NHW))
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    out_NHWC = np.empty(images_NHWC.shape, np.float32)
    _warp(images_NHWC, down_NHW.numpy(), across_NHW.numpy(), out_NHWC)
    return to_bytes(torch.from_numpy(out_NHWC).permute(0, 3, 1, 2))


def _warp_by_triton(images_NCHW: Tensor, down_NHW: Tensor, across_NHW: Tensor) -> Tensor:
    from bench.corruptions.kernels import warp_triton

    return triton_op.applied(warp_triton.warp, images_NCHW, down_NHW.contiguous(), across_NHW.contiguous())


@compiled
def _mirror(place: int, size: int) -> int:
    place %= 2 * size
    return min(place, 2 * size - 1 - place)


@compiled
def _warp(images_NHWC: Array, down_NHW: Array, across_NHW: Array, out_NHWC: Array) -> None:
    height, width = down_NHW.shape[1:]
    for n in range(len(images_NHWC)):
        image = images_NHWC[n]
        for y in range(height):
            for x in range(width):
                down, across = down_NHW[n, y, x], across_NHW[n, y, x]
                rows, columns = np.floor(down), np.floor(across)
                lower, right = down - rows, across - columns
                top, left_x = y + int(rows), x + int(columns)
                bottom, right_x = top + 1, left_x + 1
                if top < 0 or bottom >= height:
                    top, bottom = _mirror(top, height), _mirror(bottom, height)
                if left_x < 0 or right_x >= width:
                    left_x, right_x = _mirror(left_x, width), _mirror(right_x, width)
                for c in range(3):  # a number, not a length: the compiler unrolls it
                    a = np.float32(image[top, left_x, c])
                    b = np.float32(image[top, right_x, c])
                    upper = (b - a) * right + a
                    a = np.float32(image[bottom, left_x, c])
                    b = np.float32(image[bottom, right_x, c])
                    out_NHWC[n, y, x, c] = ((b - a) * right + a - upper) * lower + upper


def _warp_by_gathers(images_NCHW: Tensor, down_NHW: Tensor, across_NHW: Tensor) -> Tensor:
    height, width = images_NCHW.shape[2:]
    (top, lower_N1HW), (left, right_N1HW) = _split(down_NHW, 1), _split(across_NHW, 2)
    pixels_NCP = images_NCHW.flatten(2).float()

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        index_N1P = (_mirrored(rows, height) * width + _mirrored(columns, width)).flatten(1)[:, None]
        return pixels_NCP.gather(2, index_N1P.expand(-1, pixels_NCP.shape[1], -1)).view_as(images_NCHW)

    upper = _between(at(top, left), at(top, left + 1), right_N1HW)
    lower = _between(at(top + 1, left), at(top + 1, left + 1), right_N1HW)
    return _between(upper, lower, lower_N1HW)


def _between(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return b.sub_(a).mul_(share).add_(a)


def _split(move_NHW: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The pixel before each place, and how far behind it the place is, (n, 1, h, w) in [0, 1)."""
    whole = move_NHW.floor()
    steps = torch.arange(move_NHW.shape[axis], device=move_NHW.device)
    return whole.long() + (steps[:, None] if axis == 1 else steps), (move_NHW - whole)[:, None]


def _mirrored(place: Tensor, size: int) -> Tensor:
    place = place.remainder(2 * size)
    return torch.minimum(place, 2 * size - 1 - place)
