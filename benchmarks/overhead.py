"""Engine overhead on warm crops, as a share of the bare forward passes.

The engine: one sweep of `bench.run.sweep` over synthetic images at 224 whose crops are in the cache, shown to one
timm resnet18 and to three with different weights in one pass: reading, checksums, batches, conversion to float,
normalising, forward passes, rows, and writing the outcomes with fsync. The bare passes: the same modules on the
same batches, which stand ready in memory as normalised floats in the same memory format. Both run in this
process in turn; the figure is the median of the rounds' ratios. User and system time stand beside it, as shares of
the bare processor time: on a machine with other work they say more than the wall does. Loading the checkpoints is
timed apart and not part of either.

The environment of OpenMP is as the command line sets it, unless it is set already: run with
OMP_WAIT_POLICY=ACTIVE to see what it does.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What `bench.cli.main` sets; torch reads it when it is first imported."""
for key, value in ENVIRONMENT.items():
    os.environ.setdefault(key, value)

import numpy as np
import torch
from _common import claim, clock, in_turn, register_random, register_synthetic, table

from bench.checkpoints.loading import model_digest
from bench.config import load_config
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.measure import measures
from bench.measure.cells import resolve
from bench.progress import Silent
from bench.records import Array, Checkpoint, Condition, Data, ImageSet, Settings
from bench.run import sweep as engine
from bench.run.device import load_models, to_unit_range
from bench.run.feed import make_images, tasks_of
from bench.run.plan import make_sweeps
from bench.store import Store

BAR = 0.03
"""Of the bare time; issue 2, "Numbers to reach"."""
SIZE = 224


class Loading:
    """Stands in for `load_models` and keeps the seconds spent in it."""

    def __init__(self) -> None:
        self.seconds = np.zeros(3)

    def __call__(self, *args: Any) -> Iterator[Any]:
        """What `load_models` gives."""
        iterator = load_models(*args)
        while True:
            start = clock()
            found = next(iterator, None)
            self.seconds += clock() - start
            if found is None:
                return
            yield found


class Work:
    """What both sides do: show one data set to some checkpoints.

    Args:
        settings: of the engine.
        library: opens the data set.
        entries: the checkpoints.
        folder: gets a new store for every run of the engine.
    """

    def __init__(self, settings: Settings, library: Library, entries: list[Checkpoint], folder: Path) -> None:
        condition = Condition(data=Data(dataset="synthetic"))
        cells = [resolve(entry, model_digest(entry), condition, library, settings) for entry in entries]
        self.sweep = make_sweeps(cells)[0]
        self.settings, self.library, self.folder = settings, library, folder
        self.loading: list[float] = []

    def engine(self) -> Array:
        """Seconds of one sweep into an empty store, without loading the checkpoints."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            store, loading = Store(Path(place)), Loading()
            store.prepare()
            settings = replace(self.settings, store=store.root)
            start = clock()
            with mock.patch.object(engine, "load_models", loading):
                failures = engine.run_sweep(self.sweep, settings, store, self.library, Silent())
            seconds = clock() - start
        if failures:
            raise SystemExit(f"the sweep failed: {failures}")
        self.loading.append(float(loading.seconds[0]))
        return seconds - loading.seconds

    def bare(self, batches: list[torch.Tensor]) -> Callable[[], Array]:
        """Gives the seconds of the forward passes alone, on modules that are loaded already."""
        models, _ = next(load_models(self.sweep.cells, "cpu", self.settings.batch_size or 1))
        modules: list[Any] = [model.module.model for model in models.values()]

        def run() -> Array:
            start = clock()
            with torch.inference_mode():
                for batch in batches:
                    for module in modules:
                        module(batch)
            return clock() - start

        return run


def ready_batches(library: Library, settings: Settings, entry: Checkpoint) -> list[torch.Tensor]:
    """The data set as the bare module takes it: normalised float32, channels last."""
    samples = library.open("synthetic", "test").samples
    source = CropSource(samples, entry.crop)
    images = ImageSet(dataset="synthetic", split="test")
    tasks = tasks_of(images, source, np.arange(len(samples.ids)), settings.batch_size or 1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (entry.mean, entry.std))
    made = make_images({("synthetic", "test"): source}, tasks, seed=0, workers=0, pin=False)
    return [(to_unit_range(one.crops_NCHW, "cpu") - mean) / std for one in made]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="after one to warm up")
    parser.add_argument("--workers", type=int, help="processes that read crops (default: the engine's)")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure both sides and print what came out."""
    flags = {"cache": str(folder / "crops"), "device": "cpu"}
    settings = load_config({**flags, "batch_size": arguments.batch_size, "workers": arguments.workers}).settings
    measures.get("classify")  # loads the plug-ins
    register_synthetic("synthetic", arguments.images, SIZE)
    entries = [register_random(f"resnet18-{i}", "resnet18", SIZE, i, folder) for i in range(3)]
    library = Library()
    batches = ready_batches(library, settings, entries[0])
    print(
        f"{arguments.images} images in batches of {arguments.batch_size}, {torch.get_num_threads()} threads, "
        f"{settings.workers} workers, {' '.join(f'{key}={os.environ[key]}' for key in ENVIRONMENT)}; "
        f"medians of {arguments.rounds} rounds"
    )
    rows: list[tuple[str, ...]] = [
        ("checkpoints", "bare s", "engine s", "overhead", "of each round", "user time", "system time", "loading s")
    ]
    overheads = []
    for count in (1, 3):
        work = Work(settings, library, entries[:count], folder)
        bare, ours = in_turn(arguments.rounds, [work.bare(batches), work.engine]).swapaxes(0, 1)
        # Wall as a share of the bare wall time; user and system as shares of all the bare processor time.
        busy = bare[:, 1:].sum(axis=1)
        more = (ours - bare) / np.stack([bare[:, 0], busy, busy], axis=1)
        each = " ".join(f"{share:+.1%}" for share in more[:, 0])
        shares = np.median(more, axis=0)
        overheads.append(shares[0])
        seconds = (f"{np.median(side[:, 0]):.2f}" for side in (bare, ours))
        rows.append(
            (
                str(count),
                *seconds,
                f"{shares[0]:+.1%}",
                each,
                *(f"{share:+.1%}" for share in shares[1:]),
                f"{np.median(work.loading):.2f}",
            )
        )
    table(rows)
    claim(
        f"engine overhead at most {BAR:.0%} of the bare forward passes of resnet18 at 224",
        f"{overheads[0]:+.1%} for one checkpoint, {overheads[1]:+.1%} for three",
        max(overheads) <= BAR,
    )


def main() -> None:
    """Run in a folder of its own."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
