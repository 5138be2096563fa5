"""Cells of feature measures: features are extracted once, kept and learnt from, then the test split is predicted.

The measures see no label of the test split; correctness is told here, afterwards.
"""

import contextlib
import copy
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import BenchError, RunError
from bench.foreign.faults import blamed
from bench.foreign.sources import is_ours
from bench.foreign.state import undisturbed_by
from bench.measure import Labelled, MeasureEntry, Predicted, measures
from bench.measure.classify import describe
from bench.records import Array, Cell, ImageSet
from bench.run.device import Model, PeakMemory, load_models, model_key, numerics, run_in_chunks, to_unit_range
from bench.run.feature_cache import FeatureCache, FeatureFile, FeatureSet, can_write, feature_sets
from bench.run.feed import tasks_of
from bench.run.rows import columns_of
from bench.run.steady import FEW, look_at_learning, look_at_model
from bench.run.workbench import Part, Workbench, cost_of
from bench.transfer.features import Extract
from bench.transfer.split import check_labels, validation_rows

_NOT_KEPT = "its features could not be read back from the cache; make room, or give another folder with --cache DIR."
_WITHOUT_LOGITS = ("prediction", "correct", "rank", "top_classes")
"""Columns that scores give which are no logits."""


def measure_probes(cells: Sequence[Cell], work: Workbench) -> None:
    """Measure cells of feature measures, all under the workbench's crop, and store them."""
    with contextlib.ExitStack() as stack:
        root = work.settings.cache
        if root is not None and not can_write(root):
            work.progress.note(f"the cache {root} cannot be written, so features are kept for this run alone.")
            root = None
        root = root or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-")))
        _Probing(cells, work, FeatureCache(root, work.settings.cache_budget)).run()


@dataclass
class _Extraction:
    """One model's features of one split, as they are made."""

    features: FeatureSet
    name: str
    """Of the checkpoint."""
    model: Model
    file: FeatureFile
    peak: PeakMemory
    seconds: float = 0.0
    shown: int = 0

    @property
    def done(self) -> int:
        """Samples whose features are there, of this run or of one that was stopped."""
        return self.file.kept + self.shown


