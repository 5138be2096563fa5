"""Images saved as JPEG and read again on a CPU are Pillow's, whoever encodes them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bench.images import jpeg

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 45, 61), dtype=np.uint8))
IMAGES[0] = torch.arange(61) * 4  # smooth, as photographs are
QUALITIES = [7, 25, 50, 85, 95]


def by_pillow(image_CHW, quality):
    file = io.BytesIO()
    Image.fromarray(image_CHW.permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


@pytest.fixture(autouse=True)
def forget():
    jpeg._encoder.cache_clear()
    yield
    jpeg._encoder.cache_clear()


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_pixels_are_pillows(quality):
    wanted = torch.stack([by_pillow(image, quality) for image in IMAGES])
    assert torch.equal(jpeg.round_trip(IMAGES, quality), wanted)


def other_bytes(image_HWC, quality):
    return jpeg._by_pillow(image_HWC // 2, quality)


def missing(image_HWC, quality):
    raise RuntimeError("operator image::encode_jpeg does not exist")


@pytest.mark.parametrize("theirs", [other_bytes, missing])
def test_an_encoder_that_gives_other_bytes_or_is_not_there_is_not_used(monkeypatch, theirs):
    monkeypatch.setattr(jpeg, "_by_torchvision", theirs)
    assert jpeg._encoder() is jpeg._by_pillow
    assert torch.equal(jpeg.round_trip(IMAGES[1:2], 85)[0], by_pillow(IMAGES[1], 85))
