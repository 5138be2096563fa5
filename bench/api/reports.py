"""Results for others to read: a page, plots, files of tables, a published folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.runs import RunResult
from bench.api.scores import boards as stored_boards
from bench.board.leaderboard import Board
from bench.datasets import Library
from bench.errors import BenchError
from bench.machine.files import writing
from bench.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.report.publish import Change


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What publishing did."""

    files: tuple[str, ...]
    """Paths below the folder of all that belongs to it."""
    written: tuple[str, ...]
    """Those that were not there, or said something else."""
    changes: "tuple[Change, ...]"
    """Published rows that say something else now, or would."""
    refused: bool
    """Whether nothing was written because of these."""


def report(boards: Sequence[Board], store: Store, library: Library) -> str:
    """One HTML page of some boards that needs nothing else; see `bench.report.page.render`.

    Args:
        boards: of one store.
        store: which.
        library: where pictures of flipped images are, if their data are here.
    """
    from bench.report.page import render

    return render(boards, store, library)


def plots(boards: Sequence[Board], store: Store) -> "Iterator[tuple[str, Figure]]":
    """Every plot of some boards with a name; see `bench.report.plots.figures`."""
    from bench.report.plots import figures

    return figures(boards, store)


def landscape(
    result: RunResult, library: Library, note: Callable[[str], None] = lambda line: None
) -> "Iterator[tuple[str, Figure]]":
    """Every figure of the one landscape that was measured, with a name; see `bench.report.landscape`.

    Args:
        result: of one suite.
        library: opens its data: pictures stand under the attention maps, and the way between two is taken on them.
        note: told of what is left out.
    """
    from bench.report import landscape as drawn
    from bench.tools.landscape import crops, pairs_of, way_between

    [board], settings = result.boards, result.plan.settings
    store, known = Store(settings.store), {entry.name: entry for entry in result.plan.checkpoints}
    yield from drawn.figures(board, store)
    attentive = [entry for entry in drawn.shown(board, store, "rollout") if entry.attends]
    if attentive:
        condition = drawn.condition_of(board.suite, "rollout")
        of = {
            entry.checkpoint.name: list(
                crops(known[entry.checkpoint.name], condition, library, entry.outcome.n, _PICTURES)
            )
            for entry in attentive
        }
        yield "attention", drawn.attention_figure(attentive, board, of)
    surfaces = drawn.shown(board, store, "surface")
    here = [known[entry.checkpoint.name] for entry in surfaces]
    ways = []
    for first, second in pairs_of(here):
        try:
            condition, n = drawn.condition_of(board.suite, "surface"), surfaces[0].outcome.n
            ways.append(way_between(first, second, condition, library, n, settings.device))
        except BenchError as error:
            note(f"no way is drawn from {first.name} to {second.name}: {error}")
    if ways:
        yield "way", drawn.way_figure(ways, board, surfaces[0].outcome.n)


_PICTURES = 6
"""Under the attention maps of a checkpoint."""


def write_tables(result: RunResult, selection: Sequence[str] = ()) -> Path:
    """Write the tables of a run's suites below its store, and say where.

    They hold all that is stored under the run's limit, seed and numerics, not the run's share alone.

    Args:
        result: of the run.
        selection: as `publish` takes it.
    """
    from bench.report.publish import table_files

    store = Store(result.plan.settings.store)
    folder = store.root / "tables"
    for board in stored_boards([board.suite for board in result.boards], store, want=result.want):
        for name, file in table_files(board, store, selection).items():
            _write(folder / name, file)
    return folder


def publish(
    folder: Path,
    boards: Sequence[Board],
    store: Store,
    *,
    update: bool = False,
    selection: Sequence[str] = (),
    source: str = "",
    space: str = "",
    library: Library | None = None,
) -> Published:
    """Write boards as CSVs, README tables, model cards, and a Space's folder; see `bench.report.publish`.

    Args:
        folder: where to; what it holds of other suites stays.
        boards: one a suite; those without a headline score are left out.
        store: where their outcomes are.
        update: let published numbers change, or go; if not, nothing is written where one would.
        selection: options of `bench run` beside suite, limit, seed and numerics that belong to the boards' protocol.
        source: an address where the results can be read, for the model cards.
        space: OWNER/NAME of a static Space of the hub, whose folder `space` is written too; nothing is uploaded.
        library: where pictures for the Space's page are, if their data are here.

    Raises:
        BenchError: no board has a headline score, a file of the folder is not what was published, or no Space can bear
            the name.
    """
    from bench.board.printed import board_text
    from bench.report.hub import check_space
    from bench.report.publish import publication

    if space:
        check_space(space)

    headed = [board for board in boards if board.headed]
    if not headed:
        raise BenchError("no suite has a checkpoint with its headline score, so there is nothing to publish yet.")
    sections = {board.suite.name: board_text(board, "md") for board in headed}
    page = report(headed, store, library or Library({})) if space else ""
    made = publication(
        folder, headed, store, sections=sections, selection=selection, source=source, space=space, page=page
    )
    refused = bool(made.changes) and not update
    fresh = {} if refused else {name: file for name, file in made.files.items() if _read(folder / name) != file}
    for name, file in fresh.items():
        _write(folder / name, file)
    return Published(files=tuple(made.files), written=tuple(fresh), changes=made.changes, refused=refused)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _write(path: Path, file: bytes) -> None:
    with writing(path) as half:
        half.write_bytes(file)
