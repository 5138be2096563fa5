"""`bench table` over a large store: checkpoints × the cells of ImageNet-C, -V2 and -Sketch, made up.

Cold is the first table of a store, which computes every score; warm is the next one, which finds them in the index.
Both are whole processes, with the processor time that they took and their peak memory. Outcomes of corrupted images go
without the ten largest logits and their classes, which no score of theirs reads: with them the store would have five
times the bytes. The files are in the page cache, as far as memory holds them, when the first table is made.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _common import claim, table

from bench.datasets import class_spaces
from bench.measure.cells import versions
from bench.records import Array, Cell, Checkpoint, Condition, Numerics, digest
from bench.store import Store
from bench.suite import suites

SUITES = ("imagenet-c", "imagenet-v2", "imagenet-sketch")
COLD, WARM, MEMORY = 30.0, 2.0, 4.0
"""Bars: seconds, seconds, GiB."""


def conditions() -> list[Condition]:
    """100: 95 corrupted ones, the clean one, three variants, one of sketches."""
    return list(dict.fromkeys(condition for name in SUITES for condition in suites.get(name).conditions))


class Filled(Store):
    """A store whose cells all show the same samples: their digest is taken once."""

    def record_samples(self, ids: Array, labels: Array) -> str:
        """As `Store.record_samples`, once."""
        if not hasattr(self, "_recorded"):
            self._recorded = super().record_samples(ids, labels)
        return self._recorded


def outcome(labels: Array, rng: np.random.Generator, *, whole: bool) -> dict[str, Array]:
    """The rows of a classifier that is right of two in three, as `classify` gives them.

    Args:
        labels: (n,) int64.
        rng: what it draws from.
        whole: whether with the largest logits and their classes.
    """
    n = len(labels)
    rank = np.minimum(rng.geometric(0.66, n) - 1, 999).astype(np.int32)
    p = (rng.uniform(0.05, 1, n) / (rank + 1)).astype(np.float32)  # of the label; no class before it has less
    log_sum_exp = (10 + 5 * p).astype(np.float32)
    columns = {
        "prediction": ((labels - rank) % 1000).astype(np.int32),
        "correct": rank == 0,
        "log_sum_exp": log_sum_exp,
        "loss": -np.log(p),
        "rank": rank,
        "brier": np.square(1 - p),
    }
    if not whole:
        return columns
    behind = rank[:, None] - np.arange(10)  # places from each of the largest logits to the label's
    classes = (labels[:, None] - behind) % 1000
    logits = (log_sum_exp - columns["loss"])[:, None] + behind * (columns["loss"] / (rank + 1))[:, None]
    return {**columns, "top_logits": logits.astype(np.float32), "top_classes": classes.astype(np.int32)}


def fill(root: Path, number: int, n: int) -> None:
    """Write the cells of one checkpoint."""
    space = class_spaces.get("imagenet-1k")
    checkpoint = Checkpoint(
        name=f"model-{number:03d}", class_space=space, family=("vit", "mixer", "resnet")[number % 3]
    )
    store, rng = Filled(root), np.random.default_rng(number)
    model, ids = digest(checkpoint.name), np.array([f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, n + 1)])
    labels = np.arange(n, dtype=np.int64) % 1000
    store.record_checkpoint(model, checkpoint)
    for condition in conditions():
        images = condition.image_set
        cell = Cell(
            checkpoint=checkpoint,
            condition=condition,
            model_digest=model,
            fingerprints=(digest([images.dataset, images.split]),),
            n=n,
            versions=versions(condition),
            seed=None,
            limit=None,
            of=n,
            numerics=Numerics(),
        )
        store.log({"key": cell.key, "checkpoint": checkpoint.name, "parameters": 1, "macs": 1, "images_per_second": 1})
        store.write(cell, ids, labels, outcome(labels, rng, whole=not images.stored))


def measured(root: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak GiB of `bench table` in a process of its own."""
    names = [word for name in SUITES for word in ("--suite", name)]
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", "table", *names, "--store", str(root)],
        stdout=subprocess.DEVNULL, cwd=root.parent,
    )  # fmt: skip
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"bench table ended with {child.returncode}")
    # KiB on Linux
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> None:
    """Fill a store where it is empty, then make its table cold and warm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="kept for another time (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    root: Path = arguments.store or folder / "runs"
    try:
        cells = arguments.checkpoints * len(conditions())
        free = shutil.disk_usage(root.parent).free / 2**30
        print(f"{cells:,} cells of {arguments.samples:,} samples; {free:.0f} GiB are free", flush=True)
        if not root.exists():
            with ProcessPoolExecutor(2) as pool:
                made = [pool.submit(fill, root, i, arguments.samples) for i in range(arguments.checkpoints)]
                for one in made:
                    one.result()
        rounds = []
        for _ in range(arguments.rounds):
            (root / "index.sqlite").unlink(missing_ok=True)
            rounds.append([measured(root), measured(root)])
        cold, warm = np.median(rounds, axis=0)
        table([("", "seconds", "of the processor", "peak GiB"), *(
            (name, f"{row[0]:.2f}", f"{row[1]:.2f}", f"{row[2]:.2f}") for name, row in (("cold", cold), ("warm", warm))
        )])  # fmt: skip
        print(f"load of this machine over the last minute: {os.getloadavg()[0]:.1f}", flush=True)
        claim(f"the first table under {COLD:.0f} s", f"{cold[0]:.1f} s", cold[0] < COLD)
        claim(f"the next under {WARM:.0f} s", f"{warm[0]:.2f} s", warm[0] < WARM)
        peak = max(cold[2], warm[2])
        claim(f"both under {MEMORY:.0f} GiB", f"{peak:.2f} GiB", peak < MEMORY)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
