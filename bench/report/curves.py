"""Scores drawn against the parameter that their suite runs through: a panel a data set or norm, a line a checkpoint.

With `report.plots` the one module that imports matplotlib; its own canvases draw, so that no window system is asked.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.attacks.epsilon import NORMS, parse_eps
from bench.board.leaderboard import Board, ScoredRow
from bench.board.tables import display_names
from bench.checkpoints import checkpoints as checkpoint_registry
from bench.errors import BenchError
from bench.metrics.classification import TOP1
from bench.records import Estimate, Scalar
from bench.report.looks import COLOURS, Look, Palette
from bench.store import StoredCheckpoint
from bench.suite import Score, Suite
from bench.suite import suites as suite_registry

Kind = Literal["png", "svg"]

# Their number shares no divisor with that of dashes, so that without colour too a look comes again only after 36 lines.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_DASHES = ("-", "--", "-.", ":")

_PANEL = (4.4, 3.4)
"""Width and height, inches."""
_ACROSS = 3
"""Panels side by side at most."""
_LEGEND_ROW, _TITLES = 0.22, 0.75
"""Height of a row of the legend, and of what stands above the panels, inches."""
_LETTER = 0.085
"""Width of a letter of legend and title, inches, rounded up."""
_DOTS_PER_INCH = 150
_LABELS = {"crop_ratio": "crop ratio", "input_size": "input size, pixels", "linf": "eps, 255ths", "l2": "eps, L2 norm"}
METRICS = {"top1": "top-1", "robust_accuracy": "robust accuracy"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What one checkpoint shows in a panel."""

    checkpoint: StoredCheckpoint
    points: tuple[tuple[float, Estimate], ...]
    """By the parameter, ascending."""
    own: tuple[float, Estimate] | None
    """At the checkpoint's own setting, where the registry knows it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A data set, or a norm of attacks."""

    title: str
    axis: str
    """What the parameter is, with its unit."""
    lines: tuple[Line, ...]


def check_curve(suite: Suite) -> None:
    """Make sure that a suite has something to be drawn against.

    Raises:
        BenchError: it has not; those that have are named.
    """
    if not suite.curve:
        names = ", ".join(known.name for known in suite_registry if known.curve)
        raise BenchError(f"suite {suite.name!r} has no curve, as it measures at one setting alone; with one: {names}.")


def panels(board: Board) -> list[Panel]:
    """The curves of a board, in the order of its suite's scores; checkpoints by their headline, the best first.

    Raises:
        BenchError: the suite has no curve, or no point of it is stored.
    """
    suite = board.suite
    check_curve(suite)
    places = _places(suite)
    points: dict[str, dict[StoredCheckpoint, dict[float, ScoredRow]]] = {}
    own: dict[tuple[StoredCheckpoint, Scalar], Estimate] = {}
    for row in board.rows:
        columns = row.score.columns()
        if row.score in places:
            title, x = places[row.score]
            points.setdefault(title, {}).setdefault(row.checkpoint, {})[x] = row
        elif row.score.metric is TOP1 and columns.get(suite.curve) is None:
            own[row.checkpoint, columns["dataset"]] = row.estimate
    if not points:
        raise BenchError(
            f"no point of {suite.name} is stored as asked; `bench run --suite {suite.name}` measures them."
        )
    return [
        Panel(
            title=NORMS.get(title, title),
            axis=_LABELS.get(title, _LABELS.get(suite.curve, suite.curve)),
            lines=tuple(_line(suite, c, lines[c], own) for c in board.ranking if c in lines),
        )
        for title, lines in points.items()
    ]


def _places(suite: Suite) -> dict[Score, tuple[str, float]]:
    """The scores that are points, with panel and place there: of attacks, all of a norm together, not each alone."""
    places: dict[tuple[str, float], Score] = {}
    for score in suite.scores:
        columns = score.columns()
        if columns.get(suite.curve) is not None and score.metric.name == suite.headline.metric.name:
            place = _place(suite.curve, columns)
            if place not in places or len(score.conditions) > len(places[place].conditions):
                places[place] = score
    return {score: place for place, score in places.items()}


def _place(curve: str, columns: Mapping[str, Scalar]) -> tuple[str, float]:
    """The panel of a point, and where it stands there."""
    value = columns[curve]
    if curve == "eps":
        norm = str(columns["norm"])
        return norm, parse_eps(str(value), norm) * (255 if norm == "linf" else 1)
    return str(columns["dataset"]), float(str(value))


