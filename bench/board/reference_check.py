"""What was measured here beside what was published for the same checkpoint: the check that a whole run is right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.board.leaderboard import Board, ScoredRow
from bench.board.tables import display_names
from bench.checkpoints import checkpoints
from bench.metrics.stats import share_interval
from bench.reference import Published, published
from bench.text import render

Verdict: TypeAlias = Literal["agrees", "can't tell", "WARNING"]

TOLERANCE = 0.1
"""Points by which the same weights on the same images may differ: precision, batch size and library version flip a few
predictions in 50,000, and papers print one decimal."""
SMALLEST_FAULT = 0.8
"""Points; what the least of the usual mistakes costs: resizing without antialias (shift-happens#62). A measurement that
is less certain than this can't tell right from wrong."""
_FAR = 10.0
"""Points; more than any resizing costs: labels, classes or weights are then not the ones that were meant."""
_CHANCE = 2.0
"""Percent; a model of 1000 classes guesses 0.1, one of 200 classes 0.5, and labels sorted as text leave about 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One score of one checkpoint, measured and published."""

    checkpoint: str
    suite: str
    score: str
    """Its heading, or its metric where it has none."""
    measured: float
    """Percent."""
    ci_low: float
    """Percent; the measured value itself where every image was measured, as the published one was."""
    ci_high: float
    n: int
    """Images measured."""
    published: Published
    verdict: Verdict
    causes: str = ""
    """What is likely behind a warning."""

    @property
    def half(self) -> float:
        """Half the interval's width, points; 0 where every image was measured."""
        return (self.ci_high - self.ci_low) / 2

    @property
    def difference(self) -> float:
        """Measured less published, points."""
        return self.measured - 100 * self.published.value


def compare(boards: Sequence[Board]) -> list[Comparison]:
    """Every score that has a published number, in the order of the boards and of their leaderboards.

    A checkpoint is looked up in the registry under the name that it was measured under. Only suites that measure what
    was published are compared: generated ImageNet-C is another data set than the stored one.
    """
    return [comparison for board in boards for comparison in _of_board(board)]


def render_comparisons(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a table for people, each warning with its likely causes below it."""
    if not comparisons:
        return "No score of these suites and checkpoints was published."
    headings = ("checkpoint", "suite", "score", "measured", "n", "published", "difference", "verdict", "source")
    table = render(headings, [_shown(c) for c in comparisons])
    warnings = [
        f"WARNING: {c.checkpoint}, {c.suite}, {c.score}: {c.difference:+z.1f} points; likely {c.causes}."
        for c in comparisons
        if c.verdict == "WARNING"
    ]
    notes = dict.fromkeys(f"{c.suite}, {c.score}: {c.published.note}." for c in comparisons if c.published.note)
    return "\n".join([table, *([""] if warnings or notes else []), *warnings, *notes])


def _of_board(board: Board) -> Iterator[Comparison]:
    names = display_names(board.checkpoints)
    headings = [score.column or score.metric.name for score in board.suite.scores]
    for checkpoint in board.ranking:
        if checkpoint.name not in checkpoints:
            continue
        entry = checkpoints.get(checkpoint.name)
        numbers = [number for name in entry.published for number in published(name)]
        rows = [row for row in board.rows if row.checkpoint == checkpoint]
        for row in sorted(rows, key=lambda row: headings.index(_heading(row))):
            for number in numbers:
                same = (number.suite, number.score) == (board.suite.name, _heading(row))
                if same and number.crop in (None, entry.crop):
                    yield _compare(board, row, number, names[checkpoint])


def _heading(row: ScoredRow) -> str:
    return row.score.column or row.score.metric.name


def _compare(board: Board, row: ScoredRow, number: Published, name: str) -> Comparison:
    low, high = _interval(row, number)
    measured, target = 100 * row.estimate.value, 100 * number.value
    verdict: Verdict = "agrees"
    if not low - TOLERANCE <= target <= high + TOLERANCE:
        verdict = "WARNING" if not board.choice.subset else "can't tell"
    elif (high - low) / 2 > SMALLEST_FAULT:
        verdict = "can't tell"
    return Comparison(
        checkpoint=name,
        suite=board.suite.name,
        score=_heading(row),
        measured=measured,
        ci_low=low,
        ci_high=high,
        n=row.estimate.n,
        published=number,
        verdict=verdict,
        causes=_causes(board, measured, measured - target, number) if verdict == "WARNING" else "",
    )


def _interval(row: ScoredRow, number: Published) -> tuple[float, float]:
    """Percent; where both measured the same images nothing was sampled, and the interval is the value alone.

    Where one of them measured fewer images, it is the interval of as many draws.
    """
    value, n = row.estimate.value, row.estimate.n
    if n == number.images and not number.sample:
        return 100 * value, 100 * value
    if n < number.images and row.estimate.ci_low is not None and row.estimate.ci_high is not None:
        return 100 * row.estimate.ci_low, 100 * row.estimate.ci_high
    fewer = min(n, number.images)
    low, high = share_interval(value * fewer, fewer)
    return 100 * low, 100 * high


def _causes(board: Board, measured: float, difference: float, number: Published) -> str:
    """What usually makes a difference of this sign and size, the likeliest first."""
    causes = []
    if measured < _CHANCE:
        causes.append("labels by the position of a folder or file and not by its name")
    elif abs(difference) > _FAR:
        causes.append("labels by position for a part of the images, another mean and std, or other weights")
    if "of 200" in number.score or "of 1000" in number.score:
        causes.append("logits cut to other classes")
    if number.suite == "imagenet-c":
        causes.append("the stored images resized a second time, or a corruption generated and not read")
    if board.choice.precision != "fp32":
        causes.append(f"{board.choice.precision} precision")
    if not measured < _CHANCE:
        causes.append("another crop ratio, interpolation, or mean and std")
        if number.crop is None:
            causes.append("another library's resize, as the source does not say how its images were cropped")
        causes.append("another version of the weights under this name")
    return "; ".join(causes)


def _shown(comparison: Comparison) -> tuple[str, ...]:
    c = comparison
    sampled = f" ±{c.half:.1f}" if c.half else ""
    verdict = f"n = {c.n:,}: ±{c.half:.1f}, can't tell" if c.verdict == "can't tell" else c.verdict
    return (
        c.checkpoint,
        c.suite,
        c.score,
        f"{c.measured:.1f}{sampled}",
        f"{c.n:,}",
        f"{100 * c.published.value:.1f}",
        f"{c.difference:+z.1f}",
        verdict,
        _short(c.published.source),
    )


def _short(source: str) -> str:
    """Who published it: the words before the address within a source."""
    return source.split(",")[0].split("@")[0]
