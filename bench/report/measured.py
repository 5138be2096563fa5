"""When and with what the cells behind a number were measured, as the store's log tells it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Log = Mapping[str, Mapping[str, Any]]
"""Key of a cell to the last line on it; see `bench.store.log.read_log`."""


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
