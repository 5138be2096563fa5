"""Decoding is Pillow's, and what does not decode is named."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

import bench as package
from bench.errors import RunError
from bench.images.crop import crop_image
from bench.images.decode import FORMATS, MOST_PIXELS, decode
from bench.records import Crop


def encoded(mode: str, form: str, size: tuple[int, int] = (20, 10), **options: object) -> bytes:
    buffer = io.BytesIO()
    bands = [Image.effect_noise(size, sigma) for sigma in (90, 60, 30)]
    Image.merge("RGB", bands).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    return exif


GRADIENT = np.tile(np.arange(90, dtype=np.uint8), (31, 2)).reshape(31, 60, 3)
JPEGS = {
    **{f"subsampling {n}": encoded("RGB", "JPEG", (65, 49), subsampling=n) for n in (0, 1, 2)},
    **{f"progressive {n}": encoded("RGB", "JPEG", (33, 70), subsampling=n, progressive=True) for n in (0, 2)},
    "one pixel": encoded("RGB", "JPEG", (1, 1)),
    "narrow": encoded("RGB", "JPEG", (3, 90), quality=30),
    "4:1:1": simplejpeg.encode_jpeg(
        np.asarray(Image.effect_noise((50, 31), 50).convert("RGB")), colorsubsampling="411"
    ),
    "RGB inside": encoded("RGB", "JPEG", keep_rgb=True),
    "restarts": encoded("RGB", "JPEG", (64, 48), restart_marker_blocks=2),
    "rotated": encoded("RGB", "JPEG", (40, 30), exif=rotated(), dpi=(72, 72), comment="a comment"),
    "grey": encoded("L", "JPEG"),
    "CMYK": encoded("CMYK", "JPEG"),
    "two pictures": encoded("RGB", "MPO", save_all=True, append_images=[Image.new("RGB", (20, 10))]),
}


def harmed(data: bytes, rng: np.random.Generator) -> bytes:
    """One fault of the kinds that storing and sending leave, or two bytes that mean something to a JPEG reader."""
    place, kind = int(rng.integers(1, len(data))), rng.integers(8)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[: -int(rng.integers(1, 6))]
    if kind == 2:
        return data + rng.bytes(place)
    if kind == 3:
        return data[:place] + rng.bytes(4) + data[place + 4 :]
    if kind == 4:
        place %= 200  # the headers
        return data[:place] + rng.bytes(1) + data[place + 1 :]
    if kind == 5:
        return data[:place] + data[place + int(rng.integers(1, 20)) :]
    if kind == 6:
        return data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]
    return (
        data[:place] + bytes([0xFF, int(rng.choice([0xD8, 0xD9, 0xDA, 0xC0, 0xC2, 0xC4, 0xD3, 0xEE]))]) + data[place:]
    )


def with_pillow(data: bytes) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError):
        return None


def with_ours(data: bytes) -> np.ndarray | None:
    try:
        return decode(data, "x")
    except RunError:
        return None


@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")]
)
def test_every_mode_becomes_rgb_as_pillow_has_it(mode, form):
    data = encoded(mode, form)
    assert np.array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", JPEGS)
def test_every_kind_of_jpeg_has_pillows_pixels(kind):
    assert np.array_equal(decode(JPEGS[kind], "x"), with_pillow(JPEGS[kind]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged metadata
@pytest.mark.parametrize("kind", JPEGS)
def test_damaged_jpegs_are_read_or_refused_as_pillow_does(kind):
    rng = np.random.default_rng(len(kind))
    for _ in range(60):
        data = harmed(JPEGS[kind], rng)
        ours, pillows = with_ours(data), with_pillow(data)
        assert (ours is None) == (pillows is None)
        assert ours is None or np.array_equal(ours, pillows)


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "x.jpg is empty"), (b"<html>", "does not decode"), (encoded("RGB", "JPEG")[:-300], "does not decode")],
)
def test_what_is_no_image_is_named(data, match):
    with pytest.raises(RunError, match=match):
        decode(data, "x.jpg")


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("AVIF", "DIB")])
def test_every_format_of_data_sets_is_read(form):
    assert decode(encoded("RGB", form), "x").shape == (10, 20, 3)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_levels_that_8_bits_do_not_hold_are_refused_and_not_cut_off(mode, form):
    """Pillow makes a white picture of one of 16 bits, and a black one of floats from 0 to 1."""
    levels = np.linspace(0, 1, 600).reshape(20, 30)
    if mode == "F":
        picture = Image.fromarray(levels.astype(np.float32))
    else:
        picture = Image.fromarray((levels * 65535).astype(np.uint16 if mode == "I;16" else np.int32))
    file = io.BytesIO()
    try:
        picture.save(file, form)
    except OSError:
        pytest.skip(f"{form} holds no {mode}")
    with pytest.raises(
        RunError, match=r"scan\.png has more than 8 bits a channel \([IF].*\), and nobody knows which level"
    ):
        decode(file.getvalue(), "scan.png")


def test_a_small_file_of_a_huge_picture_is_refused_unread():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = int(MOST_PIXELS**0.5)
    for width, height in ((side + 1, side + 1), (MOST_PIXELS + 1, 1)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with (
            pytest.warns(Image.DecompressionBombWarning),
            pytest.raises(
                RunError, match=r"^x\.png has .* pixels, and no more than 89 million are read; save it smaller"
            ),
        ):
            decode(data, "x.png")


def test_a_strip_that_would_be_enlarged_to_a_huge_picture_is_refused():
    strip = np.zeros((50_000, 1, 3), dtype=np.uint8)
    with pytest.raises(RunError, match=r"x\.png has 1×50,000 pixels, too narrow a strip: .* 3,277 million; cut it"):
        crop_image(strip, Crop(size=224, ratio=0.875, interpolation="bilinear"), "x.png")


def test_no_file_starts_another_program(monkeypatch):
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(RunError, match="x.png does not decode as an image .it is none of JPEG, PNG"):
        decode(data, "x.png")


@pytest.mark.parametrize("error", [SyntaxError("bad chunk"), RuntimeError("avif"), struct.error("short"), KeyError(3),
                                   ZeroDivisionError(), OverflowError(), RecursionError(), MemoryError()])  # fmt: skip
@pytest.mark.parametrize("when", ["open", "load"])
def test_whatever_a_reader_raises_names_the_file(monkeypatch, error, when):
    def fail(*_, **__):
        raise error

    if when == "open":
        monkeypatch.setattr("PIL.Image.open", fail)
    else:
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(RunError, match=r"^0/a\.png does not decode as an image \(.+\); fetch it again\.$"):
        decode(encoded("RGB", "PNG"), "0/a.png")


def test_nothing_else_opens_files_with_pillow():
    modules = Path(package.__file__).parent.rglob("*.py")
    opening = [path.name for path in modules if re.search(r"\bImage\.open\(", path.read_text(encoding="utf-8"))]
    assert opening == ["decode.py"]
