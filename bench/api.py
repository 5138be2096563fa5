"""Everything that the command line can do, as functions that take and return records and data frames."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.board.index import Index
from bench.board.leaderboard import Board, NothingStoredError, Want, make_board
from bench.checkpoints import checkpoints as checkpoint_registry
from bench.config import Config, load_config
from bench.datasets import Library, subset
from bench.datasets import datasets as dataset_registry
from bench.errors import BenchError, RunError, UnknownNameError
from bench.machine.distributed import world_size
from bench.measure import measures
from bench.progress import Progress, Silent
from bench.records import Checkpoint, Settings
from bench.run.available import suites_here as suites_here
from bench.run.available import with_data
from bench.run.choice import select as select
from bench.run.choice import select_suites as select_suites
from bench.run.plan import Plan, make_plan, make_sweeps
from bench.store import Store
from bench.suite import Suite
from bench.suite import suites as suite_registry

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from bench.corruptions import Corruption
    from bench.report.curves import Kind
    from bench.run.forecast import Forecast
    from bench.run.workbench import Failure
    from bench.tools.attack_picture import AttackedPicture
    from bench.tools.make_c import MadeC


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a run gave."""

    plan: Plan
    boards: tuple[Board, ...]
    """One a suite, of the run's checkpoints at its limit, seed and numerics."""
    want: Want
    """What the boards hold: the run's limit, seed, numerics and data."""
    failures: "tuple[Failure, ...]"

    @property
    def ok(self) -> bool:
        """Whether every cell is stored, every checkpoint could be evaluated, and every suite has its headline."""
        return not self.failures and not self.plan.unavailable and all(board.complete for board in self.boards)


def configure(**flags: Any) -> Config:
    """Settings as the command line would have them: `bench.toml` and defaults, overridden by `flags`.

    Args:
        flags: the keys of `bench.toml`: store, cache, cache_budget_gb, device, precision, batch_size, workers,
            seed, limit, on_error, registry, data (name to place).
    """
    config = load_config(flags)
    if config.registry is not None:
        register_file(config.registry)
    return config


def register_file(path: Path) -> list[Checkpoint]:
    """Register what a user's TOML file holds: data sets, a suite of the same name for each, and checkpoints.

    What was registered from the same file before is kept.
    """
    from bench.checkpoints.toml_file import read_registry
    from bench.datasets.toml_file import read_datasets
    from bench.suite.scores import plain_suite

    for dataset in read_datasets(path):
        if dataset.name not in dataset_registry or dataset_registry.origin(dataset.name) != str(path):
            dataset_registry.register(dataset, origin=str(path))
            suite_registry.register(plain_suite(dataset), origin=str(path))
    entries = read_registry(path, lambda name: dataset_registry.get(name).class_space)
    for entry in entries:
        if entry.name not in checkpoint_registry or checkpoint_registry.get(entry.name) != entry:
            checkpoint_registry.register(entry, origin=str(path))
    return entries


def plan(
    suites: Sequence[Suite], checkpoints: Sequence[Checkpoint], settings: Settings, library: Library | None = None
) -> Plan:
    """What a run would do: its cells, and which of them are stored.

    Args:
        suites: what to measure.
        checkpoints: what to evaluate.
        settings: how.
        library: data sets that are opened already; opening large ones takes a while.
    """
    library = library or Library(settings.places)
    return make_plan(suites, checkpoints, library, settings, Store(settings.store))


def run(
    suites: Sequence[Suite],
    checkpoints: Sequence[Checkpoint],
    settings: Settings,
    progress: Progress | None = None,
    library: Library | None = None,
) -> RunResult:
    """Measure what the store lacks, store it, and score the suites.

    Args:
        suites: what to measure.
        checkpoints: what to evaluate; weights that are not here are fetched.
        settings: how.
        progress: told of what is done.
        library: data sets that are opened already.

    Raises:
        RunError: the store cannot be written or is damaged, or the first failure under `on_error="stop"`.
    """
    progress, library, store = progress or Silent(), library or Library(settings.places), Store(settings.store)
    suites, _ = with_data(suites, library)  # before weights are fetched: without data they are of no use
    unfetched = _fetch(checkpoints, progress)
    fetched = [checkpoint for checkpoint in checkpoints if checkpoint.name not in unfetched]
    planned = make_plan(suites, fetched, library, settings, store)
    planned = replace(planned, unavailable={**unfetched, **planned.unavailable})
    if settings.on_error == "stop" and planned.unavailable:
        name, reason = next(iter(planned.unavailable.items()))
        raise RunError(f"{name} cannot be evaluated ({reason}); nothing was measured, as --on-error stop asks.")
    _restore_records(planned, library, store)
    failures = _measure(planned, settings, progress, library)
    _record_names(planned, store)
    models = {cell.model_digest for cell in planned.cells}
    want = Want(
        limit=settings.limit,
        any_limit=False,
        seed=settings.seed,
        device=settings.numerics().device,
        precision=settings.precision,
        precision_asked=settings.precision_asked,
        fingerprints=frozenset(cell.fingerprints for cell in planned.cells),
    )
    names = {checkpoint.name for checkpoint in checkpoints}
    boards = _boards(suites, store, names=names, models=models, want=want)
    return RunResult(plan=planned, boards=tuple(boards), want=want, failures=tuple(failures))


