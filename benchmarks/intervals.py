"""How often the intervals that promise 95% hold the truth: every kind of score, and of difference, on made-up outcomes.

An image is easy or hard, which shows in its outcomes under all conditions (`correlation`, from 0 to nearly 1: of the
normal numbers behind right and wrong), and in both checkpoints' (0.9 of it). The table has, for each kind and number of
images, the lowest share of intervals that hold the truth over all accuracies and correlations (a share below the bar is
taken anew, of ten times as many draws), and how wide they are at an accuracy of 0.5 beside 1.96 standard errors on
either side.
"""

import argparse
import functools
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from _common import claim, table

from bench.errors import BenchError
from bench.machine.processes import in_processes
from bench.metrics import Metric
from bench.metrics.by_image import ByImage, Parts
from bench.metrics.classification import (
    BEST_OF,
    BRIER,
    MEAN_ACCURACY,
    MEAN_OF_SETS,
    MEAN_PER_CLASS,
    NLL,
    TOP1,
)
from bench.metrics.paired import in_difference
from bench.metrics.robustness import ROBUST_AREA
from bench.metrics.shift import MCE, RELATIVE_DROP, RELATIVE_MCE
from bench.metrics.stats import Confidence, OfSum, of_mean
from bench.records import Array, Outcome

COUNTS = (20, 50, 100, 200, 500, 2000)
ACCURACIES = (0.02, 0.1, 0.5, 0.9, 0.98)
CORRELATIONS = (0.0, 0.5, 0.97)
HELD = 0.93
"""Bar: at least."""
ANEW = 10
"""Times as many draws, where a share is below the bar."""
CONDITIONS = 75
CLASSES = 10
GRID = (1.0, 2.0, 4.0, 8.0)
SURE = 4.0
"""How much surer of itself a checkpoint is than it should be: wrong predictions cost many nats."""
REFERENCE = np.linspace(0.2, 0.9, CONDITIONS).reshape(15, 5).tolist()
CLEAN_REFERENCE = 0.15
_NORMAL = NormalDist()

Found: TypeAlias = dict[tuple[str, int], list[float]]
"""By what is scored and how many images."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Outcomes of two checkpoints on the same images, and what the score truly is for each."""

    outcomes: tuple[Sequence[Outcome], Sequence[Outcome]]
    truths: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images as they come: how many, and how alike the outcomes of each are."""

    n: int
    correlation: float
    rng: np.random.Generator

    def ease(self) -> tuple[Array, Array]:
        """(n,) normal numbers of each checkpoint: what they share and what is its own."""
        shared, own = self.rng.standard_normal((2, self.n))
        return shared, 0.9 * shared + math.sqrt(1 - 0.81) * own

    def margins(self, ease: Array, conditions: int) -> Array:
        """(n, conditions) normal numbers."""
        noise = self.rng.standard_normal((self.n, conditions))
        return math.sqrt(self.correlation) * ease[:, None] + math.sqrt(1 - self.correlation) * noise


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of score."""

    name: str
    metric: Metric
    draw: Callable[[Images, float], Draw]
    """Given the accuracy of the first; the second's is a little lower, or in every other draw the same."""
    single: bool = True
    """Whether one checkpoint's score has an interval."""
    paired: bool = True


def outcome(**columns: Array) -> Outcome:
    """Of images that are numbered."""
    n = len(next(iter(columns.values())))
    labels = columns.pop("labels", np.zeros(n, np.int64))
    return Outcome(ids=_ids(n), labels=labels, columns=columns)


def _ids(n: int, first: int = 0) -> Array:
    ids = np.arange(first, first + n)
    ids.flags.writeable = False
    return ids


def _other(images: Images, accuracy: float) -> float:
    """The second checkpoint's accuracy."""
    worse = _NORMAL.cdf(_NORMAL.inv_cdf(accuracy) - 0.2)
    return accuracy if images.rng.random() < 0.5 else worse


def _both(images: Images, accuracy: float, make: Callable[[Array, float], tuple[Sequence[Outcome], float]]) -> Draw:
    first, second = (
        make(ease, its) for ease, its in zip(images.ease(), (accuracy, _other(images, accuracy)), strict=True)
    )
    return Draw(outcomes=(first[0], second[0]), truths=(first[1], second[1]))


def right(conditions: int, truth: Callable[[float], float] = float) -> Callable[[Images, float], Draw]:
    """Draws of which images are right under some conditions, all as hard as each other."""

    def draw(images: Images, accuracy: float) -> Draw:
        def make(ease: Array, its: float) -> tuple[Sequence[Outcome], float]:
            right_NC = images.margins(ease, conditions) < _NORMAL.inv_cdf(its)
            return [outcome(correct=column) for column in right_NC.T], truth(its)

        return _both(images, accuracy, make)

    return draw


