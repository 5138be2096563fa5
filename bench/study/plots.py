"""A study's figures: how scores lie over settings, where good ones are found, and what a change of level gives."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.report.curves import MARKERS, literal
from bench.report.looks import COLOURS
from bench.study.analysis import Column, ContrastRow, Trained, columns_of
from bench.study.design import Study

_PANEL = (3.6, 3.0)
"""Width and height, inches."""
_ROW = 0.32
"""Height of a row of changes."""


def figures(study: Study, trained: Sequence[Trained], contrasts: Sequence[ContrastRow]) -> Iterator[tuple[str, Figure]]:
    """Yield every figure with the name of its file but for the ending.

    Args:
        study: The design.
        trained: All its trainings.
        contrasts: Of `bench.study.analysis.contrast_rows`.
    """
    columns = columns_of(trained)
    if not columns:
        return
    if study.draws > 1:
        yield "distribution", _distributions(study, trained, columns[0])
        drawn = list(dict.fromkeys(key for one in trained for key in one.trial.drawn))
        if len(drawn) == 2:
            yield "settings", _settings(study, trained, columns[0], (drawn[0], drawn[1]))
    for factor in study.compare:
        rows = [
            row for row in contrasts if row.factor == factor and row.changes and (row.among or len(study.factors) == 1)
        ]
        if rows:
            yield f"changes-{factor}", _changes(rows)


def _panels(groups: Sequence[str], across: int = 3, *, shared: bool = True) -> tuple[Figure, list[Axes]]:
    across = min(across, len(groups))
    down = -(-len(groups) // across)
    figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=shared, sharey=shared).ravel()
    for axis, title in zip(axes, groups, strict=False):
        axis.set_title(literal(title), fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    return figure, list(axes)


def _named(arm: Mapping[str, str]) -> str:
    return ", ".join(f"{factor} {level}" for factor, level in arm.items()) or "all"


def _distributions(study: Study, trained: Sequence[Trained], column: Column) -> Figure:
    """The share of settings that are at least so good, after the error distributions of Xiao et al. 2021, figure 4."""
    first = (*study.compare, *study.factors)[0]
    groups: dict[str, list[dict[str, str]]] = {}
    for arm in study.arms:
        groups.setdefault(_named({name: level for name, level in arm.items() if name != first}), []).append(arm)
    figure, axes = _panels(list(groups))
    for axis, arms in zip(axes, groups.values(), strict=False):
        for number, arm in enumerate(arms):
            its = [one for one in trained if one.trial.arm == arm]
            found = sorted((one.scores[column] for one in its if column in one.scores), reverse=column.higher_is_better)
            shown = [_percent(value, column) for value in found]
            shares = [100 * (place + 1) / len(its) for place in range(len(found))]
            axis.step(shown, shares, where="post", label=literal(arm[first]), color=COLOURS[number % len(COLOURS)])
        axis.set_ylim(0, 100)
        axis.set_xlabel(literal(_label_of(column)), fontsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("settings at least so good, %", fontsize=8)
    axes[0].legend(fontsize=8, title=literal(first), title_fontsize=8)
    return figure


def _settings(study: Study, trained: Sequence[Trained], column: Column, keys: tuple[str, str]) -> Figure:
    """Each arm's settings in the plane of two drawn keys, coloured by the score; a cross where it diverged."""
    figure, axes = _panels([_named(arm) for arm in study.arms], across=4, shared=False)
    values = [_percent(one.scores[column], column) for one in trained if column in one.scores]
    for axis, arm in zip(axes, study.arms, strict=False):
        its = [one for one in trained if one.trial.arm == arm]
        good = [one for one in its if column in one.scores]
        across, up = ([one.trial.drawn[key] for one in good] for key in keys)
        colours = [_percent(one.scores[column], column) for one in good]
        dots = axis.scatter(across, up, s=24, c=colours, vmin=min(values), vmax=max(values), cmap="viridis")
        bad = [one for one in its if one.diverged]
        axis.plot(*([one.trial.drawn[key] for one in bad] for key in keys), "x", color="#D55E00", markersize=6)
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_formatter(NullFormatter())  # which would name them one over the other
        axis.set_xlabel(literal(keys[0].replace("_", " ")), fontsize=8)
    axes[0].set_ylabel(literal(keys[1].replace("_", " ")), fontsize=8)
    figure.colorbar(dots, ax=axes, label=literal(_label_of(column)), shrink=0.8)
    return figure


def _changes(rows: Sequence[ContrastRow]) -> Figure:
    """A dot a pair of trainings, with the mean and its interval: what each level gives over the first."""
    columns = list(dict.fromkeys(row.column for row in rows))
    per = [[row for row in rows if row.column == column] for column in columns]
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    height = _ROW * max(map(len, per)) + 0.9
    figure = Figure(figsize=(_PANEL[0] * across + 0.8, height * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axis, column, its in zip(axes, columns, per, strict=False):
        for place, row in enumerate(its):
            away = len(its) - 1 - place
            colour = COLOURS[place % len(COLOURS)]
            shown = [_percent(change, column) for change in row.changes]
            axis.plot(shown, [away] * len(shown), MARKERS[0], color=colour, alpha=0.35, markersize=4)
            if row.ci_low is not None and row.ci_high is not None:
                axis.plot([_percent(row.ci_low, column), _percent(row.ci_high, column)], [away, away], color=colour)
            if row.mean is not None:
                axis.plot(_percent(row.mean, column), away, "D", color=colour, markersize=5)
        axis.axvline(0, color="#888888", linewidth=0.8)
        better = "right" if column.higher_is_better else "left"
        axis.set_title(literal(column.name), fontsize=9)
        axis.set_xlabel(f"change{', points' if column.unit == 'fraction' else ''}; {better} is better", fontsize=8)
        axis.set_ylim(-0.6, len(its) - 0.4)
        axis.set_yticks(range(len(its)), [literal(_label(row)) for row in reversed(its)], fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    return figure


def _label_of(column: Column) -> str:
    return f"{column.name}, {'%' if column.unit == 'fraction' else column.unit}"


def _label(row: ContrastRow) -> str:
    levels = " ".join(row.among.values())
    return f"{levels}: {row.before} → {row.after}" if levels else f"{row.before} → {row.after}"


def _percent(value: float, column: Column) -> float:
    return 100 * value if column.unit == "fraction" else value
