"""What hooks are told of a run: its configuration, how far it is, and scores as soon as all behind them is stored."""

import time
import warnings
from collections.abc import Sequence

from bench.api.scores import score as score_boards
from bench.board.leaderboard import Board, Want
from bench.board.tables import display_names, long_table, wide_table
from bench.errors import BenchError, BenchWarning
from bench.foreign.faults import blamed
from bench.hooks import LoggedScore, RunConfig
from bench.hooks.guarded import Guarded
from bench.progress import Progress
from bench.records import Params
from bench.run.plan import Plan
from bench.store import Store

EVERY = 10.0
"""Seconds between two looks at what is stored by now, and two words on progress."""


def config_of(planned: Plan) -> RunConfig:
    """What a plan does, in plain values."""
    from bench.run.workbench import device_name, versions  # imports torch

    settings = planned.settings
    return RunConfig(
        suites=tuple(suite.name for suite in planned.suites),
        checkpoints=tuple(checkpoint.name for checkpoint in planned.checkpoints),
        limit=settings.limit,
        seed=settings.seed,
        device=settings.device,
        precision=settings.precision,
        hardware=device_name(settings.device),
        cells=len(planned.cells),
        stored=len(planned.stored),
        images=planned.images,
        versions=Params(versions()),
    )


def scores_of(board: Board) -> list[LoggedScore]:
    """The scores of a leaderboard, a checkpoint's after another's, its headline first."""
    names, headline = display_names(board.checkpoints), board.suite.headline
    return [
        LoggedScore(
            checkpoint=names[row.checkpoint],
            suite=board.suite.name,
            heading=row.score.column,
            headline=row.score is headline,
            protocol=board.protocol_of(row.checkpoint),
            unit=row.score.metric.unit,
            value=row.estimate.value,
            ci_low=row.estimate.ci_low,
            ci_high=row.estimate.ci_high,
            n=row.estimate.n,
        )
        for row in sorted(board.rows, key=lambda row: names[row.checkpoint])
        if row.score.column
    ]


class Telling:
    """Tells hooks of a run, and passes its progress on.

    Args:
        hooks: to be told.
        planned: what is carried out, with all weights.
        want: what a table of its cells holds.
        progress: told as before.
    """

    def __init__(self, hooks: Guarded, planned: Plan, want: Want, progress: Progress) -> None:
        self._hooks, self._planned, self._want, self._progress = hooks, planned, want, progress
        self._store = Store(planned.settings.store)
        self._told: set[tuple[str, str]] = set()
        self._open = _keys_of(planned)
        self._done, self._total, self._last = 0, 0, time.monotonic()

    def begin(self, total: int) -> None:
        """See `Progress`."""
        self._total = total
        self._progress.begin(total)

    def advance(self, count: int, doing: str) -> None:
        """See `Progress`."""
        self._progress.advance(count, doing)
        self._done += count
        if self._hooks and time.monotonic() - self._last >= EVERY:
            self._look()
            self._last = time.monotonic()  # what looking took is not waited for again

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._progress.note(text)

    def end(self) -> None:
        """See `Progress`."""
        self._progress.end()
        self._tell_progress()

    def finish(self, boards: Sequence[Board]) -> None:
        """Tell what was not told yet of the run's boards, their tables, and the page."""
        for board in boards:
            self._tell_scores(board)
        for board in boards:
            frame = wide_table(long_table([board]), board.suite)
            self._hooks.tell(lambda hook, name=board.suite.name, frame=frame: hook.table(name, frame.copy()))  # type: ignore[misc]
        if boards and self._hooks:
            page = self._page(boards)
            if page is not None:
                self._hooks.tell(lambda hook: hook.page(page))

    def _look(self) -> None:
        """Tell how far it is, and what is complete by now."""
        self._tell_progress()
        stored = self._store.keys()
        for (suite, model), keys in list(self._open.items()):
            if keys <= stored:
                del self._open[suite, model]
                self._tell_complete(suite, model)

    def _tell_progress(self) -> None:
        done, total = min(self._done, self._total), self._total
        if total:
            self._hooks.tell(lambda hook: hook.progress(done, total))

    def _tell_complete(self, name: str, model: str) -> None:
        """Tell the scores of a model on a suite all of whose cells are there."""
        suites = [suite for suite in self._planned.suites if suite.name == name]
        names = {entry.name for entry in self._planned.models[model]}
        try:
            for board in score_boards(suites, self._store, names=names, models={model}, want=self._want):
                self._tell_scores(board)
        except BenchError:
            return  # the run's own boards will say so

    def _tell_scores(self, board: Board) -> None:
        for score in scores_of(board):
            if (score.checkpoint, score.name) not in self._told:
                self._told.add((score.checkpoint, score.name))
                self._hooks.tell(lambda hook, score=score: hook.score(score))  # type: ignore[misc]

    def _page(self, boards: Sequence[Board]) -> str | None:
        """The page; None where it could not be made, which is said."""
        from bench.report.page import render

        try:
            with blamed("the page for the hooks could not be made"):
                return render(boards, self._store, self._planned.library)
        except BenchError as error:
            warnings.warn(str(error), BenchWarning, stacklevel=2)
            return None


def _keys_of(planned: Plan) -> dict[tuple[str, str], set[str]]:
    """Suite and model digest to the keys of its cells, of those of which some are to be measured."""
    found: dict[tuple[str, str], set[str]] = {}
    for suite in planned.suites:
        part = planned.part(suite)
        for cell in part.cells:
            found.setdefault((suite.name, cell.model_digest), set()).add(cell.key)
    return {place: keys for place, keys in found.items() if not keys <= planned.stored}
