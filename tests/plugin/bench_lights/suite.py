"""Traffic lights by day and at dusk. After Hendrycks & Dietterich 2019, arXiv 1903.12261."""

from bench.metrics.classification import MEAN_ACCURACY, TOP1
from bench.records import Condition, Data, Images, Perturbation, Protocol
from bench.suite import Score, Suite, suites

DATA = Data(dataset="lights")
DAY = Condition(data=DATA)
DUSK = tuple(
    Condition(data=DATA, images=Images(perturbation=Perturbation(corruption="dusk", severity=severity)))
    for severity in range(1, 6)
)

suites.register(
    Suite(
        name="lights",
        version=1,
        title="Traffic lights",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="lights",
        protocol=Protocol(terms=("3-way",)),
        scores=(
            Score(metric=TOP1, conditions=(DAY,), column="day"),
            Score(metric=MEAN_ACCURACY, conditions=DUSK, column="dusk"),
        ),
    )
)