def _clean(accuracy: float) -> float:
    """The accuracy on clean images, where a fifth of what is right there is lost under the shift."""
    return min(0.999, accuracy / 0.8)


def shifted(truth: Callable[[float], float], *, same: bool) -> Callable[[Images, float], Draw]:
    """Draws of a clean outcome, and of shifted ones of the same images, or of one of as many others."""

    def draw(images: Images, accuracy: float) -> Draw:
        def make(ease: Array, its: float) -> tuple[Sequence[Outcome], float]:
            margins_NC = images.margins(ease, 1 + CONDITIONS if same else 1)
            clean = outcome(correct=margins_NC[:, 0] < _NORMAL.inv_cdf(_clean(its)))
            rows = margins_NC[:, 1:] if same else images.margins(ease[::-1], 1)
            columns = (rows < _NORMAL.inv_cdf(its)).T
            ids = clean.ids if same else _ids(images.n, images.n)
            return [clean, *(replace(outcome(correct=column), ids=ids) for column in columns)], truth(its)

        return _both(images, accuracy, make)

    return draw


def losses(name: str, loss: Callable[[Array], Array]) -> Callable[[Images, float], Draw]:
    """Draws of a loss of two classes, given how much the logit of the right one is larger."""
    points = np.array([_NORMAL.inv_cdf(x) for x in (np.arange(200_000) + 0.5) / 200_000])

    def draw(images: Images, accuracy: float) -> Draw:
        def make(ease: Array, its: float) -> tuple[Sequence[Outcome], float]:
            centre = _NORMAL.inv_cdf(its)
            values = loss(SURE * (centre - images.margins(ease, 1)[:, 0]))
            return [outcome(**{name: values})], float(loss(SURE * (centre - points)).mean())

        return _both(images, accuracy, make)

    return draw


def _nll(margin: Array) -> Array:
    return np.logaddexp(0, -margin)


def _brier(margin: Array) -> Array:
    return 2 * np.square(1 / (1 + np.exp(np.minimum(margin, 500))))


def by_class(images: Images, accuracy: float) -> Draw:
    """Draws of classes that are not equally frequent, nor equally hard."""
    shares = 1 / np.arange(1, CLASSES + 1)
    labels = images.rng.choice(CLASSES, images.n, p=shares / shares.sum())

    def make(ease: Array, its: float) -> tuple[Sequence[Outcome], float]:
        limits = _NORMAL.inv_cdf(its) + np.linspace(-0.5, 0.5, CLASSES)
        correct = images.margins(ease, 1)[:, 0] < limits[labels]
        return [outcome(correct=correct, labels=labels)], float(
            np.mean([_NORMAL.cdf(limits[label]) for label in np.unique(labels)])
        )

    return _both(images, accuracy, make)


def curve(images: Images, accuracy: float) -> Draw:
    """Draws of the smallest eps that fools: the clean accuracy is above the one that is given, the last below."""

    def make(ease: Array, its: float) -> tuple[Sequence[Outcome], float]:
        limits = np.array([_NORMAL.inv_cdf(its) + shift for shift in (0.6, 0.3, 0.1, -0.1, -0.4)])
        margins = images.margins(ease, 1)
        smallest = np.array([0.0, *GRID, np.inf])[(margins < limits).sum(axis=1)]
        accuracies = [_NORMAL.cdf(limit) for limit in limits]
        return [outcome(smallest_eps=smallest)], float(np.trapezoid(accuracies, [0.0, *GRID])) / GRID[-1]

    return _both(images, accuracy, make)


def sets(images: Images, accuracy: float) -> Draw:
    """Draws of three data sets of as many images each."""
    draws = [right(1)(images, accuracy) for _ in range(3)]
    outcomes = tuple([draw.outcomes[side][0] for draw in draws] for side in (0, 1))
    first, second = (float(np.mean([draw.truths[side] for draw in draws])) for side in (0, 1))
    return Draw(outcomes=(outcomes[0], outcomes[1]), truths=(first, second))


