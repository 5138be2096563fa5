"""Looking after stores, caches and the installation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.board.index import Index
from bench.errors import BenchError
from bench.images.cache import CropCache
from bench.records import Settings
from bench.run.feature_cache import FeatureCache
from bench.store import Store
from bench.store.damage import Findings, examine, move_aside
from bench.store.merge import Merged, merge
from bench.suite.words import columns_in_words

if TYPE_CHECKING:
    import pandas as pd

    from bench.tools.doctor import Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A store that was read whole."""

    cells: int
    """Stored, the damaged among them."""
    damaged: tuple[str, ...]
    """Of each damaged file a sentence, with its place."""
    unreadable: tuple[str, ...] = ()
    """Of each file that could not be read, whatever it holds, likewise."""
    nameless: tuple[str, ...] = ()
    """Keys of cells of whose model no checkpoint is kept: no table can show them."""

    @property
    def sound(self) -> bool:
        """Whether every file was read and is as it must be."""
        return not (self.damaged or self.unreadable or self.nameless)


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What is not in the store any more."""

    keys: tuple[str, ...]
    """Cells that were deleted."""
    moved: Mapping[Path, Path]
    """Damaged files: where each was, to where it lies now."""
    unreadable: tuple[str, ...] = ()
    """Of each file that could not be read, and was left where it is, a sentence."""


def list_store(store: Store) -> "pd.DataFrame":
    """The stored cells.

    Returns:
        A row a cell: checkpoint (all names of its model), condition in words, measure, n, limit (missing: all samples),
        seed (missing: nothing is random), device, precision and key.

    Raises:
        BenchError: there is no store.
        StoreFileError: a file of it is damaged or cannot be read.
    """
    import pandas as pd

    store.check_is_there()
    names: dict[str, str] = {}
    for entry in store.checkpoints():
        names[entry.model] = f"{names[entry.model]} = {entry.name}" if entry.model in names else entry.name
    rows = [
        {
            "checkpoint": names.get(cell.identity["model"], cell.identity["model"][:12]),
            "condition": columns_in_words(cell.identity["condition"]),
            "measure": cell.identity["condition"]["measure"],
            **{name: cell.identity[name] for name in ("n", "limit", "seed", "device", "precision")},
            "key": cell.key,
        }
        for cell in Index(store).cells()
    ]
    names_of_columns = ["checkpoint", "condition", "measure", "n", "limit", "seed", "device", "precision", "key"]
    return pd.DataFrame(rows, columns=names_of_columns).astype({"limit": "Int64", "seed": "Int64"})


def verify_store(store: Store) -> Verified:
    """Read every file of a store whole.

    Raises:
        BenchError: there is no store.
        UnreadableError: a folder of it cannot be read.
    """
    store.check_is_there()
    found = examine(store)
    return Verified(
        cells=len(store.keys()),
        damaged=tuple(found.damaged.values()),
        unreadable=tuple(found.unreadable.values()),
        nameless=tuple(found.nameless),
    )


def merge_stores(store: Store, sources: Sequence[Path]) -> dict[Path, Merged]:
    """Copy what other stores have and this one lacks; what both have is compared.

    Args:
        store: where to; made where there is none.
        sources: folders of the others.

    Returns:
        What each source gave.

    Raises:
        BenchError: one of them is no store; nothing is copied then.
        RunError: a file of one is damaged or cannot be read; those before it are copied.
    """
    for folder in sources:
        Store(folder).check_is_there("give the folder that a run had as its --store")
        if not (folder / "cells").is_dir():
            raise BenchError(f"{folder} is no store; give the folder that a run had as its --store.")
    return {folder: merge(store, Store(folder)) for folder in sources}


def remove_cells(store: Store, prefixes: Sequence[str] = (), *, damaged: bool = False) -> Removed:
    """Remove cells; the next run measures them anew.

    Args:
        store: where from.
        prefixes: first digits of a key each.
        damaged: also every file that was read and is not what it must be: it is moved below `damaged` in the store.

    Raises:
        BenchError: there is no store, or nothing is named, or not one cell begins so; nothing is removed then.
        UnreadableError: a folder of the store cannot be read; likewise.
        RunError: the store cannot be written.
    """
    store.check_is_there()
    if not prefixes and not damaged:
        raise BenchError("name the cells to remove by KEY (`bench store ls` shows them), or give --damaged.")
    keys = [_key(store, prefix) for prefix in prefixes]
    found = examine(store) if damaged else Findings()
    moved = move_aside(store, found)
    for key in keys:
        store.remove(key)
    return Removed(keys=tuple(keys), moved=moved, unreadable=tuple(found.unreadable.values()))


def _key(store: Store, prefix: str) -> str:
    """The one stored key that begins so."""
    matches = [key for key in sorted(store.keys()) if prefix and key.startswith(prefix)]
    if len(matches) != 1:
        raise BenchError(
            f"{len(matches)} stored cells begin with {prefix!r}; give the key of one, as `bench store ls` shows it."
        )
    return matches[0]


def list_cache(settings: Settings) -> "pd.DataFrame":
    """Kept crops, then features, the least recently used first.

    Returns:
        A row a folder or file: dataset, crop (`features` of those, `features, in part` of what was stopped), bytes on
        disk, used (when a run last read it, seconds since the epoch) and name.

    Raises:
        BenchError: the settings have no cache.
    """
    import pandas as pd

    crops, features = _caches(settings)
    rows = [(entry.dataset, entry.crop, entry.bytes, entry.used, entry.folder.name) for entry in crops.entries()]
    rows += [
        (entry.dataset, "features" if entry.whole else "features, in part", entry.bytes, entry.used, entry.name)
        for entry in features.entries()
    ]
    return pd.DataFrame(rows, columns=["dataset", "crop", "bytes", "used", "name"])


def clear_cache(settings: Settings) -> int:
    """Remove all kept crops and features, and say how many bytes they took.

    Raises:
        BenchError: the settings have no cache.
    """
    return sum(cache.clear() for cache in _caches(settings))


def _caches(settings: Settings) -> tuple[CropCache, FeatureCache]:
    if settings.cache is None:
        raise BenchError("the cache is off; name its folder with --cache DIR.")
    where = (settings.cache, settings.cache_budget)
    return CropCache(*where), FeatureCache(*where)


def doctor() -> "list[Finding]":
    """Look at versions, device, plug-ins, corruptions, data, store and cache; see `bench.tools.doctor`."""
    from bench.tools.doctor import examine

    return examine()
