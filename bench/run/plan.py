"""Suites × checkpoints → cells → sweeps, less the cells that the store has."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.checkpoints.loading import model_digest
from bench.datasets import Library
from bench.errors import AbsentError, BenchError
from bench.measure import measures
from bench.measure.cells import check_sources, resolve
from bench.records import Cell, Checkpoint, Crop, ImageSet, Settings, digest
from bench.run.available import Available, absent
from bench.run.feature_cache import FeatureCache, FeatureSet, feature_sets
from bench.store import Store
from bench.suite import Suite


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run does: made once, and carried out as it was shown."""

    suites: tuple[Suite, ...]
    """Those whose data are here, some in place of others."""
    checkpoints: tuple[Checkpoint, ...]
    """All that were asked for."""
    library: Library
    """The suites' data, opened."""
    settings: Settings
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name of a suite that cannot be measured here to the reason."""
    notes: tuple[str, ...] = ()
    """Suites replaced, conditions left out because their data are not here, data sets smaller than the limit, and what
    was assumed of checkpoints whose entries leave it out."""

    def part(self, suite: Suite) -> "Plan":
        """What it does for one of its suites."""
        wanted = set(suite.conditions)
        cells = tuple(cell for cell in self.cells if cell.condition in wanted)
        return replace(self, suites=(suite,), cells=cells, stored=self.stored & {cell.key for cell in cells})

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
                features |= {
                    feature_set: feature_set.n
                    for feature_set in feature_sets(cell).values()
                    if feature_set not in self.kept
                }
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


def make_plan(available: Available, checkpoints: Sequence[Checkpoint], library: Library, settings: Settings) -> Plan:
    """Multiply conditions by checkpoints and look up what is stored.

    Args:
        available: what to measure; conditions whose data are not here are left out.
        checkpoints: what to evaluate; each must predict the classes of every data set.
        library: opens the data sets.
        settings: seed, limit and numerics decide which cells these are; its store may have some already.

    Raises:
        BenchError: a checkpoint predicts other classes than a suite's data set has.
    """
    every = dict.fromkeys(condition for suite in available.suites for condition in suite.conditions)
    conditions = [condition for condition in every if not absent(condition, library)]
    check_sources(conditions, checkpoints)
    cells: dict[str, Cell] = {}
    unavailable: dict[str, str] = {}
    to_fetch: list[Checkpoint] = []
    models: dict[str, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        try:
            model = model_digest(checkpoint)
        except AbsentError:
            to_fetch.append(checkpoint)
            model = _not_known_yet(checkpoint)
        except BenchError as error:
            unavailable[checkpoint.name] = str(error)
            continue
        models[model].append(checkpoint)
        for condition in conditions:
            cell = resolve(checkpoint, model, condition, library, settings)
            cells.setdefault(cell.key, cell)
    plan = Plan(
        suites=tuple(available.suites),
        checkpoints=tuple(checkpoints),
        library=library,
        settings=settings,
        cells=tuple(cells.values()),
        stored=frozenset(),
        unavailable=unavailable,
        to_fetch=tuple(to_fetch),
        models={model: tuple(entries) for model, entries in models.items()},
        left_out=available.left_out,
        notes=(*available.notes, *(f"{entry.name}: {entry.assumed}" for entry in checkpoints if entry.assumed)),
    )
    return _looked_up(plan)


def with_weights(plan: Plan, unfetched: Mapping[str, str]) -> Plan:
    """The plan after its weights were fetched: their cells are known by the models, and may be stored.

    Args:
        plan: with checkpoints to fetch.
        unfetched: name of a checkpoint whose weights could not be fetched to the reason; its cells go.
    """
    if not plan.to_fetch:
        return plan
    unavailable = dict(unfetched)
    now: dict[str, str | None] = {}
    for checkpoint in plan.to_fetch:
        before = _not_known_yet(checkpoint)
        now[before] = None
        if checkpoint.name in unfetched:
            continue
        try:
            now[before] = model_digest(checkpoint)
        except BenchError as error:
            unavailable[checkpoint.name] = str(error)
    cells: dict[str, Cell] = {}
    for cell in plan.cells:
        if (model := now.get(cell.model_digest, cell.model_digest)) is not None:
            cell = replace(cell, model_digest=model)
            cells.setdefault(cell.key, cell)
    models: dict[str, tuple[Checkpoint, ...]] = {}
    for known, entries in plan.models.items():
        if (model := now.get(known, known)) is not None:
            models[model] = (*models.get(model, ()), *entries)
    return _looked_up(
        replace(
            plan,
            cells=tuple(cells.values()),
            unavailable={**unavailable, **plan.unavailable},
            to_fetch=(),
            models=models,
        )
    )


def _not_known_yet(checkpoint: Checkpoint) -> str:
    """What stands for the model digest of a checkpoint that is to be fetched; no stored cell bears it."""
    return digest(f"not fetched yet: {checkpoint.name}")


def _looked_up(plan: Plan) -> Plan:
    """The plan with what its store and its cache have."""
    stored = frozenset(Store(plan.settings.store).keys() & {cell.key for cell in plan.cells})
    plan = replace(plan, stored=stored)
    return replace(plan, kept=_kept(plan.missing, plan.settings))


def _kept(missing: Iterable[Cell], settings: Settings) -> frozenset[FeatureSet]:
    if settings.cache is None:
        return frozenset()
    cache = FeatureCache(settings.cache, settings.cache_budget)
    wanted = [cell for cell in missing if measures.get(cell.condition.measure.name).interface == "features"]
    return frozenset(
        feature_set for cell in wanted for feature_set in feature_sets(cell).values() if cache.has(feature_set)
    )


def make_sweeps(cells: Iterable[Cell]) -> list[Sweep]:
    """Group cells by crop recipe, in the order in which they first occur: models are then loaded once for all data."""
    groups: dict[Crop, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition.resolve_crop(cell.checkpoint), []).append(cell)
    return [Sweep(crop=crop, cells=tuple(group)) for crop, group in groups.items()]
