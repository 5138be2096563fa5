"""Drops of water or mud on the lens: `spatter` of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261).

The reference shades water with 8-bit operations of OpenCV, which come out here in its integers, as compiled loops on a
CPU and as operations on the whole batch elsewhere: every integer is below 2²⁴ and exact in float32 too.

Legend: N images, C channels, H × W pixels; a `wide` tensor has a frame of one pixel around each image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from bench.corruptions.kernels import spatter_cpu
from bench.corruptions.kernels.filters import gaussian_filter
from bench.corruptions.kernels.spatter_cpu import DIAGONAL, FARTHEST, HIGH, KNIGHT, LOW, STRAIGHT, TAN_22, TAN_SHIFT
from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array
from bench.rng import Draws


@dataclass(frozen=True, slots=True)
class _Drops:
    """Where liquid stands: where blurred noise is above a threshold."""

    mean: float
    deviation: float
    blur: float
    """Standard deviation, pixels."""
    threshold: float


DROPS = (
    _Drops(0.65, 0.3, 4, 0.69),
    _Drops(0.65, 0.3, 3, 0.68),
    _Drops(0.65, 0.3, 2, 0.68),
    _Drops(0.65, 0.3, 1, 0.65),
    _Drops(0.67, 0.4, 1, 0.65),
)
"""For severities 1 to 5; these numbers and those below are the reference's."""
_WATER = (0.6, 0.6, 0.5)
"""How much of its colour the highest water adds, for severities 1 to 3; then comes mud."""
_TURQUOISE, _BROWN = (175, 238, 238), (63, 42, 20)
_MUD_BLUR, _MUD_LEAST = 1.5, 0.8
"""The rim of mud is blurred (pixels), and what stays below the least falls off."""
_ROUNDING = 1e-6
"""Float32 sums of a kernel's weights miss 1 by less: mud that is nearly full is full, as in float64."""
_ROUNDS = 16
"""Without Triton, edges grow by this many pixels between two looks at whether they still do: each waits for the device.
"""


def spatter(images_NCHW: Tensor, severity: int, draws: Draws) -> Tensor:
    """Spatter images with pale water (severity 1 to 3) or brown mud (4 and 5).

    Where the layer holds no water at all, about one CIFAR-10 image in a hundred at severity 1, the reference divides 0
    by 0 and its image turns black; so does this one.

    Args:
        images_NCHW: (n, 3, h, w) uint8, h and w at least 32, on any device.
        severity: 1 to 5.
        draws: one normal layer is taken.

    Returns:
        uint8 in the same shape, cut off to whole numbers.
    """
    drops = DROPS[severity - 1]
    noise_NHW = draws.normal(*images_NCHW.shape[-2:])
    layer_NHW = gaussian_filter(noise_NHW, drops.blur, border="nearest").mul_(drops.deviation).add_(drops.mean)
    if severity <= len(_WATER):
        layer_NHW = layer_NHW.mul_(layer_NHW >= drops.threshold).mul_(255)
        # By way of int32: like the reference's, the rare value above 255 loses its high bits.
        mask_NHW = _relief(layer_NHW.int().to(torch.uint8)).mul_(_WATER[severity - 1])
        wet_N111 = (mask_NHW.flatten(1).amax(1) > 0)[:, None, None, None]
        return _covered(images_NCHW, mask_NHW, _TURQUOISE, opacity=0.0).mul_(wet_N111)
    mask_NHW = gaussian_filter((layer_NHW > drops.threshold).float(), _MUD_BLUR, border="nearest")
    mask_NHW.mul_(mask_NHW >= _MUD_LEAST).masked_fill_(mask_NHW > 1 - _ROUNDING, 1.0)
    return _covered(images_NCHW, mask_NHW, _BROWN, opacity=1.0)


