"""Settings from `bench.toml` (in the working directory, or where $BENCH_CONFIG says) and from flags, which win."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UnknownNameError
from bench.machine.hardware import resolve_device, resolve_precision
from bench.machine.places import user_cache, user_path
from bench.records import Settings
from bench.toml_lines import load_toml

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ON_ERROR = ("skip", "stop")
_MOST_WORKERS = 8
"""More processes than this wait for the disk or the models."""
_DIGITS = 20
"""Of a whole number in a text, at most."""

_TYPES: dict[str, tuple[type, ...]] = {
    "store": (str,),
    "cache": (str,),
    "cache_budget_gb": (int, float),
    "device": (str,),
    "precision": (str,),
    "batch_size": (int, str),
    "workers": (int,),
    "seed": (int,),
    "limit": (int,),
    "on_error": (str,),
    "registry": (str,),
    "plugins": (list,),
    "data": (dict,),
}
"""Keys of bench.toml and what they may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Flags over file over defaults."""

    settings: Settings
    registry: Path | None
    """A file of the user's checkpoints."""
    plugins: tuple[Path, ...]
    """Files of the user's Python: those of bench.toml, then those given."""


def load_config(flags: Mapping[str, Any]) -> Config:
    """Combine flags, the configuration file and defaults.

    Args:
        flags: names as in bench.toml; None where not given.

    Raises:
        BenchError: a value is not possible; the file, line and key, or the flag, are named.
    """
    for name in flags:
        if name not in _TYPES:
            raise UnknownNameError("setting", name, _TYPES)
    written = _read_file()
    values = {**written, **{name: value for name, value in flags.items() if value is not None}}
    values["data"] = {**written.get("data", {}), **(flags.get("data") or {})}
    plugins = [*written.get("plugins", ()), *(flags.get("plugins") or ())]
    device = resolve_device(values.get("device", "auto"))
    precision = _one_of("precision", values.get("precision", "auto"), PRECISIONS)
    cache = values.get("cache")
    settings = Settings(
        store=user_path(values.get("store", "runs"), "store"),
        cache=None if cache == "off" else user_path(cache, "cache") if cache is not None else user_cache(),
        cache_budget=_bytes(values.get("cache_budget_gb", 20)),
        device=device,
        precision=resolve_precision(precision, device),
        precision_asked=precision != "auto",
        batch_size=_batch_size(values.get("batch_size", "auto")),
        workers=_within("workers", values.get("workers", min(_MOST_WORKERS, os.cpu_count() or 1)), 0, 1024),
        seed=_within("seed", values.get("seed", 0), 0),
        limit=_within("limit", values["limit"], 1) if "limit" in values else None,
        on_error=_one_of("on_error", values.get("on_error", "skip"), ON_ERROR),  # type: ignore[arg-type]
        places={name: user_path(place, f"the place of {name!r}") for name, place in values["data"].items()},
    )
    registry = values.get("registry")
    return Config(
        settings=settings,
        registry=None if registry is None else user_path(registry, "registry"),
        plugins=tuple(user_path(file, "a plug-in") for file in plugins),
    )


def says_place(name: str, place: Path) -> str:
    """Where the place of a data set was written: `[data] in bench.toml`, or else `--data`."""
    written = _read_file().get("data", {}).get(name)
    in_file = written is not None and user_path(written, f"the place of {name!r}") == place
    return f"[data] in {os.environ.get('BENCH_CONFIG') or 'bench.toml'}" if in_file else "--data"


def _read_file() -> dict[str, Any]:
    named = os.environ.get("BENCH_CONFIG")
    path = user_path(named, "BENCH_CONFIG") if named else Path("bench.toml")
    if not named and not path.exists():
        return {}
    table, locate = load_toml(path)
    for key, value in table.items():
        if key not in _TYPES:
            raise BenchError(f"{path}, line {locate(key)}: {UnknownNameError('setting', key, _TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            wanted = " or ".join(kind.__name__ for kind in _TYPES[key])
            raise BenchError(f"{path}, line {locate(key)}: {key} must be {wanted}, not {value!r}.")
    for name, place in table.get("data", {}).items():
        if not isinstance(place, str):
            raise BenchError(
                f"{path}, line {locate('data', name)}: the place of {name!r} must be a path, not {place!r}."
            )
    for file in table.get("plugins", ()):
        if not isinstance(file, str):
            raise BenchError(f"{path}, line {locate('plugins')}: a plug-in must be a path, not {file!r}.")
    return table


def _bytes(gigabytes: float) -> int:
    if not 0 <= gigabytes < math.inf:
        raise BenchError(f"cache_budget_gb must be a number of at least 0, not {gigabytes}.")
    return int(gigabytes * 2**30)


def _batch_size(value: int | str) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS):
        raise BenchError(f"batch size must be a whole number of at least 1, or auto, not {value!r}.")
    return _within("batch_size", int(value), 1, 2**20)


def _within(name: str, value: int, least: int, most: int = 2**63 - 1) -> int:
    if value < least:
        raise BenchError(f"{name.replace('_', ' ')} must be at least {least}, not {value}.")
    if value > most:
        raise BenchError(f"{name.replace('_', ' ')} must be at most {most:,}, not {value:,}.")
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BenchError(f"{name.replace('_', ' ')} must be one of {', '.join(allowed)}, not {value!r}.")
    return value
