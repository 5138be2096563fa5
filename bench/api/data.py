"""Data sets: which there are, what stands in their places, whether they are sound; and predictions made elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import Config, says_place
from bench.datasets import Dataset, Library, datasets
from bench.errors import BenchError
from bench.progress import Progress, Silent
from bench.records import Settings
from bench.suite import Suite
from bench.text import size

if TYPE_CHECKING:
    from bench.datasets.verify import Report
    from bench.tools.import_rows import Imported


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedDataset:
    """A registered data set, and what is here of it."""

    dataset: Dataset
    here: str
    """What stands in its place, or how to give it one; for people."""


def list_data(config: Config) -> list[PlacedDataset]:
    """Every registered data set, with its place under these settings."""
    return [PlacedDataset(dataset=dataset, here=_here(dataset, config)) for dataset in datasets]


def _here(dataset: Dataset, config: Config) -> str:
    """Where the set is, and what stands there."""
    place = config.settings.places.get(dataset.name)
    if place is None and datasets.origin(dataset.name) == str(config.registry):
        return f"as {config.registry} says"
    if place is None and not dataset.source:
        return "built in"
    if place is None:
        return f'no place given: --data {dataset.name}=PATH, or {dataset.name} = "PATH" under [data] in bench.toml'
    if place.is_dir():
        try:
            return f"{place}, a folder of {sum(1 for _ in place.iterdir()):,} entries"
        except OSError as error:
            return f"{place}, a folder that can't be read ({error.strerror})"
    if place.is_file():
        return f"{place}, a file of {size(place.stat().st_size)}"
    return f"{place}, but nothing is there: correct it in {says_place(dataset.name, place)}"


def fetch_data(name: str, out: Path, progress: Progress | None = None, *, url: str = "") -> list[Path]:
    """Fetch a data set's published archives, resumable and checked; see `bench.datasets.fetch`.

    Args:
        name: of the data set.
        out: a folder; read it with `--data NAME=OUT`.
        progress: told of what is done.
        url: of a mirror's folder; empty for where the archives are published.

    Returns:
        The archives.

    Raises:
        BenchError: no data set has this name, or it is not free to be fetched, or cannot be.
    """
    from bench.datasets.fetch import fetch_archives

    return fetch_archives(datasets.get(name), out, (progress or Silent()).note, url=url)


def verify_data(name: str, settings: Settings, progress: Progress | None = None) -> "Sequence[Report]":
    """Decode every image of a data set and look for what is wrong; see `bench.datasets.verify`.

    Args:
        name: of the data set.
        settings: its place, and how many processes decode.
        progress: told of what is done.

    Returns:
        A report a split; `ok` where nothing is wrong.

    Raises:
        BenchError: no data set has this name, or it is not here.
    """
    from bench.datasets.verify import verify

    return verify(datasets.get(name), Library(settings.places), settings.workers, progress or Silent())


def import_predictions(
    rows: Path,
    suite: Suite,
    checkpoint: str,
    settings: Settings,
    *,
    family: str = "",
    corruption: str = "",
    severity: int = 0,
) -> "Imported":
    """Store predictions that were made elsewhere, to be scored like our own; see `bench.tools.import_rows`.

    Raises:
        BenchError: the name is blank, or the file does not have the suite's samples, each once.
    """
    from bench.tools.import_rows import import_rows

    if not checkpoint.strip():
        raise BenchError("--checkpoint wants a name for the predictions, not a blank one.")
    return import_rows(rows, suite, checkpoint, settings, family=family, corruption=corruption, severity=severity)
