"""Digits against the crop ratio at test time, after the ablation in DeiT III (Touvron et al. 2022, arXiv 2204.07118).

The images have 32 pixels, and the shipped checkpoints take all of them: a ratio below 1 enlarges and cuts the rim off.
"""

from bench.records import Condition, Data
from bench.suite import suites
from bench.suite.sizes import Swept, crop_ratio_suite

OWN = tuple(Condition(data=Data(dataset=name)) for name in ("digits", "digits-v2", "digits-r"))
"""At each checkpoint's own setting."""

suites.register(
    crop_ratio_suite(
        Swept(
            name="digits-crop-ratio",
            version=1,
            title="Digits, by crop ratio",
            track="digits-sizes",
            classes=10,
            own=OWN,
        )
    )
)
