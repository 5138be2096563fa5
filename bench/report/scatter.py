"""Clean against shifted accuracy over the checkpoints of a board, and the lines that they are held against."""

from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.compare.lines import effective_robustness
from bench.errors import BenchError
from bench.metrics.line import LogitLine
from bench.records import Estimate
from bench.store import Store, StoredCheckpoint
from bench.suite import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A checkpoint with both accuracies."""

    checkpoint: StoredCheckpoint
    clean: Estimate
    shifted: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """The dots of a board, and a line."""

    clean: str
    """Heading of the clean accuracy."""
    shifted: str
    dots: tuple[Dot, ...]
    clip: float
    """How near to 0 and 1 an accuracy is drawn: half of one image."""
    line: LogitLine | None
    about: str
    """Through what the line goes, and how well; or why there is none."""


def scatters(board: Board, store: Store) -> list[Scatter]:
    """One a line, or one without where there are too few checkpoints; none for a suite without both accuracies.

    Crops and sizes have curves instead, and attacks are no shift of the data.
    """
    clean, shifted = board.suite.clean, board.suite.accuracy
    if clean is None or shifted is None or board.suite.curve or _is_attacked(shifted):
        return []
    try:
        lined = effective_robustness(board, store)
    except BenchError as error:
        estimates = {(row.checkpoint, row.score): row.estimate for row in board.rows}
        dots = [
            Dot(checkpoint=c, clean=estimates[c, clean], shifted=estimates[c, shifted])
            for c in board.ranking
            if (c, clean) in estimates and (c, shifted) in estimates
        ]
        return [_scatter(clean.column, shifted.column, dots, None, f"No line: {error}")] if dots else []
    return [
        _scatter(
            line.clean,
            line.shifted,
            [Dot(checkpoint=p.checkpoint, clean=p.clean, shifted=p.shifted) for p in line.points],
            line.fit.line,
            _in_words(line.fit.line, line.fit.name),
        )
        for line in lined
        if line.points
    ]


def _is_attacked(score: Score) -> bool:
    return any(condition.measure.name != "classify" for condition in score.conditions)


def _scatter(clean: str, shifted: str, dots: list[Dot], line: LogitLine | None, about: str) -> Scatter:
    clip = 1 / (2 * min(estimate.n for dot in dots for estimate in (dot.clean, dot.shifted)))
    return Scatter(clean=clean, shifted=shifted, dots=tuple(dots), clip=clip, line=line, about=about)


def _in_words(line: LogitLine, name: str) -> str:
    low, high = line.slope_interval()
    sign = "-" if line.slope < 0 else "+"
    return (
        f"Line: logit(shifted) = {line.intercept:.2f} {sign} {abs(line.slope):.2f} logit(clean), least squares through "
        f"{name}; slope {low:.2f} to {high:.2f} (95%), R² {line.r_squared:.2f}."
    )
