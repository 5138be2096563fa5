"""Image files to pixels, as Pillow gives them: published accuracies are Pillow's. No other module opens them with it.

An image may come from anywhere: it starts no program, takes no more memory than its limit, and whatever its reader
raises is one error.
"""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from bench.errors import BenchError, RunError, one_line
from bench.records import Array
from bench.text import size

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000", "DIB", "AVIF")
"""What data sets are kept in. Pillow would also start Ghostscript for EPS, whatever the file is called."""
MOST_PIXELS = 2**28 // 3
"""Above which Pillow warns: 89 megapixels, a quarter of a gibibyte of RGB, and up to four times that to make it."""

MOST_BYTES = 2**30
"""Of a stored image: without compression, and with 16 bits in four channels, `MOST_PIXELS` take 0.7 of it."""

IGNORED = 255
"""In masks: a pixel of no class, which is neither learnt nor scored."""
_WIDE = ("I", "F")
"""What the names of Pillow's modes of more than 8 bits begin with: whole numbers, and floats."""


def decode(data: bytes, name: str) -> Array:
    """Decode an image file to RGB.

    Args:
        data: the file's bytes.
        name: for messages.

    Returns:
        (h, w, 3) uint8.

    Raises:
        RunError: the bytes are not an image that Pillow reads, or one of more than `MOST_PIXELS` or `MOST_BYTES`, or of
            grey levels that no 8 bits hold.
    """
    with opened(data, name) as picture:
        if picture.mode.startswith(_WIDE):
            # Pillow cuts them off at 255, by which such a picture is white all over, or black.
            raise RunError(
                f"{name} has more than 8 bits a channel ({picture.mode}), and nobody knows which level is white; save "
                "it with 8."
            )
        pixels = _decode_jpeg(data) if picture.format == "JPEG" and picture.mode == "RGB" else None
        # Another size: the headers contradict each other, and Pillow's reading of them counts.
        if pixels is not None and pixels.shape[1::-1] == picture.size:
            return pixels
        return np.asarray(picture.convert("RGB"))


def decode_mask(data: bytes, name: str) -> Array:
    """Decode an image file whose values are numbers of classes: grey levels, or the indices of a palette.

    Args:
        data: the file's bytes.
        name: for messages.

    Returns:
        (h, w) uint8.

    Raises:
        RunError: as for `decode`, or it has other than one channel of 8 bits.
    """
    with opened(data, name) as picture:
        if picture.mode not in ("L", "P"):
            raise RunError(
                f"{name} is no mask: it has the mode {picture.mode}, and a mask has one channel of 8 bits that numbers "
                "classes; obtain it again."
            )
        return np.asarray(picture)


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image file of which Pillow has read the header; what the block then makes of it is decoded there.

    Args:
        data: the file's bytes.
        name: for messages.

    Raises:
        RunError: as for `decode`, also of what is raised in the block.
    """
    if not data:
        raise RunError(f"{name} is empty; fetch it again.")
    check_bytes(len(data), name)
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as picture:
            check_size(*picture.size, name)
            yield picture
    except BenchError:
        raise
    except UnidentifiedImageError:
        raise RunError(
            f"{name} does not decode as an image (it is none of {', '.join(FORMATS)}); fetch it again."
        ) from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them raise
        raise RunError(f"{name} does not decode as an image ({one_line(error)}); fetch it again.") from error


def check_bytes(count: int, name: str) -> None:
    """Refuse a stored image that would fill the memory.

    Args:
        count: its bytes.
        name: of the image, for messages.

    Raises:
        RunError: they are more than `MOST_BYTES`.
    """
    if count > MOST_BYTES:
        raise RunError(f"{name} has {size(count)}, and at most {size(MOST_BYTES)} are read; save it smaller.")


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image that would fill the memory.

    Args:
        width: pixels.
        height: pixels.
        name: of the image, for messages.

    Raises:
        RunError: it has more than `MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise RunError(
            f"{name} has {width:,}×{height:,} pixels, and no more than {MOST_PIXELS / 1e6:.0f} million are read; "
            "save it smaller."
        )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has; AVIF came with 11.3."""
    has_avif = importlib.util.find_spec("PIL.AvifImagePlugin") is not None
    return tuple(name for name in FORMATS if has_avif or name != "AVIF")


def _decode_jpeg(data: bytes) -> Array | None:
    """Pillow's pixels without its copies; None where anything is amiss, so that Pillow says whether it reads it."""
    try:
        # The exact transforms, which are Pillow's; simplejpeg's faster ones give other pixels.
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True))
    except ValueError:
        return None
