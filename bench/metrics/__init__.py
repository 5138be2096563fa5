"""Metrics: pure functions from stored outcomes to estimates, what each image gives of them, and their statistics.

A metric is one record (`Metric`): its value and what each image gives of it stand together, so that two checkpoints
can be compared image by image whoever wrote it.
"""

from bench.metrics.by_image import Parts, mean_by_image
from bench.metrics.classification import (
    accuracy_in_sets,
    best_of,
    best_value,
    brier,
    constant,
    ece,
    mean_accuracy,
    mean_of_sets,
    mean_per_class_accuracy,
    nll,
    spread,
    top1,
    top5,
)
from bench.metrics.metric import Alarm, Metric
from bench.metrics.outcomes import column, estimate, mean_of, share
from bench.metrics.shift import mean_corruption_error, relative_drop, relative_mean_corruption_error

__all__ = [
    "Alarm",
    "Metric",
    "Parts",
    "accuracy_in_sets",
    "best_of",
    "best_value",
    "brier",
    "column",
    "constant",
    "ece",
    "estimate",
    "mean_accuracy",
    "mean_by_image",
    "mean_corruption_error",
    "mean_of",
    "mean_of_sets",
    "mean_per_class_accuracy",
    "nll",
    "relative_drop",
    "relative_mean_corruption_error",
    "share",
    "spread",
    "top1",
    "top5",
]
