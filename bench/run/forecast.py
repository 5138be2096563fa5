"""How long a plan would take, from a short timing on this device, and where the time will go."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from bench.checkpoints.loading import load_untrained
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.errors import BenchError
from bench.machine.torch_defaults import torch_defaults
from bench.measure import measures
from bench.measure.classify import Classify
from bench.records import Cell, Condition, Data, ImageSet, Settings
from bench.run.device import Model, check_device, model_key, numerics, run_in_chunks
from bench.run.feature_cache import FeatureSet, feature_sets
from bench.run.feed import Task, at_once, make_images, one_by_one
from bench.run.plan import Plan, Sweep, make_sweeps
from bench.run.prepare import Preparer

_IMAGES_MADE = 4
"""Of each set; the first pays for imports and is not counted."""
_IMAGES_SHOWN = {"cpu": 4, "cuda": 64}
"""In the batch that is timed, by device type."""
_ROUNDS = 3
"""Timed; the fastest counts, as other work on the machine only ever slows one down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Hours of a plan's missing cells, on this device."""

    models: dict[str, float]
    """Checkpoint to the hours of its forward passes."""
    prepared: dict[str, float]
    """What is done to whole batches before the models see them (a corruption, resizing) to its hours."""
    images: dict[str, float]
    """What is done where crops are made (reading a set, a corruption of one image at a time) to one process's hours."""
    workers: int
    """Processes that make crops."""
    beside: bool
    """Whether crops are made beside the models (an accelerator) or by the same cores."""
    unknown: dict[str, str]
    """What could not be timed, with the reason."""
    attacked: bool = False
    """Whether attacks are among it: these are counted as if every image withstood them."""

    @property
    def hours(self) -> float:
        """Of all: the longer of the device's and the crops' where they run beside each other, else their sum."""
        device = sum(self.models.values()) + sum(self.prepared.values())
        crops = sum(self.images.values()) / max(self.workers, 1)
        return max(device, crops) if self.beside and self.workers else device + crops


@torch_defaults()
def forecast(planned: Plan, note: Callable[[str], None]) -> Forecast:
    """Time a few images of every set and through every model of a plan.

    Checkpoints whose weights are not fetched are timed with their architecture alone. Measures that own their loop are
    timed by forward passes, where it is known how many they take.

    Args:
        planned: its missing cells are timed, with the device, precision and workers of its settings.
        note: told what is being timed.

    Raises:
        BenchError: torch cannot use the device.
    """
    settings = planned.settings
    check_device(settings.device)
    models: dict[str, float] = defaultdict(float)
    images: dict[str, float] = defaultdict(float)
    prepared: dict[str, float] = defaultdict(float)
    unknown: dict[str, str] = {}
    seconds: dict[object, float] = {}
    cells = _timed_cells(planned, unknown)
    for sweep in make_sweeps(cells):
        note(f"timing {len({cell.checkpoint.name for cell in sweep.cells})} checkpoints at {sweep.crop.size} pixels")
        _time_models(sweep.cells, settings, seconds, models, unknown)
        _time_images(sweep, settings, planned.library, images, prepared, unknown)
    return Forecast(
        models=_longest_first(models),
        prepared=_longest_first(prepared),
        images=_longest_first(images),
        workers=settings.workers,
        beside=settings.numerics().device != "cpu",
        unknown=unknown,
        attacked=any(measures.get(cell.condition.measure.name).interface == "checkpoint" for cell in cells),
    )


def _longest_first(hours: dict[str, float]) -> dict[str, float]:
    return dict(sorted(hours.items(), key=lambda item: -item[1]))


def _timed_cells(planned: Plan, unknown: dict[str, str]) -> list[Cell]:
    kept: list[Cell] = []
    features: dict[FeatureSet, Cell] = {}
    for cell in planned.missing:
        measurement = cell.condition.measure
        entry = measures.get(measurement.name)
        if entry.interface == "features":
            features |= {
                feature_set: _one_pass(cell, feature_set)
                for feature_set in feature_sets(cell).values()
                if feature_set not in planned.kept
            }
        elif entry.interface == "batch" or entry.passes(measurement.params):
            kept.append(cell)
        else:
            unknown[f"measure {entry.name}"] = "it owns its loop"
    return [*kept, *features.values()]


def _one_pass(cell: Cell, features: FeatureSet) -> Cell:
    """A cell that shows a split once: what extracting its features takes. Learning from them takes seconds."""
    data = Data(dataset=features.dataset, split=features.split)
    return replace(cell, condition=Condition(data=data, model=cell.condition.model), n=features.n)


