"""What stands in a store beside the columns: the footer of a cell, and the entry of a checkpoint."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bench.records import digest
from bench.store import checksums
from bench.store.reading import NewerFormatError

FORMAT = 1
"""Bumped when files of an older form can no longer be read."""
NAME = re.compile(r"[0-9a-f]{32}")
"""Of every file in `cells`, `samples` and `checkpoints`, before its ending: what is called otherwise is not ours."""
_SETUP = ("arch", "builder", "arch_args", "input_size", "crop_ratio", "interpolation", "mean", "std")
_LATER = ("loader", "crop_mode", "transform")
"""As `_SETUP`, of which older entries lack these: part of it where they are set."""
META = b"bench"
"""Where the footer of a Parquet file has ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCell:
    """What the footer of a stored cell says."""

    key: str
    identity: Mapping[str, Any]
    """`Cell.identity` of the cell that was measured."""
    samples: str
    """Digest of its ids and labels; the name of their file."""

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.identity["n"])


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """What tables show of a checkpoint; the file beside the cells holds its whole registry entry."""

    name: str
    model: str
    """Model digest, as in the cells' identity."""
    family: str
    sam: str
    pairs_with: str
    pair_differs: str = ""
    recipe: str = ""
    seed: int | None = None
    """Of the training."""
    pretraining: str = ""
    setup: str = ""
    """Digest of the architecture and how images are fed to it: alike in the trainings of one recipe."""
    how: str = ""
    """Terms that its protocols have beside the suite's."""


def meta_of(key: str, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What a footer says of the cell that was measured; an error where it is not that of this key."""
    meta = json.loads((metadata or {}).get(META, b"null"))
    if not isinstance(meta, dict):
        raise ValueError("its footer does not say what was measured")
    if meta["format"] != FORMAT:
        if isinstance(meta["format"], int) and meta["format"] > FORMAT:
            raise NewerFormatError(f"its format is {meta['format']}, and this version of rtbench reads {FORMAT}")
        raise ValueError(f"its format is {meta['format']!r}, and this version of rtbench reads {FORMAT}")
    if not isinstance(meta["identity"], dict) or digest(meta["identity"])[:32] != key:
        raise ValueError("its name does not match its footer")
    if not isinstance(meta.get("classes", 0), int) or not NAME.fullmatch(str(meta["samples"])):
        raise ValueError("its footer holds no such classes or samples")
    return meta


def stored_cell(key: str, meta: Mapping[str, Any]) -> StoredCell:
    """What of a footer, as `meta_of` gives it, others than the store go by."""
    return StoredCell(key=key, identity=meta["identity"], samples=meta["samples"])


def entry_of(text: bytes) -> dict[str, Any]:
    """A checkpoint's entry; ValueError where the text is none."""
    entry = json.loads(text)
    if not isinstance(entry, dict):
        raise ValueError("it holds no entry")
    return checksums.unsealed(entry)


def checkpoint_of(text: bytes) -> StoredCheckpoint:
    """What tables show of a checkpoint; ValueError or KeyError where the text is no entry."""
    entry = entry_of(text)
    # Older stores lack some; nothing but their entries holds the last.
    known = {
        "pair_differs": "",
        "how": "",
        "recipe": "",
        "seed": None,
        "pretraining": "",
        **entry,
        "setup": _setup(entry),
    }
    values = {field.name: known[field.name] for field in fields(StoredCheckpoint)}
    seed = values.pop("seed")
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("its entry holds something else than text")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise ValueError("its entry holds a seed that is none")
    return StoredCheckpoint(seed=seed, **values)


def _setup(entry: Mapping[str, Any]) -> str:
    classes = dict(entry.get("class_space") or {}).get("classes")  # which may be called by the checkpoint's own name
    later = {name: entry[name] for name in _LATER if entry.get(name) not in (None, "", "center")}
    return digest([classes, *(entry.get(name) for name in _SETUP), *([later] if later else [])])
