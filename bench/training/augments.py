"""What recipes do to the images of a step, by name: functions that are applied one after another.

Legend: N images, C channels, H height, W width, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from bench.training.attention import attention_crop, attention_drop
from bench.training.augment import flip, rotate_and_shift
from bench.training.crops import inception_crop, simple_crop
from bench.training.mixes import cutmix, mix_tokens, mixup, shares
from bench.training.model import Normalised
from bench.training.randomness import own_randomness
from bench.training.recipe import Augment
from bench.training.three_augment import three_augment


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What an augmentation may look at and draw from."""

    given: Augment
    """The recipe's numbers."""
    size: int
    """Side of the images that the model is shown, pixels."""
    classes: int
    """Of the model."""
    draws: torch.Generator
    """On the CPU wherever the images are, so that every device gets the same ones."""
    model: Normalised
    """As it is at present."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The images of a step, and what they are learnt as."""

    images_NCHW: Tensor
    """Floats in [0, 1]."""
    targets: Tensor
    """Classes (N,); after a mix, shares of them."""


def _rotate_shift(shown: Shown, scene: Scene) -> Shown:
    """Turn and move each image a little."""
    given = scene.given
    images = rotate_and_shift(shown.images_NCHW, degrees=given.degrees, shift=given.shift, generator=scene.draws)
    return Shown(images, shown.targets)


def _flip(shown: Shown, scene: Scene) -> Shown:
    return Shown(flip(shown.images_NCHW, scene.draws), shown.targets)


def _inception_crop(shown: Shown, scene: Scene) -> Shown:
    return Shown(inception_crop(shown.images_NCHW, scene.size, scene.given.area, scene.draws), shown.targets)


def _simple_crop(shown: Shown, scene: Scene) -> Shown:
    return Shown(simple_crop(shown.images_NCHW, scene.size, scene.draws), shown.targets)


def _three_augment(shown: Shown, scene: Scene) -> Shown:
    images = three_augment(shown.images_NCHW, jitter=scene.given.jitter, generator=scene.draws)
    return Shown(images, shown.targets)


def _rand_augment(shown: Shown, scene: Scene) -> Shown:
    """RandAugment, torchvision's (Cubuk et al., NeurIPS 2020, https://arxiv.org/abs/1909.13719), on each by itself."""
    transform = v2.RandAugment(scene.given.operations, scene.given.magnitude)
    seed = int(torch.randint(2**62, (), generator=scene.draws))
    images = (shown.images_NCHW * 255).round().to(torch.uint8)
    with own_randomness(seed, torch.device("cpu")):  # it draws from torch's own generator
        images = torch.stack([transform(image) for image in images])
    return Shown(images / 255, shown.targets)


def _mixup(shown: Shown, scene: Scene) -> Shown:
    targets = shares(shown.targets, scene.classes)
    return Shown(*mixup(shown.images_NCHW, targets, scene.given.mixup, scene.draws))


def _cutmix(shown: Shown, scene: Scene) -> Shown:
    targets = shares(shown.targets, scene.classes)
    return Shown(*cutmix(shown.images_NCHW, targets, scene.given.cutmix, scene.draws))


def _mixup_or_cutmix(shown: Shown, scene: Scene) -> Shown:
    """One of both for the whole step, with equal chances, as DeiT has it."""
    first = bool(torch.rand((), generator=scene.draws) < 0.5)
    return _mixup(shown, scene) if first else _cutmix(shown, scene)


def _mix_tokens(shown: Shown, scene: Scene) -> Shown:
    targets, grid = shares(shown.targets, scene.classes), scene.size // scene.model.patch_size
    return Shown(*mix_tokens(shown.images_NCHW, targets, scene.given.cutmix, scene.draws, grid))


def _attention_crop(shown: Shown, scene: Scene) -> Shown:
    images = attention_crop(scene.model, shown.images_NCHW, scene.given.attention, scene.draws)
    return Shown(images, shown.targets)


def _attention_drop(shown: Shown, scene: Scene) -> Shown:
    images = attention_drop(scene.model, shown.images_NCHW, scene.given.attention, scene.draws)
    return Shown(images, shown.targets)


AUGMENTS: Mapping[str, Callable[[Shown, Scene], Shown]] = {
    "rotate_shift": _rotate_shift,
    "flip": _flip,
    "inception_crop": _inception_crop,
    "simple_crop": _simple_crop,
    "three_augment": _three_augment,
    "rand_augment": _rand_augment,
    "mixup": _mixup,
    "cutmix": _cutmix,
    "mixup_or_cutmix": _mixup_or_cutmix,
    "mix_tokens": _mix_tokens,
    "attention_crop": _attention_crop,
    "attention_drop": _attention_drop,
}
"""By the names that recipes use."""


def augmented(shown: Shown, scene: Scene) -> Shown:
    """Apply a recipe's augmentations in its order."""
    for name in scene.given.names:
        shown = AUGMENTS[name](shown, scene)
    return shown
