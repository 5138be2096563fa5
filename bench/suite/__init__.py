"""The Suite record: conditions, and the scores that are computed from their outcomes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import BenchError, UnknownNameError
from bench.metrics import Metric
from bench.records import Condition, Params, Protocol, Scalar
from bench.registry import Registry

_NOT_IN_NAMES = re.compile(r"[^\w.+-]")
"""What a suite's name, which becomes a file's, cannot hold of a setting's value."""
TOLERANCE = 0.003
"""Of a share of images; another machine, batch size or library version changes up to 0.2% of predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A metric over the outcomes of the conditions that it declares."""

    metric: Metric
    conditions: tuple[Condition, ...]
    column: str = ""
    """Heading in the leaderboard; empty keeps the score to the long table."""
    at: Params = field(default_factory=Params)
    """What the metric picks out of the outcomes, such as one eps of a grid: further columns of the long table."""
    clean: bool = False
    """Whether it is the suite's accuracy without the shift, that the shifted one is held against."""

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a fraction that is the better the larger it is."""
        return self.metric.unit == "fraction" and self.metric.higher_is_better

    def columns(self) -> dict[str, Scalar]:
        """The condition parameters that all of the score's conditions share, None where they differ; and `at`."""
        every = [condition.columns() for condition in self.conditions]
        names = dict.fromkeys(name for columns in every for name in columns)
        shared = {name: {c.get(name) for c in every} for name in names}
        return {**{name: values.pop() if len(values) == 1 else None for name, values in shared.items()}, **self.at}


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
    also_in: tuple[str, ...] = ()
    """Composite tracks, which take suites of several."""
    protocol: Protocol
    """How its scores are taken."""
    scores: tuple[Score, ...]
    """The first with a column is the headline: leaderboards are sorted by it."""
    tolerance: float = TOLERANCE
    """Largest drop of the headline that `bench gate` lets pass however sure it is, in the score's unit."""
    fallback: str = ""
    """The suite that stands in where this one's data are not given."""
    reference: bool = False
    """Whether imagecorruptions-imaug makes its corruptions; see `by_reference`."""
    settings: Params = field(default_factory=Params)
    """What `changed` may change, with the values that the suite has."""
    remake: "Callable[[Params], Suite] | None" = None
    """The suite with other values of its settings, still under its own name."""
    covering: "Callable[[Sequence[str]], Suite] | None" = None
    """The suite over other data sets, by name, still under its own name, where any will do; see `over`."""
    predicts: str = ""
    """Class space of the checkpoints that it is meant for, where these need not predict the data's own classes."""
    checkpoints: tuple[str, ...] = ()
    """Names of those that are measured where nobody names any; empty for all that predict its classes."""
    requires: Callable[[], object] | None = None
    """Looks for what its scores are taken by beside the data; raises AbsentError where that is not here."""
    curve: str = ""
    """The parameter that its scores can be drawn against: a column of the long table."""

    def __post_init__(self) -> None:
        if not self.board or any(not score.conditions for score in self.scores):
            raise ValueError(f"suite {self.name!r} needs a score with a column, and every score a condition")
        headings = [score.column for score in self.board]
        if len(set(headings)) != len(headings):
            raise ValueError(f"suite {self.name!r} uses a column heading twice")
        if sum(score.clean for score in self.board) > 1:
            raise ValueError(f"suite {self.name!r} has two clean scores")
        rows = [(score.metric.name, score.column, *score.columns().items()) for score in self.scores]
        if len(set(rows)) != len(rows):
            raise ValueError(f"suite {self.name!r} has two scores that its long table could not tell apart")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition that a score needs, each once, in the order of the scores."""
        return tuple(dict.fromkeys(condition for score in self.scores for condition in score.conditions))

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets of its conditions, each once."""
        return tuple(dict.fromkeys(condition.data.dataset for condition in self.conditions))

    def over(self, sets: Sequence[str]) -> "Suite":
        """The suite over these data sets, where it takes any; else itself."""
        if self.covering is None or tuple(sets) == self.sets:
            return self
        return replace(self.covering(sets), name=self.name, reference=self.reference)

    @property
    def headline(self) -> Score:
        """What its leaderboard is sorted by."""
        return self.board[0]

    @property
    def board(self) -> tuple[Score, ...]:
        """The scores of the leaderboard."""
        return tuple(score for score in self.scores if score.column)

    def level(self, score: Score) -> str:
        """What a score is of, so that scores of one level can be averaged.

        Returns:
            `headline`; `clean` for the accuracy without the shift; `warning` for what may warn; `suite` for another
            score of all that the headline is of; `corruption` for one corruption over its severities; `condition` for a
            single one, or one setting of a grid; `group` for all else.
        """
        headline = self.headline
        if score is headline:
            return "headline"
        if score.clean:
            return "clean"
        if score.metric.alarm is not None:
            return "warning"
        if score.at != headline.at:
            return "condition"
        if len(score.conditions) >= len(headline.conditions) and set(headline.conditions) <= set(score.conditions):
            return "suite"
        if len(score.conditions) == 1:
            return "condition"
        return "corruption" if score.columns().get("corruption") is not None else "group"

    @property
    def clean(self) -> Score | None:
        """The leaderboard's accuracy without the shift, where it has one."""
        return next((score for score in self.board if score.clean), None)

    @property
    def accuracy(self) -> Score | None:
        """The first accuracy of the leaderboard, beside the clean one: the headline, but for an mCE."""
        return next((score for score in self.board if score.is_accuracy and not score.clean), None)

    @property
    def paired(self) -> tuple[Score, ...]:
        """What pairs of checkpoints are compared by: the headline; where nothing is an accuracy, the whole leaderboard.

        No score of a landscape stands for the others.
        """
        return self.board if self.accuracy is None else (self.headline,)

    @property
    def gap_from(self) -> Score | None:
        """The clean score that the headline's gap is counted from; None where there is none.

        Both are accuracies: an mCE is relative to another model's errors, and a difference from it would mean nothing.
        """
        return self.clean if self.headline.is_accuracy and not self.headline.clean else None

    @property
    def stand_in(self) -> "Suite | None":
        """The fallback, its corruptions made as this one's would be."""
        if not self.fallback:
            return None
        fallback = suites.get(self.fallback)
        return fallback.by_reference() if self.reference else fallback

    @property
    def alarms(self) -> tuple[Score, ...]:
        """The scores that may warn."""
        return tuple(score for score in self.scores if score.metric.alarm is not None)

    def changed(self, values: Mapping[str, str]) -> "Suite":
        """The suite with some settings changed: another suite, with another name and protocol.

        Args:
            values: setting to its new value, as it is typed.

        Raises:
            BenchError: there is no such setting, or the value is not possible.
        """
        settings = {name: self._typed(name, text) for name, text in values.items()}
        departures = Params({name: value for name, value in settings.items() if value != self.settings[name]})
        if self.remake is None or not departures:
            return self
        suite = self.remake(Params({**self.settings, **departures}))
        marks = "".join(f"-{name}-{_NOT_IN_NAMES.sub('_', str(value))}" for name, value in departures.items())
        return replace(suite, name=f"{self.name}{marks}", reference=self.reference)

    def _typed(self, name: str, text: str) -> Scalar:
        if name not in self.settings:
            raise UnknownNameError(f"setting of suite {self.name!r}", name, self.settings)
        try:
            match self.settings[name]:
                case int():
                    wanted = "a whole number"
                    return int(text)
                case float():
                    wanted = "a number"
                    return float(text)
        except ValueError:
            raise BenchError(f"{name} of suite {self.name!r} must be {wanted}, not {text!r}.") from None
        return text

    def by_reference(self) -> "Suite":
        """The suite with every computed corruption made by imagecorruptions-imaug; another suite, another protocol."""
        scores = tuple(replace(score, conditions=tuple(map(_by_reference, score.conditions))) for score in self.scores)
        if scores == self.scores:  # nothing is computed
            return replace(self, reference=True)
        name = f"{self.name}-by-reference"
        return replace(self, name=name, protocol=self.protocol.by_reference(), scores=scores, reference=True)


def _by_reference(condition: Condition) -> Condition:
    perturbation = condition.images.perturbation
    if perturbation is None or perturbation.stored:
        return condition
    return replace(condition, images=replace(condition.images, perturbation=replace(perturbation, reference=True)))


suites: Registry[Suite] = Registry("suite")


def tracks() -> dict[str, list[Suite]]:
    """Track name to its suites, composite ones too, both sorted by name."""
    by_track: dict[str, list[Suite]] = {}
    for suite in suites:
        for track in dict.fromkeys((suite.track, *suite.also_in)):
            by_track.setdefault(track, []).append(suite)
    return dict(sorted(by_track.items()))
