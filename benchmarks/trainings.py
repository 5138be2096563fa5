"""How often the intervals over trainings that promise 95% hold the truth, on made-up outcomes of a recipe's trainings.

An image is easy or hard, which shows in every training (`correlation`, of the normal numbers behind right and wrong),
and a training is better or worse than another by the standard deviation `sd` of its true accuracy. A difference is of
two recipes by seed, of which the second is better or the same, and whose trainings of one seed share half of what sets
seeds apart. The table has the share of intervals that hold the truth, over all correlations. Where accuracies scatter
further than they are from 1, most lie above their mean and a few far below, which three trainings rarely show: those
cells are printed beside the others, and are not held against the bar.
"""

import argparse
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from _common import claim, table

from bench.machine.processes import in_processes
from bench.metrics.by_image import mean_by_image
from bench.metrics.trainings import (
    GivenBySet,
    combined,
    given_by_set,
    mean_of,
    over_trainings,
    with_images,
)
from bench.records import Array, Outcome

TRAININGS = (3, 5, 10)
COUNTS = (100, 500, 2000)
ACCURACIES = (0.5, 0.9, 0.98)
SPREADS = (0.0, 0.01, 0.03)
CORRELATIONS = (0.0, 0.6, 0.95)
GAIN = 0.01
HELD = 0.93
"""Bar: at least."""
_NORMAL = NormalDist()
_QUANTILES = np.array([_NORMAL.inv_cdf((i + 0.5) / 2000) for i in range(2000)])

Cell: TypeAlias = tuple[int, int, float, float]
"""Trainings, images, accuracy, standard deviation between trainings."""


def skewed(accuracy: float, sd: float) -> bool:
    """Whether trainings scatter further than their accuracy is from 1."""
    return sd > 1 - accuracy


@functools.cache
def latent_spread(accuracy: float, sd: float) -> float:
    """Standard deviation of the normal number that moves a training, where accuracies have this one; by bisection."""
    low, high = 0.0, 3.0
    for _ in range(50 if sd else 0):
        middle = (low + high) / 2
        made = np.std([_NORMAL.cdf(x) for x in margin(accuracy, middle) + middle * _QUANTILES])
        low, high = (middle, high) if made < sd else (low, middle)
    return low if sd else 0.0


def margin(accuracy: float, spread: float) -> float:
    """By how much the mean training is beyond the mean image, for a mean accuracy."""
    return _NORMAL.inv_cdf(accuracy) * math.sqrt(1 + spread**2)


def outcomes(cell: Cell, correlation: float, shared: tuple[Array, Array], rng: np.random.Generator) -> Array:
    """(T, N) booleans: which training is right on which image.

    Args:
        cell: what is drawn.
        correlation: between trainings, of the normal numbers behind them.
        shared: (T,) and (N,) normal numbers of the trainings and of the images.
        rng: of what is left.
    """
    trainings, images, accuracy, sd = cell
    spread = latent_spread(accuracy, sd)
    own_TN = rng.standard_normal((trainings, images))
    of_image_N = math.sqrt(correlation) * shared[1]
    level_T1 = (margin(accuracy, spread) + spread * shared[0])[:, None]
    return level_T1 + of_image_N + math.sqrt(1 - correlation) * own_TN > 0


def given(right_TN: Array) -> list[GivenBySet]:
    """What the images give, training by training."""
    ids = np.arange(right_TN.shape[1])
    images = Outcome(ids=ids, labels=ids, columns={})
    return [given_by_set(mean_by_image(images, right_N), "top1") for right_N in right_TN]


def of_mean(cell: Cell, correlation: float, rng: np.random.Generator) -> bool:
    """Whether the interval of a recipe's accuracy holds the true one."""
    shared = rng.standard_normal(cell[0]), rng.standard_normal(cell[1])
    right_TN = outcomes(cell, correlation, shared, rng)
    images = mean_of(given(right_TN))
    low, high = with_images(over_trainings(right_TN.mean(axis=1)), images, change=False).interval()
    return bool(low <= cell[2] <= high)


def of_difference(cell: Cell, correlation: float, rng: np.random.Generator) -> bool:
    """Whether the interval of the difference of two recipes by seed holds the true one."""
    better = (cell[0], cell[1], min(0.99, cell[2] + GAIN * rng.integers(2)), cell[3])
    common_T, of_image_N = rng.standard_normal(cell[0]), rng.standard_normal(cell[1])
    sides = []
    for each in (cell, better):
        of_training_T = math.sqrt(0.5) * (common_T + rng.standard_normal(cell[0]))
        sides.append(outcomes(each, correlation, (of_training_T, of_image_N), rng))
    changes = sides[1].mean(axis=1) - sides[0].mean(axis=1)
    by_image = mean_of([combined([(1.0, a), (-1.0, b)]) for b, a in zip(*map(given, sides), strict=True)])
    low, high = with_images(over_trainings(changes), by_image, change=True).interval()
    return bool(low <= better[2] - cell[2] <= high)


KINDS: dict[str, Callable[[Cell, float, np.random.Generator], bool]] = {
    "mean over trainings": of_mean,
    "difference by seed": of_difference,
}


def of_cell(arguments: argparse.Namespace, task: tuple[str, Cell]) -> float:
    """The share of intervals of a kind that hold, over all correlations.

    Args:
        arguments: the options.
        task: the kind, and the cell.
    """
    name, cell = task
    rng = np.random.default_rng([arguments.seed, list(KINDS).index(name), *(int(1000 * part) for part in cell)])
    return float(np.mean([KINDS[name](cell, c, rng) for c in CORRELATIONS for _ in range(arguments.repeats)]))


def cells(trainings: int, images: int) -> Iterator[Cell]:
    """Of a column of the table."""
    return ((trainings, images, accuracy, sd) for accuracy in ACCURACIES for sd in SPREADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--images", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--trainings", type=int, nargs="*", default=TRAININGS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    columns = list(itertools.product(arguments.trainings, arguments.images))
    tasks = [(name, cell) for name in KINDS for column in columns for cell in cells(*column)]
    found = in_processes(functools.partial(of_cell, arguments), tasks, arguments.workers, doing="draws trainings")
    held = dict(zip(tasks, found, strict=True))
    rows = [
        (f"{name}, accuracy {accuracy}, sd {sd}", *(f"{held[name, (*column, accuracy, sd)]:.3f}" for column in columns))
        for name in KINDS
        for accuracy in ACCURACIES
        for sd in SPREADS
    ]
    table([("share of intervals that hold, trainings × images", *(f"{t} × {n:,}" for t, n in columns)), *rows])
    lowest = min(share for (_, (*_, accuracy, sd)), share in held.items() if not skewed(accuracy, sd))
    claim(f"an interval of 95% holds the truth at least {HELD:.0%} of the time", f"{lowest:.1%}", lowest >= HELD)


if __name__ == "__main__":
    main()
