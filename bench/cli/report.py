"""`bench report`: what is stored as one page that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    data_option,
    new_command,
    parse_place,
    stored_options,
)
from bench.cli.tables import asked
from bench.errors import BenchError
from bench.machine.files import write, writing

if TYPE_CHECKING:
    from bench.board.leaderboard import Board
    from bench.store import Store


def add_report(commands: Any) -> None:
    """Declare `bench report`."""
    command = new_command(commands, "report", _report, "make one HTML page of what is stored of every suite")
    stored_options(command, default="every suite that is stored")
    data_option(command)
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="an .html file")
    command.add_argument("--plots", metavar="DIR", type=Path, help="also write the charts there, as PNG and SVG")


def _report(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.board.leaderboard import NothingStoredError
    from bench.datasets import Library
    from bench.report.page import render
    from bench.store import Store
    from bench.suite import suites as suite_registry

    if arguments.out.suffix not in (".html", ".htm"):
        raise BenchError(f"--out must end in .html, not {arguments.out.name!r}.")
    # Also registers what the user brings, before all suites are asked for.
    config = api.configure(registry=arguments.registry, data=dict(map(parse_place, arguments.data)))
    named = bool(arguments.suite or arguments.track)
    arguments.suite = arguments.suite if named else [suite.name for suite in suite_registry]
    suites, want, settings = asked(arguments)
    store = Store(settings.store)
    try:
        boards = api.boards(suites, store, checkpoints=arguments.checkpoint, want=want)
    except NothingStoredError:
        if named:
            raise
        raise NothingStoredError(
            f"{store.root} holds nothing as asked of any suite; `bench run` measures one, and `bench store ls` shows "
            "what is there."
        ) from None
    boards = boards if named else _meant(boards)
    write(
        arguments.out, render(boards, store, Library(config.settings.places, lambda text: print(text, file=sys.stderr)))
    )
    print(f"{arguments.out}: {', '.join(board.suite.name for board in boards)}")
    if arguments.plots is not None:
        _write_plots(boards, store, arguments.plots)
    return 0


def _meant(boards: "Sequence[Board]") -> "list[Board]":
    """Without suites of which only cells are stored that others needed too, such as those of the clean accuracy."""
    whole = [board for board in boards if _is_whole(board)]
    held = {cell.key for board in whole for cell in board.cells.values()}
    return [board for board in boards if _is_whole(board) or {cell.key for cell in board.cells.values()} - held]


def _is_whole(board: "Board") -> bool:
    """Whether some checkpoint has every cell."""
    return max(map(board.present, board.checkpoints)) == len(board.suite.conditions)


def _write_plots(boards: "Sequence[Board]", store: "Store", folder: Path) -> None:
    from bench.report.curves import Kind, save
    from bench.report.plots import figures

    kinds: tuple[Kind, ...] = ("png", "svg")
    for name, figure in figures(boards, store):
        for kind in kinds:
            with writing(folder / f"{name}.{kind}") as whole:
                save(figure, whole, kind)
        print(f"{folder / name}.png, .svg")
