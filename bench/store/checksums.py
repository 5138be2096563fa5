"""Checksums of the texts beside the cells: lines of the log, and checkpoints. Those of older versions have none."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from bench.records import digest

_SEAL = re.compile(r', "crc": "(?P<crc>[0-9a-f]{8})"\}')
_DIGEST = "digest"


def sealed_line(entry: Mapping[str, Any]) -> str:
    """An entry as a line of JSON that ends in the checksum of what is before it."""
    text = json.dumps(entry, sort_keys=True)[:-1]
    return f'{text}, "crc": "{_crc(text)}"}}'


def entry_of(line: str) -> dict[str, Any]:
    """The entry of a line.

    Raises:
        ValueError: the line is cut short, or does not match its checksum.
    """
    seal = _SEAL.fullmatch(line, max(len(line) - len(', "crc": "00000000"}'), 0))
    if seal is not None:
        line = line[: seal.start()]
        if seal["crc"] != _crc(line):
            raise ValueError("it does not match its checksum")
        line += "}"
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
        raise ValueError("it names no cell")
    return entry


def sealed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with the digest of all of it."""
    return {**entry, _DIGEST: digest(entry)}


def unsealed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without its digest.

    Raises:
        ValueError: it does not match it.
    """
    kept = {name: value for name, value in entry.items() if name != _DIGEST}
    if entry.get(_DIGEST, digest(kept)) != digest(kept):
        raise ValueError("it does not match its digest")
    return kept


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
