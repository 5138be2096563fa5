"""The loss landscape on 1,000 training images of ImageNet-1k (Chen et al. 2022, arXiv 2106.01548)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.landscape import Trained, landscape_suite

suites.register(
    landscape_suite(
        Trained(
            name="imagenet-landscape",
            version=1,
            title="The loss landscape on training images of ImageNet-1k",
            track="imagenet-landscape",
            data=Data(dataset="imagenet-train", split="train"),
            classes=1000,
            images=1000,
            sigma="0.002+0.005",
            rho=0.1,
        )
    )
)
