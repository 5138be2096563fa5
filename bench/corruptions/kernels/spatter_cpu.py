"""What `bench.corruptions.spatter` needs on a CPU, compiled: one image at a time, in OpenCV's integers.

Legend: N images, H rows, W columns, C channels; a `wide` array has a frame around the image.
"""

import numpy as np

from bench.machine.compiled import compiled
from bench.records import Array

LOW, HIGH = 50, 150
"""Canny's thresholds for the L1 size of the gradient: an edge goes on above the one and begins above the other."""
TAN_22, TAN_SHIFT = 13573, 15
"""tan(22.5°) in fixed point, as OpenCV's Canny has it; tan(67.5°) is 2 more."""
STRAIGHT, DIAGONAL, KNIGHT = 65536, 91750, 143976
"""1, 1.4 and 2.1969 pixels in fixed point: the steps of OpenCV's 5 × 5 distance (Borgefors 1986)."""
FARTHEST = 20
"""Pixels at which the distance is cut off."""


@compiled
def _mirror(wide: Array) -> None:
    """Fill a frame of one pixel: `b|abc|b`."""
    wide[0], wide[-1] = wide[2], wide[-3]
    for y in range(wide.shape[0]):
        wide[y, 0], wide[y, -1] = wide[y, 2], wide[y, -3]


@compiled
def _box(wide: Array, out_HW: Array) -> None:
    """Sums of 3 × 3 pixels."""
    height, width = out_HW.shape
    column = np.empty(width + 2, np.int32)
    for y in range(height):
        above, middle, below, out = wide[y], wide[y + 1], wide[y + 2], out_HW[y]
        for x in range(width + 2):
            column[x] = above[x] + middle[x] + below[x]
        for x in range(width):
            out[x] = column[x] + column[x + 1] + column[x + 2]


@compiled
def _gradient(liquid_HW: Array, across_HW: Array, down_HW: Array) -> None:
    """Sobel's, of pixels that repeat beyond the edges."""
    height, width = liquid_HW.shape
    rows = np.empty((3, width + 2), np.int32)
    for y in range(height):
        for k in range(3):
            source = liquid_HW[min(max(y + k - 1, 0), height - 1)]
            rows[k, 1:-1] = source
            rows[k, 0], rows[k, -1] = source[0], source[-1]
        above, middle, below = rows[0], rows[1], rows[2]
        across, down = across_HW[y], down_HW[y]
        for x in range(width):
            corners = below[x + 2] - above[x]
            others = above[x + 2] - below[x]
            across[x] = corners + others + 2 * (middle[x + 2] - middle[x])
            down[x] = corners - others + 2 * (below[x + 1] - above[x + 1])


@compiled
def _is_ridge(across: int, down: int, size_HW: Array, y: int, x: int) -> bool:
    """Whether the gradient is largest along its own direction; of two equals, the right or lower one counts."""
    size, slope = size_HW[y, x], abs(across) * TAN_22
    rise = abs(down) << TAN_SHIFT
    if rise < slope:
        return bool(size > size_HW[y, x - 1] and size >= size_HW[y, x + 1])
    if rise > slope + (abs(across) << (TAN_SHIFT + 1)):
        return bool(size > size_HW[y - 1, x] and size >= size_HW[y + 1, x])
    side = -1 if (across < 0) != (down < 0) else 1
    return bool(size > size_HW[y - 1, x - side] and size > size_HW[y + 1, x + side])


@compiled
def _grow(edges: Array, ridge: Array, strong: Array, count: int) -> None:
    """Follow ridges from the first `count` places of `found`, which has room for every pixel."""
    while count:
        count -= 1
        y, x = strong[count]
        for v in range(y - 1, y + 2):
            for u in range(x - 1, x + 2):
                if ridge[v, u] and not edges[v, u]:
                    edges[v, u] = True
                    strong[count] = v, u
                    count += 1


@compiled
def canny(liquid_HW: Array) -> Array:
    """(H + 2, W + 2) bool, the edges of a uint8 image within a frame of False: cv2.Canny(liquid, 50, 150)."""
    height, width = liquid_HW.shape
    across, down = np.empty((2, height, width), np.int32)
    _gradient(liquid_HW, across, down)
    size = np.zeros((height + 2, width + 2), np.int32)
    for y in range(height):
        for x in range(width):
            size[y + 1, x + 1] = abs(across[y, x]) + abs(down[y, x])
    ridge, edges = np.zeros(size.shape, np.bool_), np.zeros(size.shape, np.bool_)
    strong, count = np.empty((height * width, 2), np.int32), 0
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            if size[y, x] > LOW and _is_ridge(across[y - 1, x - 1], down[y - 1, x - 1], size, y, x):
                ridge[y, x] = True
                if size[y, x] > HIGH:
                    edges[y, x] = True
                    strong[count] = y, x
                    count += 1
    _grow(edges, ridge, strong, count)
    return edges


