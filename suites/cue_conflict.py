"""Shape bias: by what a model names pictures with one category's shape and another's texture (Geirhos et al. 2019).

arXiv 1811.12231. A category's probability is the mean over its ImageNet classes; sum and maximum are other protocols.
The share of decisions for either cue stands beside: a bias of few decisions says little.
"""

from bench.datasets.cue_conflict import texture_of
from bench.datasets.groups import SIXTEEN
from bench.metrics.classification import TOP1
from bench.metrics.cues import CUE_ACCURACY, SHAPE_BIAS
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite, suites

PAPER = "Geirhos et al. 2019, arXiv 1811.12231"
TERMS = ("16 categories by the mean of their classes' probabilities", "each checkpoint's own crop")


def shape_bias_scores(dataset: str) -> tuple[Score, ...]:
    """The bias first, then of how many decisions it is, and the accuracy by shape over all pictures."""
    condition = Condition(
        data=Data(dataset=dataset), measure=Measurement(name="classify", params=Params(groups=SIXTEEN.name))
    )
    return (
        Score(metric=SHAPE_BIAS.given(texture_of=texture_of), conditions=(condition,), column="shape bias"),
        Score(metric=CUE_ACCURACY.given(texture_of=texture_of), conditions=(condition,), column="shape or texture"),
        Score(metric=TOP1, conditions=(condition,), column="by shape"),
    )


suites.register(
    Suite(
        name="cue-conflict",
        version=1,
        title="Shape bias, pictures of conflicting cues",
        paper=PAPER,
        track="shape",
        also_in=("imagenet-synthetic", "imagenet-all"),
        protocol=Protocol(terms=TERMS),
        scores=shape_bias_scores("cue-conflict"),
        predicts=SIXTEEN.of.name,
    )
)
