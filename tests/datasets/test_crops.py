"""A sample that cannot be read fails with its name, whatever its reader raises or gives."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.datasets.crops import CropSource
from bench.errors import RunError
from bench.images.decode import MOST_BYTES
from bench.records import Crop

CROP = Crop(size=8, ratio=1.0, interpolation="bilinear")


class Odd:
    """Samples of one image, whose reader gives or raises what it is told."""

    def __init__(self, result, size=100):
        self.ids, self.labels, self.sizes = np.array(["0/a.png"]), np.zeros(1, np.int64), np.array([size])
        self.result = result

    def read(self, index):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def stamp(self, index):
        return 0


@pytest.mark.parametrize(
    "error", [ValueError("odd"), SyntaxError("bad"), KeyError(1), MemoryError(), StopIteration(), SystemExit(0)]
)
def test_what_a_reader_raises_names_the_sample(error):
    with pytest.raises(RunError, match=r"^0/a\.png cannot be read; obtain it again: "):
        CropSource(Odd(error), CROP).get(0)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9)),
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros((9, 9, 3), np.float32),
        None,
        "text",
    ],
)
def test_what_is_no_image_names_the_sample(image):
    with pytest.raises(
        RunError, match=r"^0/a\.png came as .*; \(h, w, 3\) of uint8, or the bytes of an image file, was"
    ):
        CropSource(Odd(image), CROP).get(0)


def test_an_image_of_too_many_bytes_is_not_read():
    with pytest.raises(RunError, match=r"^0/a\.png has 1\.0 GiB, and at most 1\.0 GiB are read; save it smaller"):
        CropSource(Odd(AssertionError("was read"), size=MOST_BYTES + 1), CROP).get(0)


def test_a_damaged_image_fails_its_data_set_alone(bench, tmp_path, images):
    """The first one too, which is looked at before the run."""
    for folder in ("good/0", "bad/0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "b.png").write_bytes(images[0])
    file = io.BytesIO()
    Image.effect_noise((400, 400), 90).save(file, "PNG", compress_level=0)
    first, second, rest = file.getvalue().split(b"IDAT", 2)
    (tmp_path / "bad/0/a.png").write_bytes(first + b"IDAT" + second + b"\0\0\0\0" + rest)  # a SyntaxError of Pillow's
    text = "".join(f'[datasets.{name}]\nfolder = "{name}"\nclasses = "digits"\n' for name in ("good", "bad"))
    (tmp_path / "mine.toml").write_text(text)
    ran = bench(
        "run",
        "--suite",
        "good",
        "--suite",
        "bad",
        "--registry",
        "mine.toml",
        "--checkpoint",
        "digits-vit",
        "--workers",
        0,
    )
    assert ran.returncode == 1
    assert "digits-vit (1 cell): 0/a.png does not decode as an image (" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "1  digits-vit" in ran.stdout
