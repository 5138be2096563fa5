"""The page's charts: accuracy against a parameter, and shifted against clean accuracy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.metrics.line import LogitLine
from bench.records import Estimate
from bench.report.curves import Line, Panel
from bench.report.looks import Look
from bench.report.marks import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    apart,
    axes,
    bounds,
    chart,
    dashes,
    group,
    linear,
    mark,
    percent,
    polygon,
)
from bench.report.scatter import Dot, Scatter
from bench.store import StoredCheckpoint

Names = Mapping[StoredCheckpoint, str]
Looks = Mapping[StoredCheckpoint, Look]

_PERCENT = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.5, 99.8, 99.9)
"""What a logit axis may name."""
_LETTER, _LINE = 6.3, 13
"""Width and height of a label's letters."""

# -- against a parameter -----------------------------------------------------------------------------------------


def curve(panel: Panel, metric: str, names: Names, looks: Looks) -> Markup:
    """Accuracies against the parameter of a suite, with their intervals shaded."""
    values = [bound for line in panel.lines for _, estimate in line.points for bound in bounds(estimate)]
    low = math.floor(10 * min(values)) / 10
    high = max(math.ceil(10 * max(values)) / 10, low + 0.1)
    points = [point for line in panel.lines for point in (*line.points, *([line.own] if line.own else []))]
    xs = sorted({x for x, _ in points})
    across, up = linear(xs[0], xs[-1], LEFT + 8, RIGHT - 8), linear(low, high, BOTTOM, TOP)
    step = 20 if high - low > 0.65 else 10 if high - low > 0.25 else 5  # percent
    ticks = [tick for tick in range(0, 101, step) if low - 1e-9 <= tick / 100 <= high + 1e-9]
    grid = axes(
        [(across(x), f"{x:g}") for x in apart(xs, across, room=26)],
        [(up(tick / 100), str(tick)) for tick in ticks],
        panel.axis,
        f"{metric}, %",
    )
    lines = [
        group(line.checkpoint, looks[line.checkpoint], _line(line, names, looks[line.checkpoint], across, up))
        for line in panel.lines
    ]
    return chart([grid, *lines], f"{metric} against {panel.axis}, {panel.title}")


def _line(line: Line, names: Names, look: Look, across: Scale, up: Scale) -> list[Markup]:
    """Band, line, points, and a ring around the checkpoint's own setting."""
    who = names[line.checkpoint]
    above = [(across(x), up(bounds(e)[1])) for x, e in line.points]
    below = [(across(x), up(bounds(e)[0])) for x, e in reversed(line.points)]
    path = "M" + "L".join(f"{across(x):.1f},{up(e.value):.1f}" for x, e in line.points)
    drawn = [
        Markup('<path class="band" d="{}"/>').format(polygon([*above, *below])),
        Markup('<path class="line" d="{}" stroke-dasharray="{}"/>').format(path, dashes(look)),
        *(mark(look, across(x), up(e.value), f"{who} at {x:g}: {percent(e)}") for x, e in line.points),
    ]
    if line.own is not None:
        x, estimate = line.own
        drawn.append(
            Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="7"><title>{}</title></circle>').format(
                across(x), up(estimate.value), f"{who}, its own setting, {x:g}: {percent(estimate)}"
            )
        )
    return drawn


