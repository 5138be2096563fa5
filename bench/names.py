"""Names that people give: which are taken, and what files are called after them."""

import hashlib
import re
import unicodedata

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


def file_name(name: str) -> str:
    """A name for a file: what is not safe in one is replaced, what is too long cut; a digest keeps names apart.

    >>> file_name("digits-vit"), file_name("../a/b")
    ('digits-vit', '_.._a_b-8e7e11')
    """
    safe = re.sub(r"[^\w.+@-]", "_", name)
    safe = f"_{safe}" if safe.startswith((".", "-")) else safe
    safe = safe.encode(errors="replace")[:_LONGEST_IN_FILES].decode(errors="ignore")
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"