def _time_models(
    cells: Iterable[Cell],
    settings: Settings,
    seconds: dict[object, float],
    models: dict[str, float],
    unknown: dict[str, str],
) -> None:
    """Add the hours of every cell to its checkpoint; `seconds` an image are kept from sweep to sweep."""
    for cell in cells:
        name, key = cell.checkpoint.name, (model_key(cell), cell.condition.measure)
        if name in unknown:
            continue
        try:
            if key not in seconds:
                seconds[key] = _seconds_an_image(cell, settings)
        except BenchError as error:
            unknown[name] = str(error)
            continue
        models[name] += seconds[key] * cell.n / 3600


def _seconds_an_image(cell: Cell, settings: Settings) -> float:
    count = _IMAGES_SHOWN.get(settings.numerics().device, 4)
    size = cell.condition.model.input_size
    module = load_untrained(cell.checkpoint, settings.device, size).to(memory_format=torch.channels_last)
    model = Model(module, size=size or cell.checkpoint.input_size, chunk=count)
    entry, params = measures.get(cell.condition.measure.name), cell.condition.measure.params
    measure, passes = (entry.make(params), 1) if entry.interface == "batch" else (Classify(), entry.passes(params))
    images = torch.full((count, 3, model.size, model.size), 128, dtype=torch.uint8)
    images, labels = images.to(memory_format=torch.channels_last), torch.zeros(count, dtype=torch.int64)
    rounds = []
    with torch.inference_mode(), numerics(settings.device, settings.precision):
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            run_in_chunks(measure, model, images, labels, settings.device, fixed=False)  # ends on the CPU
            rounds.append(time.perf_counter() - start)
    return passes * min(rounds) / count


def _time_images(
    sweep: Sweep,
    settings: Settings,
    library: Library,
    images: dict[str, float],
    prepared: dict[str, float],
    unknown: dict[str, str],
) -> None:
    """Add the hours of making every set of images once: reading and cropping apart from what is done to crops."""
    plain: dict[tuple[str, str], float] = {}
    for image_set, cells in sweep.by_images.items():
        sizes = {cell.condition.model.input_size or cell.checkpoint.input_size for cell in cells}
        source = CropSource(library.open(image_set.dataset, image_set.split).samples, sweep.crop)
        name, n = (image_set.dataset, image_set.split), cells[0].n
        work = image_set.perturbation.corruption if image_set.perturbation else "resizing"
        try:
            if name not in plain:
                plain[name] = _seconds_to_make(image_set.plain, source, settings.seed)
                images[f"reading {image_set.dataset}"] += plain[name] * n / 3600
            if one_by_one(image_set) is not None:
                made = _seconds_to_make(image_set, source, settings.seed)
                images[work] += max(made - plain[name], 0.0) * n / 3600
            if at_once(image_set) is not None or sizes != {sweep.crop.size}:
                prepared[work] += _seconds_to_prepare(image_set, source, sizes, settings) * n / 3600
        except BenchError as error:
            unknown[" ".join(name)] = str(error)


def _seconds_to_make(image_set: ImageSet, source: CropSource, seed: int) -> float:
    """Seconds of one process for one image of a set, without the cache."""
    indices = np.linspace(0, len(source.samples.ids) - 1, min(_IMAGES_MADE, len(source.samples.ids))).astype(np.int64)
    tasks = [Task(image_set, indices[i : i + 1], i) for i in range(len(indices))]
    sources = {(image_set.dataset, image_set.split): source}
    seconds, start = [], time.perf_counter()
    for made in make_images(sources, tasks, seed=seed, workers=0, pin=False):
        if made.error:
            raise BenchError(made.error)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return float(np.mean(seconds[1:] or seconds))


def _seconds_to_prepare(image_set: ImageSet, source: CropSource, sizes: set[int], settings: Settings) -> float:
    """Seconds on the device for one image of a batch."""
    count = _IMAGES_SHOWN.get(settings.numerics().device, 4)
    ids, perturbation = [str(i) for i in range(count)], at_once(image_set)
    crops = torch.full((count, 3, source.crop.size, source.crop.size), 128, dtype=torch.uint8)
    prepare, rounds = Preparer(settings.device, settings.seed), []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        prepared = prepare(crops, perturbation, ids=ids, sizes=sizes)
        for images in prepared.values():
            images[-1, -1, -1, -1].item()  # waits for the device
        rounds.append(time.perf_counter() - start)
    return min(rounds) / count
