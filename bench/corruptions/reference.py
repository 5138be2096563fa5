"""The corruptions of `imagecorruptions-imaug`, one image at a time, with its global randomness keyed and put back.

glass_blur and impulse_noise draw from generators of their own: they are given their seed as an argument.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bench.errors import RunError
from bench.records import Array
from bench.rng import Draws

_TAKES_SEED = ("glass_blur", "impulse_noise")


class Reference:
    """One corruption of the package.

    Args:
        name: the package's name of it.

    Raises:
        RunError: the package does not import; OpenCV needs a system library that a bare machine lacks.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._package = _import_package()

    def __call__(self, images_NCHW: torch.Tensor, severity: int, draws: Draws) -> torch.Tensor:
        """Corrupt a batch: uint8 in, uint8 out, at least 32 × 32."""
        images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
        corrupted = [self._one(image, severity, seed) for image, seed in zip(images_NHWC, _seeds(draws), strict=True)]
        return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2)

    def _one(self, image_HWC: Array, severity: int, seed: int) -> Array:
        function = self._package.corruption_dict[self.name]
        extra = {"seed": seed} if self.name in _TAKES_SEED else {}
        with _numpy_seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's notices about the package's old idioms
            picture = self._package.corruptions.Image.fromarray(image_HWC)
            # uint8() of a float cuts it off, as the package's own `corrupt` does.
            return np.uint8(function(picture, severity, **extra))  # type: ignore[return-value]


def _import_package() -> Any:
    try:
        import cv2
        import imagecorruptions
        import imagecorruptions.corruptions
    except ImportError as error:
        raise RunError(
            f"imagecorruptions does not import ({error}); if a system library such as libGL.so.1 is missing, "
            "install it (Debian and Ubuntu: apt-get install libgl1 libglib2.0-0)."
        ) from error
    cv2.setNumThreads(0)  # threads of OpenCV in forked workers can hang, and workers are the parallelism here
    return imagecorruptions


def _seeds(draws: Draws) -> list[int]:
    """One seed in [0, 2³²) a sample, all that NumPy's old generator takes."""
    return [int(word) & 0xFFFFFFFF for word in draws.keys.words_N2[:, 0].tolist()]


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
