"""The metrics that suites share, as they stand in tables, and the sets of scores that go together."""

from bench import metrics
from bench.records import Condition
from bench.suite import Metric, Score

TOP1 = Metric(name="top1", function=metrics.top1)
TOP5 = Metric(name="top5", function=metrics.top5)
MEAN_PER_CLASS = Metric(name="mean_per_class_accuracy", function=metrics.mean_per_class_accuracy)
NLL = Metric(name="nll", function=metrics.nll, unit="nats", higher_is_better=False)
BRIER = Metric(name="brier", function=metrics.brier, unit="squared probability", higher_is_better=False)
ECE = Metric(name="ece", function=metrics.ece, higher_is_better=False)
MEAN_ACCURACY = Metric(name="mean_accuracy", function=metrics.mean_accuracy)
RELATIVE_DROP = Metric(name="relative_drop", function=metrics.relative_drop, higher_is_better=False)


def classification(condition: Condition) -> tuple[Score, ...]:
    """Accuracy, likelihood and calibration under one condition, top-1 first."""
    return (
        Score(metric=TOP1, conditions=(condition,), column="top-1"),
        Score(metric=TOP5, conditions=(condition,)),
        Score(metric=MEAN_PER_CLASS, conditions=(condition,)),
        Score(metric=NLL, conditions=(condition,), column="NLL"),
        Score(metric=BRIER, conditions=(condition,), column="Brier"),
        Score(metric=ECE, conditions=(condition,), column="ECE"),
    )


def shift(clean: Condition, shifted: Condition) -> tuple[Score, ...]:
    """`classification` under a shift, with the clean accuracy and the drop from it beside."""
    return (
        *classification(shifted),
        Score(metric=TOP1, conditions=(clean,), column="clean"),
        Score(metric=RELATIVE_DROP, conditions=(clean, shifted), column="rel. drop"),
    )
