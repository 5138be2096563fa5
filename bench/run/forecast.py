"""How long a plan would take, from a short timing on this device, and where the time will go."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bench.checkpoints.loading import load_untrained
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.errors import BenchError
from bench.machine.torch_defaults import torch_defaults
from bench.measure import measures
from bench.measure.classify import Classify
from bench.records import Cell, Condition, Data, ImageSet, Measurement, Settings
from bench.run.device import Model, check_device, numerics, run_in_chunks
from bench.run.feature_cache import FeatureSet, feature_sets
from bench.run.feed import Task, at_once, make_images, one_by_one
from bench.run.plan import Plan, Sweep, make_sweeps
from bench.run.prepare import Preparer
from bench.text import some

_IMAGES_MADE = 4
"""Of each set; the first pays for imports and is not counted."""
_IMAGES_SHOWN = {"cpu": 4, "cuda": 64}
"""In the batch that is timed, by device type."""
_ROUNDS = 3
"""Timed; the fastest counts, as other work on the machine only ever slows one down."""
_LONG = 2.0
"""Seconds of a round after which there is no other."""
_MOST_FOR_MODELS, _MOST = 60.0, 90.0
"""Seconds after which no other model is timed, and nothing at all: a plan is not to be waited for."""
_TIME_IS_UP = "timing stopped after a minute and a half, so that the whole takes longer than said"


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
    fetch_bytes: int = 0
    """Of the weights that are to be fetched, in fp32, as far as their architectures were built."""

    @property
    def hours(self) -> float:
        """Of all: the longer of the device's and the crops' where they run beside each other, else their sum."""
        device = sum(self.models.values()) + sum(self.prepared.values())
        crops = sum(self.images.values()) / max(self.workers, 1)
        return max(device, crops) if self.beside and self.workers else device + crops


@torch_defaults()
def forecast(planned: Plan, note: Callable[[str], None]) -> Forecast:
    """Time a few images of every set and through every architecture of a plan, for a minute and a half at most.

    An architecture is built once, without its weights, for all checkpoints and measures; of a corruption, one severity
    stands for all. Measures that own their loop are timed by forward passes, where it is known how many they take.

    Args:
        planned: its missing cells are timed, with the device, precision and workers of its settings.
        note: told what is being timed.

    Raises:
        BenchError: torch cannot use the device.
    """
    settings = planned.settings
    check_device(settings.device)
    unknown: dict[str, str] = {}
    cells = _timed_cells(planned, unknown)
    start = time.monotonic()
    models = _Models(settings, note, until=start + _MOST_FOR_MODELS)
    models.add(cells)
    images = _Images(settings, planned.library, note, until=start + _MOST)
    for sweep in make_sweeps(cells):
        images.add(sweep)
    return Forecast(
        models=_longest_first(models.hours),
        prepared=_longest_first(images.prepared),
        images=_longest_first(images.hours),
        workers=settings.workers,
        beside=settings.numerics().device != "cpu",
        unknown={**unknown, **models.unknown, **images.unknown},
        attacked=any(measures.get(cell.condition.measure.name).interface == "checkpoint" for cell in cells),
        fetch_bytes=sum(models.bytes.get(address, 0) for address in {entry.weights for entry in planned.to_fetch}),
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


def _architecture(cell: Cell) -> Hashable:
    """Cells that agree in this take the same time an image, whatever the weights."""
    entry = cell.checkpoint
    return (
        entry.arch,
        entry.builder,
        entry.arch_args,
        len(entry.class_space.classes),
        entry.input_size,
        cell.condition.model.input_size,
    )


@dataclass
class _Models:
    """Hours of forward passes, timed an architecture at a time."""

    settings: Settings
    note: Callable[[str], None]
    until: float
    """On the monotonic clock."""
    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unknown: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    """Of weights, by their address."""

    def add(self, cells: Iterable[Cell]) -> None:
        groups: dict[Hashable, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(_architecture(cell), []).append(cell)
        for number, group in enumerate(groups.values(), start=1):
            names = sorted({cell.checkpoint.name for cell in group})
            if time.monotonic() > self.until:
                self.unknown |= dict.fromkeys(names, _TIME_IS_UP)
                continue
            size = group[0].condition.model.input_size or group[0].checkpoint.input_size
            self.note(f"timing architecture {number} of {len(groups)}: {some(names, most=1)} at {size} pixels")
            try:
                self._time(group, size)
            except BenchError as error:
                self.unknown |= dict.fromkeys(names, str(error))

    def _time(self, group: Sequence[Cell], size: int) -> None:
        entry = group[0].checkpoint
        own = group[0].condition.model.input_size
        module = load_untrained(entry, self.settings.device, own).to(memory_format=torch.channels_last)
        weights = sum(tensor.nbytes for tensor in module.state_dict().values())
        self.bytes |= {cell.checkpoint.weights: weights for cell in group}
        seconds: dict[Measurement, float] = {}
        for cell in group:
            measurement = cell.condition.measure
            if measurement not in seconds:
                seconds[measurement] = _seconds_an_image(module, size, measurement, self.settings)
            self.hours[cell.checkpoint.name] += seconds[measurement] * cell.n / 3600


def _seconds_an_image(module: torch.nn.Module, size: int, measurement: Measurement, settings: Settings) -> float:
    count = _IMAGES_SHOWN.get(settings.numerics().device, 4)
    model = Model(module, size=size, chunk=count)
    entry, params = measures.get(measurement.name), measurement.params
    measure, passes = (entry.make(params), 1) if entry.interface == "batch" else (Classify(), entry.passes(params))
    images = torch.full((count, 3, size, size), 128, dtype=torch.uint8)
    images, labels = images.to(memory_format=torch.channels_last), torch.zeros(count, dtype=torch.int64)

    def show() -> None:
        run_in_chunks(measure, model, images, labels, settings.device, fixed=False)  # ends on the CPU

    with torch.inference_mode(), numerics(settings.device, settings.precision):
        return passes * _fastest(show) / count


def _fastest(work: Callable[[], None]) -> float:
    """Seconds of the fastest of a few rounds; of the only one, where it is long."""
    rounds: list[float] = []
    while not rounds or (len(rounds) < _ROUNDS and max(rounds) < _LONG):
        start = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - start)
    return min(rounds)


@dataclass
class _Images:
    """Hours of making every set of images once: reading and cropping apart from what is done to crops."""

    settings: Settings
    library: Library
    note: Callable[[str], None]
    until: float
    """On the monotonic clock."""
    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    prepared: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unknown: dict[str, str] = field(default_factory=dict)

    def add(self, sweep: Sweep) -> None:
        groups: dict[tuple[str, str], list[tuple[ImageSet, Sequence[Cell]]]] = {}
        for image_set, cells in sweep.by_images.items():
            work = image_set.perturbation.corruption if image_set.perturbation else "resizing"
            groups.setdefault((image_set.dataset, work), []).append((image_set, cells))
        plain: dict[str, float] = {}
        read: set[tuple[str, str]] = set()
        self.note(f"timing images at {sweep.crop.size} pixels: {some(work for _, work in groups)}")
        for (dataset, work), members in groups.items():
            if time.monotonic() > self.until:
                self.unknown[f"{work} of {dataset}"] = _TIME_IS_UP
                continue
            try:
                self._time(sweep, work, members, plain, read)
            except BenchError as error:
                self.unknown[f"{work} of {dataset}"] = str(error)

    def _time(
        self,
        sweep: Sweep,
        work: str,
        members: Sequence[tuple[ImageSet, Sequence[Cell]]],
        plain: dict[str, float],
        read: set[tuple[str, str]],
    ) -> None:
        """Time one of some sets that are worked on alike (of five severities, the middle one) for all of them."""
        image_set, _ = members[len(members) // 2]
        sizes = {
            cell.condition.model.input_size or cell.checkpoint.input_size for _, cells in members for cell in cells
        }
        source = CropSource(self.library.open(image_set.dataset, image_set.split).samples, sweep.crop)
        name, n, seed = image_set.dataset, sum(cells[0].n for _, cells in members), self.settings.seed
        if name not in plain:
            plain[name] = _seconds_to_make(image_set.plain, source, seed)
        for split, of_split in {one.split: cells[0].n for one, cells in members}.items():
            if (name, split) not in read:
                read.add((name, split))
                self.hours[f"reading {name}"] += plain[name] * of_split / 3600
        if one_by_one(image_set) is not None:
            made = _seconds_to_make(image_set, source, seed)
            self.hours[work] += max(made - plain[name], 0.0) * n / 3600
        if at_once(image_set) is not None or sizes != {sweep.crop.size}:
            self.prepared[work] += _seconds_to_prepare(image_set, source, sizes, self.settings) * n / 3600


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
    prepare = Preparer(settings.device, settings.seed)

    def show() -> None:
        for images in prepare(crops, perturbation, ids=ids, sizes=sizes).values():
            images[-1, -1, -1, -1].item()  # waits for the device

    return _fastest(show) / count
