"""The store's log: when and with what cells were measured, and what a checkpoint costs (size, work, speed, memory).

The papers compare checkpoints "at similar size and throughput". Speed and memory are those of the last run of each
cell, on whatever device that was; they stand in the log and not in the outcomes, which hold only what repeats.
"""

import functools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.store import Store
from bench.store.checksums import entry_of
from bench.store.reading import could_not_read

Log = Mapping[str, Mapping[str, Any]]
"""Key of a cell to the last line on it; see `read_log`."""


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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log."""

    number: int
    """From 1."""
    text: str
    entry: Mapping[str, Any] | None
    """What it says; None where it was cut short, by a kill or a full disk, or is damaged."""
    fault: str = ""
    """What is damaged."""


def read_lines(path: Path) -> list[Line]:
    """The lines of a log; none where there is no log.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise could_not_read(path, error) from error
    return [_line(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _line(number: int, text: str) -> Line:
    try:
        return Line(number, text, entry_of(text))
    except ValueError as error:
        return Line(number, text, None, str(error) if text.endswith("}") else "")


def read_log(store: Store) -> dict[str, dict[str, Any]]:
    """The last line of the store's log for each cell; lines cut short by a kill, or damaged, are passed over.

    A log that has not changed is read once for all the boards of a command.

    Raises:
        UnreadableError: it cannot be read.
    """
    path = store.root / "log.jsonl"
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise could_not_read(path, error) from error
    return _read(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read(path: Path, size: int, mtime_ns: int) -> dict[str, dict[str, Any]]:
    """Size and time of change are there for the cache alone."""
    return {line.entry["key"]: dict(line.entry) for line in read_lines(path) if line.entry}


_OF_A_MODEL = ("parameters", "macs", "images_per_second")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def cost(entries: Collection[dict[str, Any]]) -> Cost | None:
    """The cost that some lines of the log tell of; None where they tell of none."""
    known = [entry for entry in entries if all(_is_number(entry.get(name)) for name in _OF_A_MODEL)]
    if not known:
        return None
    peaks = [entry["peak_memory"] for entry in known if _is_number(entry.get("peak_memory") or None)]
    return Cost(
        parameters=known[-1]["parameters"],
        macs=known[-1]["macs"],
        images_per_second=statistics.median(entry["images_per_second"] for entry in known),
        peak_memory=max(peaks, default=None),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Of some cells; all of it is empty where the log says nothing of them."""

    dates: str
    """A day, or the first and the last."""
    devices: str
    versions: str
    """Of the packages; where cells were measured with several sets of versions, all of these."""


def measured(log: Log, keys: Iterable[str]) -> Measured:
    """What the log says of these cells."""
    lines = [log[key] for key in keys if key in log]
    days = sorted({str(line["when"])[:10] for line in lines if "when" in line})
    devices = sorted({str(line["device"]) for line in lines if "device" in line})
    versions = sorted({_in_words(line["versions"]) for line in lines if isinstance(line.get("versions"), dict)})
    span = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
    return Measured(dates=span, devices=", ".join(devices), versions="; or ".join(versions))


def _in_words(versions: Mapping[str, Any]) -> str:
    """This package first, then the others by name."""
    names = sorted(versions, key=lambda name: (name != "rtbench", name))
    return ", ".join(f"{name} {versions[name]}" for name in names)