_WEIGHT = float(np.mean([1 / np.mean(errors) for errors in REFERENCE]))
_ADDED = float(np.mean([1 / np.mean(np.array(errors) - CLEAN_REFERENCE) for errors in REFERENCE]))
KINDS = (
    Kind(name="accuracy", metric=TOP1, draw=right(1)),
    Kind(name="mean over 75 conditions", metric=MEAN_ACCURACY, draw=right(CONDITIONS)),
    Kind(name="mean per class", metric=MEAN_PER_CLASS, draw=by_class),
    Kind(
        name="mCE",
        metric=MCE.given(reference=REFERENCE),
        draw=right(CONDITIONS, lambda accuracy: (1 - accuracy) * _WEIGHT),
    ),
    Kind(
        name="relative mCE",
        metric=RELATIVE_MCE.given(reference=REFERENCE, reference_clean=CLEAN_REFERENCE),
        draw=shifted(lambda accuracy: (_clean(accuracy) - accuracy) * _ADDED, same=True),
    ),
    Kind(
        name="relative drop, same images",
        metric=RELATIVE_DROP,
        draw=shifted(lambda accuracy: 1 - accuracy / _clean(accuracy), same=True),
    ),
    Kind(
        name="relative drop, other images",
        metric=RELATIVE_DROP,
        draw=shifted(lambda accuracy: 1 - accuracy / _clean(accuracy), same=False),
    ),
    Kind(name="area under robust accuracy", metric=ROBUST_AREA.given(grid=GRID), draw=curve),
    Kind(name="Brier", metric=BRIER, draw=losses("brier", _brier)),
    Kind(name="NLL", metric=NLL, draw=losses("loss", _nll)),
    Kind(name="mean of 3 data sets", metric=MEAN_OF_SETS.given(groups=[(TOP1, 1)] * 3), draw=sets),
    Kind(name="best of 7", metric=BEST_OF, draw=right(7), paired=False),
)


def held(kind: Kind, images: Images, accuracy: float, repeats: int) -> tuple[list[bool], list[bool]]:
    """Whether the interval of a score, and that of a difference, hold the truth, in each repeat that has one."""
    single: list[bool] = []
    paired: list[bool] = []
    for _ in range(repeats):
        try:
            draw = kind.draw(images, accuracy)
            first, second = (kind.metric.parts(outcomes) for outcomes in draw.outcomes)
            single += _holds(kind.metric, draw.outcomes[0], first, draw.truths[0])
            paired += _paired(kind, first, second, draw.truths[1] - draw.truths[0])
        except BenchError:  # a drop from nothing
            continue
    return single, paired


def _holds(metric: Metric, outcomes: Sequence[Outcome], parts: ByImage | None, truth: float) -> Iterator[bool]:
    # Where the score is a mean, the truth is in the interval where its p is not below 0.05, which takes less time.
    if isinstance(parts, Parts) and parts.score is None and np.isfinite(parts.ends).all() and metric != MEAN_PER_CLASS:
        yield _stands(of_mean(parts.values_NC[:, 0], *parts.ends), truth)
        return
    estimate = metric.function(*outcomes)
    if estimate.ci_low is not None and estimate.ci_high is not None:
        yield estimate.ci_low <= truth <= estimate.ci_high


def _paired(kind: Kind, first: ByImage | None, second: ByImage | None, truth: float) -> Iterator[bool]:
    if not kind.paired:
        return
    try:
        yield _stands(in_difference(first, second, kind.name), truth)
    except BenchError:  # too few images
        return


def _stands(confidence: Confidence, truth: float) -> bool:
    """Whether the truth is in the 95% interval."""
    if isinstance(confidence, OfSum):
        low, high = confidence.interval()
        return low <= truth <= high
    return min(confidence.p_at_least(truth), confidence.p_at_most(truth)) >= 0.025


def width(kind: Kind, images: Images, repeats: int) -> tuple[float, float]:
    """How wide intervals are at an accuracy of 0.5, beside normal ones: of a score and of a difference; NaN of none."""
    single, paired = [], []
    for _ in range(repeats):
        draw = kind.draw(images, 0.5)
        first, second = (kind.metric.parts(outcomes) for outcomes in draw.outcomes)
        if not isinstance(first, Parts) or not isinstance(second, Parts) or first.score is not None:
            break
        estimate = kind.metric.function(*draw.outcomes[0])
        if estimate.ci_low is not None and estimate.ci_high is not None:
            single.append((estimate.ci_high - estimate.ci_low) / _normal_width(first.values_NC))
        change_N1 = second.values_NC - first.values_NC
        try:
            low, high = in_difference(first, second, kind.name).interval()
        except BenchError:
            continue
        if np.ptp(change_N1):
            paired.append((high - low) / _normal_width(change_N1))
    return tuple(float(np.median(ratios)) if ratios else math.nan for ratios in (single, paired))  # type: ignore[return-value]


