"""Differences, their intervals and p-values as text: the same in tables, in the gate and on the page.

`times` brings a value to the unit in which it is shown: 100 for a fraction, in points or percent.
"""

from collections.abc import Iterable

from bench.board.tables import WHOLE_UNITS
from bench.compare.differences import Difference
from bench.compare.pairs import Overall, Pair


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


def value(row: Difference, of: float) -> str:
    """The score of one side."""
    if row.score.metric.unit in WHOLE_UNITS:
        return f"{of:.0f}"
    return f"{100 * of:.1f}" if _is_fraction(row) else f"{of:.3f}"


def tested(row: Difference) -> tuple[str, str, str, str]:
    """Difference, interval, p, and p adjusted for many comparisons."""
    times, digits = (100, 1) if _is_fraction(row) else (1, 3)
    return (
        signed(row.value, times, digits),
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


def _is_fraction(row: Difference) -> bool:
    return row.score.metric.unit == "fraction"
