"""What a checkpoint costs, from the log of the runs that measured it: its size, work, speed and memory.

The papers compare checkpoints "at similar size and throughput". Speed and memory are those of the last run of each
cell, on whatever device that was; they stand in the log and not in the outcomes, which hold only what repeats.
"""

import functools
import json
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one checkpoint, over some of its cells."""

    parameters: int
    macs: int
    """Multiply-accumulates for one image."""
    images_per_second: float
    """Through the model alone, median over the cells."""
    peak_memory: int | None
    """Bytes on the device for weights and activations, the largest over the cells; None on a CPU."""


def read_log(store: Store) -> dict[str, dict[str, Any]]:
    """The last line of the store's log for each cell; lines cut short by a kill are passed over.

    A log that has not changed is read once for all the boards of a command.
    """
    path = store.root / "log.jsonl"
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    return _read(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read(path: Path, size: int, mtime_ns: int) -> dict[str, dict[str, Any]]:
    """Size and time of change are there for the cache alone."""
    entries: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "key" in entry:
            entries[entry["key"]] = entry
    return entries


def cost(entries: Collection[dict[str, Any]]) -> Cost | None:
    """The cost that some lines of the log tell of; None where they tell of none."""
    told = [entry for entry in entries if {"parameters", "macs", "images_per_second"} <= entry.keys()]
    if not told:
        return None
    peaks = [entry["peak_memory"] for entry in told if entry.get("peak_memory")]
    return Cost(
        parameters=told[-1]["parameters"],
        macs=told[-1]["macs"],
        images_per_second=statistics.median(entry["images_per_second"] for entry in told),
        peak_memory=max(peaks, default=None),
    )
