"""Effective robustness of the checkpoints of a table: against the line through them, and through published accuracies.

Taori et al. 2020, arXiv 2007.00644; see `bench.metrics.line`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.checkpoints import checkpoints
from bench.errors import BenchError
from bench.metrics.classification import TOP1
from bench.metrics.line import LogitLine, fit_line
from bench.records import Estimate
from bench.reference import published
from bench.store import Store, StoredCheckpoint
from bench.suite import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """Of one model."""

    clean: Estimate
    shifted: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A line, and through what."""

    name: str
    line: LogitLine


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A checkpoint beside a line."""

    checkpoint: StoredCheckpoint
    clean: Estimate
    shifted: Estimate
    expected: float
    """Accuracy on the line at this clean accuracy; a fraction."""
    low: float
    """Of the line's 95% prediction band there."""
    high: float

    @property
    def effective_robustness(self) -> float:
        """Shifted accuracy less that on the line."""
        return self.shifted.value - self.expected


@dataclass(frozen=True, kw_only=True, slots=True)
class Lined:
    """The checkpoints of a table beside one line."""

    fit: Fit
    clean: str
    """What the clean accuracy is, in words."""
    shifted: str
    points: Sequence[Point]
    """The most robust first."""


def effective_robustness(board: Board, store: Store) -> list[Lined]:
    """Beside the line through the table, and, of ImageNet suites, beside the one through published accuracies.

    The published clean accuracies are of all 1000 classes, also where the suite's clean control is cut to fewer: the
    second line then takes the table's clean accuracies of all classes too.

    Raises:
        BenchError: the suite has no clean accuracy beside a shifted one, or neither line has three points.
    """
    suite, clean, shifted = board.suite, board.suite.clean, board.suite.accuracy
    if clean is None or shifted is None:
        raise BenchError(
            f"effective robustness needs a clean accuracy beside a shifted one, which suite {suite.name!r} lacks; "
            "imagenet-r, imagenet-c and digits-c are suites that have both."
        )
    lines = []
    points = _accuracies(board, store, clean, shifted)
    if len({each.clean.value for each in points.values()}) > 2:
        fit = Fit(name=f"the {len(points)} checkpoints of this table", line=_fit(points.values()))
        lines.append(_lined(fit, clean, shifted, points))
    whole = Score(metric=TOP1, conditions=clean.conditions, column=f"clean {clean.conditions[0].data.dataset}")
    accuracies = published_accuracies(suite.name, shifted.column)
    if len(accuracies) > 2:
        fit = Fit(name=f"{len(accuracies)} published models of the registry (timm, GSAM)", line=_fit(accuracies))
        lines.append(_lined(fit, whole, shifted, _accuracies(board, store, whole, shifted)))
    if not lines:
        raise BenchError(
            f"a line through {suite.name} needs at least three checkpoints of different clean accuracy, and "
            f"{len(points)} are stored whole; `bench run --suite {suite.name}` measures more."
        )
    return lines


def published_accuracies(suite: str, heading: str) -> list[Accuracies]:
    """Clean and shifted accuracy of the registry's checkpoints, each from one source, at their own crop."""
    accuracies = []
    for entry in checkpoints:
        for name in entry.published:
            numbers = [number for number in published(name) if number.crop in (None, entry.crop)]
            by_score = {(n.suite, n.score): Estimate(value=n.value, n=n.images) for n in numbers}
            clean, shifted = by_score.get(("imagenet", "top-1")), by_score.get((suite, heading))
            if clean is not None and shifted is not None:
                accuracies.append(Accuracies(clean=clean, shifted=shifted))
                break
    return accuracies


def _accuracies(board: Board, store: Store, clean: Score, shifted: Score) -> dict[StoredCheckpoint, Accuracies]:
    """Both accuracies of the checkpoints that have them."""
    estimates = {row.checkpoint: row.estimate for row in board.rows if row.score is shifted}
    accuracies = {}
    for checkpoint, estimate in estimates.items():
        cells = [board.cells.get((checkpoint.model, condition)) for condition in clean.conditions]
        outcomes = [store.read(cell.key) for cell in cells if cell is not None]
        if len(outcomes) == len(cells):
            accuracies[checkpoint] = Accuracies(clean=clean.metric.estimate(outcomes), shifted=estimate)
    return accuracies


def _fit(accuracies: Collection[Accuracies]) -> LogitLine:
    return fit_line(
        [each.clean.value for each in accuracies],
        [each.shifted.value for each in accuracies],
        clip=1 / (2 * min(min(each.clean.n, each.shifted.n) for each in accuracies)),  # half an image
    )


def _lined(fit: Fit, clean: Score, shifted: Score, accuracies: Mapping[StoredCheckpoint, Accuracies]) -> Lined:
    xs = [each.clean.value for each in accuracies.values()]
    expected, (low, high) = fit.line.expected(xs).tolist(), fit.line.band(xs)
    points = [
        Point(
            checkpoint=checkpoint,
            clean=each.clean,
            shifted=each.shifted,
            expected=value,
            low=float(bottom),
            high=float(top),
        )
        for (checkpoint, each), value, bottom, top in zip(accuracies.items(), expected, low, high, strict=True)
    ]
    ordered = sorted(points, key=lambda point: (-point.effective_robustness, point.checkpoint.name))
    return Lined(fit=fit, clean=clean.column, shifted=shifted.column, points=ordered)
