"""One sweep on one device: every batch of images is made once and shown to every checkpoint.

A checkpoint that fails stops nobody else; a finished condition is stored before the next begins.
"""

import contextlib
import datetime
import importlib.metadata
import itertools
import platform
import shlex
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bench.datasets import Library, OpenedSplit, subset
from bench.device import (
    Model,
    ModelKey,
    PeakMemory,
    default_batch_size,
    load_models,
    model_key,
    numerics,
    run_in_chunks,
    to_unit_range,
)
from bench.errors import BenchError, RunError, one_line
from bench.feed import Made, Task, at_once, deaths_of_workers, make_images, tasks_of
from bench.images.cache import CropCache
from bench.images.source import CropSource
from bench.measure import Batch, BatchMeasure, Pace, measures
from bench.plan import Sweep
from bench.prepare import Preparer
from bench.progress import Progress
from bench.records import Array, Cell, ImageSet, Settings
from bench.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A cell that could not be measured, and why."""

    checkpoint: str
    message: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One split of a sweep: its samples, those that are measured, and what gives their crops."""

    opened: OpenedSplit
    indices: Array
    source: CropSource


@dataclass
class _Recorder:
    """Collects one cell's rows."""

    cell: Cell
    measure: BatchMeasure
    model: Model
    peak: PeakMemory
    seconds: float = 0.0
    indices: list[Array] = field(default_factory=list)
    rows: list[Mapping[str, torch.Tensor]] = field(default_factory=list)

    def columns(self) -> dict[str, Array]:
        try:
            return {name: np.concatenate([rows[name].numpy() for rows in self.rows]) for name in self.rows[0]}
        except (KeyError, ValueError) as error:
            name = self.cell.condition.measure.name
            raise RunError(
                f"measure {name!r} gave rows that differ from batch to batch ({one_line(error)})."
            ) from error