def _fetch(checkpoints: Sequence[Checkpoint], progress: Progress) -> dict[str, str]:
    """Obtain the weights that are not here; the names of the checkpoints without, with the reason."""
    from bench.checkpoints.fetch import fetch

    unfetched = {}
    for checkpoint in checkpoints:
        try:
            fetch(checkpoint, progress.note)
        except BenchError as error:
            unfetched[checkpoint.name] = str(error)
    return unfetched


def _restore_records(planned: Plan, library: Library, store: Store) -> None:
    """Write what tables need beside the stored cells, where it is gone or under another name, and tidy up."""
    _record_names(planned, store)
    stored = [cell for cell in planned.cells if cell.key in planned.stored]
    for images, n in {(c.condition.image_set.plain, c.n) for c in stored}:
        samples = library.open(images.dataset, images.split).samples
        indices = subset(samples.ids, n)
        store.record_samples(samples.ids[indices], samples.labels[indices])
    store.tidy()


def _record_names(planned: Plan, store: Store) -> None:
    """Give every checkpoint whose outcomes are stored its name there, also where another has the same weights."""
    keys = store.keys()
    for model in dict.fromkeys(cell.model_digest for cell in planned.cells if cell.key in keys):
        for entry in planned.models[model]:
            store.record_checkpoint(model, entry)


def _measure(planned: Plan, settings: Settings, progress: Progress, library: Library) -> "list[Failure]":
    if not planned.missing and world_size() == 1:  # others, where there are any, wait to be told so
        return []
    from bench.run.local import execute  # imports torch

    progress.begin(planned.images)
    try:
        return execute(make_sweeps(planned.missing), settings, progress, library)
    finally:
        progress.end()


def take_part(settings: Settings, library: Library | None = None) -> None:
    """Be one of several processes that torchrun started, and not the first: see `bench.machine.distributed`."""
    from bench.run.local import take_part as _take_part  # imports torch

    _take_part(settings, library)


def boards(
    suites: Sequence[Suite],
    store: Store,
    *,
    checkpoints: Sequence[str] = (),
    want: Want | None = None,
) -> list[Board]:
    """The scores of suites from what is stored, without measuring anything; suites with nothing stored are left out.

    Args:
        suites: what to score.
        store: where the outcomes are.
        checkpoints: only these names.
        want: limit, seed and numerics, where they are to be certain ones.

    Raises:
        BenchError: nothing of any suite is stored, or a checkpoint is not in the store.
    """
    known = {entry.name for entry in store.checkpoints()}
    for name in checkpoints:
        if name not in known:
            raise UnknownNameError("checkpoint in the store", name, known)
    stand_ins = [stand_in for suite in suites if (stand_in := suite.stand_in)]
    every = {suite.name: suite for suite in (*suites, *stand_ins)}
    scored = _boards(list(every.values()), store, names=set(checkpoints) or None, models=None, want=want)
    by_name = {board.suite.name: board for board in scored}
    shown = [board for suite in suites if (board := _or_fallback(suite, by_name))]
    found = list({board.suite.name: board for board in shown}.values())
    if not found:
        names = ", ".join(suite.name for suite in suites)
        raise NothingStoredError(
            f"{store.root} holds nothing of {names} as asked; `bench run` measures it. (`bench store ls` shows what is "
            "there; outcomes of older code do not count, and what --set changed is asked for with the same --set.)"
        )
    return found


def _or_fallback(suite: Suite, boards: Mapping[str, Board]) -> Board | None:
    """The suite's board; its fallback's where that stood in for want of the suite's data."""
    found = [boards.get(suite.name), boards.get(suite.stand_in.name if suite.stand_in else "")]
    # They share the clean cells: the one with more of its own.
    return max(filter(None, found), key=lambda board: (board.headed, len(board.cells)), default=None)


def _boards(
    suites: Sequence[Suite], store: Store, *, names: set[str] | None, models: set[str] | None, want: Want | None
) -> list[Board]:
    """Of the suites of which something is stored."""
    index = Index(store)
    found = []
    try:
        for suite in suites:
            with contextlib.suppress(NothingStoredError):
                found.append(make_board(suite, store, index, names=names, models=models, want=want))
    finally:
        index.close()
    return found


def table(boards: Sequence[Board]) -> "pd.DataFrame":
    """The long table: one row a score; see `bench.board.tables.long_table`."""
    from bench.board.tables import long_table

    return long_table(boards)


def curve(board: Board, place: Path, kind: "Kind") -> None:
    """Draw a board against the parameter that its suite runs through, and write it; see `bench.report.curves.draw`.

    Args:
        board: of a suite that has a curve.
        place: the file.
        kind: its format, `png` or `svg`.
    """
    from bench.report.curves import draw, save  # imports matplotlib

    save(draw(board), place, kind)