@dataclass
class _Probing:
    cells: Sequence[Cell]
    work: Workbench
    cache: FeatureCache
    kept: dict[FeatureSet, Array] = field(default_factory=dict)
    """Mapped from the disk."""
    costs: dict[FeatureSet, dict[str, object]] = field(default_factory=dict)
    """Of what was extracted now."""
    faults: dict[FeatureSet, str] = field(default_factory=dict)
    """Why features could not be extracted."""
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    names: dict[FeatureSet, str] = field(default_factory=dict)
    """Of a checkpoint that they are of."""
    looked_at: set[str] = field(default_factory=set)
    """Measures of which it is known whether they give the same twice."""

    def run(self) -> None:
        needed = {features: cell for cell in self.cells for features in feature_sets(cell).values()}
        self.names = {features: cell.checkpoint.name for features, cell in needed.items()}
        for features in needed:
            self._open(features)
        missing = {features: cell for features, cell in needed.items() if features not in self.kept}
        self._extract(missing)
        groups: dict[tuple[FeatureSet, ...], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(tuple(feature_sets(cell).values()), []).append(cell)
        for group in groups.values():
            self._measure(group)

    def _open(self, features: FeatureSet) -> None:
        mapped = self.cache.read(features)
        if mapped is not None:
            self.kept[features] = mapped

    # -- features ----------------------------------------------------------------------------------------------

    def _extract(self, missing: Mapping[FeatureSet, Cell]) -> None:
        settings = self.work.settings
        for models, broken in load_models(missing.values(), settings.device, self.work.batch_size):
            for features, cell in missing.items():
                if model_key(cell) in broken:
                    self._fault(features, broken[model_key(cell)])
            for cell in {model_key(cell): cell for cell in missing.values() if model_key(cell) in models}.values():
                self.work.store.record_checkpoint(cell.model_digest, cell.checkpoint)
            here = {features: models[key] for features, cell in missing.items() if (key := model_key(cell)) in models}
            for samples in dict.fromkeys(map(_samples_of, here)):
                self._extract_split({f: model for f, model in here.items() if _samples_of(f) == samples})
            models.clear()  # before the next are loaded, not after

    def _extract_split(self, wanted: Mapping[FeatureSet, Model]) -> None:
        """One pass over a split for all models."""
        first = next(iter(wanted))
        # Crops are not kept: features take their place.
        part = self._samples(first)
        self.work.warn_of_small_images(part)
        images = ImageSet(dataset=first.dataset, split=first.split)
        device = self.work.settings.device
        files = self.cache.write(wanted, self.work.batch_size)
        open_ = [
            _Extraction(features, self.names[features], model, file, PeakMemory(device, model.module))
            for (features, model), file in zip(wanted.items(), files, strict=True)
        ]
        for extraction in open_:
            self._tell_of_parts(extraction)
        # Whole batches, as an undisturbed run shows them: another size may give other last bits.
        tasks = (
            task
            for task in tasks_of(images, part.source, part.indices, self.work.batch_size)
            if any(extraction.file.lacks(task.start, len(task.indices)) for extraction in open_)
        )
        try:
            for made in self.work.images({part.name: part}, tasks):
                start, count = made.task.start, len(made.task.indices)
                lacking = [extraction for extraction in open_ if extraction.file.lacks(start, count)]
                try:
                    prepared = self.work.prepare(made, {extraction.model.size for extraction in lacking}, part)
                except BenchError as error:
                    for extraction in open_:
                        self._fault(extraction.features, str(error), done=extraction.done)
                    return
                for extraction in lacking:
                    self._show(extraction, open_, start, prepared[extraction.model.size])
                if not open_:
                    return
        finally:
            for extraction in open_:
                extraction.file.close()
                self._open(extraction.features)
                if extraction.features in self.kept and extraction.shown:
                    self.costs[extraction.features] = cost_of(
                        extraction.model, extraction.peak, extraction.shown, extraction.seconds
                    )

    def _tell_of_parts(self, extraction: _Extraction) -> None:
        features, kept = extraction.features, extraction.file.kept
        if kept:
            self.work.progress.note(
                f"{features.dataset}, {features.split}: features of {kept:,} of {features.n:,} images are kept of a "
                "run that was stopped; going on from there."
            )
            self.work.progress.advance(kept, "features")

    def _show(self, extraction: _Extraction, open_: list[_Extraction], row: int, images: torch.Tensor) -> None:
        """Extract the batch that begins with a row; a model that fails is taken out."""
        settings, features = self.work.settings, extraction.features
        start, labels = time.perf_counter(), torch.zeros(len(images), dtype=torch.int64)
        try:
            self._look_at_model(extraction, images)
            with torch.inference_mode(), numerics(settings.device, features.precision), extraction.peak:  # type: ignore[arg-type]
                rows = run_in_chunks(
                    Extract(features.token),
                    extraction.model,
                    images,
                    labels,
                    settings.device,
                    fixed=settings.batch_size is not None,
                )
            extraction.file.append(row, rows["features"])
        except BenchError as error:
            open_.remove(extraction)
            extraction.file.close()
            self._fault(features, str(error), done=extraction.done)
            return
        extraction.seconds += time.perf_counter() - start
        extraction.shown += len(images)
        self.work.progress.advance(len(images), "features")

    def _look_at_model(self, extraction: _Extraction, images: torch.Tensor) -> None:
        """Find out on a few images whether a model gives the same twice, once a split."""
        settings, features = self.work.settings, extraction.features
        if extraction.shown == 0:
            with torch.inference_mode(), numerics(settings.device, features.precision):  # type: ignore[arg-type]
                few_NCHW = to_unit_range(images[:FEW], settings.device)
                look_at_model(extraction.name, extraction.model.module, few_NCHW, features.precision)  # type: ignore[arg-type]

    def _fault(self, features: FeatureSet, message: str, done: int = 0) -> None:
        self.faults[features] = message
        self.work.progress.advance(features.n - done, "features")

    # -- probes ------------------------------------------------------------------------------------------------

    def _measure(self, cells: Sequence[Cell]) -> None:
        """Cells that share their features: read once for all."""
        wanted = feature_sets(cells[0])
        lost = [features for features in wanted.values() if features not in self.kept]
        if lost:
            self.work.fail(cells, self.faults.get(lost[0], _NOT_KEPT), left=0)
            return
        try:
            problem = self._problem(cells[0], wanted)
        except BenchError as error:
            self.work.fail(cells, str(error), left=0)
            return
        ways: dict[str, list[Cell]] = {}
        for cell in cells:
            if not self.work.store.has(cell.key):
                ways.setdefault(cell.condition.measure.name, []).append(cell)
        for name, cells_of in ways.items():
            times = f", {len(cells_of)} times" * (len(cells_of) > 1)
            self.work.progress.note(
                f"{cells_of[0].checkpoint.name}: {name} of {cells_of[0].condition.data.dataset}{times}"
            )
            faults: dict[str, list[Cell]] = {}
            for cell in cells_of:
                if message := self._measure_one(cell, problem):
                    faults.setdefault(message, []).append(cell)
            for message, failed in faults.items():
                self.work.fail(failed, message, left=0)

    def _problem(self, cell: Cell, wanted: Mapping[str, FeatureSet]) -> "_Problem":
        device, splits = torch.device(self.work.settings.device), list(wanted)
        if device.type == "mps":  # has no float64
            device = torch.device("cpu")
        parts = {split: self._samples(wanted[split]) for split in splits}
        classes = next(iter(parts.values())).opened.dataset.class_space.classes
        tests, *learnt = parts.values()
        check_labels([part.labels for part in learnt], tests.labels, classes, cell.condition.data.dataset)
        labelled = [_labelled(part, self.kept[wanted[split]], device) for split, part in list(parts.items())[1:]]
        train, validation = labelled if len(labelled) == 2 else _held_out(labelled[0])
        test_ND = torch.from_numpy(np.array(self.kept[wanted[splits[0]]])).to(device)
        return _Problem(train, validation, test_ND, tests, len(classes))

    def _samples(self, features: FeatureSet) -> Part:
        """Those that the features are of."""
        name = (features.dataset, features.split)
        if name not in self.parts:
            self.parts[name] = self.work.open(*name, limit=None, keep=False)
        whole = self.parts[name]
        return whole.to_learn_from(features.n) if features.by_class else whole.first(features.n)

    def _measure_one(self, cell: Cell, problem: "_Problem") -> str:
        """Store what a cell gave; why not, where it gave nothing."""
        start, measurement = time.perf_counter(), cell.condition.measure
        try:
            entry = measures.get(measurement.name)
            measure = entry.make(measurement.params)
            if not is_ours(entry.factory):  # what it does to the features is not to reach the others
                problem = problem.copy()
            with torch.inference_mode(), blamed(f"{entry.name} failed"), undisturbed_by(entry.factory):
                self._look_at(entry, entry.make(measurement.params), problem)
                predicted: Predicted = measure.run(
                    problem.train, problem.validation, problem.test_ND, problem.classes, self.work.settings.seed
                )
                columns = _columns(predicted, problem.test.labels)
            columns = columns_of(entry.name, columns, cell.n)
            self.work.check_source(cell)
        except BenchError as error:
            return str(error)
        measured = feature_sets(cell)[cell.condition.data.split]
        self.work.write(cell, problem.test, columns, time.perf_counter() - start, self.costs.get(measured, {}))
        return ""

    def _look_at(self, entry: MeasureEntry, measure: Any, problem: "_Problem") -> None:
        """Find out on a few samples whether a way to learn that is not ours gives the same twice, once a sweep."""
        if entry.name not in self.looked_at and not is_ours(entry.factory):
            self.looked_at.add(entry.name)
            samples = (problem.train, problem.validation, problem.test_ND)
            look_at_learning(entry.name, measure, *samples, problem.classes, self.work.settings.seed)


@dataclass(frozen=True, slots=True)
class _Problem:
    """What the cells of one checkpoint and data set share."""

    train: Labelled
    validation: Labelled
    test_ND: torch.Tensor
    test: Part
    classes: int

    def copy(self) -> "_Problem":
        """With tensors of its own."""
        train, validation = copy.deepcopy((self.train, self.validation))
        return replace(self, train=train, validation=validation, test_ND=self.test_ND.clone())


def _samples_of(features: FeatureSet) -> tuple[str, str, int, bool]:
    """What features of several models share, where they are of the same samples."""
    return features.dataset, features.split, features.n, features.by_class


def _labelled(part: Part, features_ND: Array, device: torch.device) -> Labelled:
    return Labelled(
        ids=part.ids,
        labels_N=torch.from_numpy(part.labels).to(device),
        features_ND=torch.from_numpy(np.array(features_ND)).to(device),
    )


def _held_out(every: Labelled) -> tuple[Labelled, Labelled]:
    """Training samples without those that are held out, and these."""
    held = np.zeros(len(every.ids), dtype=bool)
    held[validation_rows(every.ids, every.labels_N.cpu().numpy())] = True
    return _at(every, np.flatnonzero(~held)), _at(every, np.flatnonzero(held))


def _at(every: Labelled, rows: Array) -> Labelled:
    index = torch.from_numpy(rows).to(every.labels_N.device)
    return Labelled(ids=every.ids[rows], labels_N=every.labels_N[index], features_ND=every.features_ND[index])


def _columns(predicted: Predicted, labels: Array) -> dict[str, Array]:
    """The outcome's columns: what `classify` would give of logits, and what was chosen."""
    if not torch.isfinite(predicted.scores_NK).all():
        raise RunError("it gave scores that are NaN or infinite, of which no class can be told")
    rows = describe(predicted.scores_NK.float().cpu(), torch.from_numpy(labels))
    names: Iterable[str] = rows if predicted.logits else _WITHOUT_LOGITS
    chosen = {name: np.full(len(labels), value, dtype=np.float64) for name, value in predicted.chosen.items()}
    return {**{name: rows[name].numpy() for name in names}, **chosen}
