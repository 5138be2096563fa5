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
    entry.setdefault("pair_differs", "")  # older stores lack it
    values = {field.name: entry[field.name] for field in fields(StoredCheckpoint)}
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("its entry holds something else than text")
    return StoredCheckpoint(**values)
