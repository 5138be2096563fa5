"""Scores and conditions in words, as tables, pages and messages name them."""

from collections.abc import Mapping, Sequence

from bench.metrics.classification import TOP1
from bench.metrics.robustness import ROBUST_ACCURACY
from bench.records import Cell, Condition, Scalar
from bench.suite import Score, Suite

_USUAL_SPLITS = ("test", "val")
"""Nobody needs to be told of these."""


def condition_scores(suite: Suite) -> list[Score]:
    """The accuracies under single conditions that a suite does not show on its leaderboard."""
    single = [score for score in suite.scores if len(score.conditions) == 1 and not score.column]
    return [score for score in single if score.metric.name in (TOP1.name, ROBUST_ACCURACY.name)]


def where(score: Score) -> str:
    """A score in words: its heading, else the condition that it is of.

    >>> from bench.records import Data, Images, Perturbation
    >>> fog = Images(perturbation=Perturbation(corruption="fog", severity=3))
    >>> where(Score(metric=TOP1, conditions=(Condition(data=Data(dataset="digits"), images=fog),)))
    'fog 3'
    """
    if score.column:
        return score.column
    at = [f"{name} {value}" for name, value in score.at.items()]
    return " ".join([condition_in_words(score.conditions[0]), *at])


def condition_in_words(condition: Condition) -> str:
    """What a condition shows: the corruption, or the data set; what it changes of the checkpoint; how it measures."""
    phrases = _phrases(condition.columns())
    hidden = {"jpeg_quality", "crop_size", "fit", "samples", "fit_samples", "maker"}
    hidden |= {"dataset"} if "corruption" in phrases else set()
    if phrases["measure"] == "classify":
        hidden |= {"measure", *condition.measure.params}
    return " ".join(phrase for name, phrase in phrases.items() if name not in hidden)


def columns_in_words(columns: Mapping[str, Scalar]) -> str:
    """All of a condition but how it measures, the data first: `imagenet fog 3 jpeg 85 crop 224/0.875 bilinear`.

    Args:
        columns: as `Condition.columns` gives them, or as a stored cell's footer holds them.
    """
    return " ".join(phrase for name, phrase in _phrases(columns).items() if name != "measure")


def apart_in_words(condition: Condition, others: Sequence[Condition]) -> str:
    """What tells a condition from others: `fog 3`, `pgd dlr`."""
    columns = condition.columns()
    differs = {name for name in columns if len({other.columns().get(name) for other in others} - {None}) > 1}
    return " ".join(phrase for name, phrase in _phrases(columns).items() if name in differs)


def attack_in_words(score: Score) -> str:
    """The attack of a score: `pgd linf ce`."""
    phrases = _phrases(score.columns())
    return " ".join(phrases[name] for name in ("measure", "norm", "loss") if name in phrases)


def cells_in_words(cells: Sequence[Cell]) -> str:
    """The condition of these cells, or how many cells there are."""
    conditions = {cell.condition for cell in cells}
    if len(conditions) != 1:
        size = conditions.pop().model.input_size
        alike = size is not None and all(condition.model.input_size == size for condition in conditions)
        return f"{len(cells)} cells" + f" at {size} pixels" * alike
    condition = conditions.pop()
    return columns_in_words({k: v for k, v in condition.columns().items() if k not in condition.measure.params})


def _phrases(columns: Mapping[str, Scalar]) -> dict[str, str]:
    """What each column of a condition says, in the order in which it is said; severity goes with its corruption."""
    given = {name: value for name, value in columns.items() if value is not None}
    phrases = {"dataset": str(given.pop("dataset", ""))}
    severity = given.pop("severity", None)
    split = given.pop("split", None)
    if "corruption" in given:
        phrases["corruption"] = f"{given.pop('corruption')} {severity}"
    elif split not in (None, *_USUAL_SPLITS):
        phrases["split"] = str(split)
    size, filter_name = given.pop("crop_size", None), given.pop("interpolation", None)
    if size is not None:
        phrases["crop_size"] = f"crop {size}/{given.pop('crop_ratio')} {filter_name}"
    elif "crop_ratio" in given:
        phrases["crop_ratio"] = f"crop ratio {given.pop('crop_ratio'):g}"
    words = {"jpeg_quality": "jpeg {}", "input_size": "{} pixels", "fit": "fit {}", "samples": "{} samples"}
    words |= {"fit_samples": "of {} samples"}
    return phrases | {name: words.get(name, "{}").format(value) for name, value in given.items()}
