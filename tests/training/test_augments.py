"""Augmentations of recipes against their definitions."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from bench.checkpoints.zoo.architectures import resnet, vit
from bench.errors import BenchError
from bench.training.attention import attention_crop, attention_drop
from bench.training.augments import AUGMENTS, Scene, Shown, augmented
from bench.training.crops import inception_crop, simple_crop
from bench.training.mixes import cutmix, mix_tokens, mixup, shares
from bench.training.model import Normalised
from bench.training.recipe import Augment, AugmentName
from bench.training.three_augment import blurred, grey, jittered, solarised, three_augment

HALF = [0.5, 0.5, 0.5]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 8, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator(1))


def scene(*names: str, size: int = 32, seed: int = 0, **numbers: Any) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Normalised(vit(), HALF, HALF)
    return Scene(given=Augment(names=names, **numbers), size=size, classes=10, draws=generator(seed), model=model)


# -- all of them -----------------------------------------------------------------------------------------------------


def test_recipes_know_the_augmentations_that_there_are() -> None:
    assert set(AUGMENTS) == set(get_args(AugmentName))


@pytest.mark.parametrize("name", AUGMENTS)
def test_images_keep_shape_and_range_and_the_generator_alone_decides(name: str) -> None:
    shown = Shown(images(), torch.arange(8))
    found = []
    for seed, state in [(0, 1), (0, 2), (1, 1)]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(state)
            before = torch.get_rng_state()
            found.append(augmented(shown, scene(name, seed=seed, degrees=10.0, shift=2.0)))
            assert torch.equal(torch.get_rng_state(), before)
    for one in found:
        assert one.images_NCHW.shape == (8, 3, 32, 32)
        assert one.images_NCHW.min() >= 0
        assert one.images_NCHW.max() <= 1
        assert len(one.targets) == 8
    assert torch.equal(found[0].images_NCHW, found[1].images_NCHW)
    assert torch.equal(found[0].targets, found[1].targets)
    assert not torch.equal(found[0].images_NCHW, found[2].images_NCHW)
    assert torch.equal(shown.images_NCHW, images())


def test_they_are_applied_in_the_order_of_their_names() -> None:
    # A mix before a crop of half the size is of large images.
    shown = Shown(images(), torch.arange(8))
    for names in [("mixup", "simple_crop"), ("simple_crop", "mixup")]:
        found = augmented(shown, scene(*names, size=16))
        assert found.images_NCHW.shape == (8, 3, 16, 16)
        assert found.targets.shape == (8, 10)


# -- 3-Augment -------------------------------------------------------------------------------------------------------


def test_exactly_one_of_three_happens_with_equal_chances() -> None:
    originals_NCHW = images(600, 16)
    found_NCHW = three_augment(originals_NCHW, jitter=0.0, generator=generator())
    greys_NCHW, inverted_NCHW = grey(originals_NCHW).expand_as(originals_NCHW), solarised(originals_NCHW)

    def like(wanted_NCHW: Tensor) -> Tensor:
        return (found_NCHW - wanted_NCHW).abs().amax((1, 2, 3)) < 1e-5

    is_grey_N, is_solarised_N = like(greys_NCHW), like(inverted_NCHW)
    # A blur keeps the mean of what is far from the border, and lowers the contrast.
    is_blurred_N = ~(is_grey_N | is_solarised_N)
    assert not (is_grey_N & is_solarised_N).any()
    assert all(150 < int(which_N.sum()) < 250 for which_N in (is_grey_N, is_solarised_N, is_blurred_N))
    contrast_N = found_NCHW[is_blurred_N].flatten(1).std(1)
    assert (contrast_N <= originals_NCHW[is_blurred_N].flatten(1).std(1) + 1e-6).all()


def test_solarise_and_grey_are_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image_1CHW = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255

    def as_pixels(shown_1CHW: Tensor) -> np.ndarray:
        return (shown_1CHW * 255)[0].permute(1, 2, 0).round().numpy()

    assert np.array_equal(as_pixels(solarised(image_1CHW)), np.asarray(ImageOps.solarize(Image.fromarray(pixels), 128)))
    theirs = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.int32)
    assert np.abs(as_pixels(grey(image_1CHW))[..., 0] - theirs).max() <= 1


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
def test_the_blur_is_torchvisions_and_near_pillows(radius: float) -> None:
    originals_NCHW = F.avg_pool2d(images(2, 64), 2)
    found_NCHW = blurred(originals_NCHW, torch.full((2,), radius))
    theirs_NCHW = tv.gaussian_blur(originals_NCHW, [13, 13], [radius, radius])
    torch.testing.assert_close(found_NCHW, theirs_NCHW, rtol=0, atol=1e-5)
    pixels = (originals_NCHW[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    pillows = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255
    inner = (slice(7, -7), slice(7, -7))
    assert np.abs(found_NCHW[0].permute(1, 2, 0).numpy()[inner] - pillows[inner]).mean() < 0.01


def test_each_image_is_blurred_by_its_own_radius() -> None:
    originals_NCHW = images(2)
    both_NCHW = blurred(originals_NCHW, torch.tensor([0.3, 1.5]))
    for place, radius in enumerate([0.3, 1.5]):
        alone_NCHW = blurred(originals_NCHW[place : place + 1], torch.tensor([radius]))
        torch.testing.assert_close(both_NCHW[place], alone_NCHW[0])


def test_jitter_is_a_composition_of_torchvisions_three() -> None:
    original_1CHW = images(1)
    found_1CHW = jittered(original_1CHW, 0.3, generator(5))
    again = generator(5)
    brightness, contrast, saturation = (1 + 0.3 * (2 * torch.rand((3, 1), generator=again) - 1))[:, 0].tolist()
    order = torch.rand((1, 3), generator=again).argsort(1)[0].tolist()
    steps = [
        lambda image: tv.adjust_brightness(image, brightness),
        lambda image: tv.adjust_contrast(image, contrast),
        lambda image: tv.adjust_saturation(image, saturation),
    ]
    theirs_1CHW = original_1CHW
    for number in order:
        theirs_1CHW = steps[number](theirs_1CHW)
    torch.testing.assert_close(found_1CHW, theirs_1CHW, rtol=0, atol=1e-3)  # theirs has greys of four digits


# -- crops -----------------------------------------------------------------------------------------------------------


def test_a_simple_crop_resizes_the_short_side_mirrors_4_pixels_and_cuts() -> None:
    originals_NCHW = images(40)
    padded_NCHW = F.pad(originals_NCHW, [4] * 4, mode="reflect")
    corners = set()
    for found_CHW, padded_CHW in zip(simple_crop(originals_NCHW, 32, generator()), padded_NCHW, strict=True):
        places = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(found_CHW, padded_CHW[:, top : top + 32, left : left + 32])
        ]
        assert len(places) == 1
        corners.add(places[0])
    assert len(corners) > 20


def test_a_simple_crop_of_other_sizes_is_torchvisions() -> None:
    originals_NCHW = images(1, 48)[..., :36]
    found_1CHW = simple_crop(originals_NCHW, 18, generator())
    resized_1CHW = tv.resize(originals_NCHW, [18], v2.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    padded_1CHW = F.pad(resized_1CHW, [4] * 4, mode="reflect")
    height, width = padded_1CHW.shape[2:]
    assert any(
        torch.equal(found_1CHW, padded_1CHW[..., top : top + 18, left : left + 18])
        for top in range(height - 17)
        for left in range(width - 17)
    )


def test_inception_crops_show_parts_of_the_wanted_area() -> None:
    # The image holds its own coordinates, so a crop tells where it was cut.
    side = torch.linspace(0, 1, 64)
    image_1CHW = torch.stack([side[:, None].expand(64, 64), side.expand(64, 64), torch.zeros(64, 64)])[None]
    found_NCHW = inception_crop(image_1CHW.expand(200, -1, -1, -1), 16, 0.25, generator())
    tall_N = (found_NCHW[:, 0, -1].mean(1) - found_NCHW[:, 0, 0].mean(1)) * 16 / 15
    wide_N = (found_NCHW[:, 1, :, -1].mean(1) - found_NCHW[:, 1, :, 0].mean(1)) * 16 / 15
    area_N, aspect_N = tall_N * wide_N, wide_N / tall_N
    assert 0.2 < area_N.min() < 0.35
    assert 0.9 < area_N.max() < 1.05
    assert aspect_N.min() > 0.65
    assert aspect_N.max() < 1.5


# -- mixes -----------------------------------------------------------------------------------------------------------


def test_mixup_mixes_pixels_and_labels_by_one_share() -> None:
    originals_NCHW, labels_NK = images(4), shares(torch.arange(4), 10)
    mixed_NCHW, mixed_NK = mixup(originals_NCHW, labels_NK, 0.8, generator())
    share = float(mixed_NK[0, 0])
    assert 0 < share < 1
    torch.testing.assert_close(mixed_NCHW, share * originals_NCHW + (1 - share) * originals_NCHW.flip(0))
    torch.testing.assert_close(mixed_NK.sum(1), torch.ones(4))


def test_cutmix_labels_go_by_the_pixels_that_were_pasted() -> None:
    areas = []
    for seed in range(20):
        dark_bright = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
        mixed_NCHW, mixed_NK = cutmix(dark_bright, shares(torch.tensor([0, 1]), 2), 1.0, generator(seed))
        assert set(mixed_NCHW.unique().tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(mixed_NK[0, 1], mixed_NCHW[0].mean())
        torch.testing.assert_close(mixed_NK[1, 1], mixed_NCHW[1].mean())
        areas.append(float(mixed_NK[0, 1]))
    assert len(set(areas)) > 5


def test_tokens_keep_the_label_of_the_image_that_they_are_of() -> None:
    for seed in range(10):
        dark_bright = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
        mixed_NCHW, targets = mix_tokens(dark_bright, shares(torch.tensor([0, 1]), 2), 1.0, generator(seed), grid=4)
        assert targets.shape == (2, 17, 2)
        patches_NT = F.avg_pool2d(mixed_NCHW[:, :1], 4).flatten(1)
        assert set(patches_NT.unique().tolist()) <= {0.0, 1.0}  # no patch is cut through
        assert torch.equal(targets[:, 1:, 1], patches_NT)
        torch.testing.assert_close(targets[:, 0], targets[:, 1:].mean(1))


def test_mixed_tokens_want_a_module_with_patches() -> None:
    convolutional = dataclasses.replace(scene("mix_tokens"), model=Normalised(resnet(), HALF, HALF))
    with pytest.raises(BenchError, match="mix_tokens wants a module with patches, and ResNet has none"):
        augmented(Shown(images(), torch.arange(8)), convolutional)


# -- attention -------------------------------------------------------------------------------------------------------


class Bright:
    """In place of a model: attends to bright places."""

    training = False

    def eval(self) -> None:
        pass

    def train(self, mode: bool) -> None:
        pass

    def maps(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW[:, :1]


def lamp() -> Tensor:
    image_1CHW = torch.full((1, 3, 16, 16), 0.1)
    image_1CHW[:, :, 4:8, 8:12] = 1
    return image_1CHW


def test_attention_drop_blackens_what_is_attended_to() -> None:
    found_1CHW = attention_drop(Bright(), lamp(), 0.5, generator())
    wanted_1CHW = lamp()
    wanted_1CHW[:, :, 4:8, 8:12] = 0
    assert torch.equal(found_1CHW, wanted_1CHW)


def test_attention_crop_shows_it_alone() -> None:
    assert torch.equal(attention_crop(Bright(), lamp(), 0.5, generator()), torch.ones(1, 3, 16, 16))


def test_an_image_without_attention_stays_whole() -> None:
    dark_1CHW = torch.zeros(1, 3, 16, 16)
    assert torch.equal(attention_crop(Bright(), dark_1CHW, 0.5, generator()), dark_1CHW)


@pytest.mark.parametrize("build", [vit, resnet])
def test_attention_leaves_the_model_as_it_was(build: Any) -> None:
    model = Normalised(build(), HALF, HALF).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention_crop(model, images(), 0.5, generator())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
