"""rtbench: robustness and transfer benchmarks for image classifiers. Python: `bench.evaluate`, and `bench.api`."""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`evaluate`, imported when it is asked for: what looks the version up needs no more."""
    if name == "evaluate":
        return importlib.import_module("bench.api").evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
