"""The Metric record: a score's function, what each image gives of it, and what a table must know."""

import contextlib
import functools
import math
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError, one_line
from bench.foreign.faults import blamed
from bench.foreign.sources import modules_of
from bench.foreign.state import undisturbed_by
from bench.metrics.by_image import ByImage, ByImageFunction
from bench.metrics.outcomes import cut
from bench.records import Estimate, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """What a metric's value may not exceed without a warning beside every score of the checkpoint."""

    above: float
    images: int = 1
    """Of them at least so many: in a small sample a single one may be chance."""
    says: str
    """What it means, as the end of a sentence that begins with the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A pure function from outcomes to an estimate, with what a table and a comparison must know of it."""

    name: str
    function: Callable[..., Estimate]
    """Takes one outcome per condition of the score, in their order."""
    by_image: ByImageFunction | None = None
    """What each image gives of the score, from the same outcomes: the means of what it returns make the function's
    value. None where no means over images make it, such as a calibration error: then two checkpoints are shown side by
    side, without a paired interval or p."""
    unit: str = "fraction"
    """`fraction` (shown in percent), or the unit's name."""
    higher_is_better: bool = True
    alarm: Alarm | None = None
    right: str = "correct"
    """The column of outcomes that says which images it counts as right; empty where no column does."""

    def given(self, **arguments: Any) -> "Metric":
        """The metric with keyword arguments of its functions set, such as one eps of a grid.

        Args:
            arguments: what `function`, and `by_image` where there is one, take by keyword.
        """
        return self._with(lambda function: functools.partial(function, **arguments))

    def within(self, part: str) -> "Metric":
        """The metric of the logits cut to the classes of a part of the class space, over the images of these classes.

        Args:
            part: its name; the measure `classify` must be given it among its `subsets`.
        """
        inside = self._with(lambda function: functools.partial(_within, function, self.name, part))
        return replace(inside, name=f"{self.name}[{part}]", right=f"{part}/{self.right}" if self.right else "")

    def over(self, name: str, select: Callable[[Outcome], Outcome]) -> "Metric":
        """The metric over some of the images.

        Args:
            name: of these images, in brackets behind the metric's own.
            select: from an outcome to its rows of these images.
        """
        inside = self._with(lambda function: functools.partial(_over, function, select))
        return replace(inside, name=f"{self.name}[{name}]")

    def estimate(self, outcomes: Sequence[Outcome]) -> Estimate:
        """The score.

        Args:
            outcomes: one per condition, in their order.

        Raises:
            BenchError: the score is not defined on these outcomes, or its function fails or gives no finite number.
        """
        with self._blamed(self.function):
            given = self.function(*outcomes)
        return _checked(given, self.name)

    def parts(self, outcomes: Sequence[Outcome]) -> ByImage | None:
        """What each image gives of the score; None where nothing that it gives makes it.

        Args:
            outcomes: as `function` takes them.

        Raises:
            BenchError: the score is not defined on these outcomes, or the function fails.
        """
        if self.by_image is None:
            return None
        with self._blamed(self.by_image):
            return self.by_image(*outcomes)

    @contextlib.contextmanager
    def _blamed(self, function: Callable[..., Any]) -> Iterator[None]:
        """Around a function that may be a plug-in's; these one at a time, as what they change is put back."""
        theirs = modules_of(function)
        turn = _TURN if theirs else contextlib.nullcontext()
        with turn, undisturbed_by(*theirs), blamed(f"the metric {self.name!r} fails", BenchError):
            yield

    def _with(self, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> "Metric":
        by_image = None if self.by_image is None else change(self.by_image)
        return replace(self, function=change(self.function), by_image=by_image)


_TURN = threading.RLock()
_ALIKE = 1e-6
"""By which rounding may put a value beyond its interval."""


def _checked(given: Any, metric: str) -> Estimate:
    """An estimate whose numbers are numbers.

    Raises:
        BenchError: they are not: NaN would stand before every number, or behind it.
    """
    if not isinstance(given, Estimate):
        raise BenchError(f"the metric {metric!r} must give an Estimate, not a {type(given).__name__}.")
    ends = (given.ci_low, given.ci_high)
    try:
        value, n = float(given.value), operator.index(given.n)
        low, high = (None if end is None else float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise BenchError(f"the metric {metric!r} gives what is no number ({one_line(error)}).") from error
    if not math.isfinite(value) or n < 1:
        raise BenchError(f"the metric {metric!r} gives {value} for {n:,} images, which is no score.")
    given_ends = (low is None) == (high is None)
    if not given_ends or (low is not None and high is not None and not low - _ALIKE <= value <= high + _ALIKE):
        raise BenchError(f"the metric {metric!r} gives {value} with an interval from {low} to {high} that lacks it.")
    return Estimate(value=value, n=n, ci_low=low, ci_high=high)


def _within(function: Callable[..., Any], score: str, part: str, *outcomes: Outcome) -> Any:
    return function(*(cut(outcome, part, score) for outcome in outcomes))


def _over(function: Callable[..., Any], select: Callable[[Outcome], Outcome], *outcomes: Outcome) -> Any:
    return function(*map(select, outcomes))
