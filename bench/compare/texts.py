"""Differences, their intervals and p-values as text: the same in tables, in the gate and on the page.

`times` brings a value to the unit in which it is shown: 100 for a fraction, in points or percent.
"""

from collections.abc import Iterable
from typing import Protocol

from bench.board.tables import WHOLE_UNITS
from bench.compare.pairs import Overall, Pair
from bench.suite import Score


class Scored(Protocol):
    """A row of a table that is about a score."""

    @property
    def score(self) -> Score:
        """Which."""


class Tested(Scored, Protocol):
    """A row with a difference, and how sure it is."""

    @property
    def value(self) -> float:
        """The difference."""

    @property
    def ci_low(self) -> float | None:
        """Of its 95% interval; None where there is none."""

    @property
    def ci_high(self) -> float | None:
        """Of its 95% interval."""

    @property
    def p(self) -> float | None:
        """Two-sided; None where it is not known."""

    @property
    def p_adjusted(self) -> float | None:
        """By Holm."""


def signed(value: float, times: float = 100, digits: int = 1) -> str:
    """A difference, with its sign but for nothing.

    >>> signed(0.1234), signed(-0.00001), signed(-1.5, times=1, digits=2)
    ('+12.3', '0.0', '-1.50')
    """
    text = f"{times * value:+.{digits}f}"
    return text if float(text) else text[1:]


def interval(low: float | None, high: float | None, times: float = 100, digits: int = 1) -> str:
    """The interval of a difference.

    >>> interval(-0.01, 0.0345), interval(None, None)
    ('[-1.0, +3.5]', '–')
    """
    if low is None or high is None:
        return "–"
    return f"[{signed(low, times, digits)}, {signed(high, times, digits)}]"


def p_value(p: float | None, digits: int = 3) -> str:
    """A p-value, or a bound where it is smaller than the digits show.

    >>> p_value(0.25), p_value(1e-9), p_value(0.00025, digits=4), p_value(None)
    ('0.250', '<0.001', '0.0003', '–')
    """
    if p is None:
        return "–"
    least = 10**-digits
    return f"{p:.{digits}f}" if p >= least else f"<{least:.{digits}f}"


def value(row: Scored, of: float) -> str:
    """The score of one side."""
    if row.score.metric.unit in WHOLE_UNITS:
        return f"{of:z.0f}"
    return f"{100 * of:z.1f}" if _is_fraction(row) else f"{of:z.3f}"


def tested(row: Tested) -> tuple[str, str, str, str]:
    """Difference, interval, p, and p adjusted for many comparisons."""
    times, digits = _scale(row)
    return (
        change(row, row.value),
        interval(row.ci_low, row.ci_high, times, digits),
        p_value(row.p),
        p_value(row.p_adjusted),
    )


def tested_overall(row: Overall) -> tuple[str, str, str, str]:
    """Mean difference over suites, interval, p, and p adjusted for many comparisons."""
    return signed(row.value), interval(row.ci_low, row.ci_high), p_value(row.p), p_value(row.p_adjusted)


def beyond_sam(pairs: Iterable[Pair]) -> list[str]:
    """A sentence for each pair that differs in more than SAM."""
    return [
        f"{pair.after.name} differs from {pair.before.name} in more than SAM: {pair.differs}."
        for pair in dict.fromkeys(pairs)
        if pair.differs
    ]


def _is_fraction(row: Scored) -> bool:
    return row.score.metric.unit == "fraction"


def _scale(row: Scored) -> tuple[float, int]:
    return (100, 1) if _is_fraction(row) else (1, 3)


def change(row: Scored, of: float) -> str:
    """A difference of a score, with its sign."""
    return signed(of, *_scale(row))


def amount(row: Scored, of: float | None) -> str:
    """What has no sign, such as a spread or the end of an interval of a score; a dash where there is none.

    Unlike a score, one in whole units has decimals.
    """
    times, digits = _scale(row)
    return "–" if of is None else f"{times * of:.{digits}f}"
