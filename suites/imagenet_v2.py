"""ImageNet-V2: does the accuracy hold on a new sample? (Recht et al. 2019, arXiv 1902.10811).

Three variants of 10,000 photographs, which differ in how often annotators chose the class; matched-frequency is the
one that papers report. The drop is relative to the validation set; the sets share no image.
"""

from bench.metrics.classification import BRIER, ECE, MEAN_PER_CLASS, NLL, TOP1, TOP5
from bench.metrics.shift import RELATIVE_DROP
from bench.records import Condition, Data, Protocol
from bench.suite import Score, Suite, suites

from .imagenet import CLEAN

VARIANTS = {
    variant: Condition(data=Data(dataset="imagenet-v2", split=variant))
    for variant in ("matched-frequency", "threshold-0.7", "top-images")
}

suites.register(
    Suite(
        name="imagenet-v2",
        version=1,
        title="ImageNet-V2",
        paper="Recht et al. 2019, arXiv 1902.10811",
        track="imagenet",
        also_in=("imagenet-natural", "imagenet-all"),
        protocol=Protocol(terms=("1000-way", "each checkpoint's own crop")),
        scores=(
            *(Score(metric=TOP1, conditions=(c,), column=variant) for variant, c in VARIANTS.items()),
            Score(metric=TOP1, conditions=(CLEAN,), column="clean", clean=True),
            Score(metric=RELATIVE_DROP, conditions=(CLEAN, VARIANTS["matched-frequency"]), column="rel. drop"),
            *(
                Score(metric=metric, conditions=(condition,))
                for condition in VARIANTS.values()
                for metric in (TOP5, MEAN_PER_CLASS, NLL, BRIER, ECE)
            ),
        ),
    )
)
