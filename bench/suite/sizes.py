"""What suites of crop ratios and of input sizes have in common: accuracy over a grid of one setting, on data sets."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError
from bench.metrics import classification
from bench.records import Condition, Estimate, ModelSetting, Outcome, Params, Protocol
from bench.suite import Metric, Score, Suite
from bench.suite.scores import TOP1
from bench.text import whole_numbers

RATIOS = "0.7+0.75+0.8+0.85+0.9+0.95+1.0"
"""From a crop that cuts half of the picture off to one that cuts nothing off its short side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What a suite over a grid is of."""

    name: str
    version: int
    title: str
    track: str
    classes: int
    own: tuple[Condition, ...]
    """Of each data set, the condition under which a checkpoint's own setting is measured; the first is the headline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    """The setting that a suite changes."""

    name: str
    """Of its values, for `--set`."""
    column: str
    """In the long table."""
    values: Callable[[str, str], Sequence[Any]]
    """From text, given the setting's name for messages; ascending."""
    setting: Callable[[Any], ModelSetting]
    best: str
    """Name of the metric that says where the best accuracy is."""
    unit: str
    paper: str
    terms: tuple[str, ...]
    """Of the protocol, after the values."""


def _ratios(text: str, name: str) -> list[float]:
    try:
        found = [float(part) for part in text.split("+")]
    except ValueError:
        found = []
    if not found or not all(0 < ratio <= 1 for ratio in found) or found != sorted(set(found)):
        raise BenchError(
            f"{name} must be ascending numbers above 0 and at most 1 joined by +, such as 0.8+0.9+1.0, not {text!r}."
        )
    return found


_RATIOS = _Grid(
    name="ratios",
    column="crop_ratio",
    values=_ratios,
    setting=lambda ratio: ModelSetting(crop_ratio=ratio),
    best="best_ratio",
    unit="ratio",
    paper="Touvron et al. 2022, arXiv 2204.07118",
    terms=("each checkpoint's own size and filter",),
)
_SIZES = _Grid(
    name="sizes",
    column="input_size",
    values=whole_numbers,
    setting=lambda size: ModelSetting(input_size=size),
    best="best_size",
    unit="pixels",
    paper="Touvron et al. 2019, arXiv 1906.06423",
    terms=("each checkpoint's own crop ratio and filter", "position embeddings interpolated by timm"),
)


def crop_ratio_suite(what: Swept) -> Suite:
    """Accuracy against the share of the picture that the crop keeps."""
    return _suite(what, _RATIOS, Params(ratios=RATIOS))


def resolution_suite(what: Swept, sizes: str) -> Suite:
    """Accuracy against the side of the images.

    Args:
        what: the suite's data.
        sizes: ascending, in pixels, joined by `+`.
    """
    return _suite(what, _SIZES, Params(sizes=sizes))


def _suite(what: Swept, grid: _Grid, settings: Params, sets: Sequence[str] = ()) -> Suite:
    """The suite over some of its data sets, or all."""
    values = grid.values(str(settings[grid.name]), f"{grid.name} of suite {what.name!r}")
    own = [condition for condition in what.own if not sets or condition.data.dataset in sets]
    points = {
        condition: tuple(Condition(data=condition.data, model=grid.setting(value)) for value in values)
        for condition in own
    }
    best_at = functools.partial(best_value, values=values)
    where = Metric(name=grid.best, function=best_at, unit=grid.unit)
    return Suite(
        name=what.name,
        version=what.version,
        title=what.title,
        paper=grid.paper,
        track=what.track,
        protocol=Protocol(
            terms=(
                f"{what.classes}-way",
                f"{grid.column.replace('_', ' ')} {'+'.join(map(str, values))}",
                *grid.terms,
                "the best chosen on the test images",
            )
        ),
        scores=(
            *(
                score
                for condition, some in points.items()
                for score in _columns(condition.data.dataset, condition, some, where)
            ),
            *(Score(metric=TOP1, conditions=(point,)) for some in points.values() for point in some),
        ),
        settings=settings,
        remake=functools.partial(_suite, what, grid),
        covering=functools.partial(_suite, what, grid, settings),
        curve=grid.column,
    )


def _columns(name: str, own: Condition, points: tuple[Condition, ...], where: Metric) -> tuple[Score, ...]:
    """What the leaderboard shows of a data set."""
    return (
        Score(metric=TOP1, conditions=(own,), column=name),
        Score(metric=BEST_OF, conditions=points, column=f"{name} best"),
        Score(metric=where, conditions=points, column=f"{name} best at"),
    )


def best_of(*outcomes: Outcome) -> Estimate:
    """The largest top-1 accuracy over conditions that show the same images: in [0, 1]; interval of Wilson 1927.

    The interval takes the condition as given: that it was chosen on these images makes the value a little too high.

    Raises:
        BenchError: the images or labels differ.

    >>> import numpy as np
    >>> ids, labels = np.arange(4), np.zeros(4, int)
    >>> first, second = (Outcome(ids=ids, labels=labels, columns={"correct": ids < right}) for right in (1, 3))
    >>> best_of(first, second).value
    0.75
    """
    return _best(outcomes)[1]


def best_value(*outcomes: Outcome, values: Sequence[float]) -> Estimate:
    """The value of the setting that gives the largest top-1 accuracy, the smallest of several; no interval.

    Args:
        outcomes: one a value, on the same images.
        values: of the setting, ascending.

    Raises:
        BenchError: the images or labels differ.

    >>> import numpy as np
    >>> ids, labels = np.arange(4), np.zeros(4, int)
    >>> some = [Outcome(ids=ids, labels=labels, columns={"correct": ids < right}) for right in (1, 3, 3)]
    >>> best_value(*some, values=[0.8, 0.9, 1.0]).value
    0.9
    """
    place, accuracy = _best(outcomes)
    return classification.estimate(float(values[place]), accuracy.n)


def _best(outcomes: Sequence[Outcome]) -> tuple[int, Estimate]:
    """Which outcome has the largest accuracy, the first of several, and that accuracy."""
    for other in outcomes[1:]:
        classification.matching_rows(outcomes[0], other, "the best accuracy")
    accuracies = [classification.top1(outcome) for outcome in outcomes]
    place = max(range(len(accuracies)), key=lambda i: accuracies[i].value)  # the first of several
    return place, accuracies[place]


BEST_OF = Metric(name="best_of", function=best_of)
