"""ImageNet-1k's validation set (Russakovsky et al. 2015, arXiv 1409.0575), each checkpoint under its own crop.

Its one pass also serves ReaL, relative mCE's clean error, and the clean controls of ImageNet-R and -A: accuracy on
the validation images of their 200 classes, with the logits cut to these.
"""

from bench.metrics.classification import TOP1
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite, suites
from bench.suite.scores import classification

CLEAN = Condition(
    data=Data(dataset="imagenet"),
    measure=Measurement(name="classify", params=Params(subsets="imagenet-a+imagenet-r")),
)

suites.register(
    Suite(
        name="imagenet",
        version=1,
        title="ImageNet-1k, validation set",
        paper="Russakovsky et al. 2015, arXiv 1409.0575",
        track="imagenet",
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("1000-way", "each checkpoint's own crop")),
        scores=(
            *classification(CLEAN, top5="top-5"),
            Score(metric=TOP1.within("imagenet-r"), conditions=(CLEAN,), column="R's 200"),
            Score(metric=TOP1.within("imagenet-a"), conditions=(CLEAN,), column="A's 200"),
        ),
    )
)
