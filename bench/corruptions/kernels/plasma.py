"""Fog, and its height maps by the diamond-square algorithm as imagecorruptions' `plasma_fractal` runs it.

Legend: N maps, M their side, K places of a level along a side, X all draws of a map.
"""

import numpy as np
import torch
from torch import Tensor

from bench.corruptions.kernels.pixels import to_bytes
from bench.machine import triton_op
from bench.machine.compiled import compiled
from bench.records import Array
from bench.rng import Draws

_ROUGHNESS = 100.0
"""Of the first level; what is added goes with its square."""


def plasma(draws: Draws, side: int, decay: float) -> Tensor:
    """Make height maps. Each level halves the step and divides the roughness; the maps wrap around.

    Args:
        draws: side² − 1 uniform numbers are taken, in the order of the reference.
        side: a power of two, pixels.
        decay: what the roughness is divided by from level to level.

    Returns:
        (n, side, side) float32, of any heights.
    """
    map_NMM = torch.zeros(len(draws), side, side, dtype=torch.float32, device=draws.device)
    if triton_op.takes(map_NMM):
        _fill_by_triton(draws, decay, map_NMM)
        return map_NMM
    added_NX = draws.uniform(side * side - 1)
    if map_NMM.is_cpu:
        _fill(added_NX.numpy(), decay, map_NMM.numpy())
    else:
        _fill_at_once(added_NX, decay, map_NMM)
    return map_NMM


def fog_over(images_NCHW: Tensor, map_NMM: Tensor, thickness: float) -> Tensor:
    """Brighten by maps and dim so that the brightest pixel could stay.

    Args:
        images_NCHW: uint8.
        map_NMM: of `plasma`, as large as the images or larger; may be overwritten.
        thickness: of the fog; the highest point of a map adds so much of white.

    Returns:
        uint8 in the shape of the images.
    """
    if triton_op.takes(images_NCHW):
        return _fog_by_triton(images_NCHW, map_NMM, thickness)
    height, width = images_NCHW.shape[2:]
    map_NMM -= map_NMM.amin((1, 2), keepdim=True)
    map_N1HW = map_NMM.div_(map_NMM.amax((1, 2), keepdim=True))[:, None, :height, :width]
    brightest_N111 = images_NCHW.flatten(1).amax(1)[:, None, None, None].float().div_(255)
    foggy_NCHW = images_NCHW.float().div_(255).add_(map_N1HW * thickness)
    return to_bytes(foggy_NCHW.mul_(brightest_N111 / (brightest_N111 + thickness)).mul_(255))


def _fill_by_triton(draws: Draws, decay: float, map_NMM: Tensor) -> None:
    from bench.corruptions.kernels import plasma_triton

    keys_N2, stream = draws.take()
    count, roughness = 1, _ROUGHNESS
    while count < map_NMM.shape[1]:
        plasma_triton.level(keys_N2, stream, roughness * roughness, count, map_NMM)
        count, roughness = 2 * count, roughness / decay


def _fog_by_triton(images_NCHW: Tensor, map_NMM: Tensor, thickness: float) -> Tensor:
    from bench.corruptions.kernels import plasma_triton

    extremes = torch.aminmax(map_NMM.flatten(1), dim=1)
    bright_N = images_NCHW.amax((1, 2, 3))
    return triton_op.applied(plasma_triton.fog, images_NCHW, map_NMM, *extremes, bright_N, thickness)


@compiled
def _fill(added_NX: Array, decay: float, map_NMM: Array) -> None:
    side = map_NMM.shape[1]
    quarter, two, one = np.float32(0.25), np.float32(2), np.float32(1)
    for n in range(len(map_NMM)):
        heights, added, taken = map_NMM[n], added_NX[n], 0
        step, roughness = side, _ROUGHNESS
        while step >= 2:
            half, size = step // 2, np.float32(roughness * roughness)
            for y in range(0, side, step):  # the middles of squares
                below = (y + step) % side
                for x in range(0, side, step):
                    right = (x + step) % side
                    total = (heights[y, x] + heights[below, x]) + (heights[y, right] + heights[below, right])
                    heights[y + half, x + half] = total * quarter + (added[taken] * two - one) * size
                    taken += 1
            for y in range(0, side, step):  # the middles of upper edges
                above = (y - half) % side
                for x in range(0, side, step):
                    total = heights[y, x] + heights[y, (x + step) % side] + heights[y + half, x + half]
                    total += heights[above, x + half]
                    heights[y, x + half] = total * quarter + (added[taken] * two - one) * size
                    taken += 1
            for y in range(0, side, step):  # the middles of left edges
                for x in range(0, side, step):
                    total = heights[y, x] + heights[(y + step) % side, x] + heights[y + half, x + half]
                    total += heights[y + half, (x - half) % side]
                    heights[y + half, x] = total * quarter + (added[taken] * two - one) * size
                    taken += 1
            step, roughness = half, roughness / decay


def _fill_at_once(added_NX: Tensor, decay: float, map_NMM: Tensor) -> None:
    """The same for all maps together."""
    side, count, roughness = map_NMM.shape[1], 1, _ROUGHNESS
    added_NX = added_NX.mul(2).sub_(1)
    while count < side:
        step, half, size = side // count, side // count // 2, roughness * roughness

        def moved(total_NKK: Tensor, part: int, count: int = count, size: float = size) -> Tensor:
            """A mean of four, and something added; the levels before took count² − 1 draws."""
            first = count * count * (1 + part) - 1
            added_NKK = added_NX[:, first : first + count * count].view(-1, count, count)
            return added_NKK.mul(size).add_(total_NKK.mul_(0.25))

        corners = map_NMM[:, ::step, ::step]
        rows, columns = corners + corners.roll(-1, 1), corners + corners.roll(-1, 2)
        map_NMM[:, half::step, half::step] = centres = moved(rows + rows.roll(-1, 2), 0)
        map_NMM[:, ::step, half::step] = moved(columns.add_(centres).add_(centres.roll(1, 1)), 1)
        map_NMM[:, half::step, ::step] = moved(rows.add_(centres).add_(centres.roll(1, 2)), 2)
        count, roughness = 2 * count, roughness / decay
