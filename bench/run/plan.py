"""Suites × checkpoints → cells → sweeps, less the cells that the store has."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from bench import images
from bench.checkpoints.loading import model_digest
from bench.corruptions.makers import corruption_of
from bench.datasets import Library, OpenedSplit
from bench.datasets.imagenet import MADE_HERE
from bench.errors import AbsentError, BenchError
from bench.measure import measures
from bench.records import Cell, Checkpoint, Condition, Crop, ImageSet, Params, Scalar, Settings, digest
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
    conditions = [c for c in dict.fromkeys(c for s in suites for c in s.conditions) if not _absent(c, library)]
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


def with_data(
    suites: Iterable[Suite], library: Library, left_out: MutableMapping[str, str] | None = None
) -> tuple[list[Suite], list[str]]:
    """The suites that can be measured with the data that are here.

    A suite none of whose headline's data are here gives way to its fallback; one that takes any data sets is cut to
    those that are here.

    Args:
        suites: what was asked for.
        library: opens the data sets.
        left_out: takes the name of each suite that cannot be measured, with the reason; None makes that an error.

    Returns:
        The suites, and notes: which were replaced, and whose other conditions lack data.

    Raises:
        AbsentError: the data of a suite and of its fallback are not here.
    """
    found: dict[str, Suite] = {}
    notes: list[str] = []
    for suite in suites:
        try:
            chosen = _replaced(_over_sets_here(suite, library, notes), library, notes)
        except AbsentError as error:
            if left_out is None:
                raise
            left_out[suite.name] = str(error)
            continue
        found[chosen.name] = chosen
        notes += filter(None, [_uneven(chosen, library), _generated(chosen, library)])
        lacking = [reason for reason in (_absent(condition, library) for condition in chosen.conditions) if reason]
        if lacking:
            notes.append(
                f"{chosen.name}: {len(lacking)} of {len(chosen.conditions)} conditions left out, and the scores that "
                f"need them: {lacking[0]}"
            )
    return list(found.values()), notes


def _over_sets_here(suite: Suite, library: Library, notes: list[str]) -> Suite:
    """Of a suite that takes any data sets, what can be measured; a set that the user placed is missed aloud."""
    if suite.covering is None:
        return suite
    faults = {name: _fault_of(name, suite, library) for name in suite.sets}
    here = [name for name, fault in faults.items() if fault is None]
    # That a set was never given is no news.
    missed = [
        str(fault)
        for name, fault in faults.items()
        if fault and (name in library.places or not isinstance(fault, AbsentError))
    ]
    if not here:
        if missed:
            raise AbsentError(f"suite {suite.name!r} cannot be measured: {missed[0]}")
        raise AbsentError(
            f"suite {suite.name!r} takes any of {', '.join(suite.sets)}, and none is on this machine as far as rtbench "
            f"knows; say where one is with --data NAME=FOLDER (`bench data list` says where to get them)."
        )
    notes += [f"{suite.name}: left out: {reason}" for reason in missed]
    return suite.over(here)


def _fault_of(name: str, suite: Suite, library: Library) -> BenchError | None:
    """Why a data set of the suite cannot be read here; the others need not wait for its repair."""
    data = dict.fromkeys(condition.data for condition in suite.conditions if condition.data.dataset == name)
    try:
        for split in dict.fromkeys(split for one in data for split in (one.split, *one.fit)):
            library.open(name, split)
    except BenchError as error:
        return error
    return None


def _replaced(suite: Suite, library: Library, notes: list[str]) -> Suite:
    """The suite, or its fallback where nothing of its headline's data sets is here."""
    reasons = _absent_of_headline(suite, library)
    if not all(reasons):
        return suite
    fallback = suite.stand_in
    if fallback is not None and not all(_absent_of_headline(fallback, library)):
        notes.append(f"{suite.name}: {reasons[0]} Until then {fallback.name} stands in: {fallback.title}.")
        return fallback
    raise AbsentError(f"suite {suite.name!r} cannot be measured: {reasons[0]}")


def _absent_of_headline(suite: Suite, library: Library) -> list[str]:
    """For each condition on a data set of the headline's, why its data are not here; empty where they are."""
    data = {condition.data.dataset for condition in suite.headline.conditions}
    return [_absent(condition, library) for condition in suite.conditions if condition.data.dataset in data]


