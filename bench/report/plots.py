"""The page's charts as figures for papers, in the style of `bench.report.curves`; `save` there writes them."""

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bench.board.leaderboard import Board
from bench.board.tables import display_names
from bench.compare.pairs import compare_pairs, pairs
from bench.errors import BenchError
from bench.names import file_name
from bench.records import Estimate
from bench.report import landscape
from bench.report.charts import Frame, place_labels
from bench.report.curves import draw, literal, styled
from bench.report.looks import Palette
from bench.report.scatter import Scatter, scatters
from bench.report.views import heat
from bench.store import Store

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
"""Percentages that a logit axis may name."""
_MAP = (3.6, 0.26)
"""Width of a heat map, and height of a row, inches."""
_ACROSS = 3
_LABEL = 0.73
"""Size of a label's letters, of those that `place_labels` reckons with."""


def figures(boards: Sequence[Board], store: Store) -> Iterator[tuple[str, Figure]]:
    """Every plot, with the name of its file but for the ending.

    Args:
        boards: of one store.
        store: which.
    """
    palette = Palette(boards)
    for board in boards:
        name = f"{file_name(board.suite.name)}{board.choice.suffix}"
        if board.suite.curve:
            with contextlib.suppress(BenchError):  # no point is stored yet
                yield f"{name}-curve", draw(board, palette)
        for number, scatter in enumerate(scatters(board, store)):
            yield f"{name}-scatter{f'-{number + 1}' if number else ''}", scatter_figure(scatter, board, palette)
        if heat(board):
            yield f"{name}-heat", heat_figure(board)
        for what, figure in landscape.figures(board, store):
            yield f"{name}-{what}", figure
    paired = [board for board in boards if pairs(board)]
    if paired:
        with contextlib.suppress(BenchError):  # none has both its sides
            yield "pairs-sam", pairs_figure(paired, store, palette)


def scatter_figure(scatter: Scatter, board: Board, palette: Palette) -> Figure:
    """Clean against shifted accuracy on logit axes, with the line; a marker a family, filled with SAM."""
    looks = palette.of_families(dot.checkpoint for dot in scatter.dots)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("logit")
    axes.set_yscale("logit")
    for dot in scatter.dots:
        x, y = _kept(dot.clean, scatter.clip), _kept(dot.shifted, scatter.clip)
        axes.errorbar(
            x, y, xerr=_errors(x, dot.clean, scatter.clip), yerr=_errors(y, dot.shifted, scatter.clip),
            **{**styled(looks[dot.checkpoint]), "linestyle": "none", "markersize": 6}, elinewidth=0.7,
        )  # fmt: skip
    if scatter.line is not None:
        ends = axes.get_xlim()
        axes.plot(ends, scatter.line.expected(ends), color="#222222", linestyle="--", linewidth=1, zorder=0)
        axes.set_xlim(ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([tick / 100 for tick in _TICKS]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.set_xlabel(f"{scatter.clean}, %")
    axes.set_ylabel(f"{scatter.shifted}, %")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{literal(board.suite.title)}\n{board.choice.text}; filled: with SAM; bars: 95% intervals", fontsize=9
    )
    names = display_names(board.checkpoints)
    _label(figure, axes, scatter, [literal(names[dot.checkpoint]) for dot in scatter.dots])
    return figure


def _label(figure: Figure, axes: Axes, scatter: Scatter, names: Sequence[str]) -> None:
    """Beside the points, so that none covers another; where there is no room, none."""
    figure.draw_without_rendering()  # settles where things lie
    unit = _LABEL * figure.dpi / 72  # pixels of the figure to one of the page's
    frame = axes.get_window_extent()
    inner = Frame(frame.x0 / unit, -frame.y1 / unit, frame.x1 / unit, -frame.y0 / unit)
    dots = [
        axes.transData.transform((_kept(d.clean, scatter.clip), _kept(d.shifted, scatter.clip))) for d in scatter.dots
    ]
    places = place_labels(names, [(x / unit, -y / unit) for x, y in dots], inner)
    for name, place in zip(names, places, strict=True):
        if place is not None:
            x, y = axes.transData.inverted().transform((place[0] * unit, -place[1] * unit))
            axes.text(x, y, name, fontsize=7.5)


def _kept(estimate: Estimate, clip: float) -> float:
    """Away from 0 and 1, whose logits are infinite."""
    return min(max(estimate.value, clip), 1 - clip)


def heat_figure(board: Board) -> Figure:
    """Accuracy by corruption and severity, a panel a checkpoint, the numbers written in."""
    names, maps = display_names(board.checkpoints), heat(board)
    across = min(len(maps), _ACROSS)
    down = math.ceil(len(maps) / across)
    most = max(map(len, maps.values()))
    figure = Figure(figsize=(across * _MAP[0], down * (most * _MAP[1] + 0.7) + 0.5), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, (checkpoint, by_corruption) in zip(grid, maps.items(), strict=False):
        _draw_map(axes, by_corruption)
        axes.set_title(literal(names[checkpoint]), fontsize=9)
    for axes in grid[len(maps) :]:
        axes.remove()
    figure.suptitle(f"{literal(board.suite.title)}, top-1, %, by severity\n{board.choice.text}", fontsize=9)
    return figure


def _draw_map(axes: Axes, by_corruption: dict[str, dict[int, Estimate]]) -> None:
    severities = sorted({severity for estimates in by_corruption.values() for severity in estimates})
    values = [[es[s].value if s in es else math.nan for s in severities] for es in by_corruption.values()]
    axes.imshow(np.array(values), cmap="Blues", vmin=0, vmax=1.6, aspect="auto")  # pale enough for black figures
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            text = "–" if math.isnan(value) else f"{100 * value:z.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(severities)), [str(severity) for severity in severities], fontsize=7)
    axes.set_yticks(range(len(by_corruption)), [name.replace("_", " ") for name in by_corruption], fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def pairs_figure(boards: Sequence[Board], store: Store, palette: Palette) -> Figure:
    """What SAM changes in each pair and suite, in points, with paired intervals.

    Raises:
        BenchError: no pair has both its sides.
    """
    by_accuracy = [board for board in boards if board.suite.accuracy is not None]
    every = compare_pairs(by_accuracy, store).rows
    rows = [(pair, row) for pair, row in every if row.score.metric.unit == "fraction"]
    if not rows:
        raise BenchError("no pair has a headline score that is a fraction.")
    looks = palette.of_families(pair.after for pair, _ in rows)
    figure = Figure(figsize=(6.4, 0.26 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, (pair, row) in enumerate(rows):
        style = styled(looks[pair.after])
        bounds = (row.value, row.value) if row.ci_low is None or row.ci_high is None else (row.ci_low, row.ci_high)
        axes.plot([100 * bound for bound in bounds], [place, place], color=style["color"], linewidth=1.4)
        axes.plot(100 * row.value, place, **style)
    labels = [f"{literal(pair.after.name)}, {row.suite}, {row.score.column}" for pair, row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7.5)
    axes.invert_yaxis()
    axes.axvline(0, color="#222222", linewidth=0.8)
    axes.set_xlabel("with SAM less without, points; bars: paired 95% intervals")
    axes.grid(alpha=0.25, linewidth=0.6, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _errors(value: float, estimate: Estimate, clip: float) -> list[list[float]] | None:
    """Lengths of the bars to both sides; None without an interval."""
    if estimate.ci_low is None or estimate.ci_high is None:
        return None
    low, high = max(estimate.ci_low, clip / 2), min(estimate.ci_high, 1 - clip / 2)
    return [[max(0.0, value - low)], [max(0.0, high - value)]]
