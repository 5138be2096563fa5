"""Epsilon as people write it, without letting 4/255 and 4 be mixed up. No torch here: suites and commands parse it."""

import math
import re
from dataclasses import dataclass

from bench.errors import BenchError, UnknownNameError
from bench.text import ascending

NORMS = {"linf": "Linf", "l2": "L2"}
"""By which a change is measured (its largest value; the root of its squares' sum), and as people write it."""
_MARKS = "+,"
"""Between two values of a grid."""


def check_norm(norm: str) -> str:
    """The norm, if it is one of `NORMS`.

    Raises:
        UnknownNameError: it is not.

    >>> check_norm("l2")
    'l2'
    """
    if norm not in NORMS:
        raise UnknownNameError("norm", norm, NORMS)
    return norm


def parse_eps(text: str, norm: str) -> float:
    """Epsilon in pixels of [0, 1].

    Args:
        text: a fraction such as `4/255`, or a number; under `linf` below 1, as a whole number might be meant in 255ths.
        norm: one of `NORMS`.

    Raises:
        BenchError: it is no positive number, or it does not say in which unit.

    >>> parse_eps("0.5/255", "linf") == 0.5 / 255, parse_eps("0.0157", "linf"), parse_eps("3", "l2")
    (True, 0.0157, 3.0)
    """
    above, slash, below = text.partition("/")
    try:
        if "_" in text:  # which Python reads over, and which stands for / in file names
            raise ValueError
        eps = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise BenchError(f"eps must be a number such as 4/255 or 0.0157, not {text!r}.") from None
    if not 0 < eps < math.inf:
        raise BenchError(f"eps must be more than 0, not {text!r}; write it as 4/255 or 0.0157.")
    if check_norm(norm) == "linf" and eps >= 1 and slash:
        raise BenchError(f"eps {text} under linf is the whole range of a pixel or more; write a fraction below 1.")
    if norm == "linf" and eps >= 1:
        raise BenchError(
            f"eps {text} under linf could mean {text}/255 or {text} times the range of a pixel, which goes from 0 to 1 "
            f"here; write {text}/255, or a number below 1."
        )
    return eps


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The values of eps at which an attack is scored, ascending."""

    names: tuple[str, ...]
    """As they are written, such as `4/255`."""
    values: tuple[float, ...]
    """In pixels of [0, 1]."""


def parse_grid(text: str, norm: str) -> Grid:
    """Read a grid.

    Args:
        text: values as `parse_eps` takes them, joined by `+` or `,`.
        norm: one of `NORMS`.

    Raises:
        BenchError: a value is not possible, or they do not ascend.

    >>> parse_grid("1/255+2/255", "linf").names
    ('1/255', '2/255')
    """
    wanted = "numbers joined by + or a comma, such as 1/255+2/255"
    values = ascending(text, "the values of eps", lambda part: parse_eps(part.strip(), norm), wanted, _MARKS)
    return Grid(names=tuple(part.strip() for part in re.split(f"[{_MARKS}]", text)), values=tuple(values))
