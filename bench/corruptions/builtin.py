"""The 19 corruptions of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261), as imagecorruptions has them."""

import functools
import importlib

from bench.corruptions import CorruptFunction, Corruption, corruptions

_VERSION = 2
"""1 was imagecorruptions-imaug itself, with its own draws."""
_SMALLEST = 32
"""As imagecorruptions has it: below, a blur reaches over the whole image."""

_BUILT_IN = {
    "gaussian_noise": ("noise", "noise", True, "normal noise of one size"),
    "shot_noise": ("noise", "noise", True, "too few photons: Poisson counts"),
    "impulse_noise": ("noise", "noise", True, "values turned white or black"),
    "defocus_blur": ("blur", "blur", False, "a disk with soft edges"),
    "glass_blur": ("blur", "blur", True, "pixels change places with near ones, between two Gaussian blurs"),
    "motion_blur": ("blur", "blur", True, "along a line, up to 45° from the horizontal"),
    "zoom_blur": ("blur", "blur", False, "average over enlargements of the middle"),
    "snow": ("weather", "weather", True, "whitened, and two layers of falling flakes"),
    "frost": ("weather", "weather", True, "one of six photographs of frost laid over"),
    "fog": ("weather", "weather", True, "brightened by a plasma fractal"),
    "brightness": ("weather", "weather", False, "value raised"),
    "contrast": ("digital", "digital", False, "values drawn to their mean"),
    "elastic_transform": ("digital", "digital", True, "pixels moved by a smooth random field"),
    "pixelate": ("digital", "digital", False, "averaged over boxes"),
    "jpeg_compression": ("digital", "digital", False, "saved as JPEG of quality 25 to 7"),
    "speckle_noise": ("noise", "extra", True, "normal noise that grows with the pixel"),
    "gaussian_blur": ("blur", "extra", False, "a Gaussian"),
    "spatter": ("spatter", "extra", True, "drops of water, or mud"),
    "saturate": ("digital", "extra", False, "saturation changed"),
}
"""Module, group, whether anything is drawn at random, and what it does."""

GROUPS = {
    group: tuple(name for name, entry in _BUILT_IN.items() if entry[1] == group)
    for group in dict.fromkeys(entry[1] for entry in _BUILT_IN.values())
}
"""The names of each group, in the order of the paper."""


def _load(module: str, name: str) -> CorruptFunction:
    function: CorruptFunction = getattr(importlib.import_module(f"bench.corruptions.{module}"), name)
    return function


for name, (module, group, seeded, about) in _BUILT_IN.items():
    corruptions.register(
        Corruption(
            name=name,
            version=_VERSION,
            load=functools.partial(_load, module, name),
            seeded=seeded,
            smallest=_SMALLEST,
            group=group,
            about=about,
        )
    )
