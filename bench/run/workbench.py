"""What measuring takes, whatever is measured: splits and their images, outcomes to the store, faults to the user."""

import contextlib
import datetime
import functools
import importlib.metadata
import platform
import re
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bench.datasets import Library, OpenedSplit, subset, subset_by_class
from bench.datasets.crops import CropSource
from bench.errors import RunError
from bench.images.cache import CropCache
from bench.machine.processes import crosses
from bench.measure import Batch
from bench.measure.cells import versions as versions_of
from bench.progress import Progress
from bench.records import Array, Cell, Crop, ImageSet, Settings
from bench.run.device import Model, PeakMemory, default_batch_size, to_unit_range
from bench.run.feed import Made, Task, at_once, make_images, tasks_of
from bench.run.prepare import Preparer
from bench.store import Store
from bench.suite.words import cells_in_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A cell that could not be measured, and why."""

    checkpoint: str
    message: str


@dataclass(frozen=True, slots=True)
class Part:
    """One split under a crop recipe: its samples, those that are measured, and what gives their crops."""

    opened: OpenedSplit
    indices: Array
    source: CropSource

    @property
    def name(self) -> tuple[str, str]:
        """Data set and split."""
        return self.opened.dataset.name, self.opened.split

    @property
    def ids(self) -> Array:
        """Of the samples that are measured."""
        return self.opened.samples.ids[self.indices]

    @property
    def labels(self) -> Array:
        """Of the samples that are measured."""
        return self.opened.samples.labels[self.indices]

    def few_crops(self, count: int) -> torch.Tensor:
        """(n, 3, size, size) in [0, 255], made here: the crops of the first samples.

        Raises:
            RunError: one does not decode.
        """
        few = self.indices[:count]
        crops_NHWC = self.source.empty(len(few))
        self.source.fill(few, crops_NHWC)
        return torch.from_numpy(crops_NHWC).permute(0, 3, 1, 2)

    def first(self, count: int | None) -> "Part":
        """The samples that a limit of `count` takes of all; None, or more than there are, takes what is here."""
        if count is None or count >= len(self.indices):
            return self
        return replace(self, indices=subset(self.opened.samples.ids, count))

    def to_learn_from(self, count: int | None) -> "Part":
        """The samples that a limit of `count` takes of all, every class in turn; None takes all."""
        samples = self.opened.samples
        return replace(self, indices=subset_by_class(samples.ids, samples.labels, count))


class Workbench:
    """Measures under one crop recipe and the settings of a run.

    Args:
        crop: of every image.
        settings: of the run.
        store: where outcomes go.
        library: opens the splits.
        progress: told of every batch and every fault.
    """

    def __init__(self, crop: Crop, settings: Settings, store: Store, library: Library, progress: Progress) -> None:
        self.crop = crop
        self.settings = settings
        self.store = store
        self.progress = progress
        self.batch_size = settings.batch_size or default_batch_size(settings.device)
        self.failures: list[Failure] = []
        self._library = library
        self._prepare = Preparer(settings.device, settings.seed)
        self._cache = CropCache(settings.cache, settings.cache_budget) if settings.cache is not None else None
        self._files = contextlib.ExitStack()

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._files.close()

    # -- images ------------------------------------------------------------------------------------------------

    def open(self, dataset: str, split: str, limit: int | None, *, keep: bool = True) -> Part:
        """Open a split.

        Args:
            dataset: its name.
            split: of it.
            limit: samples to measure; None for all.
            keep: whether its crops are kept for other runs.
        """
        opened = self._library.open(dataset, split)
        indices = subset(opened.samples.ids, limit)
        source = CropSource(opened.samples, self.crop, None, opened.stamps)
        crops = None
        if self._cache is not None and keep and source.dtype == np.uint8:
            crops = self._cache.open(dataset, opened.fingerprint, self.crop, len(indices))
            if crops is None:
                self.progress.note(f"{dataset}: its crops would be over cache_budget_gb; they are not kept.")
            else:
                self._files.callback(crops.close)
        return Part(opened, indices, replace(source, cache=crops))

    def check_planned(self, cell: Cell) -> None:
        """Nothing where the data that are opened here are those that a cell was planned with.

        Raises:
            BenchError: they have changed since, or are no longer there.
        """
        images = cell.condition.image_set
        for split, planned in zip((images.split, *cell.condition.data.fit), cell.fingerprints, strict=True):
            if self._library.open(images.dataset, split).fingerprint != planned:
                raise RunError(
                    f"split {split!r} of {images.dataset} has changed since this run was planned; run the same command "
                    "again."
                )

    def warn_of_small_images(self, part: Part) -> None:
        """A checkpoint of small images whose entry leaves out its size gives a plausible number, and a wrong one."""
        with contextlib.suppress(RunError):  # a file that does not decode is reported with its condition
            height, width = part.source.original_shape(int(part.indices[0]))
            if 2 * max(height, width) <= self.crop.size:
                self.progress.note(
                    f"{part.name[0]}: its images of {width}×{height} are enlarged to {self.crop.size} pixels; the "
                    "entry of a checkpoint that was trained on smaller ones must say so (input_size, crop_ratio)."
                )

    def images(self, parts: Mapping[tuple[str, str], Part], tasks: Iterable[Task]) -> Iterator[Made]:
        """Make batches under the run's settings."""
        settings = self.settings
        sources = {name: part.source for name, part in parts.items()}
        pin = settings.device.startswith("cuda")
        own = all(part.source.transform is None or crosses(part.source.transform) for part in parts.values())
        workers = settings.workers if own else 0  # such as a function of a notebook, where processes are not forked
        return make_images(sources, tasks, seed=settings.seed, workers=workers, pin=pin)

    def prepare(self, made: Made, sizes: Iterable[int], part: Part) -> dict[int, torch.Tensor]:
        """What models of each size are shown of a batch.

        Raises:
            RunError: its crops could not be made, or what is to be done to them fails.
        """
        if made.error:
            raise RunError(made.error)
        task = made.task
        ids = [str(i) for i in part.opened.samples.ids[task.indices]]
        return self._prepare(made.crops_NCHW, at_once(task.images), ids=ids, sizes=sizes)

    # -- results -----------------------------------------------------------------------------------------------

    def write(
        self, cell: Cell, part: Part, columns: Mapping[str, Array], seconds: float, cost: Mapping[str, object]
    ) -> None:
        """Store an outcome, and log how it came to be; `cost` is as `cost_of` gives it, or empty.

        Rows that contradict themselves are the cell's own fault: it fails, and stops nobody else.
        """
        columns = {**columns, **part.opened.columns(part.indices)}
        try:
            self.store.check(cell, part.ids, part.labels, columns)
        except RunError as error:
            self.fail([cell], str(error), left=0)
            return
        # The log first: killed in between, a run leaves a line too many rather than a cell of unknown origin.
        self.store.log(
            {
                "key": cell.key,
                "checkpoint": cell.checkpoint.name,
                "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "host": socket.gethostname(),
                "seconds": round(seconds, 3),
                "batch_size": self.batch_size,
                **cost,
                "command": shlex.join(sys.argv),
                "versions": versions(),
                "device": device_name(self.settings.device),
            }
        )
        self.store.write(cell, part.ids, part.labels, dict(columns))

    def check_source(self, cell: Cell) -> None:
        """Make sure that the code that made an outcome is what the cell's key says.

        Raises:
            RunError: its files changed meanwhile, so that this process may have run one and others another.
        """
        if versions_of(cell.condition, now=True) != cell.versions:
            raise RunError("the code of its measure or corruption changed while it ran; run the same command again.")

    def fail(self, cells: Sequence[Cell], message: str, left: int) -> None:
        """Note a fault of some cells; `left` images will not be shown for it.

        Raises:
            RunError: the run is to stop at the first fault.
        """
        if not cells:
            return
        self.failures += [Failure(checkpoint=cell.checkpoint.name, message=message) for cell in cells]
        names = ", ".join(dict.fromkeys(cell.checkpoint.name for cell in cells))
        self.progress.note(f"failed: {names}, {cells_in_words(cells)}: {message}")
        self.progress.advance(left, names)
        if self.settings.on_error == "stop":
            raise RunError(f"stopped at the first fault, as --on-error stop asks: {names}: {message}")


