"""Shape bias on the 300 pictures of conflicting cues that ship (Geirhos et al. 2019, arXiv 1811.12231; CC BY 4.0).

A part of the set, saved as WebP: another protocol than `cue-conflict`'s.
"""

from bench.datasets.groups import SIXTEEN
from bench.records import Protocol
from bench.suite import Suite, suites

from .cue_conflict import PAPER, TERMS, shape_bias_scores
from .imagenet_demo import LITE

suites.register(
    Suite(
        name="imagenet-demo-shape",
        version=1,
        title="Shape bias, 300 pictures of conflicting cues",
        paper=PAPER,
        track="imagenet-demo",
        protocol=Protocol(terms=(*TERMS, "300 of the 1,200 conflicts, as WebP")),
        scores=shape_bias_scores("cue-conflict-demo"),
        predicts=SIXTEEN.of.name,
        checkpoints=LITE,
    )
)
