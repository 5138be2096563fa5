"""The whole digits track from nothing: time and memory; and whether memory grows with the data set. Linux only.

`bench run` in a process of its own, into an empty store with an empty cache. Memory is the proportional set size
(PSS) of the process and its workers together, sampled four times a second: pages they share count once. Then one
sweep of a small model over synthetic images, N and 8 N of them: the peak must be about the same.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import claim, register_random, register_synthetic

MOST_SECONDS, MOST_MEMORY, MOST_GROWTH = 180, 2 * 10**9, 0.05
"""Of the track on two cores; bytes; share by which eight times the images may raise the peak."""
SIZE = 64


def family(pid: int) -> list[int]:
    """The process and all its descendants that are alive."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [p for child in task.read_text().split() for p in family(int(child))]
    return found


def memory(pid: int) -> int:
    """Bytes of PSS of the process and its descendants."""
    total = 0
    for process in family(pid):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def watch(command: list[str]) -> tuple[float, int]:
    """Run a command: wall seconds, and the largest memory seen."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(OSError):  # it has just ended
            peak = max(peak, memory(process.pid))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, peak


def sweep(n: int) -> None:
    """Show `n` synthetic images to a small model; run in a process of its own, that is watched."""
    from bench import api
    from bench.metrics.classification import TOP1
    from bench.records import Condition, Data, Protocol
    from bench.suite import Score, Suite

    with tempfile.TemporaryDirectory() as folder:
        flags = {"store": f"{folder}/runs", "cache": f"{folder}/crops", "device": "cpu", "workers": 2}
        settings = api.configure(**flags).settings
        api.select(["digits"])  # loads the plug-ins
        register_synthetic("synthetic", n, SIZE)
        entry = register_random("resnet", "test_resnet", SIZE, 0, Path(folder))
        score = Score(metric=TOP1, conditions=(Condition(data=Data(dataset="synthetic")),), column="top-1")
        suite = Suite(name="s", version=1, title="", paper="", track="s", protocol=Protocol(terms=()), scores=(score,))
        if not api.run([suite], [entry], settings).ok:
            raise SystemExit("the sweep failed")


def main() -> None:
    """Measure the track, then the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="N")
    parser.add_argument("--sweep", type=int, metavar="N", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sweep:
        sweep(arguments.sweep)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.cli", "run", "--store", f"{folder}/runs", "--cache", f"{folder}/crops"]
        seconds, peak = watch(command)
    print(f"digits track: {seconds:.0f} s, {238_200 / seconds:,.0f} images/s, peak {peak / 1e9:.2f} GB")
    peaks = []
    for n in (arguments.images, 8 * arguments.images):
        took, most = watch([sys.executable, __file__, "--sweep", str(n)])
        peaks.append(most)
        print(f"{n:,} synthetic images of {SIZE} × {SIZE}: {took:.0f} s, peak {most / 1e6:.0f} MB")
    growth = peaks[1] / peaks[0] - 1
    claim(f"the track under {MOST_SECONDS} s", f"{seconds:.0f} s", seconds < MOST_SECONDS)
    claim(f"under {MOST_MEMORY / 1e9:.0f} GB", f"{peak / 1e9:.2f} GB", peak < MOST_MEMORY)
    claim("memory does not grow with the data set", f"{growth:+.1%} for 8 times the images", growth < MOST_GROWTH)


if __name__ == "__main__":
    main()