def _normal_width(values_N1: Array) -> float:
    return 2 * 1.959964 * float(values_N1.std(ddof=1)) / math.sqrt(len(values_N1))


def of_kind(arguments: argparse.Namespace, task: tuple[int, int]) -> tuple[Found, dict[tuple[str, int], float]]:
    """The shares of intervals that hold, by accuracy and correlation, and the widths, of a kind's score and difference.

    Args:
        arguments: the options.
        task: the kind's number, and how many images.
    """
    number, n = task
    kind, rng = KINDS[number], np.random.default_rng([arguments.seed, n, number])
    names = kind.name, f"difference: {kind.name}"
    shares: Found = {(name, n): [] for name in names}
    for correlation in CORRELATIONS:
        images = Images(n=n, correlation=correlation, rng=rng)
        for accuracy in ACCURACIES:
            drawn = held(kind, images, accuracy, arguments.repeats)
            # The lowest of many shares is low by chance: one below the bar is taken anew, of other and more draws.
            if any(each and np.mean(each) < HELD for each in drawn):
                drawn = held(kind, images, accuracy, ANEW * arguments.repeats)
            for name, each in zip(names, drawn, strict=True):
                if len(each) >= arguments.repeats / 10:
                    shares[name, n].append(float(np.mean(each)))
    ratios = width(kind, Images(n=n, correlation=0.5, rng=rng), 20)
    return shares, {(name, n): ratio for name, ratio in zip(names, ratios, strict=True)}


def kept(arguments: argparse.Namespace) -> dict[tuple[str, int], tuple[Found, dict[tuple[str, int], float]]]:
    """By kind and number of images, the shares and widths that a run with the same options found before."""
    lines = arguments.kept.read_text().splitlines() if arguments.kept and arguments.kept.exists() else []
    told = [line for line in map(json.loads, lines) if line["asked"] == [arguments.repeats, arguments.seed]]
    return {
        (line["kind"], line["n"]): (
            {(name, line["n"]): each for name, each in line["shares"].items()},
            {(name, line["n"]): each for name, each in line["widths"].items()},
        )
        for line in told
    }


def keep(arguments: argparse.Namespace, kind: str, n: int, shares: Found, widths: dict[tuple[str, int], float]) -> None:
    """Add what was found to the file."""
    named: list[dict[str, object]] = [{name: each for (name, _), each in some.items()} for some in (shares, widths)]
    asked = [arguments.repeats, arguments.seed]
    with arguments.kept.open("a") as file:
        file.write(json.dumps({"asked": asked, "kind": kind, "n": n, "shares": named[0], "widths": named[1]}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--images", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--kept", type=Path, help="a file for what is found: the same command goes on from it")
    arguments = parser.parse_args()
    shares: Found = {}
    widths: dict[tuple[str, int], float] = {}
    done = kept(arguments)
    every = itertools.product(range(len(KINDS)), arguments.images)
    tasks = [(number, n) for number, n in every if (KINDS[number].name, n) not in done]
    for some_shares, some_widths in done.values():
        shares |= some_shares
        widths |= some_widths
    found = in_processes(functools.partial(of_kind, arguments), tasks, arguments.workers, doing="draws outcomes")
    for (number, n), (some_shares, some_widths) in zip(tasks, found, strict=True):
        shares |= some_shares
        widths |= some_widths
        print(f"{KINDS[number].name}, {n:,} images", file=sys.stderr, flush=True)
        if arguments.kept:
            keep(arguments, KINDS[number].name, n, some_shares, some_widths)
    names = [
        name for name in dict.fromkeys(name for name, _ in shares) if any(shares[name, n] for n in arguments.images)
    ]
    names.sort(key=lambda name: name.startswith("difference"))
    table([("lowest share of intervals that hold", *(f"{n:,}" for n in arguments.images))] + [
        (name, *(f"{min(shares[name, n]):.3f}" if shares[name, n] else "none" for n in arguments.images))
        for name in names
    ])  # fmt: skip
    print()
    table([("width beside the normal interval's", *(f"{n:,}" for n in arguments.images))] + [
        (name, *("–" if math.isnan(widths[name, n]) else f"{widths[name, n]:.2f}" for n in arguments.images))
        for name in names if not all(math.isnan(widths[name, n]) for n in arguments.images)
    ])  # fmt: skip
    lowest = min(min(each) for each in shares.values() if each)
    claim(f"an interval of 95% holds the truth at least {HELD:.0%} of the time", f"{lowest:.1%}", lowest >= HELD)


if __name__ == "__main__":
    main()
