"""ImageNet-Hard (Taesiri et al. 2023, arXiv 2304.05538): images that networks get wrong however they are cropped.

A prediction is right if it is among the image's right labels.
"""

from bench.metrics.classification import LABEL_SET_ACCURACY
from bench.records import Condition, Data, Protocol
from bench.suite import Score, Suite, suites

SETS = Condition(data=Data(dataset="imagenet-hard"))

suites.register(
    Suite(
        name="imagenet-hard",
        version=1,
        title="ImageNet-Hard",
        paper="Taesiri et al. 2023, arXiv 2304.05538",
        track="imagenet-natural",
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("1000-way", "right if in the set of labels", "each checkpoint's own crop")),
        scores=(Score(metric=LABEL_SET_ACCURACY, conditions=(SETS,), column="top-1"),),
    )
)
