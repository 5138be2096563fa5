"""Digits against the input size, after Touvron et al. 2019 (arXiv 1906.06423).

The images have 32 pixels: at other sizes they are resized, and nothing is seen that is not in them.
"""

from bench.suite import suites
from bench.suite.sizes import Swept, resolution_suite

from .digits_crop_ratio import OWN

suites.register(
    resolution_suite(
        Swept(
            name="digits-resolution",
            version=1,
            title="Digits, by input size",
            track="digits-sizes",
            classes=10,
            own=OWN,
        ),
        sizes="16+24+32+40+48+56+64",  # multiples of the shipped checkpoints' patch of 8
    )
)
