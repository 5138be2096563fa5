"""The filters of `filters.py`, compiled for a CPU: one image at a time, whole rows of all channels at once.

Legend: N images, H rows, W columns, C channels, X = W·C values of a row, K taps; a kernel of 2R + 1 weights.
"""

import numpy as np

from bench.machine.compiled import compiled
from bench.records import Array


@compiled
def _weigh(row_X: Array, step: int, weights_K: Array, out_X: Array) -> None:
    """Symmetric filter along a row that is longer than `out_X` by R steps at either end."""
    reach, width = len(weights_K) // 2, out_X.shape[0]
    middle = row_X[reach * step : reach * step + width]
    for x in range(width):
        out_X[x] = weights_K[reach] * middle[x]
    for k in range(1, reach + 1):
        left, right = row_X[(reach - k) * step :][:width], row_X[(reach + k) * step :][:width]
        weight = weights_K[reach + k]
        for x in range(width):
            out_X[x] += weight * (left[x] + right[x])


@compiled
def separable(
    images_NHX: Array,
    channels: int,
    rows_H: Array,
    columns_W: Array,
    down_K: Array,
    across_K: Array,
    out_NHX: Array,
) -> None:
    """Filter down and then across with symmetric kernels.

    Args:
        images_NHX: uint8 or float32.
        channels: C.
        rows_H: (H + 2 R) rows of the image that stand at those of the widened one.
        columns_W: likewise (W + 2 R) columns.
        down_K: float32 weights down.
        across_K: float32 weights across.
        out_NHX: float32, overwritten.
    """
    height, width = out_NHX.shape[1:]
    reach = len(down_K) // 2
    total_X = np.empty(width, np.float32)
    wide_X = np.empty(len(columns_W) * channels, np.float32)
    margin = len(across_K) // 2 * channels
    for n in range(len(images_NHX)):
        for y in range(height):
            middle = images_NHX[n, rows_H[y + reach]]
            for x in range(width):
                total_X[x] = down_K[reach] * middle[x]
            for k in range(1, reach + 1):
                above, below = images_NHX[n, rows_H[y + reach - k]], images_NHX[n, rows_H[y + reach + k]]
                weight = down_K[reach + k]
                for x in range(width):
                    total_X[x] += weight * (np.float32(above[x]) + np.float32(below[x]))
            wide_X[margin : margin + width] = total_X
            for x in range(margin):
                wide_X[x] = total_X[columns_W[x // channels] * channels + x % channels]
                right = margin + width + x
                wide_X[right] = total_X[columns_W[right // channels] * channels + x % channels]
            _weigh(wide_X, channels, across_K, out_NHX[n, y])


@compiled
def _widen(image_HX: Array, channels: int, rows_H: Array, columns_W: Array, wide_HX: Array) -> None:
    """Copy an image with what lies beyond its edges, as float32."""
    margin, width = (len(columns_W) * channels - image_HX.shape[1]) // 2, image_HX.shape[1]
    for y in range(len(rows_H)):
        row, wide = image_HX[rows_H[y]], wide_HX[y]
        for x in range(width):
            wide[margin + x] = row[x]
        for x in range(margin):
            wide[x] = row[columns_W[x // channels] * channels + x % channels]
            right = margin + width + x
            wide[right] = row[columns_W[right // channels] * channels + x % channels]


@compiled
def correlate(
    images_NHX: Array,
    channels: int,
    rows_H: Array,
    columns_W: Array,
    down_NK: Array,
    across_NK: Array,
    weights_NK: Array,
    out_NHX: Array,
) -> None:
    """Sum up shifted copies of each image.

    Args:
        images_NHX: float32 or uint8.
        channels: C.
        rows_H: rows of the image that stand at those of the widened one, in which every tap falls.
        columns_W: likewise columns.
        down_NK: the row where each tap's copy begins in the widened image; a multiple of four taps.
        across_NK: likewise the column.
        weights_NK: float32.
        out_NHX: float32, overwritten.
    """
    height, width = out_NHX.shape[1:]
    wide_HX = np.empty((len(rows_H), len(columns_W) * channels), np.float32)
    for n in range(len(images_NHX)):
        _widen(images_NHX[n], channels, rows_H, columns_W, wide_HX)
        weights, rows, columns = weights_NK[n], down_NK[n], across_NK[n] * channels
        for y in range(height):
            total = out_NHX[n, y]
            total[:] = 0
            # Four at a time: what limits the loop is reading and writing the sum.
            for k in range(0, len(weights), 4):
                a = wide_HX[y + rows[k], columns[k] : columns[k] + width]
                b = wide_HX[y + rows[k + 1], columns[k + 1] : columns[k + 1] + width]
                c = wide_HX[y + rows[k + 2], columns[k + 2] : columns[k + 2] + width]
                d = wide_HX[y + rows[k + 3], columns[k + 3] : columns[k + 3] + width]
                for x in range(width):
                    total[x] = (
                        total[x]
                        + weights[k] * a[x]
                        + weights[k + 1] * b[x]
                        + weights[k + 2] * c[x]
                        + weights[k + 3] * d[x]
                    )