def outcomes(board: Board, store: Store) -> "pd.DataFrame":
    """One row a sample of every cell behind a board.

    Returns:
        Columns suite, checkpoint, those condition parameters that are set somewhere, id, label, prediction,
        correct, and every other column that the measures gave (lists where there are several values a sample).
    """
    import pandas as pd

    from bench.board.tables import display_names

    names = display_names(board.checkpoints)
    parts = []
    for checkpoint in board.checkpoints:
        for condition in board.suite.conditions:
            cell = board.cells.get((checkpoint.model, condition))
            if cell is None:
                continue
            outcome = store.read(cell.key)
            columns = {k: v for k, v in condition.columns().items() if v is not None}
            head = {"suite": board.suite.name, "checkpoint": names[checkpoint], **columns}
            rows = {name: c if c.ndim == 1 else list(c) for name, c in outcome.columns.items()}
            parts.append(
                pd.DataFrame({"id": outcome.ids, "label": outcome.labels, **rows}).assign(**head)[
                    [*head, "id", "label", *rows]
                ]
            )
    return pd.concat(parts, ignore_index=True)


def train(
    recipe: str, out: Path, *, device: str = "cpu", progress: Any = None, places: Mapping[str, Path] | None = None
) -> Path:
    """Make a checkpoint by a registered recipe, and return its registry file; see `bench.checkpoints.train`.

    Args:
        recipe: its name.
        out: a folder; gets NAME.safetensors and NAME.toml, an entry for `--registry`.
        device: where to train.
        progress: called with a line of text now and then.
        places: where data sets are, by name.
    """
    from bench.checkpoints.train import train_recipe

    return train_recipe(recipe, out, device=device, progress=progress or (lambda line: None), places=places)


def select_corruptions(names: Sequence[str] = ()) -> "list[Corruption]":
    """Corruptions by name or group (`weather`), without names all that are registered; group by group.

    Raises:
        BenchError: a name is unknown.
    """
    from bench.corruptions.builtin import GROUPS
    from bench.tools.gallery import in_groups

    return in_groups([name for given in names for name in GROUPS.get(given, (given,))])


def corrupt(
    picture: Path, chosen: "Sequence[Corruption]", severities: Sequence[int], *, seed: int = 0
) -> "Iterator[tuple[Corruption, int, Image.Image]]":
    """A picture at its own size under each corruption and severity; see `bench.tools.gallery.corrupted`."""
    from bench.tools.gallery import corrupted

    return corrupted(picture, chosen, severities, seed=seed)


def contact_sheet(
    picture: Path, chosen: "Sequence[Corruption]", severities: Sequence[int], *, seed: int = 0
) -> "Image.Image":
    """A picture's crop under each corruption (a row) and severity (a column); see `bench.tools.gallery`."""
    from bench.tools.gallery import contact_sheet as lay_out

    return lay_out(picture, chosen, severities, seed=seed)


def attack(
    pictures: Sequence[Path], checkpoint: Checkpoint, settings: Settings, *, eps: str, **how: Any
) -> "Iterator[AttackedPicture]":
    """Attack pictures, each away from what a checkpoint predicts of it; see `bench.tools.attack_picture`."""
    from bench.tools.attack_picture import attack_pictures

    return attack_pictures(pictures, checkpoint, settings, eps=eps, **how)


def make_c(
    out: Path,
    settings: Settings,
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    progress: Progress | None = None,
) -> "MadeC":
    """Write the files of a generated ImageNet-C that are not there yet; see `bench.tools.make_c.make_c`."""
    from bench.tools.make_c import make_c as make

    return make(out, Library(settings.places), settings, progress or Silent(), names, severities)


def forecast(
    planned: Plan, settings: Settings, progress: Progress | None = None, library: Library | None = None
) -> "Forecast":
    """How long the plan's missing cells would take here; times a few images, so it takes a while itself."""
    from bench.run.forecast import forecast as time_plan  # imports torch

    return time_plan(planned, settings, library or Library(settings.places), (progress or Silent()).note)


def cost(planned: Plan) -> Mapping[str, int]:
    """What a plan would take: cells, images, bytes on disk (of crops at most: some may be cached)."""
    cropped = {
        (cell.condition.image_set.plain, cell.condition.resolve_crop(cell.checkpoint)): cell.n
        for cell in planned.missing
        if not cell.condition.image_set.stored and measures.get(cell.condition.measure.name).interface != "features"
    }
    return {
        "cells": len(planned.cells),
        "stored": len(planned.stored),
        "images": planned.images,
        "outcome_bytes": sum(cell.n for cell in planned.missing) * _BYTES_A_ROW,
        "crop_bytes": sum(n * crop.size**2 * 3 for (_, crop), n in cropped.items()),
    }


_BYTES_A_ROW = 90
"""Of a stored outcome with ten logits, measured on the digits track."""