def _covered(images_NCHW: Tensor, mask_NHW: Tensor, colour: tuple[int, int, int], opacity: float) -> Tensor:
    """Add a colour as far as the mask, in [0, 1], says; of what is beneath, mask · opacity is lost."""
    if not images_NCHW.is_cpu:
        return _covered_at_once(images_NCHW, mask_NHW, colour, opacity)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    colour_C, out_NHWC = np.array(colour, np.float32), np.empty_like(images_NHWC)
    spatter_cpu.cover(images_NHWC, mask_NHW.numpy(), colour_C, opacity, out_NHWC)
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)


def _covered_at_once(images_NCHW: Tensor, mask_NHW: Tensor, colour: tuple[int, int, int], opacity: float) -> Tensor:
    mask_N1HW = mask_NHW[:, None]
    colour_C11 = table(mask_NHW.device, _as_floats, colour)[:, None, None]
    kept_NCHW = images_NCHW * (1 - opacity * mask_N1HW)
    return kept_NCHW.add_(colour_C11 * mask_N1HW).clamp_(0, 255).to(torch.uint8)


def _as_floats(colour: tuple[int, int, int]) -> Array:
    return np.array(colour, np.float32)


def _relief(liquid_NHW: Tensor) -> Tensor:
    """How much light drops of water throw back: uint8 liquid in, float32 out, at most 1 in each image."""
    if liquid_NHW.is_cpu:
        out_NHW = np.empty(liquid_NHW.shape, np.float32)
        spatter_cpu.relief(liquid_NHW.numpy(), out_NHW)
        return torch.from_numpy(out_NHW)
    return _relief_at_once(liquid_NHW)


def _relief_at_once(liquid_NHW: Tensor) -> Tensor:
    shade_NHW = liquid_NHW * _height(_distance(_canny(liquid_NHW)))
    return shade_NHW / shade_NHW.amax((1, 2), keepdim=True).clamp(min=1)


