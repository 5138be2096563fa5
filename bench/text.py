"""Text for people and from them: aligned and Markdown tables, sizes, and lists of numbers in settings."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from bench.errors import BenchError

_N = TypeVar("_N", int, float)
_NUMBER = re.compile(r"–|-?[\d,]+(\.\d+)?( ±\d+\.\d+| \(-?\d+–-?\d+\))?")


def render(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns under a ruled heading; columns of numbers are set to the right."""
    cells = [list(map(str, headings)), *([str(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(_is_number(row[i]) for row in cells[1:]) and len(cells) > 1 for i in range(len(headings))]
    lines = [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def render_markdown(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; bars in the text are escaped."""
    cells = [list(map(str, headings)), *([str(value) for value in row] for row in rows)]
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells]
    rule = "|" + "|".join("---" for _ in headings) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def size(count: float) -> str:
    """Bytes for people: 1536 is `1.5 KiB`.

    >>> size(1536), size(12)
    ('1.5 KiB', '12 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def some(names: Iterable[object], most: int = 4) -> str:
    """The first few of many, and how many there are beside them.

    Args:
        names: in the order in which they are to be named.
        most: how many are named.

    >>> some("abcdef"), some("ab"), some("")
    ('a, b, c, d and 2 more', 'a, b', '')
    """
    every = list(map(str, names))
    named = ", ".join(every[:most])
    return f"{named} and {len(every) - most:,} more" if len(every) > most else named


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def whole_numbers(text: str, name: str) -> list[int]:
    """Ascending whole numbers of at least 1.

    Args:
        text: such as `1+5+20`.
        name: of the setting, for messages.

    Raises:
        BenchError: it is anything else.

    >>> whole_numbers("1+5+20", "ks")
    [1, 5, 20]
    """
    return ascending(text, name, _counted, "whole numbers of at least 1 joined by +, such as 1+5+20")


def shares(text: str, name: str) -> list[float]:
    """Ascending numbers above 0 and at most 1.

    Args:
        text: such as `0.8+0.9+1.0`.
        name: of the setting, for messages.

    Raises:
        BenchError: it is anything else.

    >>> shares("0.8+0.9+1.0", "ratios")
    [0.8, 0.9, 1.0]
    """
    return ascending(text, name, _share, "numbers above 0 and at most 1 joined by +, such as 0.8+0.9+1.0")


def ascending(text: str, name: str, read: Callable[[str], _N], wanted: str, marks: str = "+") -> list[_N]:
    """Ascending numbers of any kind.

    Args:
        text: numbers, joined by one of the marks.
        name: of the setting, for messages.
        read: makes a number of a part, or raises ValueError.
        wanted: the kind, for messages, with an example.
        marks: characters that may stand between two.

    Raises:
        BenchError: one cannot be read, or they do not ascend.
    """
    try:
        numbers = [read(part) for part in re.split(f"[{marks}]", text)]
    except ValueError:
        numbers = []
    if not numbers or numbers != sorted(set(numbers)):
        raise BenchError(f"{name} must be ascending {wanted}, not {text!r}.")
    return numbers


def _counted(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError
    return number
