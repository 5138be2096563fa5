"""Damaged and hostile image files: only our error comes out, in bounded time and memory.

The seed is fixed.
"""

import io
import resource
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, features

from bench.datasets.crops import CropSource
from bench.datasets.readers.folder import class_folders
from bench.datasets.verify import look
from bench.errors import RunError
from bench.images.decode import decode
from bench.records import ClassSpace, Crop
from tests.slow.fuzzing import times

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Pillow warns of damaged metadata

FILES = times(2000)
FORMS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", *(["AVIF"] if features.check("avif") else [])]
SECONDS = 20
"""That no file may take, on a machine that does other things too; most take a millisecond."""
MEMORY = 3 * 2**30
"""Bytes: what an image of the most pixels takes, three times over."""
WORDS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x40\0", struct.pack("<I", 20_000)]


def originals(form: str) -> list[bytes]:
    """Small pictures of one format: colour, grey, palette and transparent, packed in different ways."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (19, 23, 3), dtype=np.uint8))
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PPM": ("RGB", "L"), "AVIF": ("RGB", "RGBA"), "WEBP": ("RGB", "RGBA")}
    options = {"TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_deflate"}]}
    files = []
    for mode in modes.get(form, ("RGB", "L", "P", "RGBA")):
        for option in options.get(form, [{}]):
            file = io.BytesIO()
            try:
                picture.convert(mode).save(file, form, **option)
            except (OSError, KeyError, ValueError):  # a mode that the format or its packing has not
                continue
            files.append(file.getvalue())
    return files


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to five faults, most of them in its headers."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(min(len(changed), 96) if rng.random() < 0.6 else len(changed)) if changed else 0)
        kind = rng.integers(6)
        if kind == 0:
            changed[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            word = WORDS[rng.integers(len(WORDS))]
            changed[place : place + len(word)] = word
        elif kind == 2:
            del changed[place : place + int(rng.integers(1, 30))]
        elif kind == 3:
            changed[place:place] = rng.bytes(int(rng.integers(1, 30)))
        elif kind == 4:
            other = int(rng.integers(len(changed) or 1))
            changed[place:place] = changed[other : other + int(rng.integers(1, 60))]
        else:
            del changed[place + len(changed) // 2 :]
    return bytes(changed)


def files(form: str) -> Iterator[bytes]:
    rng, sources = np.random.default_rng(FORMS.index(form)), originals(form)
    for number in range(max(1, FILES // len(FORMS))):
        yield mutated(sources[number % len(sources)], rng)


def refused(message: str, name: str) -> bool:
    """Whether a message is one sentence about the file; empty where there is none."""
    return message.startswith(f"{name} ") and "\n" not in message


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_image_is_decoded_or_named(form):
    messages = []
    for data in files(form):
        start = time.perf_counter()
        try:
            pixels = decode(data, "0/a.x")
        except RunError as error:
            messages.append(str(error))
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == pixels.shape[2] == 3
        look(data, "0/a.x")  # as `bench data verify` does; it raises nothing
        assert time.perf_counter() - start < SECONDS
    assert messages  # or the files are not damaged
    assert all(refused(message, "0/a.x") for message in messages)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MEMORY


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_damaged_images_gives_crops_or_names_them(form, tmp_path):
    (tmp_path / "0").mkdir()
    for number, data in enumerate(files(form)):
        (tmp_path / f"0/{number:05d}.png").write_bytes(data)  # whatever it is
    samples = class_folders(tmp_path, ClassSpace(name="one", classes=("0",)), "one")
    source = CropSource(samples, Crop(size=32, ratio=0.875, interpolation="bicubic"))
    for index, name in enumerate(samples.ids.tolist()):
        message = ""
        try:
            shape = source.get(index).shape
        except RunError as error:
            message = str(error)
        assert refused(message, name) if message else shape == (32, 32, 3)
