"""ImageNet's validation set with reassessed labels: "Are we done with ImageNet?" (Beyer et al. 2020, arXiv 2006.07159).

A prediction is right if it is in the image's set of labels. 3,163 of the 50,000 images have none and are not scored.
Labels are found by file name (ILSVRC2012_val_00000001.JPEG), never by position. Needs no pass of its own.
"""

from dataclasses import replace

from bench.datasets.imagenet import real_labels_of
from bench.metrics.classification import ACCURACY_IN_SETS, TOP1
from bench.records import Protocol
from bench.suite import Score, Suite, suites

from .imagenet import CLEAN

REAL = replace(ACCURACY_IN_SETS.given(sets_of=real_labels_of), name="real_accuracy")

suites.register(
    Suite(
        name="imagenet-real",
        version=1,
        title="ImageNet-1k, reassessed labels (ReaL)",
        paper="Beyer et al. 2020, arXiv 2006.07159",
        track="imagenet",
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("1000-way", "right if in the set of labels", "each checkpoint's own crop")),
        scores=(
            Score(metric=REAL, conditions=(CLEAN,), column="top-1"),
            Score(metric=TOP1, conditions=(CLEAN,), column="val's labels"),
        ),
    )
)
