"""ImageNet in five minutes: 20 of its photographs that pip brings, and three networks whose real weights it brings too.

The photographs are those that foolbox (Rauber et al. 2017, arXiv 1707.04131) carries to try attacks on. Twenty are to
look at, and tell no two networks apart: see the intervals.
"""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import classification

CLEAN = Condition(data=Data(dataset="imagenet-demo"))
LITE = ("tf_efficientnet_lite0.in1k", "tf_efficientnet_lite1.in1k", "tf_efficientnet_lite2.in1k")

suites.register(
    Suite(
        name="imagenet-demo",
        version=1,
        title="ImageNet, 20 photographs",
        paper="Russakovsky et al. 2015, arXiv 1409.0575",
        track="imagenet-demo",
        protocol=Protocol(terms=("1000-way", "20 photographs", "each checkpoint's own crop")),
        scores=classification(CLEAN, top5="top-5"),
        checkpoints=LITE,
    )
)
