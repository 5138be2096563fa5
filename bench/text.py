"""Text for people and from them: aligned and Markdown tables, sizes, and lists of numbers in settings."""

import re
from collections.abc import Sequence

from bench.errors import BenchError

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
    try:
        found = [int(part) for part in text.split("+")]
    except ValueError:
        found = []
    if not found or found[0] < 1 or found != sorted(set(found)):
        raise BenchError(
            f"{name} must be ascending whole numbers of at least 1 joined by +, such as 1+5+20, not {text!r}."
        )
    return found