def _generated(suite: Suite, library: Library) -> str:
    """Whether what the suite takes as stored was made here; empty where it was not."""
    for name in {c.data.dataset for c in suite.conditions if c.image_set.stored}:
        if _made_here(library, name):
            return (
                f"{suite.name}: {library.places[name]} was generated by `bench data make-c`. Quote the numbers as "
                "generated: the published files have other draws, and errors differ by about a point."
            )
    return ""


def _made_here(library: Library, dataset: str) -> bool:
    place = library.places.get(dataset)
    return place is not None and (place / MADE_HERE).exists()


def _uneven(suite: Suite, library: Library) -> str:
    """Which of a suite's stored folders holds other images than the rest; empty where they are alike."""
    stored = {c.image_set for c in suite.conditions if c.image_set.stored and not _absent(c, library)}
    ids = {images: library.open(images.dataset, images.split).samples.ids for images in stored}
    counts = Counter(id(array) for array in ids.values())  # the same ids are one array: see FolderSamples
    if len(counts) < 2:
        return ""
    usual = counts.most_common(1)[0][0]
    odd = sorted(f"{images.split} ({len(array):,})" for images, array in ids.items() if id(array) != usual)
    count = next(len(array) for array in ids.values() if id(array) == usual)
    return (
        f"{suite.name}: {', '.join(odd[:3])} hold other images than the rest ({count:,}): scores over several folders "
        "need the same ones; unpack these again."
    )


def _absent(condition: Condition, library: Library) -> str:
    """Why the condition's data are not here; empty where they are."""
    images = condition.image_set
    try:
        for split in (images.split, *condition.data.fit):
            library.open(images.dataset, split)
    except AbsentError as error:
        return str(error)
    return ""


def resolve(checkpoint: Checkpoint, model: str, condition: Condition, library: Library, settings: Settings) -> Cell:
    """The cell of a checkpoint under a condition, with everything that decides its outcome."""
    images = condition.image_set
    splits = [library.open(images.dataset, split) for split in (images.split, *condition.data.fit)]
    measure, perturbation = measures.get(condition.measure.name), images.perturbation
    if not measure.transfer:
        _check_classes(checkpoint, splits[0])
    if perturbation is not None and measure.interface == "features":
        raise BenchError(
            f"measure {measure.name!r} learns from images as they are; take {perturbation.corruption!r} out of its "
            "condition."
        )
    corrupted = perturbation is not None and corruption_of(perturbation).seeded
    total = len(splits[0].samples.ids)
    taken = min(total, condition.data.samples or total)
    limit = settings.limit if settings.limit is not None and settings.limit < taken else None
    return Cell(
        checkpoint=checkpoint,
        condition=condition,
        model_digest=model,
        fingerprints=tuple(split.fingerprint for split in splits),
        n=taken if limit is None else limit,
        fit_n=tuple(len(split.samples.ids) for split in splits[1:]),
        versions=versions(condition),
        seed=settings.seed if measure.seeded or corrupted else None,
        limit=limit,
        of=total,
        numerics=settings.numerics(exact=measure.exact),
        made_here=images.stored and _made_here(library, images.dataset),
    )


def versions(condition: Condition) -> Params:
    """Of the code that makes an outcome under a condition, as it is today."""
    measure = measures.get(condition.measure.name)
    found: dict[str, Scalar] = {"images": images.VERSION, "measure": measure.version}
    if measure.engine:
        found["engine"] = measure.engine
    perturbation = condition.image_set.perturbation
    if perturbation is not None:
        found["corruption"] = corruption_of(perturbation).version
    return Params(found)


def _check_classes(checkpoint: Checkpoint, opened: OpenedSplit) -> None:
    theirs, ours = checkpoint.class_space, opened.dataset.class_space
    if theirs.digest != ours.digest:
        learn = ", or let these classes be learnt (--track transfer)" * bool(opened.dataset.fit)
        raise BenchError(
            f"checkpoint {checkpoint.name!r} predicts the {len(theirs.classes)} classes of {theirs.name!r}, "
            f"but data set {opened.dataset.name!r} is labelled with the {len(ours.classes)} of {ours.name!r}; "
            f"leave one of them out{learn}."
        )


def make_sweeps(cells: Iterable[Cell]) -> list[Sweep]:
    """Group cells by crop recipe, in the order in which they first occur: models are then loaded once for all data."""
    groups: dict[Crop, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition.resolve_crop(cell.checkpoint), []).append(cell)
    return [Sweep(crop=crop, cells=tuple(group)) for crop, group in groups.items()]
