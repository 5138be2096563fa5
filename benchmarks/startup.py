"""How long `bench` takes where there is nothing to measure: whole processes, from outside.

`bench --help`, `bench list suites`, and `bench run` and `bench table` on the digits track with every cell stored.
The interpreter alone and the imports that these commands avoid stand beside them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import claim, table

BARS = {"bench --help": 0.3, "bench list suites": 1.0, "bench run, all stored": 0.7, "bench table": 3.0}
"""Seconds."""


def commands(store: Path) -> dict[str, list[str]]:
    """What is timed, by name."""
    bench = [sys.executable, "-m", "bench.cli"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import torch, timm'": [sys.executable, "-c", "import torch, timm"],
        "bench --help": [*bench, "--help"],
        "bench list suites": [*bench, "list", "suites"],
        "bench run, all stored": [*bench, "run", "--store", str(store)],
        "bench table": [*bench, "table", "--store", str(store)],
    }


def seconds(command: list[str]) -> float:
    """Wall time of one process, whose modules are compiled to bytecode, as pip leaves those that it installs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Fill a store, then time the commands in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="after one to warm up")
    parser.add_argument("--store", type=Path, help="a filled store of the digits track (default: one is made first)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed = commands(arguments.store or Path(folder) / "runs")
        print("measuring the digits track first, where the store lacks it …", flush=True)
        seconds(timed["bench run, all stored"])
        rounds = np.array([[seconds(command) for command in timed.values()] for _ in range(arguments.rounds + 1)])[1:]
    medians = dict(zip(timed, np.median(rounds, axis=0), strict=True))
    table([("whole process", "median s", "min", "max"), *(
        (name, f"{medians[name]:.2f}", f"{column.min():.2f}", f"{column.max():.2f}")
        for name, column in zip(timed, rounds.T, strict=True)
    )])  # fmt: skip
    for name, bar in BARS.items():
        claim(f"{name} under {bar} s", f"{medians[name]:.2f} s", medians[name] < bar)


if __name__ == "__main__":
    main()
