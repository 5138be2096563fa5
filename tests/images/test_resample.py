"""The part of a resized picture that a crop keeps is Pillow's, byte for byte."""

import numba
import numpy as np
import pytest
from PIL import Image

from bench.images import resample
from bench.images.resample import resize_part
from bench.machine.compiled import compiled as compile_kernel

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def noise(height, width, seed=0):
    """Black and white dots: what makes a cubic filter overshoot most."""
    return (np.random.default_rng(seed).integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)


def part(image, shape, corner, size, interpolation):
    resized = np.asarray(Image.fromarray(image).resize(shape[::-1], FILTERS[interpolation]))
    return resized[corner[0] : corner[0] + size, corner[1] : corner[1] + size]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((375, 500), (256, 341)),
        ((500, 375), (298, 224)),
        ((1200, 1600), (224, 298)),
        ((17, 23), (248, 335)),
        ((1, 1), (32, 32)),
        ((1, 90), (32, 2880)),
        ((32, 32), (33, 33)),
        ((64, 2000), (224, 7000)),
        ((90, 61), (44, 61)),
    ],
)
def test_any_part_is_pillows(before, after, interpolation):
    image, size = noise(*before), min(*after, 32)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        corner = tuple(int(rng.integers(0, length - size + 1)) for length in after)
        expected = part(image, after, corner, size, interpolation)
        assert np.array_equal(resize_part(image, after, corner, size, interpolation), expected)


@pytest.mark.parametrize("interpolation", FILTERS)
def test_random_sizes_are_pillows(interpolation):
    rng = np.random.default_rng(1)
    for seed in range(60):
        height, width = (int(n) for n in rng.integers(20, 400, 2))
        width = max(width, height // 2 + 1)  # of taller pictures Pillow's order of the passes depends on its version
        scale = rng.uniform(0.3, 2)
        shape = max(int(height * scale), 8), max(int(width * scale), 8)
        corner = int(rng.integers(0, shape[0] - 7)), int(rng.integers(0, shape[1] - 7))
        image = noise(height, width, seed)
        got = resize_part(image, shape, corner, 8, interpolation)
        assert np.array_equal(got, part(image, shape, corner, 8, interpolation)), (height, width, shape, corner)


def test_a_picture_may_be_read_only_or_a_view():
    image = noise(50, 80)
    expected = part(image[::2, ::2], (20, 32), (2, 4), 16, "bicubic")
    assert np.array_equal(resize_part(image[::2, ::2], (20, 32), (2, 4), 16, "bicubic"), expected)
    row = image[:1]
    row.flags.writeable = False
    assert resize_part(row, (32, 2560), (0, 100), 32, "bilinear").shape == (32, 32, 3)


def test_the_kernel_compiles_where_nothing_can_be_kept(monkeypatch):
    compiler = numba.njit

    def homeless(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiler(**options)

    monkeypatch.setattr(numba, "njit", homeless)
    compiled = compile_kernel(resample._average.py_func)
    rows, out = np.array([[10, 0], [20, 255]], dtype=np.uint8), np.empty((1, 2), dtype=np.uint8)
    half = np.full((1, 2), 1 << 21, dtype=np.int32)
    compiled(rows, np.array([0]), np.array([2]), half, out)
    assert out.tolist() == [[15, 128]]