def cost_of(model: Model, peak: PeakMemory, n: int, seconds: float) -> dict[str, object]:
    """What the log says of a model that was shown n images in some seconds; `bench.store.log` reads it."""
    return {
        "parameters": model.parameters,
        "macs": model.macs,
        "images_per_second": round(n / max(seconds, 1e-9), 3),
        "peak_memory": peak.bytes,
    }


_KEPT_STATES = 30 * 24 * 3600.0
"""Seconds that the state of an unfinished cell is kept for the run that goes on from it."""


def remove_old_states(store: Store) -> None:
    """Remove what was kept of cells that nobody went on with."""
    for state in store.root.glob("unfinished/*"):
        if not re.fullmatch("[0-9a-f]{32}", state.name):  # no cell's key, so nothing of ours
            continue
        with contextlib.suppress(OSError):  # another run removes it too
            if time.time() - max(path.stat().st_mtime for path in (state, *state.iterdir())) > _KEPT_STATES:
                shutil.rmtree(state)


class SplitLoader:
    """A split under a condition, for measures that own their loop; see `bench.measure.Loader`."""

    def __init__(self, part: Part, images: ImageSet, work: Workbench, size: int) -> None:
        self.ids, self.labels = part.ids, part.labels
        self.source, self.indices = part.source, part.indices
        self.part, self._images, self._work, self._size = part, images, work, size

    def at(self, rows: Array) -> "SplitLoader":
        """See `bench.measure.Loader`."""
        part = replace(self.part, indices=self.indices[rows])
        return SplitLoader(part, self._images, self._work, self._size)

    def __iter__(self) -> Iterator[Batch]:
        device, part = self._work.settings.device, self.part
        tasks = tasks_of(self._images, part.source, part.indices, self._work.batch_size)
        for made in self._work.images({part.name: part}, tasks):
            images_NCHW = self._work.prepare(made, [self._size], part)[self._size]
            samples, indices = part.opened.samples, made.task.indices
            yield Batch(
                ids=[str(i) for i in samples.ids[indices]],
                labels_N=torch.from_numpy(samples.labels[indices]).to(device),
                images_NCHW=to_unit_range(images_NCHW, device),
            )


_PACKAGES = ("pillow", "simplejpeg", "numba", "imagecorruptions-imaug", "pyautoattack")


@functools.cache
def versions() -> dict[str, str]:
    """Of what a number depends on: what runs models, what makes pixels, and AutoAttack."""
    import timm
    import torchvision

    import bench

    return {
        "rtbench": bench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def device_name(device: str) -> str:
    """The accelerator's name, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
