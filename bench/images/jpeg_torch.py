"""Saving as JPEG and reading again, many images at once on the device that holds them: Pillow's pixels, bit for bit.

Entropy coding loses nothing, so the bytes of the file are never made: the pixels go through libjpeg's conversion of
colours, halving of the chroma, DCT and quantisation, and back. All of these are sums of integers with one rounding
shift at their end, which come out the same in any order. Files named below are libjpeg's, and libjpeg-turbo's.

Samples are kept less 128, as the DCT takes them; every step gives the same either way.
Shapes: N images, C channels, H rows, W columns; blocks are (8, 8, B), the rows and columns of B blocks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.machine import triton_op
from bench.machine.tables import table
from bench.records import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Output o is (Σᵢ weights[o][i] · input i + offsets[o]) ≫ shift."""

    weights: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    shift: int


_HALF = 1 << 15
_CENTRE = 128 << 16

_TO_YCC = _Sums(  # jccolor.c; its offset of the chroma is short of a half, lest the largest become 256
    weights=((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329)),
    offsets=(_HALF - _CENTRE, _HALF - 1, _HALF - 1),
    shift=16,
)
_TO_RGB = _Sums(  # jdcolor.c
    weights=((65536, 0, 91881), (65536, -22554, -46802), (65536, 116130, 0)),
    offsets=(_HALF + _CENTRE,) * 3,
    shift=16,
)

_COSINES = tuple(
    (*half, *(sign * weight for weight in reversed(half)))
    for half, sign in (
        # The butterflies of jfdctint.c multiplied out: 2¹³ √2 cos((2x + 1) u π / 16) but for the rounding of the
        # constants there, which is why 11362 stands beside 11363.
        ((8192, 8192, 8192, 8192), 1),
        ((11363, 9633, 6437, 2260), -1),
        ((10703, 4433, -4433, -10703), 1),
        ((9633, -2259, -11362, -6436), -1),
        ((8192, -8192, -8192, 8192), 1),
        ((6437, -11362, 2261, 9633), -1),
        ((4433, -10704, 10704, -4433), 1),
        ((2260, -6436, 9633, -11363), -1),
    )
)
"""Of frequency u, a row, at place x, a column. The butterflies of jidctint.c come to its transpose."""


def _transform(weights: tuple[tuple[int, ...], ...], shift: int) -> _Sums:
    return _Sums(weights=weights, offsets=(1 << (shift - 1),) * 8, shift=shift)


# Between their passes both files keep 2 bits of fraction; the coefficients of jfdctint.c are 8 times too large.
_DCT_ACROSS, _DCT_DOWN = _transform(_COSINES, 13 - 2), _transform(_COSINES, 13 + 2)
_TRANSPOSED = tuple(zip(*_COSINES, strict=True))
_IDCT_DOWN, _IDCT_ACROSS = _transform(_TRANSPOSED, 13 - 2), _transform(_TRANSPOSED, 13 + 2 + 3)

# At quality 50, by rows; jcparam.c
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def round_trip(images_NCHW: Tensor, quality: int) -> Tensor:
    """Encode each image as JPEG, as Pillow does by default (chroma halved both ways), and decode it.

    Needs up to 22 bytes beside the input for each pixel of images whose sides are multiples of 16 (others are extended
    to such), and some 130 calls of the device whatever the batch.

    Args:
        images_NCHW: (n, 3, h, w) uint8, of any strides; h and w are at least 1.
        quality: Pillow's, 1 to 95.

    Returns:
        uint8 of the same shape, contiguous, on the same device.

    Raises:
        ValueError: the quality is out of range.
    """
    if not 1 <= quality <= 95:
        raise ValueError(f"JPEG quality must be from 1 to 95; {quality} came.")
    if triton_op.takes(images_NCHW):
        return _round_trip_by_triton(images_NCHW, quality)
    height, width = images_NCHW.shape[2:]
    luma, chroma = _code(*_planes(images_NCHW), quality)
    ycc_NCHW = torch.cat((luma[:, :, :height, :width], _upsample(chroma, height, width)), 1)
    del luma, chroma  # lest they add to the peak
    return _sum(_TO_RGB, ycc_NCHW, 1).clamp_(0, 255).to(torch.uint8)


