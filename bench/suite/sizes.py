"""What suites of crop ratios and of input sizes have in common: accuracy over a grid of one setting, on data sets."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.metrics import Metric, best_value
from bench.metrics.classification import BEST_OF, TOP1
from bench.records import Condition, ModelSetting, Params, Protocol
from bench.suite import Score, Suite
from bench.text import shares, whole_numbers

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


_RATIOS = _Grid(
    name="ratios",
    column="crop_ratio",
    values=shares,
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


def crop_ratio_suite(swept: Swept) -> Suite:
    """Accuracy against the share of the picture that the crop keeps."""
    return _suite(swept, _RATIOS, Params(ratios=RATIOS))


def resolution_suite(swept: Swept, sizes: str) -> Suite:
    """Accuracy against the side of the images.

    Args:
        swept: the suite's data.
        sizes: ascending, in pixels, joined by `+`.
    """
    return _suite(swept, _SIZES, Params(sizes=sizes))


def _suite(swept: Swept, grid: _Grid, settings: Params, sets: Sequence[str] = ()) -> Suite:
    """The suite over some of its data sets, or all."""
    values = grid.values(str(settings[grid.name]), f"{grid.name} of suite {swept.name!r}")
    own = [condition for condition in swept.own if not sets or condition.data.dataset in sets]
    points = {
        condition: tuple(Condition(data=condition.data, model=grid.setting(value)) for value in values)
        for condition in own
    }
    where = Metric(name=grid.best, function=best_value, unit=grid.unit).given(values=values)
    return Suite(
        name=swept.name,
        version=swept.version,
        title=swept.title,
        paper=grid.paper,
        track=swept.track,
        protocol=Protocol(
            terms=(
                f"{swept.classes}-way",
                f"{grid.column.replace('_', ' ')} {'+'.join(map(str, values))}",
                *grid.terms,
                "the best chosen on the test images",
            )
        ),
        scores=(
            *(
                score
                for condition, grid_points in points.items()
                for score in _columns(condition.data.dataset, condition, grid_points, where)
            ),
            *(Score(metric=TOP1, conditions=(point,)) for grid_points in points.values() for point in grid_points),
        ),
        settings=settings,
        remake=functools.partial(_suite, swept, grid),
        covering=functools.partial(_suite, swept, grid, settings),
        curve=grid.column,
    )


def _columns(name: str, own: Condition, points: tuple[Condition, ...], where: Metric) -> tuple[Score, ...]:
    """What the leaderboard shows of a data set."""
    return (
        Score(metric=TOP1, conditions=(own,), column=name),
        Score(metric=BEST_OF, conditions=points, column=f"{name} best"),
        Score(metric=where, conditions=points, column=f"{name} best at"),
    )
