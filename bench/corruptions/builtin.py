"""The 19 corruptions of ImageNet-C that the project registers (Hendrycks & Dietterich 2019, arXiv 1903.12261)."""

import functools

from bench.corruptions import CorruptFunction, Corruption, corruptions

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
UNSEEDED = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)
"""These draw nothing at random."""


def _reference(name: str) -> CorruptFunction:
    from bench.corruptions.reference import Reference

    return Reference(name)


for group, names in GROUPS.items():
    for name in names:
        corruptions.register(
            Corruption(
                name=name,
                version=1,
                load=functools.partial(_reference, name),
                seeded=name not in UNSEEDED,
                group=group,
                about="as imagecorruptions-imaug makes it",
            )
        )
