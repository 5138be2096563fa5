"""What holds for every registered checkpoint whose weights are here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load, model_digest
from bench.checkpoints.weights import weights_digest
from bench.datasets.spaces import CIFAR10, DIGITS

NAMES = [entry.name for entry in checkpoints if Path(entry.weights).is_file()]
SHIPPED = Path(__file__).parents[2] / "bench" / "checkpoints" / "zoo"


@pytest.fixture(scope="module", params=NAMES)
def entry(request):
    return checkpoints.get(request.param)


@pytest.fixture(scope="module")
def module(entry):
    return load(entry, "cpu")


@pytest.fixture(scope="module")
def images(entry):
    shape = (6, 3, entry.input_size, entry.input_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_it_gives_a_logit_a_class(entry, module, images):
    logits = module(images)
    assert logits.shape == (6, len(entry.class_space.classes))
    assert logits.isfinite().all()


def test_it_evaluates_and_does_not_learn(module):
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert all(array.dtype == torch.float32 for array in module.parameters())


def test_it_is_deterministic(entry, module, images):
    logits = module(images)
    assert torch.equal(module(images), logits)
    assert torch.equal(load(entry, "cpu")(images), logits)


def test_a_sample_does_not_depend_on_its_batch(module, images):
    logits = module(images)
    alone = torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_pixels(module, images):
    pixels = images[:2].clone().requires_grad_()
    module(pixels).square().sum().backward()
    assert (pixels.grad.abs().amax((1, 2, 3)) > 0).all()


def test_loading_leaves_global_random_state_alone(entry):
    before = torch.get_rng_state(), str(np.random.get_state())
    load(entry, "cpu")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


def test_pairs_are_mutual_and_differ_in_sam(entry):
    if not entry.pairs_with:
        pytest.skip("it has no partner")
    partner = checkpoints.get(entry.pairs_with)
    assert partner.pairs_with == entry.name
    assert (entry.family, entry.arch, entry.class_space) == (partner.family, partner.arch, partner.class_space)
    assert (entry.crop, entry.mean, entry.std) == (partner.crop, partner.mean, partner.std)
    assert entry.sam != partner.sam
    assert "none" in (entry.sam, partner.sam)
    assert model_digest(entry) != model_digest(partner)


def test_the_digest_of_its_entry_is_that_of_its_weights(entry):
    if entry.weights_digest:
        assert weights_digest(Path(entry.weights)) == entry.weights_digest


def test_what_ships_is_small_and_whole():
    files = sorted(SHIPPED.glob("*.safetensors"))
    shipped = [entry for entry in checkpoints if Path(entry.weights).parent == SHIPPED]
    assert sorted(Path(entry.weights) for entry in shipped) == files
    assert all(file.stat().st_size < 1_000_000 for file in files)
    families = sorted((entry.family, entry.sam) for entry in shipped if entry.class_space is DIGITS)
    assert families == [(f, s) for f in ("mixer", "resnet", "vit") for s in ("none", "sam")]
    cifar10 = sorted(entry.name for entry in shipped if entry.class_space is CIFAR10)
    assert cifar10 == ["cifar10-resnet", "cifar10-resnet-adversarial"]
    assert len(shipped) == len(families) + len(cifar10)
