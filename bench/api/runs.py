"""Measuring: a plan is made once, shown, timed, and carried out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.api.scores import score
from bench.api.telling import Telling, config_of
from bench.board.leaderboard import Board, Want
from bench.datasets import Library, subset
from bench.errors import BenchError, RunError, UnreachableError
from bench.hooks.finding import Log, find_hooks
from bench.hooks.guarded import Guarded
from bench.machine.distributed import world_size
from bench.measure import measures
from bench.progress import Progress, Silent
from bench.records import Checkpoint, Settings
from bench.run.available import suites_here
from bench.run.plan import Plan, make_plan, make_sweeps, with_weights
from bench.store import Store
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.run.forecast import Forecast
    from bench.run.workbench import Failure

_NO_WAY = (
    "weights are not here, and there is no way to where they lie; run again with a network, or put the files by hand "
    "where `bench doctor` says."
)
"""Of several checkpoints at once; of one alone, the sentence says where its file goes."""
_BYTES_A_ROW = 90
"""Of a stored outcome with ten logits, measured on the digits track."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        """Short: the leaderboards are `_repr_html_`'s, and `bench.api.table`'s."""
        failed = f", {len(self.failures)} cells failed" if self.failures else ""
        return f"<RunResult: {', '.join(map(repr, self.boards)) or 'no boards'}{failed}>"

    def _repr_html_(self) -> str:
        """The leaderboards, as a notebook shows them."""
        from bench.board.printed import board_html

        return "".join(map(board_html, self.boards))


def plan(
    suites: Sequence[Suite],
    checkpoints: Sequence[Checkpoint],
    settings: Settings,
    library: Library | None = None,
    *,
    needed: bool = True,
) -> Plan:
    """What a run would do: its suites as their data allow, its cells, and which of them are stored.

    Args:
        suites: what to measure.
        checkpoints: what to evaluate.
        settings: how.
        library: data sets that are opened already; opening large ones takes a while.
        needed: whether a suite without its data is an error; if not, it is left out.

    Raises:
        AbsentError: no suite can be measured with the data that are here, or a suite that is needed cannot.
        BenchError: a checkpoint predicts other classes than a suite's data set has.
    """
    library = library or Library(settings.places)
    available = suites_here(suites, library, needed=needed, limit=settings.limit)
    return make_plan(available, checkpoints, library, settings)


def run(
    suites: Sequence[Suite],
    checkpoints: Sequence[Checkpoint],
    settings: Settings,
    progress: Progress | None = None,
    library: Library | None = None,
    *,
    log: Log = (),
) -> RunResult:
    """Plan, and carry the plan out: measure what the store lacks, store it, and score the suites.

    Args:
        suites: what to measure.
        checkpoints: what to evaluate; weights that are not here are fetched.
        settings: how.
        progress: told of what is done.
        library: data sets that are opened already.
        log: as `carry_out` takes it.

    Raises:
        AbsentError: the data of a suite are not here.
        BenchError: there is no such hook, or what it needs is not installed.
        RunError: the store cannot be written or is damaged, or the first failure under `on_error="stop"`.
    """
    hooks = find_hooks(log)  # opening large data takes a while, and would be for nothing
    return carry_out(plan(suites, checkpoints, settings, library), progress, log=hooks)


def carry_out(planned: Plan, progress: Progress | None = None, *, log: Log = ()) -> RunResult:
    """Fetch the weights that a plan lacks, measure its missing cells, store them, and score its suites.

    Args:
        planned: what to do.
        progress: told of what is done.
        log: who else is told of the scores: names of hooks, such as `mlflow`, or hooks themselves; see `bench.hooks`.

    Raises:
        BenchError: there is no such hook, or what it needs is not installed.
        RunError: the store cannot be written or is damaged, or the first failure under `on_error="stop"`.
    """
    progress = progress or Silent()
    if not log:
        return _carried_out(planned, progress)
    hooks, ok = Guarded(find_hooks(log)), False
    config = config_of(planned)
    hooks.start(lambda hook: hook.started(config))
    try:
        result = _carried_out(planned, progress, hooks)
        ok = result.ok
    finally:
        hooks.end(ok)
    return result


def _carried_out(planned: Plan, progress: Progress, hooks: Guarded | None = None) -> RunResult:
    settings = planned.settings
    planned = with_weights(planned, _fetch(planned.to_fetch, progress))
    if settings.on_error == "stop" and planned.unavailable:
        name, reason = next(iter(planned.unavailable.items()))
        raise RunError(f"{name} cannot be evaluated ({reason}); nothing was measured, as --on-error stop asks.")
    store = Store(settings.store)
    _restore_records(planned, store)
    want = _want(planned)
    telling = Telling(hooks, planned, want, progress) if hooks else None
    failures = _measure(planned, telling or progress)
    _record_names(planned, store)
    names = {checkpoint.name for checkpoint in planned.checkpoints}
    models = {cell.model_digest for cell in planned.cells}
    boards = score(planned.suites, store, names=names, models=models, want=want)
    if telling:
        telling.finish(boards)
    return RunResult(plan=planned, boards=tuple(boards), want=want, failures=tuple(failures))


def _want(planned: Plan) -> Want:
    """What a table of the plan's cells holds."""
    settings = planned.settings
    return Want(
        limit=settings.limit,
        any_limit=False,
        seed=settings.seed,
        device=settings.numerics().device,
        precision=settings.precision,
        precision_asked=settings.precision_asked,
        fingerprints=frozenset(cell.fingerprints for cell in planned.cells),
    )


