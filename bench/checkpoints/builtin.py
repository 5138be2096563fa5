"""The checkpoints that the project registers: the entries of `registry.toml`."""

from pathlib import Path

import bench.datasets.builtin  # noqa: F401 - entries name data sets, which must be registered first
from bench.checkpoints import checkpoints
from bench.checkpoints.toml_file import read_registry
from bench.datasets import datasets


def _register() -> None:
    path = Path(__file__).parent / "registry.toml"
    for entry in read_registry(path, lambda name: datasets.get(name).class_space, ours=True):
        checkpoints.register(entry, origin=path.name)


_register()
