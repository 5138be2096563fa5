"""The loss landscape of the digits checkpoints on the images that they learnt from (Chen et al. 2022, 2106.01548)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.landscape import Trained, landscape_suite

suites.register(
    landscape_suite(
        Trained(
            name="digits-landscape",
            version=1,
            title="The loss landscape on handwritten digits that were trained on",
            track="digits-landscape",
            data=Data(dataset="digits-train", split="train"),
            classes=10,
            images=0,
            sigma="0.02+0.05",
            rho=0.1,
        )
    )
)
