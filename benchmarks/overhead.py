"""Engine overhead on warm crops, as a share of the bare forward passes.

The engine: one sweep of `bench.sweep` over synthetic images at 224 whose crops are in the cache, shown to one
timm resnet18 and to three with different weights in one pass: reading, checksums, batches, conversion to float,
normalising, forward passes, rows, and writing the outcomes with fsync. The bare passes: the same modules on the
same batches, which stand ready in memory as normalised floats in the same memory format. Both run in this
process in turn, and the medians are compared. Loading the checkpoints is timed apart and not part of either.

OMP_WAIT_POLICY is PASSIVE unless it is set, as the command line has it; set it to ACTIVE to compare.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch reads it when it is first imported

import torch
from _common import claim, register_random, register_synthetic, rounds, table

from bench import sweep as engine
from bench.config import load_config
from bench.datasets import Library
from bench.device import load_models, to_unit_range
from bench.feed import make_images, tasks_of
from bench.images.source import CropSource
from bench.measure import measures
from bench.plan import Sweep, make_sweeps, resolve
from bench.progress import Silent
from bench.records import Checkpoint, Condition, Data, Settings
from bench.store import Store

BAR = 0.03
"""Of the bare time; issue 2, "Numbers to reach"."""
SIZE = 224


class Loading:
    """Stands in for `load_models` and keeps the seconds spent in it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Iterator[Any]:
        iterator = load_models(*args)
        while True:
            start = time.perf_counter()
            found = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if found is None:
                return
            yield found


class Work:
    """What both sides do: one data set, some checkpoints.

    Args:
        settings: of the engine.
        library: opens the data set.
        models: names of the checkpoints.
        folder: gets a new store for every run of the engine.
    """

    def __init__(
        self, settings: Settings, library: Library, entries: list[Checkpoint], folder: Path
    ) -> None:
        condition = Condition(data=Data(dataset="synthetic"))
        cells = [resolve(entry, entry.name, condition, library, settings) for entry in entries]
        self.sweep: Sweep = make_sweeps(cells)[0]
        self.settings, self.library, self.folder = settings, library, folder
        self.loading: list[float] = []

    def engine(self) -> float:
        """Seconds of one sweep into an empty store, without loading the checkpoints."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            store = Store(Path(place))
            store.prepare()
            settings, loading = replace(self.settings, store=store.root), Loading()
            start = time.perf_counter()
            with mock.patch.object(engine, "load_models", loading):
                failures = engine.run_sweep(self.sweep, settings, store, self.library, Silent())
            seconds = time.perf_counter() - start
        if failures:
            raise SystemExit(f"the sweep failed: {failures}")
        self.loading.append(loading.seconds)
        return seconds - loading.seconds

    def bare(self, batches: list[torch.Tensor]) -> Callable[[], float]:
        """Seconds of the forward passes alone, on modules that are loaded already."""
        models, _ = next(load_models(self.sweep.cells, "cpu", self.settings.batch_size or 1))
        modules: list[Any] = [model.module.model for model in models.values()]

        def run() -> float:
            start = time.perf_counter()
            with torch.inference_mode():
                for module in modules:
                    for batch in batches:
                        module(batch)
            return time.perf_counter() - start

        return run


def ready_batches(library: Library, settings: Settings, entry: Checkpoint) -> list[torch.Tensor]:
    """The data set as the module takes it: normalised float32, channels last."""
    samples = library.open("synthetic", "test").samples
    source = CropSource(samples, entry.crop)
    tasks = tasks_of(None, torch.arange(len(samples.ids)).numpy(), settings.batch_size or 1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (entry.mean, entry.std))
    made = (made.images_NCHW for made in make_images(source, tasks, seed=0, workers=0))
    return [(to_unit_range(images, "cpu", SIZE) - mean) / std for images in made if images is not None]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken, after a warm-up")
    parser.add_argument("--workers", type=int, help="processes that read crops (default: the engine's)")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as place:
        compare(arguments, Path(place))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    flags = {
        "cache": str(folder / "crops"),
        "device": "cpu",
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
    }
    settings = load_config(flags).settings
    measures.get("classify")  # loads the plug-ins
    register_synthetic("synthetic", arguments.images, SIZE)
    entries = [register_random(f"resnet18-{i}", "resnet18", SIZE, i, folder) for i in range(3)]
    library = Library()
    batches = ready_batches(library, settings, entries[0])
    print(
        f"{arguments.images} images in batches of {arguments.batch_size}, {torch.get_num_threads()} threads, "
        f"{settings.workers} workers, OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}, medians of "
        f"{arguments.rounds}"
    )
    rows, overheads = [("checkpoints", "bare s", "engine s", "overhead", "loading s, apart")], []
    for count in (1, 3):
        work = Work(settings, library, entries[:count], folder)
        bare, ours = rounds(arguments.rounds, [work.bare(batches), work.engine])
        overheads.append(ours / bare - 1)
        loading = sorted(work.loading)[len(work.loading) // 2]
        rows.append((str(count), f"{bare:.2f}", f"{ours:.2f}", f"{overheads[-1]:+.1%}", f"{loading:.2f}"))
    table(rows)
    claim(
        f"engine overhead at most {BAR:.0%} of the bare forward passes of resnet18 at 224",
        f"{overheads[0]:+.1%} for one checkpoint, {overheads[1]:+.1%} for three",
        max(overheads) <= BAR,
    )


if __name__ == "__main__":
    main()
