"""One sweep on one device: every batch of images is made once and shown to every checkpoint.

A checkpoint that fails stops nobody else; a finished condition is stored before the next begins.
"""

import contextlib
import copy
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.checkpoints.loading import builder_of
from bench.datasets import Library
from bench.errors import BenchError, RunError, one_line
from bench.foreign.faults import blamed
from bench.foreign.sources import is_ours, modules_of
from bench.foreign.state import undisturbed_by
from bench.images.resize import resize
from bench.machine.compiling import told_of_compiling
from bench.machine.distributed import broadcast, together, world_size
from bench.measure import BatchMeasure, Pace, measures
from bench.progress import Progress, compiling
from bench.records import Array, Cell, Data, ImageSet, Perturbation, Settings
from bench.run import steady
from bench.run.device import (
    Model,
    ModelKey,
    PeakMemory,
    load_models,
    model_key,
    numerics,
    run_in_chunks,
    to_unit_range,
)
from bench.run.feed import Made, Task, tasks_of
from bench.run.plan import Sweep
from bench.run.probing import measure_probes
from bench.run.rows import columns_of
from bench.run.workbench import Failure, Part, SplitLoader, Workbench, cost_of
from bench.store import Store
from bench.transfer.split import check_labels


@dataclass
class _Recorder:
    """Collects one cell's rows."""

    cell: Cell
    measure: BatchMeasure
    model: Model
    peak: PeakMemory
    seconds: float = 0.0
    indices: list[Array] = field(default_factory=list)
    rows: list[Mapping[str, Array]] = field(default_factory=list)

    def columns(self) -> dict[str, Array]:
        try:
            return {name: np.concatenate([rows[name] for rows in self.rows]) for name in self._names()}
        except (KeyError, ValueError) as error:
            name = self.cell.condition.measure.name
            raise RunError(
                f"measure {name!r} gave rows that differ from batch to batch ({one_line(error)})."
            ) from error

    def _names(self) -> list[str]:
        names = [list(rows) for rows in self.rows]
        if any(set(others) != set(names[0]) for others in names):
            raise KeyError("the columns")
        return names[0]


