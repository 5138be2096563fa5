"""The JPEG codec in tensors gives Pillow's pixels, byte for byte."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.images.jpeg_torch import round_trip

QUALITIES = (7, 10, 15, 18, 25, 85, 95)
SIZES = ((32, 32), (224, 224), (33, 47), (17, 16), (1, 1), (40, 8))
BATCH = 8
PHOTOGRAPHS = 12


def pillows(image_HWC, quality):
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def ours(images_NHWC, quality):
    return round_trip(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2), quality).permute(0, 2, 3, 1).numpy()


def assert_pillows(images_NHWC, quality):
    expected = np.stack([pillows(image, quality) for image in images_NHWC])
    assert np.array_equal(ours(images_NHWC, quality), expected), (images_NHWC.shape, quality)


def noise(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def dots(n, height, width, seed=0):
    """Each sample 0 or 255: the largest coefficients, and what overshoots most."""
    return noise(n, height, width, seed) // 128 * 255


def gradients(height, width):
    across, down = np.linspace(0, 255, width), np.linspace(255, 0, height)[:, None]
    planes = [across + 0 * down, 0 * across + down, (across + down) / 2]
    return np.stack([np.stack(planes, -1), np.stack(planes[::-1], -1) / 9 + 100]).astype(np.uint8)


def flat(height, width):
    corners = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    return np.stack([np.full((height, width, 3), colour, np.uint8) for colour in [*corners, (1, 128, 77)]])


def waves():
    """Blocks of 0 and 255 with the signs of each of the DCT's 64 waves: every coefficient at its largest."""
    signs = np.cos((2 * np.arange(8) + 1) * np.arange(8)[:, None] * np.pi / 16) > 0
    blocks = signs[:, None, :, None] == signs[None, :, None, :]
    return np.tile(blocks.reshape(64, 8, 8, 1), (1, 2, 2, 3)).astype(np.uint8) * 255


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("size", SIZES)
def test_noise_is_pillows(size, quality):
    assert_pillows(np.concatenate([noise(2, *size), dots(1, *size)]), quality)


@pytest.mark.parametrize("quality", QUALITIES)
def test_smooth_and_flat_images_are_pillows(quality):
    assert_pillows(gradients(33, 47), quality)
    assert_pillows(gradients(64, 64), quality)
    assert_pillows(flat(17, 16), quality)


@pytest.mark.parametrize("height", range(1, 20))
def test_every_border_is_pillows(height):
    for width in range(1, 20):
        assert_pillows(noise(1, height, width, seed=width), 85)


def test_every_quality_is_pillows():
    images = np.concatenate([noise(3, 32, 32), dots(3, 32, 32)])
    for quality in range(1, 96):
        assert_pillows(images, quality)


@pytest.mark.parametrize("quality", [1, 7, 50, 95])
def test_the_largest_coefficients_are_pillows(quality):
    assert_pillows(waves(), quality)


@pytest.mark.parametrize("quality", QUALITIES)
def test_photographs_are_pillows(quality):
    place = os.environ.get("RTBENCH_TEST_DATA")
    if not place:
        pytest.skip("RTBENCH_TEST_DATA names no folder of real data")
    files = sorted(Path(place, "imagenet-sample").rglob("*.JPEG"))
    if len(files) < PHOTOGRAPHS:
        pytest.skip(f"RTBENCH_TEST_DATA holds {len(files)} photographs in imagenet-sample, not {PHOTOGRAPHS}")
    step = len(files) // PHOTOGRAPHS
    photographs = [Image.open(file).convert("RGB").resize((224, 224)) for file in files[::step][:PHOTOGRAPHS]]
    assert_pillows(np.stack([np.asarray(photograph) for photograph in photographs]), quality)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_an_image_does_not_depend_on_its_batch(size):
    images = noise(BATCH, *size)
    alone = np.concatenate([ours(images[i : i + 1], 15) for i in range(BATCH)])
    assert np.array_equal(ours(images, 15), alone)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1)])
def test_the_layout_in_memory_does_not_matter(size):
    images = torch.from_numpy(noise(2, *size)).permute(0, 3, 1, 2)
    before = images.clone()
    results = [
        round_trip(images.contiguous(memory_format=layout), 25)
        for layout in (torch.contiguous_format, torch.channels_last)
    ]
    assert torch.equal(*results)
    assert torch.equal(round_trip(images.mT, 25), round_trip(images.mT.contiguous(), 25))
    assert all(result.is_contiguous() and result.dtype == torch.uint8 for result in results)
    assert torch.equal(images, before)


def test_dividing_is_what_libjpeg_turbos_reciprocals_do():
    """compute_reciprocal and quantize of jcdctmgr.c, for every step and every coefficient of 8-bit samples."""
    sizes = np.arange(8 * 1024 * 2)
    for step in range(1, 256):
        divisor = 8 * step
        shift = 16 + divisor.bit_length() - 1
        reciprocal, rest = divmod(1 << shift, divisor)
        correction = divisor // 2
        if rest == 0:
            reciprocal, shift = reciprocal >> 1, shift - 1
        elif rest <= divisor // 2:
            correction += 1
        else:
            reciprocal += 1
        assert np.array_equal(((sizes + correction) * reciprocal) >> shift, (sizes + divisor // 2) // divisor)


@pytest.mark.parametrize("quality", [-1, 0, 96, 100])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(ValueError, match=f"must be from 1 to 95; {quality} came"):
        round_trip(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), quality)