def _line(
    suite: Suite,
    checkpoint: StoredCheckpoint,
    rows: Mapping[float, ScoredRow],
    own: Mapping[tuple[StoredCheckpoint, Scalar], Estimate],
) -> Line:
    points = tuple((x, rows[x].estimate) for x in sorted(rows))
    dataset = next(iter(rows.values())).score.columns()["dataset"]
    accuracy, setting = own.get((checkpoint, dataset)), _own_setting(suite.curve, checkpoint.name)
    if accuracy is None or setting is None:
        return Line(checkpoint=checkpoint, points=points, own=None)
    if suite.curve == "eps":  # the clean accuracy is where the curve begins
        return Line(checkpoint=checkpoint, points=((setting, accuracy), *points), own=None)
    return Line(checkpoint=checkpoint, points=points, own=(setting, accuracy))


def _own_setting(curve: str, name: str) -> float | None:
    """The parameter's value in the entry of a registered checkpoint; of eps none at all, which is 0."""
    if curve == "eps":
        return 0.0
    return getattr(checkpoint_registry.get(name), curve, None) if name in checkpoint_registry else None


# -- drawing -----------------------------------------------------------------------------------------------------


def draw(board: Board, palette: Palette) -> Figure:
    """The curves of a board: accuracies in percent, with their 95% intervals shaded.

    Args:
        board: of a suite that has curves.
        palette: of all that is drawn beside it.

    Raises:
        BenchError: the suite has no curve, or no point of it is stored.
    """
    drawn = panels(board)
    checkpoints = [c for c in board.ranking if any(line.checkpoint == c for panel in drawn for line in panel.lines)]
    looks = {checkpoint: styled(look) for checkpoint, look in palette.of_each(checkpoints).items()}
    ringed = any(line.own for panel in drawn for line in panel.lines)
    handles = _legend(board, looks, ringed=ringed)
    across = min(len(drawn), _ACROSS)
    down = math.ceil(len(drawn) / across)
    width = across * _PANEL[0]
    columns = _columns(handles, width)
    height = down * _PANEL[1] + _TITLES + _LEGEND_ROW * math.ceil(len(handles) / columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, panel in zip(grid, drawn, strict=False):
        _draw_panel(axes, panel, looks)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(METRICS.get(board.suite.headline.metric.name, board.suite.headline.metric.name) + ", %")
    for axes in grid[len(drawn) :]:
        axes.remove()
    about = textwrap.fill(f"{board.choice.text}; shaded: 95% intervals", int(width / _LETTER))
    figure.suptitle(f"{literal(board.suite.title)}\n{about}", fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)
    return figure


def save(figure: Figure, place: "Path | BinaryIO", kind: Kind) -> None:
    """Write a picture; the same board gives the same SVG, without a date and with names that are not drawn by lot."""
    with mpl.rc_context({"svg.hashsalt": "rtbench"}):
        figure.savefig(place, format=kind, dpi=_DOTS_PER_INCH, metadata={"Date": None} if kind == "svg" else None)


def literal(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def styled(look: Look) -> dict[str, Any]:
    """Colour, marker and dashes of a line as matplotlib takes them."""
    colour = COLOURS[look.colour]
    return {
        "color": colour,
        "marker": MARKERS[look.number % len(MARKERS)],
        "markerfacecolor": "white" if look.hollow else colour,
        "linestyle": _DASHES[look.number % len(_DASHES)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[StoredCheckpoint, Mapping[str, Any]]) -> None:
    for line in panel.lines:
        look = looks[line.checkpoint]
        xs = [x for x, _ in line.points]
        axes.plot(xs, [100 * e.value for _, e in line.points], **look)
        axes.fill_between(
            xs,
            [_percent(e.ci_low) for _, e in line.points],
            [_percent(e.ci_high) for _, e in line.points],
            color=look["color"],
            alpha=0.1,
            linewidth=0,
        )
        if line.own is not None:
            axes.plot(line.own[0], 100 * line.own[1].value, **_RING, color=look["color"])
    ticks = sorted({x for line in panel.lines for x, _ in line.points})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.axis)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


_RING: Mapping[str, Any] = {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgewidth": 1.0,
    "linestyle": "none",
}
"""Around the point of a checkpoint's own setting."""


def _percent(bound: float | None) -> float:
    """NaN, where nothing is shaded, for a bound that is not defined."""
    return math.nan if bound is None else 100 * bound


def _legend(board: Board, looks: Mapping[StoredCheckpoint, Mapping[str, Any]], *, ringed: bool) -> list[Line2D]:
    names, warned = display_names(board.checkpoints), board.warnings
    handles = [
        Line2D([], [], **look, label=literal(names[checkpoint]) + " (warning)" * (checkpoint in warned))
        for checkpoint, look in looks.items()
    ]
    return [*handles, Line2D([], [], **_RING, color="#222222", label="its own setting")] if ringed else handles


def _columns(handles: Sequence[Line2D], width: float) -> int:
    """Columns of the legend: as few rows as fit, filled alike."""
    widest = max(len(str(handle.get_label())) for handle in handles) * _LETTER + 0.6  # beside its line
    rows = math.ceil(len(handles) / max(1, int(width / widest)))
    return math.ceil(len(handles) / rows)
