"""Suites × checkpoints → cells → sweeps, less the cells that the store has."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.checkpoints.loading import model_digest
from bench.datasets import Library
from bench.errors import AbsentError, BenchError
from bench.measure import measures
from bench.measure.cells import resolve
from bench.records import Cell, Checkpoint, Crop, ImageSet, Settings, digest
from bench.run.available import absent, with_data
from bench.run.feature_cache import FeatureCache, FeatureSet, feature_sets
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
    to_fetch: tuple[Checkpoint, ...] = ()
    """Those whose weights are not here yet; their cells count as missing."""
    kept: frozenset[FeatureSet] = frozenset()
    """Features that need not be extracted for the cells to measure."""
    models: Mapping[str, tuple[Checkpoint, ...]] = field(default_factory=dict)
    """Model digest to the checkpoints that are this model: several names may stand for the same weights."""
    notes: tuple[str, ...] = ()
    """Suites replaced, and conditions left out because their data are not here."""

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells to measure."""
        return tuple(cell for cell in self.cells if cell.key not in self.stored)

    @property
    def images(self) -> int:
        """Images to be shown to a model, counted once per checkpoint and condition; for features, once for all."""
        features: dict[FeatureSet, int] = {}
        others = 0
        for cell in self.missing:
            if measures.get(cell.condition.measure.name).interface == "features":
                features |= {one: one.n for one in feature_sets(cell).values() if one not in self.kept}
            else:
                others += cell.n
        return others + sum(features.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The cells that share a crop recipe: images decoded once, perturbed once, shown to every checkpoint."""

    crop: Crop
    cells: tuple[Cell, ...]

    @property
    def by_images(self) -> dict[ImageSet, tuple[Cell, ...]]:
        """Sets of images in the order of the suites, with the cells that see them."""
        groups: dict[ImageSet, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(cell.condition.image_set, []).append(cell)
        return {images: tuple(cells) for images, cells in groups.items()}


def make_plan(
    suites: Sequence[Suite],
    checkpoints: Sequence[Checkpoint],
    library: Library,
    settings: Settings,
    store: Store,
) -> Plan:
    """Multiply conditions by checkpoints and look up what is stored.

    Args:
        suites: what to measure; conditions whose data are not here are left out, see `with_data`.
        checkpoints: what to evaluate; each must predict the classes of every data set.
        library: opens the data sets.
        settings: seed, limit and numerics decide which cells these are.
        store: where outcomes may already be.

    Raises:
        AbsentError: the data of a suite's headline are not here.
        BenchError: a checkpoint predicts other classes than a suite's data set has.
    """
    suites, notes = with_data(suites, library)
    conditions = [c for c in dict.fromkeys(c for s in suites for c in s.conditions) if not absent(c, library)]
    cells: dict[str, Cell] = {}
    unavailable: dict[str, str] = {}
    to_fetch: list[Checkpoint] = []
    models: dict[str, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        try:
            model = model_digest(checkpoint)
        except AbsentError:
            to_fetch.append(checkpoint)
            model = digest(f"not fetched yet: {checkpoint.name}")  # no stored cell bears it
        except BenchError as error:
            unavailable[checkpoint.name] = str(error)
            continue
        models[model].append(checkpoint)
        for condition in conditions:
            cell = resolve(checkpoint, model, condition, library, settings)
            cells.setdefault(cell.key, cell)
    stored = frozenset(store.keys() & cells.keys())
    return Plan(
        cells=tuple(cells.values()),
        stored=stored,
        kept=_kept([cell for cell in cells.values() if cell.key not in stored], settings),
        unavailable=unavailable,
        to_fetch=tuple(to_fetch),
        models={model: tuple(entries) for model, entries in models.items()},
        notes=tuple(notes),
    )


def _kept(missing: Iterable[Cell], settings: Settings) -> frozenset[FeatureSet]:
    if settings.cache is None:
        return frozenset()
    cache = FeatureCache(settings.cache, settings.cache_budget)
    wanted = [cell for cell in missing if measures.get(cell.condition.measure.name).interface == "features"]
    return frozenset(one for cell in wanted for one in feature_sets(cell).values() if cache.has(one))


def make_sweeps(cells: Iterable[Cell]) -> list[Sweep]:
    """Group cells by crop recipe, in the order in which they first occur: models are then loaded once for all data."""
    groups: dict[Crop, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition.resolve_crop(cell.checkpoint), []).append(cell)
    return [Sweep(crop=crop, cells=tuple(group)) for crop, group in groups.items()]
