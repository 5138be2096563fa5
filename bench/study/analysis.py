"""What the trainings of a study say: arms, and levels of a factor held against each other setting by setting.

The training is the unit. One that diverged is the worst of all: it counts in medians, shares and signs, and is left out
of means, which have no number for it.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.metrics.trainings import FEWEST, over_trainings, sign_test, spread
from bench.study.design import Study, Trial

NEAR = (0.04, 0.1)
"""Of a best score: how many settings come so near says how easily it is found (Xiao et al. 2021, arXiv 2106.14881,
section 5, for the first)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A score that the trainings have."""

    suite: str
    heading: str
    unit: str
    higher_is_better: bool

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.suite}: {self.heading}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What became of a trial."""

    trial: Trial
    checkpoint: str
    diverged: str
    """In words; empty where it did not."""
    scores: Mapping[Column, float]
    """Those that were measured; none where it diverged."""

    def merit(self, column: Column) -> float:
        """A number that is larger for what is better, and least for what diverged."""
        if column not in self.scores:
            return -math.inf
        return self.scores[column] if column.higher_is_better else -self.scores[column]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """One score of an arm."""

    arm: Mapping[str, str]
    column: Column
    trainings: int
    diverged: int
    best: float | None
    median: float | None
    """None where half of the trainings diverged."""
    mean: float | None
    spread: float | None
    """Standard deviation between trainings."""
    ci_low: float | None = None
    """Of the mean over seeds, 95%; None of random settings, which are no sample of anything, and of fewer than 3."""
    ci_high: float | None = None
    near_own: tuple[float, ...] = ()
    """Shares of the settings that come within each of `NEAR` of the arm's best, where settings are drawn."""
    near_joint: tuple[float, ...] = ()
    """… of the best of all arms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastRow:
    """Two levels of a factor, held against each other at equal other levels, settings and seeds."""

    factor: str
    before: str
    after: str
    among: Mapping[str, str]
    """The other factors' levels; empty for all of them together."""
    column: Column
    changes: tuple[float, ...]
    """After - before, of the pairs in which neither diverged."""
    better: int
    worse: int
    """Pairs, with those in which one side alone diverged."""
    equal: int
    mean: float | None
    ci_low: float | None
    """Of the mean change, 95%, by Student's t over the pairs; None of fewer than 3."""
    ci_high: float | None
    p: float
    """That either is as often the better one: the exact sign test, two-sided."""
    change_of_best: float | None
    """The gap between the best trainings of the levels; the paper's optimiser gap, or schedule gap."""
    change_of_median: float | None


def columns_of(trained: Sequence[Trained]) -> list[Column]:
    """Every score that a training has, in the order of their first coming."""
    return list(dict.fromkeys(column for one in trained for column in one.scores))


def arm_rows(study: Study, trained: Sequence[Trained]) -> Iterator[ArmRow]:
    """Yield a row for each arm and score."""
    for column in columns_of(trained):
        joint = max(one.merit(column) for one in trained)
        for arm in study.arms:
            its = [one for one in trained if one.trial.arm == arm]
            if its:
                yield _arm_row(study, arm, column, its, joint)


def _arm_row(study: Study, arm: Mapping[str, str], column: Column, its: Sequence[Trained], joint: float) -> ArmRow:
    merits = [one.merit(column) for one in its]
    values = [one.scores[column] for one in its if column in one.scores]
    interval: tuple[float | None, float | None] = None, None
    if study.draws == 1 and len(values) >= FEWEST:
        interval = over_trainings(values).interval()
    searched = study.searches and column.unit == "fraction"
    return ArmRow(
        arm=arm,
        column=column,
        trainings=len(its),
        diverged=sum(1 for one in its if one.diverged),
        best=_shown(max(merits), column),
        median=_shown(statistics.median(merits), column),
        mean=statistics.fmean(values) if values else None,
        spread=spread(values),
        ci_low=interval[0],
        ci_high=interval[1],
        near_own=tuple(_near(merits, max(merits), away) for away in NEAR) if searched else (),
        near_joint=tuple(_near(merits, joint, away) for away in NEAR) if searched else (),
    )


def _shown(merit: float, column: Column) -> float | None:
    """The score of a merit; None of what diverged."""
    if not math.isfinite(merit):
        return None
    return merit if column.higher_is_better else -merit


def _near(merits: Sequence[float], best: float, away: float) -> float:
    return sum(merit >= best - away for merit in merits if math.isfinite(merit)) / len(merits)


def contrast_rows(study: Study, trained: Sequence[Trained]) -> Iterator[ContrastRow]:
    """Yield a row for each compared factor, level beside its first, score, and combination of the other levels.

    Where there are several combinations, a row of all of them together comes first.
    """
    for factor in study.compare:
        before, *others = study.factors[factor]
        for column in columns_of(trained):
            for after in others:
                sides = _matched(factor, (before, after), trained)
                groups = [
                    (dict(among), list(pairs))
                    for among, pairs in groupby(sides, key=lambda pair: _rest(factor, pair[0]))
                ]
                for among, pairs in [({}, sides), *groups] if len(groups) > 1 else groups:
                    yield _contrast(factor, (before, after), among, column, pairs)


def _rest(factor: str, one: Trained) -> tuple[tuple[str, str], ...]:
    return tuple((other, level) for other, level in one.trial.arm.items() if other != factor)


def _matched(factor: str, levels: tuple[str, str], trained: Sequence[Trained]) -> list[tuple[Trained, Trained]]:
    """Trainings that differ in the level alone, by the other factors' levels."""

    def place(one: Trained) -> tuple[object, ...]:
        return _rest(factor, one), one.trial.draw, one.trial.seed

    first, second = ({place(one): one for one in trained if one.trial.arm[factor] == level} for level in levels)
    pairs = [(one, second[where]) for where, one in first.items() if where in second]
    return sorted(pairs, key=lambda pair: list(map(str, _rest(factor, pair[0]))))


def _contrast(
    factor: str,
    levels: tuple[str, str],
    among: Mapping[str, str],
    column: Column,
    pairs: Sequence[tuple[Trained, Trained]],
) -> ContrastRow:
    gains = [_gain(before.merit(column), after.merit(column)) for before, after in pairs]
    changes = [
        after.scores[column] - before.scores[column]
        for before, after in pairs
        if column in before.scores and column in after.scores
    ]
    interval: tuple[float | None, float | None] = None, None
    if len(changes) >= FEWEST:
        interval = over_trainings(changes).interval()
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return ContrastRow(
        factor=factor,
        before=levels[0],
        after=levels[1],
        among=among,
        column=column,
        changes=tuple(changes),
        better=better,
        worse=worse,
        equal=len(gains) - better - worse,
        mean=statistics.fmean(changes) if changes else None,
        ci_low=interval[0],
        ci_high=interval[1],
        p=sign_test(better, worse),
        change_of_best=_change(pairs, column, max),
        change_of_median=_change(pairs, column, statistics.median),
    )


def _gain(before: float, after: float) -> float:
    """Of merits; two that diverged are equal."""
    return 0.0 if before == after else after - before


def _change(
    pairs: Sequence[tuple[Trained, Trained]], column: Column, of: Callable[[list[float]], float]
) -> float | None:
    before, after = (_shown(of([pair[side].merit(column) for pair in pairs]), column) for side in (0, 1))
    return None if before is None or after is None else after - before
