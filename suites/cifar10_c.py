"""CIFAR-10 under the corruptions of ImageNet-C at 32×32 (Hendrycks & Dietterich 2019, arXiv 1903.12261, section 3).

Generated: the severities are those of imagecorruptions, made for 224×224. The published CIFAR-10-C is milder,
so its numbers are not comparable. Models of another input size get the corrupted 32×32 image resized.
"""

import functools

from bench.metrics.classification import MEAN_ACCURACY
from bench.records import Condition, Crop, Data, Generated, Images, Protocol
from bench.suite import Score, Suite, suites
from bench.suite.scores import CORRUPTIONS, corrupted, severities

DATA = Data(dataset="cifar10")
WHOLE = Crop(size=32, ratio=1.0)
CLEAN = Condition(data=DATA, images=Images(crop=WHOLE))
"""Framed as the corrupted images are; a checkpoint's own crop may cut their rim."""
severities_of = functools.partial(severities, data=DATA, crop=WHOLE)


EVERY = tuple(condition for name in CORRUPTIONS for condition in severities_of(name))

suites.register(
    Suite(
        name="cifar10-c",
        version=2,
        title="CIFAR-10, corrupted",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="cifar10",
        protocol=Protocol(terms=("10-way", Generated("at 32"), "resized for other sizes")),
        scores=(
            *corrupted(CLEAN, severities_of, CORRUPTIONS),
            Score(metric=MEAN_ACCURACY, conditions=EVERY, column="mean of 19"),
        ),
    )
)