class SweepRun:
    """Measures the cells of a sweep.

    Args:
        sweep: what to measure.
        settings: how.
        store: where outcomes go.
        library: opens the splits.
        progress: told of every batch.
    """

    def __init__(self, sweep: Sweep, settings: Settings, store: Store, library: Library, progress: Progress) -> None:
        self.sweep = sweep
        self.settings = settings
        self.store = store
        self.library = library
        self.progress = progress
        self.batch_size = settings.batch_size or default_batch_size(settings.device)
        self.failures: list[Failure] = []
        self._prepare = Preparer(settings.device, settings.seed)
        self._files = contextlib.ExitStack()
        self._cache = CropCache(settings.cache, settings.cache_budget) if settings.cache is not None else None
        self.parts = {
            (images.dataset, images.split): self._open(images.dataset, images.split, settings.limit, images.stored)
            for images in sweep.by_images
        }

    def run(self) -> list[Failure]:
        """Measure every cell, as many checkpoints at a time as memory holds. Once: the crops are then closed."""
        with self._files:
            self._warn_of_small_images()
            self._run()
        return self.failures

    def _warn_of_small_images(self) -> None:
        """A checkpoint of small images whose entry leaves out its size gives a plausible number, and a wrong one."""
        for name, part in self.parts.items():
            with contextlib.suppress(BenchError):  # a file that does not decode is reported with its condition
                height, width = part.source.original_shape(int(part.indices[0]))
                if 2 * max(height, width) <= self.sweep.crop.size:
                    self.progress.note(
                        f"{name[0]}: its images of {width}×{height} are enlarged to {self.sweep.crop.size} pixels; the "
                        "entry of a checkpoint that was trained on smaller ones must say so (input_size, crop_ratio)."
                    )

    def _run(self) -> None:
        for models, broken in load_models(self.sweep.cells, self.settings.device, self.batch_size):
            for key, message in broken.items():
                self._fail([cell for cell in self.sweep.cells if model_key(cell) == key], message)
            cells = tuple(cell for cell in self.sweep.cells if model_key(cell) in models)
            for model, checkpoint in dict.fromkeys((cell.model_digest, cell.checkpoint) for cell in cells):
                self.store.record_checkpoint(model, checkpoint)
            self._run_batch_measures(replace(self.sweep, cells=_of_interface(cells, "batch")), models)
            for cell in _of_interface(cells, "checkpoint"):
                self._run_checkpoint_measure(cell, models[model_key(cell)])
            models.clear()  # before the next are loaded, not after

    def _open(self, dataset: str, split: str, limit: int | None, stored: bool) -> _Part:
        opened = self.library.open(dataset, split)
        indices = subset(opened.samples.ids, limit)
        crops = None
        # Sets that are stored corrupted would fill any cache, and hardly need one: they are small JPEG files.
        if self._cache is not None and not stored:
            crops = self._cache.open(dataset, opened.fingerprint, self.sweep.crop, len(indices))
            if crops is None:
                self.progress.note(f"{dataset}: its crops would be over cache_budget_gb; they are not kept.")
            else:
                self._files.callback(crops.close)
        return _Part(opened, indices, CropSource(opened.samples, self.sweep.crop, crops))

    def images(self, parts: Mapping[tuple[str, str], _Part], tasks: Iterable[Task]) -> Iterator[Made]:
        """Make batches under the run's settings."""
        settings = self.settings
        sources = {name: part.source for name, part in parts.items()}
        pin = settings.device.startswith("cuda")
        return make_images(sources, tasks, seed=settings.seed, workers=settings.workers, pin=pin)

    def _part(self, images: ImageSet) -> _Part:
        part = self.parts[images.dataset, images.split]
        if images.samples is None or images.samples >= len(part.indices):
            return part
        return replace(part, indices=subset(part.opened.samples.ids, images.samples))

    # -- batch measures: one pass over the images for all checkpoints ----------------------------------------

    def _run_batch_measures(self, sweep: Sweep, models: Mapping[ModelKey, Model]) -> None:
        groups = sweep.by_images
        made = self.images(self.parts, self._tasks(groups))
        # Sets that another run finishes meanwhile never come out of `made`.
        with deaths_of_workers():
            for images, batches in itertools.groupby(made, key=lambda made: made.task.images):
                self._run_condition(images, groups.pop(images), batches, models)
        for cells in groups.values():
            self.progress.advance(sum(cell.n for cell in cells), "already stored")

    def _tasks(self, groups: Mapping[ImageSet, Sequence[Cell]]) -> Iterator[Task]:
        for images, cells in list(groups.items()):
            if all(self.store.has(cell.key) for cell in cells):
                continue
            part = self._part(images)
            yield from tasks_of(images, part.source, part.indices, self.batch_size)

    def _run_condition(
        self, images: ImageSet, cells: Sequence[Cell], batches: Iterator[Made], models: Mapping[ModelKey, Model]
    ) -> None:
        recorders, part = self._recorders(cells, models), self._part(images)
        for made in batches:
            if not recorders:
                return
            try:
                shown = self.prepare(made, {recorder.model.size for recorder in recorders}, part)
            except BenchError as error:
                self._fail([recorder.cell for recorder in recorders], str(error), done=made.task.start)
                return
            for recorder in list(recorders):
                try:
                    self._show(recorder, part, made.task, shown[recorder.model.size])
                except BenchError as error:
                    self._fail([recorder.cell], str(error), done=made.task.start)
                    recorders.remove(recorder)
                else:
                    self.progress.advance(len(made.task.indices), recorder.cell.checkpoint.name)
        for recorder in recorders:
            self._check_samples(recorder)
            try:
                columns = recorder.columns()
            except BenchError as error:
                self._fail([recorder.cell], str(error), done=recorder.cell.n)
            else:
                self._write(recorder.cell, columns, recorder.seconds, recorder.model, recorder.peak)

    def _recorders(self, cells: Sequence[Cell], models: Mapping[ModelKey, Model]) -> list[_Recorder]:
        recorders = []
        for cell in cells:
            measurement, model = cell.condition.measure, models[model_key(cell)]
            peak = PeakMemory(self.settings.device, model.module)
            try:
                measure = measures.get(measurement.name).make(measurement.params)
                recorders.append(_Recorder(cell, measure, model, peak))
            except BenchError as error:
                self._fail([cell], str(error))
        return recorders

    def prepare(self, made: Made, sizes: Iterable[int], part: _Part) -> dict[int, torch.Tensor]:
        """What models of each size are shown of a batch.

        Raises:
            RunError: its crops could not be made, or what is to be done to them fails.
        """
        if made.error:
            raise RunError(made.error)
        task = made.task
        ids = [str(i) for i in part.opened.samples.ids[task.indices]]
        return self._prepare(made.crops_NCHW, at_once(task.images), ids=ids, sizes=sizes)

    def _show(self, recorder: _Recorder, part: _Part, task: Task, images: torch.Tensor) -> None:
        """Forward one batch through one checkpoint and keep the rows."""
        start, model, indices = time.perf_counter(), recorder.model, task.indices
        labels = torch.from_numpy(part.opened.samples.labels[indices])
        fixed = self.settings.batch_size is not None
        with torch.inference_mode(), numerics(self.settings.device, recorder.cell.numerics.precision), recorder.peak:
            rows = run_in_chunks(recorder.measure, model, images, labels, self.settings.device, fixed=fixed)
        _check_rows(recorder.cell.condition.measure.name, rows, len(indices))
        recorder.indices.append(indices)
        recorder.rows.append(rows)
        recorder.seconds += time.perf_counter() - start

    def _check_samples(self, recorder: _Recorder) -> None:
        """Every sample once: no padding, no dropped tail."""
        seen, images = np.concatenate(recorder.indices), recorder.cell.condition.image_set
        wanted = self._part(images).indices
        if not np.array_equal(seen, wanted):
            raise RunError(
                f"{len(seen)} samples of {images.dataset!r} came out of a pass over {len(wanted)}, or in "
                "another order; nothing was stored for this condition. This is a defect of rtbench: please report it."
            )

    # -- checkpoint measures: a loop of their own ------------------------------------------------------------

    def _run_checkpoint_measure(self, cell: Cell, model: Model) -> None:
        if self.store.has(cell.key):
            self.progress.advance(cell.n, "already stored")
            return
        start, peak = time.perf_counter(), PeakMemory(self.settings.device, model.module)
        images, measurement = cell.condition.image_set, cell.condition.measure
        told = _Told(self.progress, cell.checkpoint.name)
        pace = Pace(batch_size=self.batch_size, fixed=self.settings.batch_size is not None, done=told.done)
        try:
            with numerics(self.settings.device, cell.numerics.precision), peak:
                loader = SplitLoader(self._part(images), images, self, model.size)
                fit = {split: self._fit_loader(images.dataset, split, model) for split in cell.condition.data.fit}
                measure = measures.get(measurement.name).make(measurement.params)
                rows = measure.run(model.module, loader, fit, self.settings.seed, pace)
            _check_rows(measurement.name, rows, cell.n)
            columns = {name: np.asarray(column) for name, column in rows.items()}
        except BenchError as error:
            self._fail([cell], str(error), done=told.count)
        except Exception as error:
            message = f"{measurement.name} failed: {type(error).__name__}: {one_line(error)}"
            self._fail([cell], message, done=told.count)
        else:
            self._write(cell, columns, time.perf_counter() - start, model, peak)
            told.done(cell.n - told.count)

    def _fit_loader(self, dataset: str, split: str, model: Model) -> "SplitLoader":
        """A split to learn from: all of its samples, as they are."""
        part = self._open(dataset, split, limit=None, stored=False)
        return SplitLoader(part, ImageSet(dataset=dataset, split=split), self, model.size)

    # -- results ----------------------------------------------------------------------------------------------

    def _write(self, cell: Cell, columns: dict[str, Array], seconds: float, model: Model, peak: PeakMemory) -> None:
        part = self._part(cell.condition.image_set)
        samples = part.opened.samples
        # The log first: killed in between, a run leaves a line too many rather than a cell of unknown origin.
        self.store.log(
            {
                "key": cell.key,
                "checkpoint": cell.checkpoint.name,
                "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "host": socket.gethostname(),
                "seconds": round(seconds, 3),
                "batch_size": self.batch_size,
                "parameters": model.parameters,
                "macs": model.macs,
                "images_per_second": round(cell.n / max(seconds, 1e-9), 3),
                "peak_memory": peak.bytes,
                "command": shlex.join(sys.argv),
                "versions": versions(),
                "device": device_name(self.settings.device),
            }
        )
        self.store.write(cell, samples.ids[part.indices], samples.labels[part.indices], columns)

    def _fail(self, cells: Sequence[Cell], message: str, done: int = 0) -> None:
        """Note a fault of some cells, of which `done` samples each have been counted."""
        if not cells:
            return
        self.failures += [Failure(checkpoint=cell.checkpoint.name, message=message) for cell in cells]
        names = ", ".join(dict.fromkeys(cell.checkpoint.name for cell in cells))
        self.progress.note(f"failed: {names}, {describe(cells)}: {message}")
        self.progress.advance(sum(cell.n - done for cell in cells), names)
        if self.settings.on_error == "stop":
            raise RunError(f"stopped at the first fault, as --on-error stop asks: {names}: {message}")