def _round_trip_by_triton(images_NCHW: Tensor, quality: int) -> Tensor:
    from bench.images import jpeg_triton

    images_NCHW = triton_op.in_order(images_NCHW)
    n, _, height, width = images_NCHW.shape
    device = images_NCHW.device
    luma = torch.empty(n, 1, _up(height, 8), _up(width, 8), dtype=torch.int8, device=device)
    chroma = torch.empty(n, 2, _up(height, 16) // 2, _up(width, 16) // 2, dtype=torch.int8, device=device)
    cosines, steps = table(device, _weights, _DCT_ACROSS), table(device, _steps, quality)
    jpeg_triton.code(images_NCHW, cosines, steps[0], False, luma)
    jpeg_triton.code(images_NCHW, cosines, steps[1], True, chroma)
    out = torch.empty_like(images_NCHW)
    jpeg_triton.colours(luma, chroma, out)
    return out


def _planes(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (n, 1, ·, ·) and chroma (n, 2, ·, ·), int16, whole blocks."""
    height, width = images_NCHW.shape[2:]
    ycc_NCHW = _sum(_TO_YCC, images_NCHW, 1).to(torch.int16)
    luma = _extend(ycc_NCHW[:, :1], _up(height, 8), _up(width, 8))
    # The last column is repeated before the halving, the last row after it, but for one that lacks its pair; jcprepct.c
    chroma = _halve(_extend(ycc_NCHW[:, 1:], _up(height, 2), _up(width, 16)))
    return luma, _extend(chroma, _up(chroma.shape[2], 8), chroma.shape[3])


def _code(luma_NCHW: Tensor, chroma_NCHW: Tensor, quality: int) -> tuple[Tensor, Tensor]:
    """DCT, quantisation and back: the planes as the decoder has them before it doubles the chroma."""
    planes = (luma_NCHW, chroma_NCHW)
    counts = [plane.numel() // 64 for plane in planes]
    blocks = torch.cat([_to_blocks(plane) for plane in planes], 2)
    blocks = _sum(_DCT_ACROSS, blocks, 1)
    blocks = _sum(_DCT_DOWN, blocks, 0)
    _quantise(blocks, counts, quality)
    blocks = _sum(_IDCT_DOWN, blocks, 0)
    blocks = _sum(_IDCT_ACROSS, blocks, 1).clamp_(-128, 127)
    luma_blocks, chroma_blocks = blocks.split_with_sizes(counts, 2)
    return _from_blocks(luma_blocks, luma_NCHW.shape), _from_blocks(chroma_blocks, chroma_NCHW.shape)


def _to_blocks(plane_NCHW: Tensor) -> Tensor:
    n, channels, height, width = plane_NCHW.shape
    places = plane_NCHW.view(n, channels, height // 8, 8, width // 8, 8).permute(3, 5, 0, 1, 2, 4)
    return places.reshape(8, 8, plane_NCHW.numel() // 64)


def _from_blocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    n, channels, height, width = shape
    places = blocks.to(torch.int16).view(8, 8, n, channels, height // 8, width // 8)
    return places.permute(2, 3, 4, 0, 5, 1).reshape(shape)


def _quantise(blocks: Tensor, counts: list[int], quality: int) -> None:
    """Round 8 times the coefficients in place to the nearest multiples of the steps, halves away from 0 (jcdctmgr.c).

    libjpeg-turbo multiplies by reciprocals instead of dividing, which comes to the same.
    """
    blocks += blocks >> 31  # −1 where negative: halves then go down
    for part, steps in zip(blocks.split_with_sizes(counts, 2), table(blocks.device, _steps, quality), strict=True):
        divisors = steps * 8
        part.add_(divisors >> 1).div_(divisors, rounding_mode="floor").mul_(steps)


def _halve(samples_NCHW: Tensor) -> Tensor:
    """Means of 2 × 2 samples, halves rounded down and up by turns; h2v2_downsample of jcsample.c."""
    pairs = samples_NCHW[:, :, ::2] + samples_NCHW[:, :, 1::2]
    return (pairs[..., ::2] + pairs[..., 1::2] + 1 + _parity(pairs.shape[3] // 2, pairs.device)) >> 2


def _upsample(samples_NCHW: Tensor, height: int, width: int) -> Tensor:
    """Twice as many samples both ways, cut to `height` and `width`; jdsample.c."""
    samples_NCHW = samples_NCHW[:, :, : _up(height, 2) // 2, : _up(width, 2) // 2]
    if samples_NCHW.shape[3] <= 2:  # too narrow for h2v2_fancy_upsample
        doubled = samples_NCHW.repeat_interleave(2, 2).repeat_interleave(2, 3)
    else:
        sums = _spread(_spread(samples_NCHW, 2), 3)
        doubled = (sums + 8 - _parity(sums.shape[3], sums.device)) >> 4
    return doubled[:, :, :height, :width]


def _spread(samples: Tensor, dim: int) -> Tensor:
    """Two for each sample along `dim`: three times itself and once its neighbour, or itself again at the border."""
    rest = samples.shape[dim] - 1
    before = torch.cat((samples.narrow(dim, 0, 1), samples.narrow(dim, 0, rest)), dim)
    after = torch.cat((samples.narrow(dim, 1, rest), samples.narrow(dim, rest, 1)), dim)
    return torch.stack((before.add_(samples, alpha=3), after.add_(samples, alpha=3)), dim + 1).flatten(dim, dim + 1)


def _extend(samples_NCHW: Tensor, height: int, width: int) -> Tensor:
    """The last row and column repeated up to `height` and `width`."""
    h, w = samples_NCHW.shape[2:]
    if (h, w) == (height, width):
        return samples_NCHW
    rows, columns = (torch.arange(new, device=samples_NCHW.device).clamp_(max=old - 1)
                     for new, old in ((height, h), (width, w)))  # fmt: skip
    return samples_NCHW[:, :, rows[:, None], columns]


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _parity(length: int, device: torch.device) -> Tensor:
    """0, 1, 0, 1, … as int16."""
    return torch.arange(length, dtype=torch.int16, device=device) & 1


def _sum(sums: _Sums, values: Tensor, dim: int) -> Tensor:
    """Weighted sums along `dim`, which keeps its length; int32, contiguous."""
    weights, offsets = (table(values.device, make, sums) for make in (_weights, _offsets))
    shape = [-1 if d == dim else 1 for d in range(values.ndim)]
    total = offsets.view(shape).expand(values.shape).clone(memory_format=torch.contiguous_format)
    for i in range(values.shape[dim]):
        total.addcmul_(values.narrow(dim, i, 1).to(torch.int32), weights[:, i].view(shape))
    return total.bitwise_right_shift_(sums.shift)


def _weights(sums: _Sums) -> Array:
    """(o, i) int32."""
    return np.array(sums.weights, np.int32)


def _offsets(sums: _Sums) -> Array:
    """(o,) int32."""
    return np.array(sums.offsets, np.int32)


def _steps(quality: int) -> Array:
    """(2, 8, 8, 1) int32, 1 to 255, the quantisation of luma and chroma: jpeg_set_quality of jcparam.c, baseline."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array((_LUMA_STEPS, _CHROMA_STEPS), np.int32)
    return ((base * percent + 50) // 100).clip(1, 255)[..., None]
