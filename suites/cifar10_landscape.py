"""The loss landscape on 1,000 training images of CIFAR-10 (Chen et al. 2022, arXiv 2106.01548)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.landscape import Trained, landscape_suite

suites.register(
    landscape_suite(
        Trained(
            name="cifar10-landscape",
            version=1,
            title="The loss landscape on training images of CIFAR-10",
            track="cifar10-landscape",
            data=Data(dataset="cifar10", split="train"),
            classes=10,
            images=1000,
            sigma="0.005+0.01",
            rho=0.1,
        )
    )
)
