"""ImageNet and its shifts against the input size: networks mostly do best a little above the size they learnt at.

After Touvron et al. 2019, "Fixing the train-test resolution discrepancy" (arXiv 1906.06423), without fine-tuning.
"""

from bench.suite import suites
from bench.suite.sizes import Swept, resolution_suite

from .crop_ratio import OWN

suites.register(
    resolution_suite(
        Swept(
            name="resolution",
            version=1,
            title="ImageNet and shifts, by input size",
            track="imagenet-sizes",
            classes=1000,
            own=OWN,
        ),
        sizes="128+160+192+224+256+288+320+384+448",  # multiples of 32: of patches of 16 and 32, of a CNN's stride
    )
)
