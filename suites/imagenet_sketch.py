"""ImageNet-Sketch: sketches of the 1000 classes found on the web (Wang et al. 2019, arXiv 1905.13549).

50,889 pictures, not 50,000; some are black, and count as they are, as in published numbers.
"""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import shift

from .imagenet import CLEAN

suites.register(
    Suite(
        name="imagenet-sketch",
        version=1,
        title="ImageNet-Sketch",
        paper="Wang et al. 2019, arXiv 1905.13549",
        track="imagenet",
        also_in=("imagenet-natural", "imagenet-all"),
        protocol=Protocol(terms=("1000-way", "each checkpoint's own crop")),
        scores=shift(CLEAN, Condition(data=Data(dataset="imagenet-sketch"))),
    )
)
