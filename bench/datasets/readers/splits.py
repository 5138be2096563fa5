"""Which split a file is of, by its name, as the hub's own library tells: a split's name is a word of it.

`cifar10-train-00000-of-00001.parquet` is of the training split, `mine_test_v2.parquet` of the test split.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError
from bench.text import some

_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""SPLIT_KEYWORDS of the `datasets` library."""
SPLITS = frozenset(_WORDS.values())
_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")
_AROUND_NAMES = "[-._ ]"
"""Digits belong to a name that is nobody's word: fold1 is not fold12."""


def canonical(split: str) -> str:
    """The split by its usual name, where it has one.

    >>> canonical("val"), canonical("fold1")
    ('validation', 'fold1')
    """
    return _WORDS.get(split.lower(), split)


def split_words(name: str) -> dict[str, str]:
    """The words of a file's name that are splits, and the split that each means.

    >>> split_words("mine_val-0"), split_words("latest")
    ({'val': 'validation'}, {})
    """
    return {word: _WORDS[word] for word in _BETWEEN_WORDS.split(name.lower()) if word in _WORDS}


def names_split(name: str, split: str) -> bool:
    """Whether a split, and no other, is among the words of a file's name.

    >>> names_split("mine-eval", "test"), names_split("train-test", "test")
    (True, False)
    >>> names_split("a.fold1", "fold1"), names_split("fold12", "fold1")
    (True, False)
    """
    if canonical(split) in SPLITS:
        return {canonical(split)} == {*split_words(name).values()}
    return bool(re.search(f"(^|{_AROUND_NAMES}){re.escape(split)}({_AROUND_NAMES}|$)", name))


def check_same_split(paths: Iterable[Path], subject: str, advice: str) -> None:
    """Refuse files that would be read as one split, but whose names say that they are of several.

    Args:
        paths: of the files.
        subject: what they are read as, for messages.
        advice: what to do, for messages.

    Raises:
        BenchError: their names give different splits, or some give one and some none.
    """
    firsts: dict[tuple[str, ...], Path] = {}
    for path in paths:
        firsts.setdefault(tuple(sorted(split_words(path.stem))), path)
    if len(firsts) > 1:
        names = [f"{path.name} ({' and '.join(words) or 'no split'})" for words, path in firsts.items()]
        raise BenchError(f"the files of {subject} are of different splits by their names: {some(names)}; {advice}.")
