"""TOML files that users write: read whole, and every complaint can name its line."""

import functools
import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.errors import BenchError

Keys: TypeAlias = tuple[str, ...]
Locate: TypeAlias = Callable[..., int]
"""`locate("my-vit", "arch")`: the line, from 1, where that key of that table is written."""


DATASETS = "datasets"
"""The table of a registry file that holds data sets; every other one is a checkpoint."""


_MOST_BYTES = 2**21
"""Of a file: some ten thousand checkpoints."""
_DEEPEST = 16
"""Tables and arrays within each other."""
_TOO_DEEP = object()


@dataclass(frozen=True, slots=True)
class Entry:
    """One table of a user's file, which can complain of itself."""

    path: Path
    keys: Keys
    """Where the table stands: `("my-vit",)`, `("datasets", "my-birds")`."""
    table: Mapping[str, Any]
    locate: Locate

    @property
    def name(self) -> str:
        """What the table describes."""
        return self.keys[-1]

    @property
    def folder(self) -> Path:
        """Where relative paths begin."""
        return self.path.absolute().parent

    def error(self, message: str, key: str = "") -> BenchError:
        """The complaint with file and line: of the key where it is written, else of the table."""
        return BenchError(f"{self.path}, line {self.locate(*self.keys, key)}: [{'.'.join(self.keys)}] {message}")


def load_toml(path: Path) -> tuple[dict[str, Any], Locate]:
    """Read a TOML file.

    Args:
        path: the file, in UTF-8.

    Returns:
        Its table, and `locate(*keys)`: the line where a key is written, or else the nearest table around it.

    Raises:
        BenchError: it can't be read or isn't TOML.
    """
    text = _read_text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line = _syntax_error(str(error), text)
        raise BenchError(f"{path}, line {line}: not valid TOML: {reason}; correct it there.") from None
    except (ValueError, RecursionError):  # tomllib's own, of what no limit of it forbids
        raise BenchError(f"{path}: a number of thousands of digits, or brackets in brackets; shorten them.") from None
    for keys, value in _values(table):
        if fault := _fault(keys, value):
            raise BenchError(f"{path}, line {locate(text, *keys)}: {fault}.")
    return table, functools.partial(locate, text)


def _values(table: Mapping[str, Any]) -> Iterator[tuple[Keys, object]]:
    """Every value by where it stands, tables and arrays too; what stands in an array by where that stands."""
    waiting: list[tuple[Keys, object, int]] = [((), table, 0)]
    while waiting:
        keys, value, depth = waiting.pop()
        yield keys, value
        if depth > _DEEPEST:
            yield keys, _TOO_DEEP
        elif isinstance(value, dict):
            waiting += [((*keys, name), inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(keys, inner, depth + 1) for inner in value]


def _fault(keys: Keys, value: object) -> str:
    """What no setting, checkpoint or data set can have, or nothing."""
    name = ".".join(keys)
    if value is _TOO_DEEP:
        return f"{keys[0]} holds tables in tables more than {_DEEPEST} deep; use fewer"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return (
            f"{name} must be a whole number of at most 64 bits, as TOML has them, not one of {len(str(value))} digits"
        )
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name} must be a number with an end, not {value}"
    if any("\0" in text for text in (*keys, value) if isinstance(text, str)):
        return f"{name!r} holds a NUL, which no name or path can"
    return ""


def locate(text: str, *keys: str) -> int:
    r"""The line, from 1, where `keys` is written in a valid TOML text.

    A key that isn't written is said to be where the nearest table around it begins; without one, on line 1.
    Of an array of tables (`[[x]]`) only the first is known.

    >>> locate('[my-vit]\narch = "resnet18"', "my-vit", "arch")
    2
    """
    lines = _lines(text)
    return next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), 1)


@functools.lru_cache(maxsize=8)
def _lines(text: str) -> Mapping[Keys, int]:
    """The first line of every key. Each statement is parsed by itself, so strings can't pass for headers."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            written = list(_keys(parsed, ()))
            table = written[-1]
        else:
            written = list(_keys(parsed, table))
        for keys in written:
            lines.setdefault(keys, number)
    return lines


_TOKEN = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' | \#[^\n]* | [\[\]{}] | \n""",
    re.DOTALL | re.VERBOSE,
)
"""What decides where a statement ends: strings, comments, brackets and line breaks."""


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and `key = value`s of a valid text with the line that each begins on; a value may span lines."""
    begin, line, first, depth = 0, 1, 1, 0
    for token in itertools.chain(_TOKEN.finditer(text), [None]):
        what = "\n" if token is None else token[0]
        depth += (what in ("[", "{")) - (what in ("]", "}"))
        line += what.count("\n")
        if what == "\n" and depth == 0:
            end = len(text) if token is None else token.end()
            statement = text[begin:end].strip()
            if statement and not statement.startswith("#"):
                yield first, statement
            begin, first = end, line


def _keys(table: Mapping[str, Any], above: Keys) -> Iterator[Keys]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict) and len(above) < _DEEPEST:
            yield from _keys(value, (*above, name))


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # what may never end: /dev/zero, a pipe
            raise BenchError(f"{path} is not a file; a TOML file was wanted.")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise BenchError(
                f"{path} is larger than {_MOST_BYTES // 2**20} MiB; a TOML file was wanted, or cut it in two."
            )
        # Windows editors put a byte order mark first, which TOML does not allow, and end lines in their way.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}; check the path.") from None
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} must be text in UTF-8 ({error.reason}); save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path} can't be read ({getattr(error, 'strerror', None) or error}); a TOML file was wanted."
        ) from None


def _syntax_error(message: str, text: str) -> tuple[str, int]:
    """Tomllib's message, whose position is only in its text, as reason and line."""
    reason, _, position = message.rpartition(" (at ")
    match = re.match(r"line (\d+)", position)
    return reason, int(match[1]) if match else len(text.splitlines())