# -- shifted against clean ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Frame") -> bool:
        """Whether the two overlap."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: "Frame") -> bool:
        """Whether the other lies within."""
        wide = self.left <= other.left and other.right <= self.right
        return wide and self.top <= other.top and other.bottom <= self.bottom


def dots(scatter: Scatter, names: Names, looks: Looks) -> Markup:
    """Shifted against clean accuracy on logit axes, where the fit is a straight line."""
    across = _logit_scale([dot.clean for dot in scatter.dots], scatter.clip, LEFT, RIGHT)
    up = _logit_scale([dot.shifted for dot in scatter.dots], scatter.clip, BOTTOM, TOP)
    parts = [
        axes(
            _percent_ticks(across, LEFT, RIGHT, room=34),
            _percent_ticks(up, TOP, BOTTOM, room=16),
            f"{scatter.clean}, % (logit scale)",
            f"{scatter.shifted}, % (logit scale)",
        )
    ]
    if scatter.line is not None:
        parts.append(_straight(scatter.line, across, up))
    places = [(across(dot.clean.value), up(dot.shifted.value)) for dot in scatter.dots]
    labels = place_labels([names[dot.checkpoint] for dot in scatter.dots], places, Frame(LEFT, TOP, RIGHT, BOTTOM))
    for dot, place, label in zip(scatter.dots, places, labels, strict=True):
        who, look = names[dot.checkpoint], looks[dot.checkpoint]
        said = f"{who}: {scatter.clean} {percent(dot.clean)}; {scatter.shifted} {percent(dot.shifted)}"
        drawn = [_whiskers(dot, place, across, up), mark(look, *place, said)]
        if label is not None:
            drawn.append(Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>').format(*label, who))
        parts.append(group(dot.checkpoint, look, drawn))
    return chart(parts, f"{scatter.shifted} against {scatter.clean} accuracy")


def _logit_scale(estimates: Sequence[Estimate], clip: float, start: float, end: float) -> Scale:
    """The logit scale of some accuracies, with room around the intervals."""

    def logit(value: float) -> float:
        kept = min(max(value, clip), 1 - clip)
        return math.log(kept / (1 - kept))

    values = [logit(bound) for estimate in estimates for bound in bounds(estimate)]
    room = max(0.06 * (max(values) - min(values)), 0.1)
    scale = linear(min(values) - room, max(values) + room, start, end)
    return lambda value: scale(logit(value))


def _percent_ticks(scale: Scale, start: float, end: float, *, room: float) -> list[tuple[float, str]]:
    within = [value for value in _PERCENT if start <= scale(value / 100) <= end]
    return [(scale(value / 100), f"{value:g}") for value in apart(within, lambda value: scale(value / 100), room)]


def _straight(line: LogitLine, across: Scale, up: Scale) -> Markup:
    """The fit, cut to the frame: both scales are linear in logits, so that it is straight between any two points."""
    two = [0.25, 0.75]  # with neither at an end, where an accuracy would be cut
    (x0, x1), (y0, y1) = map(across, two), map(up, line.expected(two).tolist())
    slope = (y1 - y0) / (x1 - x0)
    ends = [(x, y0 + slope * (x - x0)) for x in (LEFT, RIGHT)]
    path = Markup('<path class="fit" d="M{:.1f},{:.1f}L{:.1f},{:.1f}"/>').format(*ends[0], *ends[1])
    frame = Markup('<svg x="{0}" y="{1}" width="{2}" height="{3}" viewBox="{0} {1} {2} {3}">{4}</svg>')
    return frame.format(LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, path)


def _whiskers(dot: Dot, place: tuple[float, float], across: Scale, up: Scale) -> Markup:
    """Both intervals."""
    (left, right), (low, high) = bounds(dot.clean), bounds(dot.shifted)
    return Markup('<path class="whisker" d="M{:.1f},{:.1f}H{:.1f}M{:.1f},{:.1f}V{:.1f}"/>').format(
        across(left), place[1], across(right), place[0], up(low), up(high)
    )


def place_labels(
    texts: Sequence[str], places: Sequence[tuple[float, float]], inner: Frame
) -> list[tuple[float, float] | None]:
    """Where each point's label begins, so that none covers another label or point; None where there is no room."""
    taken = [Frame(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    chosen: list[tuple[float, float] | None] = []
    for text, (x, y) in zip(texts, places, strict=True):
        width = _LETTER * len(text)
        starts = [
            (x + 7, y - 6), (x + 7, y + 14), (x - 7 - width, y - 6), (x - 7 - width, y + 14),
            (x + 8, y + 4), (x - 8 - width, y + 4), (x - width / 2, y - 10), (x - width / 2, y + 18),
            (x + 10, y - 20), (x + 10, y + 28), (x - 10 - width, y - 20), (x - 10 - width, y + 28),
        ]  # fmt: skip
        boxes = [(start, Frame(start[0], start[1] - _LINE + 3, start[0] + width, start[1] + 3)) for start in starts]
        free = next(((s, box) for s, box in boxes if inner.holds(box) and not any(map(box.meets, taken))), None)
        chosen.append(free[0] if free else None)
        taken += [free[1]] if free else []
    return chosen
