"""Decoding is Pillow's, and what does not decode is named."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.errors import RunError
from bench.images.decode import decode


def encoded(mode: str, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((20, 10), 90).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")]
)
def test_every_mode_becomes_rgb_as_pillow_has_it(mode, form):
    data = encoded(mode, form)
    assert np.array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "x.jpg is empty"), (b"<html>", "does not decode"), (encoded("RGB", "JPEG")[:-300], "does not decode")],
)
def test_what_is_no_image_is_named(data, match):
    with pytest.raises(RunError, match=match):
        decode(data, "x.jpg")
