"""TOML files that users write: read whole, and every complaint can name its line."""

import functools
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
    return table, functools.partial(locate, text)


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


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and `key = value`s with the line that each begins on; a value may span lines."""
    begun, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not begun:
            first = number
        begun += line + "\n"
        try:
            parsed = tomllib.loads(begun)
        except tomllib.TOMLDecodeError:
            continue  # a string or an array goes on
        if parsed:
            yield first, begun
        begun = ""


def _keys(table: Mapping[str, Any], above: Keys) -> Iterator[Keys]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _keys(value, (*above, name))


def _read_text(path: Path) -> str:
    try:
        # Windows editors put a byte order mark first, which TOML does not allow.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}; check the path.") from None
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} must be text in UTF-8 ({error}); save it as UTF-8.") from None
    except OSError as error:
        raise BenchError(f"{path} can't be read ({error.strerror}); a TOML file was wanted.") from None


def _syntax_error(message: str, text: str) -> tuple[str, int]:
    """Tomllib's message, whose position is only in its text, as reason and line."""
    reason, _, position = message.rpartition(" (at ")
    match = re.match(r"line (\d+)", position)
    return reason, int(match[1]) if match else len(text.splitlines())
