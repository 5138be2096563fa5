"""Suites × checkpoints → cells → sweeps, less the cells that the store has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import images
from bench.checkpoints.loading import model_digest
from bench.corruptions import corruptions
from bench.datasets import Library, OpenedSplit
from bench.errors import BenchError
from bench.measure import measures
from bench.records import Cell, Checkpoint, Condition, Crop, Params, Perturbation, Scalar, Settings
from bench.store import Store
from bench.suite import Suite


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run would do."""

    cells: tuple[Cell, ...]
    """Every cell of the suites, each once, however many suites need it."""
    stored: frozenset[str]
    """Keys of those that the store has."""
    unavailable: Mapping[str, str]
    """Checkpoint name to the reason why it cannot be evaluated here."""

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells to measure."""
        return tuple(cell for cell in self.cells if cell.key not in self.stored)

    @property
    def images(self) -> int:
        """Images to be shown to a model, counted once per checkpoint and condition."""
        return sum(cell.n for cell in self.missing)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The cells that share samples and crop recipe: decoded once, perturbed once, shown to every checkpoint."""

    dataset: str
    split: str
    crop: Crop
    cells: tuple[Cell, ...]

    @property
    def by_perturbation(self) -> dict[Perturbation | None, tuple[Cell, ...]]:
        """Perturbations in the order of the suites, with the cells that see their images."""
        groups: dict[Perturbation | None, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(cell.condition.images.perturbation, []).append(cell)
        return {perturbation: tuple(cells) for perturbation, cells in groups.items()}


def make_plan(
    suites: Sequence[Suite],
    checkpoints: Sequence[Checkpoint],
    library: Library,
    settings: Settings,
    store: Store,
) -> Plan:
    """Multiply conditions by checkpoints and look up what is stored.

    Args:
        suites: what to measure.
        checkpoints: what to evaluate; each must predict the classes of every data set.
        library: opens the data sets.
        settings: seed, limit and numerics decide which cells these are.
        store: where outcomes may already be.

    Raises:
        BenchError: a checkpoint predicts other classes than a suite's data set has.
    """
    cells: dict[str, Cell] = {}
    unavailable: dict[str, str] = {}
    for checkpoint in checkpoints:
        try:
            model = model_digest(checkpoint)
        except BenchError as error:
            unavailable[checkpoint.name] = str(error)
            continue
        for suite in suites:
            for condition in suite.conditions:
                cell = resolve(checkpoint, model, condition, library, settings)
                cells.setdefault(cell.key, cell)
    stored = frozenset(store.keys() & cells.keys())
    return Plan(cells=tuple(cells.values()), stored=stored, unavailable=unavailable)


def resolve(checkpoint: Checkpoint, model: str, condition: Condition, library: Library, settings: Settings) -> Cell:
    """The cell of a checkpoint under a condition, with everything that decides its outcome."""
    data = condition.data
    splits = [library.open(data.dataset, split) for split in (data.split, *data.fit)]
    _check_classes(checkpoint, splits[0])
    measure, perturbation = measures.get(condition.measure.name), condition.images.perturbation
    corrupted = perturbation is not None and corruptions.get(perturbation.corruption).seeded
    total = len(splits[0].samples.ids)
    limit = settings.limit if settings.limit is not None and settings.limit < total else None
    return Cell(
        checkpoint=checkpoint,
        condition=condition,
        model_digest=model,
        fingerprints=tuple(split.fingerprint for split in splits),
        n=total if limit is None else limit,
        versions=versions(condition),
        seed=settings.seed if measure.seeded or corrupted else None,
        limit=limit,
        numerics=settings.numerics,
    )


def versions(condition: Condition) -> Params:
    """Of the code that makes an outcome under a condition, as it is today."""
    found: dict[str, Scalar] = {"images": images.VERSION, "measure": measures.get(condition.measure.name).version}
    perturbation = condition.images.perturbation
    if perturbation is not None:
        found["corruption"] = corruptions.get(perturbation.corruption).version
    return Params(found)


def _check_classes(checkpoint: Checkpoint, opened: OpenedSplit) -> None:
    theirs, ours = checkpoint.class_space, opened.dataset.class_space
    if theirs.digest != ours.digest:
        raise BenchError(
            f"checkpoint {checkpoint.name!r} predicts the {len(theirs.classes)} classes of {theirs.name!r}, "
            f"but data set {opened.dataset.name!r} is labelled with the {len(ours.classes)} of {ours.name!r}; "
            "leave one of them out."
        )


def make_sweeps(cells: Iterable[Cell]) -> list[Sweep]:
    """Group cells by samples and crop recipe, in the order in which they first occur."""
    groups: dict[tuple[str, str, Crop], list[Cell]] = {}
    for cell in cells:
        data, crop = cell.condition.data, cell.condition.resolve_crop(cell.checkpoint)
        groups.setdefault((data.dataset, data.split, crop), []).append(cell)
    return [
        Sweep(dataset=dataset, split=split, crop=crop, cells=tuple(group))
        for (dataset, split, crop), group in groups.items()
    ]
