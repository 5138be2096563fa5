"""Height maps for fog, by the diamond-square algorithm as imagecorruptions' `plasma_fractal` runs it.

Legend: N maps, M their side, K places of a level along a side, X all draws of a map.
"""

import numpy as np
import torch
from torch import Tensor

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
        (n, side, side) float32 in [0, 1].
    """
    map_NMM = torch.zeros(len(draws), side, side, dtype=torch.float32, device=draws.device)
    added_NX = draws.uniform(side * side - 1)
    if map_NMM.is_cpu:
        _fill(added_NX.numpy(), decay, map_NMM.numpy())
    else:
        _fill_at_once(added_NX, decay, map_NMM)
    map_NMM -= map_NMM.amin((1, 2), keepdim=True)
    return map_NMM.div_(map_NMM.amax((1, 2), keepdim=True))


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
