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
from bench.cli.tables import stored_boards
from bench.errors import BenchError
from bench.machine.files import write, writing

if TYPE_CHECKING:
    from bench.board.leaderboard import Board
    from bench.store import Store


def add_report(commands: Any) -> None:
    """Declare `bench report`."""
    command = new_command(commands, "report", _report, "make one HTML page of what is stored of every suite")
    stored_options(command)
    data_option(command)
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="an .html file")
    command.add_argument("--plots", metavar="DIR", type=Path, help="also write the charts there, as PNG and SVG")


def _report(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.datasets import Library
    from bench.store import Store

    if arguments.out.suffix not in (".html", ".htm"):
        raise BenchError(f"--out must end in .html, not {arguments.out.name!r}.")
    config = api.configure(registry=arguments.registry, data=dict(map(parse_place, arguments.data)))
    boards, settings = stored_boards(arguments)
    store = Store(settings.store)
    write(
        arguments.out,
        api.report(boards, store, Library(config.settings.places, lambda text: print(text, file=sys.stderr))),
    )
    print(f"{arguments.out}: {', '.join(board.suite.name for board in boards)}")
    if arguments.plots is not None:
        _write_plots(boards, store, arguments.plots)
    return 0


def _write_plots(boards: "Sequence[Board]", store: "Store", folder: Path) -> None:
    from bench import api
    from bench.report.curves import Kind, save

    kinds: tuple[Kind, ...] = ("png", "svg")
    for name, figure in api.plots(boards, store):
        for kind in kinds:
            with writing(folder / f"{name}.{kind}") as whole:
                save(figure, whole, kind)
        print(f"{folder / name}.png, .svg")
