"""Settings, and what a user's own file registers."""

from pathlib import Path
from typing import Any

from bench.checkpoints import checkpoints
from bench.config import Config, load_config
from bench.datasets import datasets
from bench.machine.places import user_path
from bench.records import Checkpoint
from bench.registry import plug_in
from bench.suite import suites


def configure(**flags: Any) -> Config:
    """Settings as the command line would have them: `bench.toml` and defaults, overridden by `flags`.

    Args:
        flags: the keys of `bench.toml`: store, cache, cache_budget_gb, device, precision, batch_size, workers,
            seed, limit, on_error, registry, plugins (paths, beside those of the file), data (name to place).
    """
    config = load_config(flags)
    plug_in(config.plugins)
    if config.registry is not None:
        register_file(config.registry)
    return config


def registered_by(path: Path) -> list[Checkpoint]:
    """The checkpoints that a user's TOML file registered."""
    place = user_path(str(path), "registry")
    return [entry for entry in checkpoints if checkpoints.origin(entry.name) == str(place)]


def register_file(path: Path) -> list[Checkpoint]:
    """Register what a user's TOML file holds: data sets, a suite of the same name for each, and checkpoints.

    What was registered from the same file before is kept.
    """
    from bench.checkpoints.toml_file import read_registry
    from bench.datasets.groups import class_groups
    from bench.datasets.toml_file import read_datasets
    from bench.suite.scores import plain_suite

    for dataset in read_datasets(path):
        if dataset.name not in datasets or datasets.origin(dataset.name) != str(path):
            if dataset.groups is not None:
                class_groups.register(dataset.groups, origin=str(path))
            datasets.register(dataset, origin=str(path))
            suites.register(plain_suite(dataset), origin=str(path))
    entries = read_registry(path, lambda name: datasets.get(name).class_space)
    for entry in entries:
        if entry.name not in checkpoints or checkpoints.get(entry.name) != entry:
            checkpoints.register(entry, origin=str(path))
    return entries