class _Told:
    """Passes on the progress of one cell, and counts it."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.count = 0
        self._progress, self._name = progress, name

    def done(self, count: int) -> None:
        self.count += count
        self._progress.advance(count, self._name)


class SplitLoader:
    """A split under a condition, for measures that own their loop; see `bench.measure.Loader`."""

    def __init__(self, part: _Part, images: ImageSet, run: SweepRun, size: int) -> None:
        self.ids = part.opened.samples.ids[part.indices]
        self.labels = part.opened.samples.labels[part.indices]
        self._part, self._images, self._run, self._size = part, images, run, size

    def at(self, rows: Array) -> "SplitLoader":
        """See `bench.measure.Loader`."""
        part = replace(self._part, indices=self._part.indices[rows])
        return SplitLoader(part, self._images, self._run, self._size)

    def __iter__(self) -> Iterator[Batch]:
        device, part = self._run.settings.device, self._part
        tasks = tasks_of(self._images, part.source, part.indices, self._run.batch_size)
        for made in self._run.images({(self._images.dataset, self._images.split): part}, tasks):
            shown = self._run.prepare(made, [self._size], part)[self._size]
            samples, indices = part.opened.samples, made.task.indices
            yield Batch(
                ids=[str(i) for i in samples.ids[indices]],
                labels_N=torch.from_numpy(samples.labels[indices]).to(device),
                images_NCHW=to_unit_range(shown, device),
            )


def run_sweep(sweep: Sweep, settings: Settings, store: Store, library: Library, progress: Progress) -> list[Failure]:
    """Measure the cells of a sweep and store them; what failed is returned.

    Raises:
        RunError: the store cannot be written, or the first failure under `on_error="stop"`.
    """
    return SweepRun(sweep, settings, store, library, progress).run()


def describe(cells: Sequence[Cell]) -> str:
    """The condition of these cells in words, or how many cells there are."""
    conditions = {cell.condition for cell in cells}
    if len(conditions) != 1:
        return f"{len(cells)} cells"
    condition = conditions.pop()
    hidden = {"split", "measure", *condition.measure.params}
    return " ".join(str(v) for k, v in condition.columns().items() if v is not None and k not in hidden)


_PACKAGES = ("pillow", "simplejpeg", "numba", "imagecorruptions-imaug", "pyautoattack")


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


def _check_rows(measure: str, columns: Mapping[str, Sized], n: int) -> None:
    """A row a sample in every column, whatever code a plug-in brings."""
    wrong = {name: len(column) for name, column in columns.items() if len(column) != n}
    if wrong or not columns:
        name, rows = next(iter(wrong.items()), ("any column", 0))
        raise RunError(f"measure {measure!r} gave {rows} rows in {name} for {n} samples; it must give one a sample.")


def _of_interface(cells: Sequence[Cell], interface: str) -> tuple[Cell, ...]:
    return tuple(c for c in cells if measures.get(c.condition.measure.name).interface == interface)
