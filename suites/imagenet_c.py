"""ImageNet-C as it was published: 19 corruptions × 5 severities, stored as JPEG at 224×224.

Hendrycks & Dietterich 2019, arXiv 1903.12261. Lower mCE is better; 15 corruptions count in it, the four extra ones only
in the mean over 19, which the SAM papers report. A 224-pixel model sees the stored pixels, never resized again; for
another size they are resized. Relative mCE's clean error is that of the suite `imagenet`. Without a copy of the
stored files, `imagenet-c-generated` stands in: another protocol, never in the same table.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

from bench.metrics import Metric
from bench.metrics.classification import MEAN_ACCURACY
from bench.metrics.shift import MCE, RELATIVE_MCE
from bench.records import Condition, Crop, Data, Protocol
from bench.reference import ALEXNET_CLEAN_ERROR, alexnet_error
from bench.suite import Score, Suite, suites
from bench.suite.scores import CORRUPTIONS, MCE_CORRUPTIONS, SEVERITIES, corrupted, severities

from .imagenet import CLEAN

ALEXNET = {name: tuple(alexnet_error(name, severity) for severity in SEVERITIES) for name in CORRUPTIONS}


def mce(names: tuple[str, ...]) -> Metric:
    """The mean corruption error over some corruptions, relative to AlexNet's."""
    metric = MCE.given(reference=[ALEXNET[name] for name in names])
    return metric if len(names) > 1 else replace(metric, name="ce")


# 224 of 224: neither resized nor cut.
stored = functools.partial(
    severities,
    data=Data(dataset="imagenet-c"),
    crop=Crop(size=224, ratio=1.0, interpolation="bilinear"),
    stored=True,
)
"""The five stored folders of a corruption."""


def scores(severities_of: Callable[[str], tuple[Condition, ...]]) -> tuple[Score, ...]:
    """MCE first, then what it is made of and what other papers report."""
    conditions = {name: severities_of(name) for name in CORRUPTIONS}
    fifteen = tuple(condition for name in MCE_CORRUPTIONS for condition in conditions[name])
    every = tuple(condition for name in CORRUPTIONS for condition in conditions[name])
    reference = [ALEXNET[name] for name in MCE_CORRUPTIONS]
    relative_mce = RELATIVE_MCE.given(reference=reference, reference_clean=ALEXNET_CLEAN_ERROR)
    return (
        Score(metric=mce(MCE_CORRUPTIONS), conditions=fifteen, column="mCE"),
        Score(metric=relative_mce, conditions=(CLEAN, *fifteen), column="rel. mCE"),
        Score(metric=MEAN_ACCURACY, conditions=every, column="mean of 19"),
        *corrupted(CLEAN, severities_of, CORRUPTIONS),
        *(Score(metric=mce((name,)), conditions=conditions[name]) for name in CORRUPTIONS),
    )


suites.register(
    Suite(
        name="imagenet-c",
        version=1,
        title="ImageNet-C, the stored files",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="imagenet",
        also_in=("imagenet-synthetic", "imagenet-all"),
        protocol=Protocol(terms=("1000-way", "stored ImageNet-C at 224", "resized (Pillow, bicubic) for other sizes")),
        scores=scores(stored),
        fallback="imagenet-c-generated",
    )
)
