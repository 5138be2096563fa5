"""The evaluation crop is torchvision's, byte for byte."""

import numpy as np
import pytest
from PIL import Image

from bench.images.crop import crop_image
from bench.records import Crop

transforms = pytest.importorskip("torchvision.transforms")


@pytest.mark.parametrize(
    "shape", [(300, 400), (401, 299), (224, 224), (500, 33), (33, 500), (32, 32), (97, 131), (3, 2), (201, 100)]
)
@pytest.mark.parametrize(
    ("size", "ratio", "interpolation"),
    [
        (224, 0.875, "bicubic"),
        (224, 0.9, "bilinear"),
        (224, 0.965, "bilinear"),
        (160, 0.8, "bicubic"),
        (448, 1.0, "bicubic"),
        (32, 1.0, "bicubic"),
        (384, 1.0, "bicubic"),
        (64, 0.95, "nearest"),
    ],
)
def test_crops_equal_torchvisions_resize_and_center_crop(shape, size, ratio, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    crop = Crop(size=size, ratio=ratio, interpolation=interpolation)
    reference = transforms.Compose(
        [
            transforms.Resize(crop.resize, transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(size),
        ]
    )(Image.fromarray(image))
    assert np.array_equal(crop_image(image, crop), np.asarray(reference))


@pytest.mark.parametrize(("size", "ratio"), [(0, 1.0), (224, 0.0), (224, -1.0)])
def test_a_recipe_that_makes_no_sense_is_refused(size, ratio):
    with pytest.raises(ValueError, match="a crop needs"):
        Crop(size=size, ratio=ratio)
