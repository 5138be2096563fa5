"""What suites of transfer have in common: conditions, scores and protocol, from what is learnt and the data sets."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from bench.datasets import Dataset, OfLabels, datasets
from bench.errors import BenchError
from bench.metrics import Metric, constant
from bench.metrics.classification import MEAN_ACCURACY, MEAN_OF_SETS, MEAN_PER_CLASS, SPREAD
from bench.metrics.segmentation import MEAN_CLASS_ACCURACY, MEAN_IOU, PIXEL_ACCURACY
from bench.records import Condition, Data, Measurement, ModelSetting, Params
from bench.records import Protocol as HowTaken
from bench.suite import TOLERANCE, Score, Suite

METRICS = {"top1": MEAN_ACCURACY, "mean_per_class_accuracy": MEAN_PER_CLASS, "mean_iou": MEAN_IOU}
"""Name of a data set's official metric to the metric, over one draw or several of the same test samples."""
_BESIDE = {"mean_per_class_accuracy": (MEAN_ACCURACY,), "mean_iou": (PIXEL_ACCURACY, MEAN_CLASS_ACCURACY)}
"""What else is scored, by the official metric."""


def noted(name: str, unit: str = "fraction") -> Metric:
    """What a measure noted in the column `name`, as a metric."""
    return Metric(name=name, function=functools.partial(constant, name=name), unit=unit)


VALIDATION = noted("validation_accuracy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """A way to learn a data set's classes from a checkpoint: what a transfer suite is made of."""

    name: str
    version: int
    title: str
    paper: str
    settings: Params
    """What `--set` may change; the functions below are given it. Beside these, every such suite has `train_limit`, and
    `crop_ratio` where the checkpoint is shown its crop."""
    measurements: Callable[[Params], Mapping[str, tuple[Measurement, ...]]]
    """Name of a score (empty where there is one only) to what is measured for it: several are draws to be averaged. The
    first is the headline."""
    terms: Callable[[Params], tuple[str, ...]]
    """Of the protocol."""
    chosen: tuple[Metric, ...] = (VALIDATION,)
    """What was chosen, of each data set's headline: rows of the long table."""
    metrics: tuple[str, ...] = get_args(OfLabels)
    """Official metrics of the data sets that can be learnt so."""
    crops: bool = True
    """Whether the checkpoint is shown its crop of an image, whose ratio `--set crop_ratio` may then change."""
    tolerance: float = TOLERANCE
    """As of the suite."""

    def suite(self, **about: str) -> Suite:
        """The suite over every registered data set that has splits to learn from, and one of these metrics.

        Args:
            about: `track`, and `predicts`: class space of the checkpoints it is meant for.
        """
        sets = [dataset.name for dataset in datasets if dataset.fit]
        crop_ratio = {"crop_ratio": 0.0} if self.crops else {}
        return _make(self, about, Params({**self.settings, **crop_ratio, "train_limit": 0}), sets)

    def scores(self, data: Data, metric: str, settings: Params, *, prefix: str, brief: bool = False) -> list[Score]:
        """The scores of one data set, the headline first.

        Args:
            data: with the splits to learn from.
            metric: the official one, a key of METRICS.
            settings: of the suite.
            prefix: what the headings begin with.
            brief: whether the headline alone stands in the leaderboard.
        """
        scores: list[Score] = []
        every = self.conditions(data, settings)
        for number, (name, conditions) in enumerate(every.items()):
            on_board = number == 0 or not brief
            heading = " ".join(filter(None, [prefix, name]))
            scores.append(Score(metric=METRICS[metric], conditions=conditions, column=heading if on_board else ""))
            if len(conditions) > 1:
                scores.append(Score(metric=SPREAD, conditions=conditions))
            scores += [Score(metric=beside, conditions=conditions) for beside in _BESIDE.get(metric, ())]
        headline = next(iter(every.values()))
        return scores + [
            Score(metric=chosen, conditions=(condition,)) for chosen in self.chosen for condition in headline
        ]

    def conditions(self, data: Data, settings: Params) -> dict[str, tuple[Condition, ...]]:
        """Name of a score to its conditions on a data set."""
        model = ModelSetting(crop_ratio=float(settings.get("crop_ratio") or 0) or None)
        fewer = replace(data, fit_samples=int(settings.get("train_limit") or 0) or None)
        return {
            name: tuple(Condition(data=fewer, model=model, measure=measurement) for measurement in draws)
            for name, draws in self.measurements(settings).items()
        }


def limit_in_words(settings: Params, name: str) -> tuple[str, ...]:
    """The term of the protocol that the setting `train_limit` makes; none where all is learnt from.

    Args:
        settings: of the suite.
        name: of the suite.

    Raises:
        BenchError: it is less than 0.
    """
    limit = int(settings.get("train_limit") or 0)
    if limit < 0:
        raise BenchError(f"train_limit of suite {name!r} must be at least 1, or 0 to learn from all, not {limit}.")
    return (f"learnt from {limit} images at most",) if limit else ()


def _make(learning: Learning, about: Mapping[str, str], settings: Params, sets: Sequence[str]) -> Suite:
    ratio = float(settings.get("crop_ratio") or 0)
    if not 0 <= ratio <= 1:
        raise BenchError(f"crop_ratio of suite {learning.name!r} must be in (0, 1], or 0 for each's own, not {ratio}.")
    records = [record for record in map(datasets.get, sets) if record.metric in learning.metrics]
    sets = [record.name for record in records]
    several = len(records) > 1
    scores: list[Score] = []
    for record in records:
        data = _data_of(record)
        scores += learning.scores(data, record.metric, settings, prefix=record.name, brief=several)
    if several:
        scores = [*_means(learning, settings, sets), *scores]
    crop = ("each checkpoint's own crop" if not ratio else f"crop ratio {ratio:g}",) if learning.crops else ()
    fewer = limit_in_words(settings, learning.name)
    return Suite(
        name=learning.name,
        version=learning.version,
        title=learning.title,
        paper=learning.paper,
        protocol=HowTaken(terms=(*learning.terms(settings), *crop, *fewer, f"over {'+'.join(sets)}")),
        scores=tuple(scores),
        tolerance=learning.tolerance,
        settings=settings,
        remake=functools.partial(_make, learning, about, sets=sets),
        covering=functools.partial(_make, learning, about, settings),
        track=about["track"],
        predicts=about.get("predicts", ""),
    )


def _data_of(record: Dataset) -> Data:
    """What is scored of a data set, and what is learnt from."""
    return Data(dataset=record.name, split=record.splits[0], fit=record.fit)


def _means(learning: Learning, settings: Params, sets: Sequence[str]) -> list[Score]:
    """Over the data sets, each by its own metric."""
    by_name: dict[str, list[tuple[str, tuple[Condition, ...]]]] = {}
    for record in map(datasets.get, sets):
        data = _data_of(record)
        for name, conditions in learning.conditions(data, settings).items():
            by_name.setdefault(name, []).append((record.metric, conditions))
    means = []
    for name, parts in by_name.items():
        metric = MEAN_OF_SETS.given(groups=tuple((METRICS[name], len(conditions)) for name, conditions in parts))
        every = tuple(condition for _, conditions in parts for condition in conditions)
        heading = " at ".join(filter(None, [f"mean of {len(sets)}", name]))
        means.append(Score(metric=metric, conditions=every, column=heading))
    return means