@compiled
def _sweep(wide: Array, step: int) -> None:
    """Hand distances on from row to row, downwards (1) or upwards (-1), and along each row."""
    height, width = wide.shape[0] - 4, wide.shape[1] - 4
    for i in range(height):
        y = 2 + i if step > 0 else height + 1 - i
        far, near, row = wide[y - 2 * step], wide[y - step], wide[y]
        for x in range(width):  # from 0: where an index might be negative, numba does not use vector units
            knight = min(min(far[x + 1], far[x + 3]), min(near[x], near[x + 4])) + KNIGHT
            diagonal = min(near[x + 1], near[x + 3]) + DIAGONAL
            row[x + 2] = min(min(row[x + 2], near[x + 2] + STRAIGHT), min(diagonal, knight))
        last = row[0]
        for x in range(2, width + 2):
            last = row[x] = min(row[x], np.int32(last + STRAIGHT))
        for x in range(width + 1, 1, -1):
            last = row[x] = min(row[x], np.int32(last + STRAIGHT))


@compiled
def distance(edges: Array) -> Array:
    """(H + 2, W + 2) int32 of 1/65536 pixel to the nearest edge, at most 20 pixels, mirrored into the frame.

    As cv2.distanceTransform(..., cv2.DIST_L2, 5) without Intel's IPP, whose float32 sums differ in the last bits.
    """
    height, width = edges.shape
    wide = np.full((height + 2, width + 2), np.int32(FARTHEST * STRAIGHT))
    for y in range(height):
        for x in range(width):
            wide[y + 1, x + 1] *= not edges[y, x]
    _sweep(wide, 1)
    _sweep(wide, -1)
    framed = wide[1:-1, 1:-1].copy()
    _mirror(framed)
    return framed


@compiled
def _equalised(total_HW: Array) -> Array:
    """(H + 2, W + 2) int32: cv2.equalizeHist of the mean distances in whole pixels, within a frame to be filled."""
    height, width = total_HW.shape
    counts = np.zeros(FARTHEST + 1, np.int64)
    for y in range(height):
        for x in range(width):
            level = total_HW[y, x] // (9 * STRAIGHT)
            total_HW[y, x] = level
            counts[level] += 1
    lowest = 0
    while counts[lowest] == 0:
        lowest += 1
    table = np.full(FARTHEST + 1, lowest)
    others = total_HW.size - counts[lowest]
    if others:
        scale, running = np.float32(255.0) / np.float32(others), np.int64(0)
        table[lowest] = 0
        for level in range(lowest + 1, FARTHEST + 1):
            running += counts[level]
            table[level] = round(np.float32(running) * scale)
    wide = np.empty((height + 2, width + 2), np.int32)
    for y in range(height):
        for x in range(width):
            wide[y + 1, x + 1] = table[total_HW[y, x]]
    return wide


@compiled
def height_of(edges: Array) -> Array:
    """(H, W) int32 in 0 … 255: how high the water stands, from the edges that `canny` gives."""
    total = np.empty((edges.shape[0] - 2, edges.shape[1] - 2), np.int32)
    _box(distance(edges), total)
    flat = _equalised(total)
    _mirror(flat)
    embossed = np.empty_like(flat)
    for y in range(total.shape[0]):
        above, middle, below, out = flat[y], flat[y + 1], flat[y + 2], embossed[y + 1]
        for x in range(total.shape[1]):
            value = middle[x + 1] + middle[x + 2] + below[x + 1] - above[x + 1] - middle[x]
            value += 2 * (below[x + 2] - above[x])
            out[x + 1] = min(max(value, 0), 255)
    _mirror(embossed)
    _box(embossed, total)
    for y in range(total.shape[0]):
        for x in range(total.shape[1]):
            total[y, x] = (total[y, x] + 4) // 9
    return total


@compiled
def relief(liquid_NHW: Array, out_NHW: Array) -> None:
    """Shade drops of water: `out_NHW` is float32, overwritten with values in [0, 1]."""
    for n in range(len(liquid_NHW)):
        shade = liquid_NHW[n] * height_of(canny(liquid_NHW[n]))
        out_NHW[n] = shade / np.float32(max(shade.max(), 1))


@compiled
def cover(images_NHWC: Array, mask_NHW: Array, colour_C: Array, opacity: float, out_NHWC: Array) -> None:
    """Lay a colour over images of three channels; see `bench.corruptions.spatter`."""
    height, width = mask_NHW.shape[1:]
    for n in range(len(mask_NHW)):
        for y in range(height):
            for x in range(width):
                mask = mask_NHW[n, y, x]
                for c in range(3):
                    value = images_NHWC[n, y, x, c]
                    if mask:
                        kept = np.float32(value) * (np.float32(1) - np.float32(opacity) * mask)
                        value = np.uint8(min(max(kept + colour_C[c] * mask, np.float32(0)), np.float32(255)))
                    out_NHWC[n, y, x, c] = value
