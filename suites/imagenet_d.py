"""ImageNet-D (Zhang et al. 2024, arXiv 2403.18775): objects drawn with unusual backgrounds, textures and materials.

1000-way; a prediction is right if it is one of the classes that the picture's name stands for.
"""

from bench.datasets.imagenet_hard import D_SPLITS
from bench.metrics.classification import LABEL_SET_ACCURACY, MEAN_OF_SETS
from bench.records import Condition, Data, Protocol
from bench.suite import Score, Suite, suites

PARTS = tuple(Condition(data=Data(dataset="imagenet-d", split=split)) for split in D_SPLITS)

suites.register(
    Suite(
        name="imagenet-d",
        version=1,
        title="ImageNet-D",
        paper="Zhang et al. 2024, arXiv 2403.18775",
        track="imagenet-synthetic",
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("1000-way", "right if in the set of labels", "each checkpoint's own crop")),
        scores=(
            Score(
                metric=MEAN_OF_SETS.given(groups=[(LABEL_SET_ACCURACY, 1)] * len(PARTS)),
                conditions=PARTS,
                column="mean of 3",
            ),
            *(Score(metric=LABEL_SET_ACCURACY, conditions=(part,), column=part.data.split) for part in PARTS),
        ),
    )
)
