"""A study as tables: sections for people, records (fractions, nats) for files."""

from collections.abc import Iterable, Sequence

from bench.compare.tables import Record, Section, as_stored, p_as_stored
from bench.compare.texts import interval, p_value, signed
from bench.study.analysis import NEAR, ArmRow, Column, ContrastRow, Trained
from bench.study.design import Study


def sections(study: Study, arms: Sequence[ArmRow], contrasts: Sequence[ContrastRow]) -> list[Section]:
    """The study's tables: each score by arm, then each compared factor."""
    columns = list(dict.fromkeys(row.column for row in arms))
    every = [_arms(study, column, [row for row in arms if row.column == column]) for column in columns]
    for factor in study.compare:
        rows = [row for row in contrasts if row.factor == factor]
        every += [_contrasts(factor, rows)] if rows else []
    return every


def _arms(study: Study, column: Column, rows: Sequence[ArmRow]) -> Section:
    near = [f"within {100 * away:g} of {whose} best" for whose in ("its", "the") for away in NEAR]
    searched = any(row.near_own for row in rows)
    headings = [*study.factors, "trainings", "diverged", "best", "median", "mean", "spread", "95% interval"]
    return Section(
        title=f"{column.name}, by arm",
        about=(_unit(column),),
        headings=[*headings, *(near if searched else [])],
        rows=[
            [
                *row.arm.values(),
                str(row.trainings),
                str(row.diverged),
                *(_number(value, column) for value in (row.best, row.median, row.mean, row.spread)),
                _interval(row, column),
                *(f"{100 * share:.0f}%" for share in (*row.near_own, *row.near_joint)),
            ]
            for row in rows
        ],
        notes=_arm_notes(study, searched=searched),
    )


def _arm_notes(study: Study, *, searched: bool) -> list[str]:
    notes = ["best is over trainings; one that diverged is the worst in the median, and has no part in the mean."]
    if searched:
        notes.append(
            "within 4 of its best: the share of the drawn settings within 4 points of the arm's own best; of the best: "
            "of all arms'."
        )
    if study.draws > 1:
        notes.append("Settings are drawn, and no sample of those that anyone would take: their mean has no interval.")
    return notes


def _contrasts(factor: str, rows: Sequence[ContrastRow]) -> Section:
    others = list(dict.fromkeys(name for row in rows for name in row.among))
    counts, changes = ("better", "worse", "equal", "p"), ("mean change", "95% interval", "of best", "of median")
    return Section(
        title=f"{factor}: each level beside the first",
        about=("changes at the same other levels, settings and seeds; fractions in points",),
        headings=["score", factor, *others, *counts, *changes],
        rows=[
            [
                row.column.name,
                f"{row.before} → {row.after}",
                *(row.among.get(name, "all") for name in others),
                *map(str, (row.better, row.worse, row.equal)),
                p_value(row.p),
                _change(row.mean, row.column),
                _interval(row, row.column, change=True),
                *(_change(value, row.column) for value in (row.change_of_best, row.change_of_median)),
            ]
            for row in rows
        ],
        notes=(
            "better and worse count pairs of trainings; p is the exact sign test's, two-sided, not adjusted for the "
            "number of rows. The interval is Student's t over the pairs in which neither diverged; images are not part "
            "of it (`bench compare --pair sam --by seed` takes both).",
        ),
    )


def trial_records(trained: Iterable[Trained]) -> list[Record]:
    """A row a training."""
    return [
        {
            "checkpoint": one.checkpoint,
            "recipe": one.trial.recipe.name,
            **one.trial.arm,
            "draw": one.trial.draw,
            "seed": one.trial.seed,
            **one.trial.drawn,
            "diverged": one.diverged or None,
            **{column.name: as_stored(value) for column, value in one.scores.items()},
        }
        for one in trained
    ]


def arm_records(rows: Iterable[ArmRow]) -> list[Record]:
    """A row an arm and score."""
    numbers = ("best", "median", "mean", "spread", "ci_low", "ci_high")
    return [
        {
            **row.arm,
            "score": row.column.name,
            "trainings": row.trainings,
            "diverged": row.diverged,
            **{name: as_stored(getattr(row, name)) for name in numbers},
            **{f"within {away:g} of own best": share for away, share in zip(NEAR, row.near_own, strict=False)},
            **{f"within {away:g} of joint best": share for away, share in zip(NEAR, row.near_joint, strict=False)},
        }
        for row in rows
    ]


def contrast_records(rows: Iterable[ContrastRow]) -> list[Record]:
    """A row a pair of levels, score, and combination of the other levels (empty: all)."""
    return [
        {
            "factor": row.factor,
            "before": row.before,
            "after": row.after,
            "among": "; ".join(f"{factor}={level}" for factor, level in row.among.items()),
            "score": row.column.name,
            "better": row.better,
            "worse": row.worse,
            "equal": row.equal,
            "mean": as_stored(row.mean),
            "ci_low": as_stored(row.ci_low),
            "ci_high": as_stored(row.ci_high),
            "p": p_as_stored(row.p),
            "change_of_best": as_stored(row.change_of_best),
            "change_of_median": as_stored(row.change_of_median),
        }
        for row in rows
    ]


def _unit(column: Column) -> str:
    unit = "percent" if column.unit == "fraction" else column.unit
    return f"{unit}, {'higher' if column.higher_is_better else 'lower'} is better"


def _times(column: Column) -> float:
    return 100 if column.unit == "fraction" else 1


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return "–"
    return f"{100 * value:z.1f}" if column.unit == "fraction" else f"{value:.4g}"


def _change(value: float | None, column: Column) -> str:
    return "–" if value is None else signed(value, _times(column), 1 if column.unit == "fraction" else 3)


def _interval(row: ArmRow | ContrastRow, column: Column, *, change: bool = False) -> str:
    if row.ci_low is None:
        return "–"
    if change:
        return interval(row.ci_low, row.ci_high, _times(column), 1 if column.unit == "fraction" else 3)
    return f"[{_number(row.ci_low, column)}, {_number(row.ci_high, column)}]"
