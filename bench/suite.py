"""The Suite record: conditions, and the scores that are computed from their outcomes."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.records import Condition, Estimate, Protocol, Scalar
from bench.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A pure function from outcomes to an estimate, with what a table must know of it."""

    name: str
    function: Callable[..., Estimate]
    """Takes one outcome per condition of the score, in their order."""
    unit: str = "fraction"
    """`fraction` (shown in percent), or the unit's name."""
    higher_is_better: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A metric over the outcomes of the conditions that it declares."""

    metric: Metric
    conditions: tuple[Condition, ...]
    column: str = ""
    """Heading in the leaderboard; empty keeps the score to the long table."""

    def columns(self) -> dict[str, Scalar]:
        """The condition parameters that all of the score's conditions share; None where they differ."""
        every = [condition.columns() for condition in self.conditions]
        return {
            name: value if all(name in c and c[name] == value for c in every) else None
            for name, value in every[0].items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """One file in `suites/`: what is measured, and what is computed from it."""

    name: str
    version: int
    """Bumped whenever numbers change."""
    title: str
    paper: str
    """The source of the protocol."""
    track: str
    """Suites that are usually run together."""
    protocol: Protocol
    """How its scores are taken."""
    scores: tuple[Score, ...]
    """The first with a column is the headline: leaderboards are sorted by it."""
    fallback: str = ""
    """The suite that stands in where this one's data are not given."""

    def __post_init__(self) -> None:
        if not self.board or any(not score.conditions for score in self.scores):
            raise ValueError(f"suite {self.name!r} needs a score with a column, and every score a condition")
        headings = [score.column for score in self.board]
        if len(set(headings)) != len(headings):
            raise ValueError(f"suite {self.name!r} uses a column heading twice")
        rows = [(score.metric.name, score.column, *score.columns().items()) for score in self.scores]
        if len(set(rows)) != len(rows):
            raise ValueError(f"suite {self.name!r} has two scores that its long table could not tell apart")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition that a score needs, each once, in the order of the scores."""
        return tuple(dict.fromkeys(condition for score in self.scores for condition in score.conditions))

    @property
    def headline(self) -> Score:
        """What its leaderboard is sorted by."""
        return self.board[0]

    @property
    def board(self) -> tuple[Score, ...]:
        """The scores of the leaderboard."""
        return tuple(score for score in self.scores if score.column)


suites: Registry[Suite] = Registry("suite")


def tracks() -> dict[str, list[Suite]]:
    """Track name to its suites, both sorted by name."""
    found: dict[str, list[Suite]] = {}
    for suite in suites:
        found.setdefault(suite.track, []).append(suite)
    return dict(sorted(found.items()))
