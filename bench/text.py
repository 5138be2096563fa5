"""Text for people and from them: tables, lines that fit a width, sizes, and lists of numbers in settings."""

import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from bench.errors import BenchError

_N = TypeVar("_N", int, float)
_APART = "  "
"""Between two columns."""
_UNBROKEN = "\ue000"
"""Stands for a space at which a line is not broken; of the private characters, so that no text has it."""
NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, of formats (some turn the writing around), of half a character, and of breaks."""
_NUMBER = re.compile(r"–|-?[\d,]+(\.\d+)?( ±\d+\.\d+| \(-?\d+–-?\d+\))?")


def render(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns under a ruled heading; columns of numbers are set to the right."""
    cells, widths = _cells(headings, rows), _widths(headings, rows)
    right = [all(_is_number(row[i]) for row in cells[1:]) and len(cells) > 1 for i in range(len(headings))]
    lines = [
        _APART.join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], _APART.join("─" * width for width in widths), *lines[1:]])


def fitting(
    headings: Sequence[str], rows: Sequence[Sequence[object]], width: int, *, always: Sequence[str],
    others: Sequence[str],
) -> list[str]:  # fmt: skip
    """The columns of a table that `render` can lay side by side, in the table's order.

    Args:
        headings: of the whole table.
        rows: of the whole table.
        width: characters.
        always: headings that stay, also where they alone are wider.
        others: headings that stay while there is room, the first ones first; one that is too wide makes room for the
            next.

    >>> rows = [["digits-vit", "97.2", "0.125"]]
    >>> fitting(["checkpoint", "top-1", "NLL"], rows, 18, always=["checkpoint"], others=["NLL", "top-1"])
    ['checkpoint', 'NLL']
    """
    widths = dict(zip(headings, _widths(headings, rows), strict=True))
    kept = [name for name in always if name in widths]
    for name in others:
        if name not in widths or name in kept:
            continue
        if sum(widths[column] + len(_APART) for column in (*kept, name)) - len(_APART) <= width:
            kept.append(name)
    return [name for name in headings if name in kept]


def wrap(line: str, width: int | None, whole: Sequence[str] = ()) -> str:
    """A line as several, the later ones indented, where it is longer than a width.

    Args:
        line: without breaks.
        width: characters; None breaks nothing.
        whole: names that are not broken at their spaces; words never are.

    >>> print(wrap("lower is better: NLL, rel. drop", 27, whole=["rel. drop"]))
    lower is better: NLL,
      rel. drop
    """
    if width is None:
        return line
    for name in whole:
        line = line.replace(name, name.replace(" ", _UNBROKEN))
    lines = textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(_UNBROKEN, " ")


def _cells(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[plain(str(value)) for value in row] for row in (headings, *rows)]


def _widths(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[int]:
    """Characters of the widest text of each column."""
    return [max(map(len, column)) for column in zip(*_cells(headings, rows), strict=True)]


def render_markdown(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; texts are only text in it (see `markdown`)."""
    cells = [[markdown(str(value)) for value in row] for row in (headings, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "|" + "|".join("---" for _ in headings) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def plain(text: str) -> str:
    r"""A text in one line that does nothing to a terminal: spaces for line breaks and tabs, `�` for other controls.

    >>> plain("a\nb\x1b[31m")
    'a b�[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char in "\t\n\r\v\f" or unicodedata.category(char) in ("Zl", "Zp"):
        return " "
    return "�" if unicodedata.category(char) in NOT_SHOWN else char


def markdown(text: str) -> str:
    r"""A text for Markdown, in which it is only text: no link, no picture, no formula, no HTML, one line.

    An underscore within a word means nothing to Markdown, and stays.

    >>> markdown("vit_base [x](http://y) <b> $a$")
    'vit_base \\[x\\](http\\://y) &lt;b&gt; \\$a\\$'
    """
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]$|~]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    text = re.sub(r":(?=//)", r"\\:", text)
    return re.sub(r"\b(www)\.", r"\1\\.", text, flags=re.IGNORECASE)


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


def amounts(text: str, name: str) -> list[float]:
    """Ascending numbers above 0.

    Args:
        text: such as `0.5+2`.
        name: of the setting, for messages.

    Raises:
        BenchError: it is anything else.

    >>> amounts("0.5+2", "sigma")
    [0.5, 2.0]
    """
    return ascending(text, name, _amount, "numbers above 0 joined by +, such as 0.5+2")


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


def _amount(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError
    return number
