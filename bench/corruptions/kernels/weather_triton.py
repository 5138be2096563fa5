"""Snow, frost, brightness and contrast as Triton kernels, each rounded as the tensor operations beside it are.

Legend: N images, C channels, H × W pixels.
"""

import triton
import triton.language as tl
from torch import Tensor

from bench.images.pixels_triton import PIXELS, SPARED, as_byte, grid_over, pixels_of, strides_of
from bench.machine.triton_op import EXACT, operation


@triton.jit
def _whole(value):
    """The nearest whole number, the even one of two; of values below 2^22."""
    return (value + 12582912.0) - 12582912.0


@triton.jit(do_not_specialize=[*SPARED, "layer_n", "layer_h"])
def _snow_kernel(
    images, layers, out, clarity, whitening, layer_n, layer_h, programs, height, width, stride_n, stride_c, stride_p,
    PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    of_one = tl.zeros([PIXELS], tl.float32) + 255.0
    layer = layers + sample * layer_n
    fallen = tl.load(layer + row * layer_h + column, mask=there, other=0)
    turned = tl.load(layer + (height - 1 - row) * layer_h + (width - 1 - column), mask=there, other=0)
    flakes = tl.div_rn(_whole(fallen * 255.0), of_one) + tl.div_rn(_whole(turned * 255.0), of_one)
    place = sample * stride_n + pixel * stride_p
    red = tl.div_rn(tl.load(images + place, mask=there, other=0).to(tl.float32), of_one)
    green = tl.div_rn(tl.load(images + place + stride_c, mask=there, other=0).to(tl.float32), of_one)
    blue = tl.div_rn(tl.load(images + place + 2 * stride_c, mask=there, other=0).to(tl.float32), of_one)
    grey = (red * 0.299 + green * 0.587 + blue * 0.114) * 1.5 + 0.5
    red = tl.maximum(red, grey) * whitening + red * clarity
    green = tl.maximum(green, grey) * whitening + green * clarity
    blue = tl.maximum(blue, grey) * whitening + blue * clarity
    tl.store(out + place, as_byte((red + flakes) * 255.0), mask=there)
    tl.store(out + place + stride_c, as_byte((green + flakes) * 255.0), mask=there)
    tl.store(out + place + 2 * stride_c, as_byte((blue + flakes) * 255.0), mask=there)


@triton.jit(do_not_specialize=SPARED)
def _frost_kernel(
    images, pictures, frames, whiches, downs, acrosses, out, programs, height, width, stride_n, stride_c, stride_p,
    SHARE: tl.constexpr, FROST: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    sample, pixel, row, column = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    frame = frames + 3 * tl.load(whiches + sample)
    first, rows, columns = tl.load(frame), tl.load(frame + 1), tl.load(frame + 2)
    top = (tl.load(downs + sample).to(tl.float64) * (rows - height).to(tl.float64)).to(tl.int64)
    left = (tl.load(acrosses + sample).to(tl.float64) * (columns - width).to(tl.float64)).to(tl.int64)
    piece = pictures + first + 3 * ((top + row) * columns + left + column)
    share, frost = tl.full([PIXELS], SHARE, tl.float64), tl.full([PIXELS], FROST, tl.float64)
    for c in tl.static_range(3):
        place = sample * stride_n + c * stride_c + pixel * stride_p
        # By way of float32, which holds bytes and which they are turned into fastest.
        image = tl.load(images + place, mask=there, other=0).to(tl.float32).to(tl.float64)
        value = image * share + tl.load(piece + c, mask=there, other=0).to(tl.float32).to(tl.float64) * frost
        tl.store(out + place, tl.minimum(value, 255.0).to(tl.int32).to(tl.uint8), mask=there)


@triton.jit(do_not_specialize=SPARED)
def _brightness_kernel(
    images, entries, out, programs, height, width, stride_n, stride_c, stride_p, PIXELS: tl.constexpr
):
    sample, pixel, _, _ = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    place = sample * stride_n + pixel * stride_p
    red = tl.load(images + place, mask=there, other=0).to(tl.int32)
    green = tl.load(images + place + stride_c, mask=there, other=0).to(tl.int32)
    blue = tl.load(images + place + 2 * stride_c, mask=there, other=0).to(tl.int32)
    row = entries + 256 * tl.maximum(tl.maximum(red, green), blue)
    tl.store(out + place, tl.load(row + red), mask=there)
    tl.store(out + place + stride_c, tl.load(row + green), mask=there)
    tl.store(out + place + 2 * stride_c, tl.load(row + blue), mask=there)


@triton.jit(do_not_specialize=SPARED)
def _contrast_kernel(
    images, means, out, kept, programs, height, width, stride_n, stride_c, stride_p, PIXELS: tl.constexpr
):
    sample, pixel, _, _ = pixels_of(programs, width, PIXELS)
    there = pixel < height * width
    for c in tl.static_range(3):
        place = sample * stride_n + c * stride_c + pixel * stride_p
        value = tl.load(images + place, mask=there, other=0).to(tl.float32) * kept
        tl.store(out + place, as_byte(value + tl.load(means + 3 * sample + c)), mask=there)


@operation("out")
def snow(images_NCHW: Tensor, layer_NHW: Tensor, clarity: float, out: Tensor) -> None:
    """Whiten images and lay flakes over them, and once more turned by 180°.

    Args:
        images_NCHW: uint8, of `triton_op.in_order`.
        layer_NHW: float32; of larger planes it may be a part.
        clarity: the image's share.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _snow_kernel[grid](
        images_NCHW, layer_NHW, out, clarity, 1 - clarity, *layer_NHW.stride()[:2], programs, *images_NCHW.shape[2:],
        *strides_of(images_NCHW), PIXELS, **EXACT,
    )  # fmt: skip


@operation("out")
def frost(
    images_NCHW: Tensor, pictures: Tensor, frames_P3: Tensor, which_N: Tensor, down_N: Tensor, across_N: Tensor,
    image_share: float, frost_share: float, out: Tensor,
) -> None:  # fmt: skip
    """Lay pieces of pictures over images.

    Args:
        images_NCHW: uint8, of `triton_op.in_order`.
        pictures: uint8, all of them, one after the other.
        frames_P3: int64, where each begins, its rows and columns.
        which_N: int64, the picture of each image.
        down_N: float32, from 0 to 1: where the piece lies.
        across_N: float32, likewise.
        image_share: what remains of the image.
        frost_share: what is added of the picture.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _frost_kernel[grid](
        images_NCHW, pictures, frames_P3, which_N, down_N, across_N, out, programs, *images_NCHW.shape[2:],
        *strides_of(images_NCHW), image_share, frost_share, PIXELS, **EXACT,
    )  # fmt: skip


@operation("out")
def brightness(images_NCHW: Tensor, entries: Tensor, out: Tensor) -> None:
    """Look up what becomes of channels.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        entries: (65536,) uint8, at 256 · the brightest channel + channel.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _brightness_kernel[grid](
        images_NCHW, entries, out, programs, *images_NCHW.shape[2:], *strides_of(images_NCHW), PIXELS
    )


@operation("out")
def contrast(images_NCHW: Tensor, mean_NC: Tensor, kept: float, out: Tensor) -> None:
    """Multiply values, and add something to each channel.

    Args:
        images_NCHW: uint8, three channels, of `triton_op.in_order`.
        mean_NC: float32, contiguous: what is added.
        kept: what values are multiplied by.
        out: as `images_NCHW`, overwritten.
    """
    grid, programs = grid_over(images_NCHW)
    _contrast_kernel[grid](
        images_NCHW, mean_NC, out, kept, programs, *images_NCHW.shape[2:], *strides_of(images_NCHW), PIXELS, **EXACT
    )
