"""The middle step of glass_blur: pixels take the place of near ones, in turn.

The reference means to swap two pixels, but both names stand for one array, so it copies: the pixel at p becomes what
stands at p + move by then. The sequence runs from the last pixel to the first. A pixel is written once a round, so
what p gets is known without the sequence: follow the moves from p on for as long as they lead to pixels that
had been written before.

Legend: N images, C channels, H × W pixels, T rounds, P = H·W.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.machine import triton_op
from bench.machine.compiled import compiled
from bench.records import Array
from bench.rng import Draws


def shuffle(images_NCHW: Tensor, reach: int, rounds: int, draws: Draws) -> Tensor:
    """Copy pixels in the order of the reference.

    Args:
        images_NCHW: uint8, three channels; on a CPU overwritten where it is channels-last.
        reach: how far a move may go, pixels; those nearer than this to the left and upper edge, or to the others,
            keep their place.
        rounds: how often.
        draws: two whole numbers a pixel and round are taken, first across and then down, from the last pixel to the
            first.

    Returns:
        uint8 of the same shape.
    """
    height, width = images_NCHW.shape[2:]
    if triton_op.takes(images_NCHW):
        return _by_triton(images_NCHW, reach, rounds, draws)
    moves_NTHW2 = draws.integers(-reach, reach, rounds, height - 2 * reach, width - 2 * reach, 2)
    if not images_NCHW.is_cpu:
        return _follow(images_NCHW, reach, moves_NTHW2)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    _copy(images_NHWC, reach, moves_NTHW2.numpy())
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)


def _by_triton(images_NCHW: Tensor, reach: int, rounds: int, draws: Draws) -> Tensor:
    from bench.corruptions.kernels import shuffle_triton

    height, width = images_NCHW.shape[2:]
    sources_NTP = torch.empty(len(images_NCHW), rounds, height, width, dtype=torch.int32, device=images_NCHW.device)
    shuffle_triton.look(*draws.take(), reach, height, width, sources_NTP)
    return triton_op.applied(shuffle_triton.follow, images_NCHW, sources_NTP)


@compiled
def _copy(images_NHWC: Array, reach: int, moves_NTHW2: Array) -> None:
    height, width = images_NHWC.shape[1:3]
    for n in range(len(images_NHWC)):
        image = images_NHWC[n]
        for t in range(moves_NTHW2.shape[1]):
            for y in range(moves_NTHW2.shape[2]):
                for x in range(moves_NTHW2.shape[3]):
                    h, w = height - reach - y, width - reach - x
                    source_h, source_w = h + moves_NTHW2[n, t, y, x, 1], w + moves_NTHW2[n, t, y, x, 0]
                    for c in range(3):  # a number, not a length: the compiler unrolls it
                        image[h, w, c] = image[source_h, source_w, c]


def _follow(images_NCHW: Tensor, reach: int, moves_NTHW2: Tensor) -> Tensor:
    """The same for a whole batch at once: each round, the pointers jump twice as far."""
    height, width = images_NCHW.shape[2:]
    place_P = torch.arange(height * width, device=images_NCHW.device)
    for t in range(moves_NTHW2.shape[1]):
        move_NHW = (moves_NTHW2[:, t, ..., 1] * width + moves_NTHW2[:, t, ..., 0]).flip(1, 2)
        # Those at the edges are their own source, which ends every way.
        edges = (reach + 1, reach - 1, reach + 1, reach - 1)
        source_NP = pad(move_NHW, edges).flatten(1) + place_P
        # Later places are written earlier.
        last_NP = torch.where(source_NP > place_P, source_NP, place_P)
        for _ in range(math.ceil(math.log2(height * width))):
            last_NP = last_NP.gather(1, last_NP)
        whole_NP = source_NP.gather(1, last_NP)
        images_NCHW = (
            images_NCHW.flatten(2)
            .gather(2, whole_NP[:, None].expand(-1, images_NCHW.shape[1], -1))
            .view_as(images_NCHW)
        )
    return images_NCHW
