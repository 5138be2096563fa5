"""The random draws of imagecorruptions-imaug, made as it makes them, for our corruptions to take.

Both then differ by arithmetic alone, and can be compared value by value.
"""

import warnings
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.corruptions import Corruption
from bench.corruptions.blur import GLASS
from bench.corruptions.kernels.frost_pictures import frost_pictures
from bench.corruptions.kernels.zoom import middle
from bench.corruptions.noise import SHOT
from bench.corruptions.weather import FOG, SNOW
from bench.machine.compiled import compiled
from bench.records import Array

_TAKES_SEED = ("glass_blur", "impulse_noise")
"""They draw from generators of their own."""


class Replayed:
    """Stands in for `bench.rng.Draws`: gives what it was made with, in order.

    Args:
        draws_N: for each sample what the calls give, in their order.
    """

    device = torch.device("cpu")

    def __init__(self, draws_N: list[list[Array]]) -> None:
        self._n = len(draws_N)
        self._waiting = [torch.from_numpy(np.stack(call)) for call in zip(*draws_N, strict=True)]

    def __len__(self) -> int:
        return self._n

    def _next(self, *_: object) -> Tensor:
        draw = self._waiting.pop(0)
        return draw.float() if draw.is_floating_point() else draw

    normal = uniform = integers = poisson = _next


def by_reference(name: str, image_HWC: Array, severity: int, seed: int) -> Array:
    """The package's picture, its generators seeded.

    Args:
        name: of the corruption.
        image_HWC: uint8.
        severity: 1 to 5.
        seed: of NumPy's old global generator, or of the corruption's own.

    Returns:
        uint8 of the same shape.
    """
    from imagecorruptions import corruption_dict

    before = np.random.get_state()
    np.random.seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extra = {"seed": seed} if name in _TAKES_SEED else {}
            return np.array(np.uint8(corruption_dict[name](Image.fromarray(image_HWC), severity, **extra)))
    finally:
        np.random.set_state(before)


def with_its_draws(corruption: Corruption, images_NHWC: Array, severity: int, seeds: list[int]) -> Array:
    """Our pictures of the draws that `by_reference` takes under these seeds; uint8, as `images_NHWC`."""
    draws: Any = Replayed(
        [draws_of(corruption.name, image, severity, seed) for image, seed in zip(images_NHWC, seeds, strict=True)]
    )
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
    return corruption.load()(images_NCHW, severity, draws).permute(0, 2, 3, 1).numpy()


def draws_of(name: str, image_HWC: Array, severity: int, seed: int) -> list[Array]:
    """What the reference draws for one image, as our functions ask for it: a function of the corruption's own."""
    make = globals().get(f"_{name}")
    return make(image_HWC, severity - 1, np.random.RandomState(seed), seed) if make else []


def _gaussian_noise(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    return [old.normal(size=image.shape)]


_speckle_noise = _gaussian_noise


def _shot_noise(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    return [old.poisson(image / 255.0 * SHOT[level]).astype(np.float64)]


def _impulse_noise(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    new = np.random.default_rng(seed)
    return [new.random(image.shape), new.random(image.shape)]


def _glass_blur(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    _, reach, rounds = GLASS[level]
    return [_moves(seed, rounds, image.shape[0] - 2 * reach, image.shape[1] - 2 * reach, reach)]


@compiled
def _moves(seed: int, rounds: int, height: int, width: int, reach: int) -> Array:
    # Compiled, as in the reference: numba's generator is not NumPy's.
    np.random.seed(seed)
    moves = np.empty((rounds, height, width, 2), np.int64)
    for t in range(rounds):
        for y in range(height):
            for x in range(width):
                moves[t, y, x] = np.random.randint(-reach, reach, size=(2,))
    return moves


def _motion_blur(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    return [np.asarray((old.uniform(-45, 45) + 45) / 90)]


def _snow(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    height, width = image.shape[:2]
    field = old.normal(size=(height, width))
    (top, rows), (left, columns) = middle(height, SNOW[level].size), middle(width, SNOW[level].size)
    return [field[top : top + rows, left : left + columns], np.asarray((old.uniform(-135, -45) + 135) / 90)]


def _frost(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    height, width = image.shape[:2]
    which = old.randint(6)
    picture = frost_pictures(height, width)[which]
    room = [picture.shape[0] - height, picture.shape[1] - width]
    return [np.asarray(which), *(np.asarray((old.randint(0, places) + 0.5) / places) for places in room)]


def _fog(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    side = 1 << (max(image.shape) - 1).bit_length()
    size, count, draws = 100.0, 1, []
    while count < side:
        draws += [(old.uniform(-size, size, (count, count)) / size + 1).ravel() / 2 for _ in range(3)]
        size, count = size / FOG[level][1], 2 * count
    return [np.concatenate(draws)]


def _elastic_transform(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    reach = image.shape[0] * 0.005
    return [(old.uniform(-reach, reach, size=image.shape[:2]) / reach + 1) / 2 for _ in range(2)]


def _spatter(image: Array, level: int, old: Any, seed: int) -> list[Array]:
    return [old.normal(size=image.shape[:2])]