def _shifts(wide_NHW: Tensor) -> Callable[[int, int], Tensor]:
    """A function that gives the pixels so far down and to the right of each pixel within the frame."""
    height, width = wide_NHW.shape[1] - 2, wide_NHW.shape[2] - 2
    return lambda down, right: wide_NHW[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _canny(liquid_NHW: Tensor) -> Tensor:
    """Bool: cv2.Canny(liquid, 50, 150)."""
    at = _shifts(pad(liquid_NHW.float(), (1, 1, 1, 1), mode="replicate"))
    corners, others = at(1, 1) - at(-1, -1), at(-1, 1) - at(1, -1)
    across = (corners + others).add_(at(0, 1) - at(0, -1), alpha=2).int()
    down = (corners - others).add_(at(1, 0) - at(-1, 0), alpha=2).int()
    size = across.abs() + down.abs()
    ridge = (size > LOW) & _is_ridge(across, down, size)
    return _grown(ridge & (size > HIGH), ridge)


def _is_ridge(across: Tensor, down: Tensor, size: Tensor) -> Tensor:
    """Whether the gradient is largest along its own direction; of two equals, the right or lower one counts."""
    at = _shifts(pad(size, (1, 1, 1, 1)))
    slope, rise = across.abs() * TAN_22, down.abs() << TAN_SHIFT
    flat, steep = rise < slope, rise > slope + (across.abs() << (TAN_SHIFT + 1))
    falling = (size > at(-1, -1)) & (size > at(1, 1))
    rising = (size > at(-1, 1)) & (size > at(1, -1))
    ridge = torch.where((across < 0) != (down < 0), rising, falling)
    ridge = torch.where(steep, (size > at(-1, 0)) & (size >= at(1, 0)), ridge)
    return torch.where(flat, (size > at(0, -1)) & (size >= at(0, 1)), ridge)


def _grown(edges: Tensor, ridge: Tensor) -> Tensor:
    """Edges followed along ridges as far as they go."""
    if triton_op.takes(edges):
        from bench.corruptions.kernels import spatter_triton

        state = ridge.to(torch.uint8).add_(edges)  # every edge lies on a ridge
        spatter_triton.grow(state)
        return state == 2
    now, allowed = edges.half(), ridge.half()
    while True:
        before = now
        for _ in range(_ROUNDS):
            now = max_pool2d(now, 3, stride=1, padding=1).mul_(allowed)
        if torch.equal(now, before):
            return now.bool()


def _steps() -> Array:
    """(21, 22) int32: the distance at so many pixels across and down, where 21 down stands for none in sight."""
    across, down = np.indices((FARTHEST + 1, FARTHEST + 2))
    long, short = np.maximum(across, down), np.minimum(across, down)
    # The fewest steps: knight's moves, and straight or diagonal ones for the rest.
    rest = np.where(long >= 2 * short, (long - 2 * short) * STRAIGHT, (2 * short - long) * DIAGONAL)
    distance = rest + np.minimum(short, long - short) * KNIGHT
    steps: Array = distance.clip(max=FARTHEST * STRAIGHT).astype(np.int32)
    return steps


def _distance(edges_NHW: Tensor) -> Tensor:
    """Int32 of 1/65536 pixel to the nearest edge, at most 20 pixels: see `spatter_cpu.distance`.

    Steps may be taken in any order, so all of them up and down may come first, and the best column is then sought.
    """
    down = torch.where(edges_NHW, 0, FARTHEST + 1)
    for step in (1, 2, 4, 8, 5):  # 20 in all
        nearer = down.clone()
        torch.minimum(nearer[:, step:], down[:, :-step] + step, out=nearer[:, step:])
        torch.minimum(nearer[:, :-step], down[:, step:] + step, out=nearer[:, :-step])
        down = nearer
    steps = table(edges_NHW.device, _steps)
    nearest = steps[0][down]
    for across in range(1, FARTHEST):
        path = steps[across][down]
        torch.minimum(nearest[..., across:], path[..., :-across], out=nearest[..., across:])
        torch.minimum(nearest[..., :-across], path[..., across:], out=nearest[..., :-across])
    return nearest


def _height(distance_NHW: Tensor) -> Tensor:
    """Float32 whole numbers in 0 … 255, how high the water stands: the reference's blur, equalizeHist, emboss, blur."""
    level_NHW = _box_sum(distance_NHW.float()) // (9 * STRAIGHT)
    at = _shifts(_mirrored(_equalised(level_NHW)))
    embossed = (at(0, 0) + at(0, 1) + at(1, 0) - at(-1, 0) - at(0, -1)).add_(at(1, 1) - at(-1, -1), alpha=2)
    return ((_box_sum(embossed.clamp_(0, 255)) + 4) // 9).float()


def _mirrored(image_NHW: Tensor) -> Tensor:
    return pad(image_NHW, (1, 1, 1, 1), mode="reflect")


def _box_sum(image_NHW: Tensor) -> Tensor:
    """Int32 sums of 3 × 3 pixels."""
    wide_NHW = _mirrored(image_NHW)
    rows = wide_NHW[:, :-2] + wide_NHW[:, 1:-1] + wide_NHW[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).int()


def _equalised(level_NHW: Tensor) -> Tensor:
    """Float32: cv2.equalizeHist of whole numbers in 0 … 20."""
    upto_NL = torch.stack([(level_NHW <= level).sum((1, 2)) for level in range(FARTHEST + 1)], 1)
    lowest_N1 = level_NHW.amin((1, 2))[:, None]
    count_N1 = upto_NL.gather(1, lowest_N1.long())
    others_N1 = (level_NHW[0].numel() - count_N1).float()
    # A number over a tensor would be the product with its reciprocal, which rounds twice.
    scale_N1 = torch.full_like(others_N1, 255.0) / others_N1
    table_NL = ((upto_NL - count_N1) * scale_N1).round()
    # An image of one level keeps it.
    table_NL = torch.where(others_N1 > 0, table_NL, lowest_N1.float())
    return table_NL.gather(1, level_NHW.flatten(1).long()).view(level_NHW.shape)