def _fetch(checkpoints: Sequence[Checkpoint], progress: Progress) -> dict[str, str]:
    """Obtain the weights that are not here; the names of the checkpoints without, with the reason."""
    from bench.checkpoints.fetch import fetch

    unfetched, unreachable = {}, []
    for checkpoint in checkpoints:
        try:
            fetch(checkpoint, progress.note)
        except BenchError as error:
            unfetched[checkpoint.name] = str(error)
            unreachable += [checkpoint.name] * isinstance(error, UnreachableError)
    if len(unreachable) > 1:
        unfetched |= dict.fromkeys(unreachable, _NO_WAY)
    return unfetched


def _restore_records(planned: Plan, store: Store) -> None:
    """Write what tables need beside the stored cells, where it is gone or under another name, and tidy up."""
    _record_names(planned, store)
    stored = [cell for cell in planned.cells if cell.key in planned.stored]
    for images, n in {(cell.condition.image_set.plain, cell.n) for cell in stored}:
        samples = planned.library.open(images.dataset, images.split).samples
        indices = subset(samples.ids, n)
        store.record_samples(samples.ids[indices], samples.labels[indices])
    store.tidy()


def _record_names(planned: Plan, store: Store) -> None:
    """Give every checkpoint whose outcomes are stored its name there, also where another has the same weights."""
    keys = store.keys()
    for model in dict.fromkeys(cell.model_digest for cell in planned.cells if cell.key in keys):
        for entry in planned.models[model]:
            store.record_checkpoint(model, entry)


def _measure(planned: Plan, progress: Progress) -> "list[Failure]":
    if not planned.missing and world_size() == 1:  # others, where there are any, wait to be told so
        return []
    from bench.run.local import execute  # imports torch

    progress.begin(planned.images)
    try:
        return execute(make_sweeps(planned.missing), planned.settings, progress, planned.library)
    finally:
        progress.end()


def take_part(settings: Settings, library: Library | None = None) -> None:
    """Be one of several processes that torchrun started, and not the first: see `bench.machine.distributed`."""
    from bench.run.local import take_part as _take_part  # imports torch

    _take_part(settings, library)


def forecast(planned: Plan, progress: Progress | None = None) -> "Forecast":
    """How long the plan's missing cells would take here; times a few images, so it takes a while itself."""
    from bench.run.forecast import forecast as time_plan  # imports torch

    return time_plan(planned, (progress or Silent()).note)


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
