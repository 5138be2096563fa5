"""The Metric record: a score's function, what each image gives of it, and what a table must know."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
        return replace(inside, name=f"{self.name}[{part}]", right=f"{part}/{self.right}")

    def parts(self, outcomes: Sequence[Outcome]) -> ByImage | None:
        """What each image gives of the score; None where nothing that it gives makes it.

        Args:
            outcomes: as `function` takes them.

        Raises:
            BenchError: the score is not defined on these outcomes.
        """
        return None if self.by_image is None else self.by_image(*outcomes)

    def _with(self, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> "Metric":
        by_image = None if self.by_image is None else change(self.by_image)
        return replace(self, function=change(self.function), by_image=by_image)


def _within(function: Callable[..., Any], score: str, part: str, *outcomes: Outcome) -> Any:
    return function(*(cut(outcome, part, score) for outcome in outcomes))
