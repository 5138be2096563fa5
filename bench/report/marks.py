"""What the page's charts are made of: scales, axes and marks, as inline SVG in pixels of its own.

Every text goes through `Markup.format`, which escapes it.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from markupsafe import Markup

from bench.records import Estimate
from bench.report.looks import Look
from bench.store import StoredCheckpoint

WIDTH, HEIGHT = 460, 340
LEFT, RIGHT, TOP, BOTTOM = 46, 446, 12, 296
"""The frame; around it stand ticks and titles."""
_DASHES = ("", "6 3", "6 3 1.5 3", "1.5 3")

Scale: TypeAlias = Callable[[float], float]
"""From a value to its place."""


def polygon(points: Sequence[tuple[float, float]]) -> str:
    """A closed path."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + "Z"


_SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
    polygon([(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)]),
    polygon([(0, -4.8), (4.6, 3.6), (-4.6, 3.6)]),
    polygon([(0, -5), (5, 0), (0, 5), (-5, 0)]),
    polygon([(0, 4.8), (4.6, -3.6), (-4.6, -3.6)]),
    "M-1.5,-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z",
    polygon([(-4.8, 0), (3.6, -4.6), (3.6, 4.6)]),
    polygon([(4.8, 0), (-3.6, -4.6), (-3.6, 4.6)]),
    polygon([(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate([5.4, 2.4] * 5)]),
)
"""Around (0, 0). Their number shares no divisor with that of dashes: shape and dashes come again together after 36."""


def shape(look: Look) -> str:
    """Path of a mark."""
    return _SHAPES[look.number % len(_SHAPES)]


def dashes(look: Look) -> str:
    """How a line is dashed."""
    return _DASHES[look.number % len(_DASHES)]


def classes(look: Look) -> str:
    """Names of the style sheet's classes."""
    return f"c{look.colour}" + " hollow" * look.hollow


def key(look: Look, *, line: bool) -> Markup:
    """What a legend shows of a look."""
    width = 30 if line else 14
    path = Markup('<path class="line" d="M0,7H{}" stroke-dasharray="{}"/>').format(width, dashes(look))
    return Markup(
        '<svg class="key {}" width="{}" height="14" viewBox="0 0 {} 14" aria-hidden="true">{}'
        '<path class="mark" transform="translate({},7)" d="{}"/></svg>'
    ).format(classes(look), width, width, path if line else Markup(""), width // 2, shape(look))


# -- numbers -----------------------------------------------------------------------------------------------------


def percent(estimate: Estimate) -> str:
    """A fraction with its interval, in words.

    >>> percent(Estimate(value=0.5, n=10, ci_low=0.25, ci_high=0.75))
    '50.0% (25.0 to 75.0), n 10'
    """
    low, high = bounds(estimate)
    between = f" ({100 * low:z.1f} to {100 * high:z.1f})" if low < high else ""
    return f"{100 * estimate.value:z.1f}%{between}, n {estimate.n:,}"


def bounds(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the value twice where none is defined."""
    low = estimate.value if estimate.ci_low is None else estimate.ci_low
    return low, estimate.value if estimate.ci_high is None else estimate.ci_high


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """The scale that takes low to start and high to end; where they are one value, to the middle."""
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / (high - low)


def apart(values: Sequence[float], scale: Scale, room: float) -> list[float]:
    """Those of some ascending values whose places are not closer than `room`, from the first."""
    kept: list[float] = []
    for value in values:
        if not kept or abs(scale(value) - scale(kept[-1])) >= room:
            kept.append(value)
    return kept


# -- what is drawn -----------------------------------------------------------------------------------------------


def axes(across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]], below: str, beside: str) -> Markup:
    """Grid, ticks (place and text) and titles."""
    below_frame = '<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
    beside_frame = '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
    grid = [
        *(Markup('<path d="M{:.1f},{}V{}"/>').format(x, TOP, BOTTOM) for x, _ in across),
        *(Markup('<path d="M{},{:.1f}H{}"/>').format(LEFT, y, RIGHT) for y, _ in up),
    ]
    ticks = [
        *(Markup(below_frame).format(x, BOTTOM + 16, text) for x, text in across),
        *(Markup(beside_frame).format(LEFT - 6, y + 4, text) for y, text in up),
        Markup(below_frame).format((LEFT + RIGHT) / 2, HEIGHT - 8, below),
        Markup('<text transform="translate(12,{:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            (TOP + BOTTOM) / 2, beside
        ),
    ]
    return Markup('<g class="grid">{}</g><g class="ticks">{}</g>').format(Markup("").join(grid), Markup("").join(ticks))


def mark(look: Look, x: float, y: float, said: str) -> Markup:
    """A point, which says what it is."""
    return Markup('<path class="mark" transform="translate({:.1f},{:.1f})" d="{}"><title>{}</title></path>').format(
        x, y, shape(look), said
    )


def group(checkpoint: StoredCheckpoint, look: Look, drawn: Sequence[Markup]) -> Markup:
    """All of a checkpoint, which a filter takes away together."""
    return Markup('<g class="{}" data-family="{}" data-sam="{}">{}</g>').format(
        classes(look), checkpoint.family, checkpoint.sam, Markup("").join(drawn)
    )


def chart(parts: Sequence[Markup], about: str) -> Markup:
    """The whole of a drawing."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, about, Markup("").join(parts)
    )
