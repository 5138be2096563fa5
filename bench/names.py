"""Names that people give: which are taken, and what files are called after them."""

import dataclasses
import hashlib
import re
import unicodedata
from typing import Any

from bench.errors import BenchError
from bench.text import NOT_SHOWN

LONGEST = 1000
"""Characters of a name: more is a file's content given in its place."""
_LONGEST_IN_FILES = 120
"""Bytes that a name lends a file's: file systems take 255, and endings and what tells limits and seeds follow."""
_FORMULA = ("=", "+", "-", "@")
"""A cell of a CSV that begins so is run as a formula by spreadsheets (CWE-1236)."""
_IN_PATHS = re.compile(r"[/\\]|^\.")


def check_text(what: str, text: str) -> None:
    """Refuse a text that cannot stand in every table, file and terminal as it is.

    Args:
        what: the text is, for messages: `checkpoint`.
        text: as it was given; an empty one is taken.

    Raises:
        BenchError: it holds a control character, begins as a formula does, begins or ends with a space, or is endless.
    """
    check_shown(what, text)
    shown = _shortened(text)
    if text.startswith(_FORMULA):
        raise BenchError(
            f"the {what} {shown} begins with {text[0]}, which a spreadsheet takes for a formula; begin it with a "
            "letter or a number."
        )
    if text != text.strip():
        raise BenchError(f"the {what} {shown} begins or ends with a space; leave it out.")


def check_shown(what: str, text: str) -> None:
    """Refuse a text that does something to a terminal or breaks a line of a table.

    Args:
        what: the text is, for messages.
        text: as it was given.

    Raises:
        BenchError: it holds a control character, or is endless.
    """
    if len(text) > LONGEST:
        raise BenchError(f"the {what} {_shortened(text)} has {len(text):,} characters; at most {LONGEST:,} are taken.")
    for place, char in enumerate(text):
        if unicodedata.category(char) in NOT_SHOWN:
            raise BenchError(
                f"the {what} {_shortened(text)} has the character U+{ord(char):04X} at place {place + 1}, which would "
                "break tables and terminals; leave it out."
            )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def check_name(kind: str, name: str, *, slashes: bool = False) -> None:
    """Refuse a name that something may not be registered under.

    Args:
        kind: of thing, for messages: `suite`.
        name: what users would type.
        slashes: may stand in it, as in `google/vit-base`.

    Raises:
        BenchError: it is empty, as `check_text` refuses it, or reads as a path.
    """
    if not name:
        raise BenchError(f"a {kind} needs a name, and this one is empty.")
    check_text(kind, name)
    if not slashes and _IN_PATHS.search(name):
        raise BenchError(f"the {kind} {name!r} reads as a path; its name must be without slashes and begin with none.")


def check_record(kind: str, record: object) -> None:
    """Refuse a record of which a field is none of what it must be, such as a text where a tuple of texts belongs.

    Texts, whole numbers and tuples are looked at, in the records that it holds too; so are names beside its own.

    Args:
        kind: of the record, for messages: `suite`.
        record: a dataclass with a name, or anything else, which is taken.

    Raises:
        BenchError: a field is; the record and the field are named.
    """
    if dataclasses.is_dataclass(record):
        _check_fields(f"{kind} {_shortened(str(getattr(record, 'name', '')))}", "", record, set())


def _check_fields(what: str, path: str, record: Any, seen: set[int]) -> None:
    if id(record) in seen:
        return
    seen.add(id(record))
    for field in dataclasses.fields(record):
        value, label = getattr(record, field.name), f"{path}{field.name}"
        declared = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
        if declared == "tuple" or declared.startswith("tuple["):
            if not isinstance(value, tuple):
                raise BenchError(
                    f"{what}: its {label} must be a tuple, such as ({value!r},) with the comma, not {value!r}."
                )
            for inner in filter(dataclasses.is_dataclass, value):
                _check_fields(what, f"{label}: ", inner, seen)
        elif declared in _PLAIN and not isinstance(value, _PLAIN[declared][0]):
            raise BenchError(f"{what}: its {label} must be {_PLAIN[declared][1]}, not {value!r}.")
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            _check_fields(what, f"{label}: ", value, seen)
        if field.name in _NAMES and value:
            check_name(f"{field.name} of {what}:", value)


_PLAIN: dict[str, tuple[type, str]] = {"str": (str, "a text"), "int": (int, "a whole number")}
"""Declarations to what a value must be, and in words."""
_NAMES = ("group", "track")
"""Fields that name what several records share: folders and options are called after them."""


def file_name(name: str) -> str:
    """A name for a file: what is not safe in one is replaced, what is too long cut; a digest keeps names apart.

    >>> file_name("digits-vit"), file_name("../a/b")
    ('digits-vit', '_.._a_b-8e7e11')
    """
    safe = re.sub(r"[^\w.+@-]", "_", name)
    safe = f"_{safe}" if safe.startswith((".", "-")) else safe
    safe = safe.encode(errors="replace")[:_LONGEST_IN_FILES].decode(errors="ignore")
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"