class SweepRun:
    """Measures the cells of a sweep.

    Args:
        sweep: what to measure, by measures of batches and of checkpoints.
        work: opens splits, makes images, takes outcomes.
    """

    def __init__(self, sweep: Sweep, work: Workbench) -> None:
        self.sweep = sweep
        self.work = work
        self.settings, self.store, self.progress = work.settings, work.store, work.progress
        self._looked_at: set[object] = set()
        self.parts = {
            # Sets that are stored corrupted would fill any cache, and hardly need one: they are small JPEG files.
            (images.dataset, images.split): work.open(
                images.dataset, images.split, self.settings.limit, keep=not images.stored
            )
            for images in sweep.by_images
        }

    def run(self) -> None:
        """Measure every cell, as many checkpoints at a time as memory holds."""
        # Where a suite asks for the size, no entry is to blame.
        if any(cell.condition.model.input_size is None for cell in self.sweep.cells):
            for part in self.parts.values():
                self.work.warn_of_small_images(part)
        for models, broken in load_models(self.sweep.cells, self.settings.device, self.work.batch_size):
            for message in dict.fromkeys(broken.values()):
                self._fail([cell for cell in self.sweep.cells if broken.get(model_key(cell)) == message], message)
            cells = tuple(cell for cell in self.sweep.cells if model_key(cell) in models)
            for model, checkpoint in dict.fromkeys((cell.model_digest, cell.checkpoint) for cell in cells):
                self.store.record_checkpoint(model, checkpoint)
            self._run_batch_measures(replace(self.sweep, cells=_of_interface(cells, "batch")), models)
            for cell in _of_interface(cells, "checkpoint"):
                self._run_checkpoint_measure(cell, models[model_key(cell)])
            models.clear()  # before the next are loaded, not after

    def _part(self, images: ImageSet) -> Part:
        return self.parts[images.dataset, images.split].first(images.samples)

    # -- batch measures: one pass over the images for all checkpoints ----------------------------------------

    def _run_batch_measures(self, sweep: Sweep, models: Mapping[ModelKey, Model]) -> None:
        groups = sweep.by_images
        made = self.work.images(self.parts, self._tasks(groups))
        # Sets that another run finishes meanwhile never come out of `made`.
        for images, batches in itertools.groupby(made, key=lambda made: made.task.images):
            self._run_condition(images, groups.pop(images), batches, models)
        for cells in groups.values():
            self.progress.advance(sum(cell.n for cell in cells), "already stored")

    def _tasks(self, groups: Mapping[ImageSet, Sequence[Cell]]) -> Iterator[Task]:
        for images, cells in list(groups.items()):
            if all(self.store.has(cell.key) for cell in cells):
                continue
            part = self._part(images)
            yield from tasks_of(images, part.source, part.indices, self.work.batch_size)

    def _run_condition(
        self, images: ImageSet, cells: Sequence[Cell], batches: Iterator[Made], models: Mapping[ModelKey, Model]
    ) -> None:
        recorders, part = self._recorders(cells, models), self._part(images)
        if images.perturbation is not None:
            self._look_at_corruption(images.perturbation, part)
        for made in batches:
            if not recorders:
                return
            try:
                prepared = self.work.prepare(made, {recorder.model.size for recorder in recorders}, part)
            except BenchError as error:
                self._fail([recorder.cell for recorder in recorders], str(error), done=made.task.start)
                return
            for recorder in list(recorders):
                try:
                    self._show(recorder, part, made.task, prepared[recorder.model.size])
                except BenchError as error:
                    self._fail([recorder.cell], str(error), done=made.task.start)
                    recorders.remove(recorder)
                else:
                    self.progress.advance(len(made.task.indices), recorder.cell.checkpoint.name)
        for recorder in recorders:
            self._check_samples(recorder)
            try:
                columns = recorder.columns()
                self.work.check_source(recorder.cell)
            except BenchError as error:
                self._fail([recorder.cell], str(error), done=recorder.cell.n)
            else:
                cost = cost_of(recorder.model, recorder.peak, recorder.cell.n, recorder.seconds)
                self.work.write(recorder.cell, part, columns, recorder.seconds, cost)

    def _recorders(self, cells: Sequence[Cell], models: Mapping[ModelKey, Model]) -> list[_Recorder]:
        recorders = []
        for cell in cells:
            measurement, model = cell.condition.measure, models[model_key(cell)]
            peak = PeakMemory(self.settings.device, model.module)
            try:
                measure = measures.get(measurement.name).make(measurement.params)
                recorders.append(_Recorder(cell, measure, self._own(cell, model), peak))
            except BenchError as error:
                self._fail([cell], str(error))
        return recorders

    def _own(self, cell: Cell, model: Model) -> Model:
        """The model as a measure is shown it: what a plug-in's does to it is not to reach the others'."""
        entry = measures.get(cell.condition.measure.name)
        if is_ours(entry.factory):
            return model
        with blamed(f"measure {entry.name!r} cannot be given a copy of the model"):
            return replace(model, module=copy.deepcopy(model.module))

    def _show(self, recorder: _Recorder, part: Part, task: Task, images: torch.Tensor) -> None:
        """Forward one batch through one checkpoint and keep the rows."""
        model, indices = recorder.model, task.indices
        labels = torch.from_numpy(part.opened.samples.labels[indices])
        fixed = self.settings.batch_size is not None
        device, cell = self.settings.device, recorder.cell
        entry = measures.get(cell.condition.measure.name)
        name = "" if is_ours(entry.factory) else entry.name
        theirs = undisturbed_by(entry.factory, *builder_of(cell.checkpoint))
        with torch.inference_mode(), numerics(device, cell.numerics.precision), recorder.peak, theirs:
            self._look_at_model(cell, model, images)
            self._look_at_rows(recorder, images, labels)
            start = time.perf_counter()  # what was looked at is no part of the model's speed
            rows = run_in_chunks(recorder.measure, model, images, labels, device, fixed=fixed, name=name)
        recorder.indices.append(indices)
        recorder.rows.append(rows)
        recorder.seconds += time.perf_counter() - start

    def _look_at_corruption(self, perturbation: Perturbation, part: Part) -> None:
        """Find out on a few images whether a corruption gives the same twice, once a sweep."""
        if perturbation.corruption not in self._looked_at:
            self._looked_at.add(perturbation.corruption)
            with contextlib.suppress(BenchError):  # which the batch will meet as well
                ids = [str(i) for i in part.ids[: steady.FEW]]
                steady.look_at_corruption(perturbation, part.few_crops(steady.FEW), ids, self.settings.seed)

    def _look_at_model(self, cell: Cell, model: Model, images_NCHW: torch.Tensor) -> None:
        """Find out on a few images (uint8) whether a model gives the same twice, once a sweep."""
        if model_key(cell) not in self._looked_at:
            self._looked_at.add(model_key(cell))
            few_NCHW = to_unit_range(images_NCHW[: steady.FEW], self.settings.device)
            steady.look_at_model(cell.checkpoint.name, model.module, few_NCHW, cell.numerics.precision)

    def _look_at_rows(self, recorder: _Recorder, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> None:
        """Find out on a few images whether a measure that is not ours gives the same twice, once a sweep."""
        entry, device = measures.get(recorder.cell.condition.measure.name), self.settings.device
        if entry.name not in self._looked_at and not is_ours(entry.factory):
            self._looked_at.add(entry.name)
            few_NCHW, few_N = to_unit_range(images_NCHW[: steady.FEW], device), labels_N[: steady.FEW].to(device)
            own = self._own(recorder.cell, recorder.model)
            fresh = entry.make(recorder.cell.condition.measure.params)
            steady.look_at_rows(entry.name, fresh, own.module, few_NCHW, few_N)

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
        part, reporter = self._part(images), _Told(self.progress, cell.checkpoint.name)
        pace = self._pace(cell, reporter)
        if measures.get(measurement.name).parallel:
            broadcast(cell)  # the other processes wait for it in `take_part`
        try:
            if measures.get(measurement.name).parallel:
                together(lambda: None)  # the others have loaded the checkpoint
            _check_gradients(cell, model)
            with numerics(self.settings.device, cell.numerics.precision), peak:
                ready = self._made_ready(cell, model)
                columns = self._measured(cell, self._own(cell, model), ready, pace)
            self.work.check_source(cell)
        except BenchError as error:
            self._fail([cell], str(error), done=reporter.count)
        else:
            seconds = time.perf_counter() - start
            # Learning takes most of the time where there is any: that is not the model's speed.
            cost = {} if ready.fit else cost_of(model, peak, cell.n, seconds)
            self.work.write(cell, part, columns, seconds, cost)
            shutil.rmtree(self._state(cell), ignore_errors=True)
            reporter.done(cell.n - reporter.count)

    def _measured(self, cell: Cell, model: Model, ready: "_Ready", pace: Pace) -> dict[str, Array]:
        """What the measure gives of the whole split."""
        entry = measures.get(cell.condition.measure.name)
        theirs = undisturbed_by(*modules_of(entry.factory, entry.code), *builder_of(cell.checkpoint))
        with contextlib.suppress(BenchError), torch.inference_mode():  # which its batches will meet as well
            few_NCHW = ready.loader.part.few_crops(steady.FEW)
            self._look_at_model(cell, model, resize(few_NCHW, model.size))
        with blamed(f"{entry.name} failed"), theirs:
            alone = world_size() == 1 or not entry.parallel  # else the others would not answer
            to_look_at = modules_of(entry.factory, entry.code) and not ready.fit and alone
            if to_look_at and entry.name not in self._looked_at:
                self._looked_at.add(entry.name)
                fresh = entry.make(cell.condition.measure.params)
                steady.look_at_run(entry.name, fresh, model.module, ready.loader, self.settings.seed)
            rows = ready.measure.run(model.module, ready.loader, ready.fit, self.settings.seed, pace)
        return columns_of(entry.name, rows, cell.n)

    def _made_ready(self, cell: Cell, model: Model) -> "_Ready":
        def make() -> _Ready:
            self.work.check_planned(cell)  # other processes of torchrun open the data for themselves
            images, part = cell.condition.image_set, self._part(cell.condition.image_set)
            loader = SplitLoader(part, images, self.work, model.size)
            fit = {split: self._fit_loader(cell.condition.data, split, model) for split in cell.condition.data.fit}
            if fit and not part.opened.dataset.has_masks:
                classes = part.opened.dataset.class_space.classes
                check_labels([one.labels for one in fit.values()], loader.labels, classes, images.dataset)
            return _Ready(measure=entry.make(cell.condition.measure.params), loader=loader, fit=fit)

        entry = measures.get(cell.condition.measure.name)
        return together(make) if entry.parallel else make()

    def take_part(self, cell: Cell) -> None:
        """Measure the only cell of this sweep with the first process, which stores it."""

        def loaded() -> Model:
            for models, broken in load_models([cell], self.settings.device, self.work.batch_size):
                if broken:
                    raise RunError(next(iter(broken.values())))
                return models[model_key(cell)]
            raise AssertionError("load_models gives a model or says why not")

        model = together(loaded)
        with numerics(self.settings.device, cell.numerics.precision):
            ready = self._made_ready(cell, model)
            pace = replace(self._pace(cell, _Told(self.progress, cell.checkpoint.name)), state=None)
            ready.measure.run(model.module, ready.loader, ready.fit, self.settings.seed, pace)

    def _pace(self, cell: Cell, reporter: "_Told") -> Pace:
        return Pace(
            batch_size=self.work.batch_size,
            fixed=self.settings.batch_size is not None,
            done=reporter.done,
            note=lambda text: self.progress.note(f"{cell.checkpoint.name}, {cell.condition.data.dataset}: {text}"),
            workers=self.settings.workers,
            state=self._state(cell),
        )

    def _state(self, cell: Cell) -> Path:
        return self.store.root / "unfinished" / cell.key

    def _fit_loader(self, data: Data, split: str, model: Model) -> SplitLoader:
        """A split to learn from, its samples as they are. Its crops are not kept: learning makes its own."""
        part = self.work.open(data.dataset, split, limit=None, keep=False).to_learn_from(data.fit_samples)
        return SplitLoader(part, ImageSet(dataset=data.dataset, split=split), self.work, model.size)

    def _fail(self, cells: Sequence[Cell], message: str, done: int = 0) -> None:
        """Note a fault of some cells, of which `done` samples each have been counted."""
        self.work.fail(cells, message, left=sum(cell.n - done for cell in cells))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ready:
    """What a cell is measured with."""

    measure: Any
    loader: SplitLoader
    """The split that it is shown."""
    fit: dict[str, SplitLoader]
    """Those that it may learn from."""


def _check_gradients(cell: Cell, model: Model) -> None:
    """Nothing where a measure of ours that looks inside a model, or asks it for gradients, can do so."""
    entry = measures.get(cell.condition.measure.name)
    if getattr(model.module.model, "forward_only", False) and is_ours(entry.factory):
        raise RunError(
            f"{entry.name} needs the gradients of a model or its parts, and {cell.checkpoint.name} is run forward "
            "only; bring it as a module of PyTorch, or leave this suite out."
        )


class _Told:
    """Passes on the progress of one cell, and counts it."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.count = 0
        self._progress, self._name = progress, name

    def done(self, count: int) -> None:
        self.count += count
        self._progress.advance(count, self._name)


def run_sweep(sweep: Sweep, settings: Settings, store: Store, library: Library, progress: Progress) -> list[Failure]:
    """Measure the cells of a sweep and store them; what failed is returned.

    Raises:
        RunError: the store cannot be written, or the first failure under `on_error="stop"`.
    """
    work = Workbench(sweep.crop, settings, store, library, progress)
    with work, told_of_compiling(compiling(progress)):
        cells = _as_planned(sweep.cells, work)
        probes = _of_interface(cells, "features")
        learnt = set(probes)
        others = tuple(cell for cell in cells if cell not in learnt)
        if others:
            SweepRun(replace(sweep, cells=others), work).run()
        if probes:
            measure_probes(probes, work)
    return work.failures


def _as_planned(cells: Sequence[Cell], work: Workbench) -> tuple[Cell, ...]:
    """Those whose data are still what they were; the others fail."""
    same: list[Cell] = []
    others: dict[str, list[Cell]] = {}
    for cell in cells:
        try:
            work.check_planned(cell)
            same.append(cell)
        except BenchError as error:
            others.setdefault(str(error), []).append(cell)
    for message, changed in others.items():
        work.fail(changed, message, left=sum(cell.n for cell in changed))
    return tuple(same)


def _of_interface(cells: Sequence[Cell], interface: str) -> tuple[Cell, ...]:
    return tuple(c for c in cells if measures.get(c.condition.measure.name).interface == interface)
