"""`bench publish`: results as files that others can read, and that change only when they are meant to."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import new_command, selection_of, stored_options
from bench.cli.tables import stored_boards
from bench.errors import BenchError
from bench.machine.files import write

if TYPE_CHECKING:
    from bench.report.publish import Change

_SHOWN = 20
"""Rows of a difference that are printed."""


def add_publish(commands: Any) -> None:
    """Declare `bench publish`."""
    command = new_command(commands, "publish", _publish, "write what is stored as CSV, README tables and model cards")
    stored_options(command)
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder, such as results")
    command.add_argument("--update", action="store_true", help="let published numbers change, or go")
    command.add_argument("--source", metavar="URL", default="", help="where the results can be read, for model cards")


def _publish(arguments: argparse.Namespace) -> int:
    from bench.board.printed import board_text
    from bench.report.publish import publication
    from bench.store import Store

    if arguments.source and not arguments.source.startswith(("https://", "http://")):
        raise BenchError(f"--source wants an address such as https://example.org/results, not {arguments.source!r}.")
    every, settings = stored_boards(arguments)
    boards = [board for board in every if board.headed]
    for board in every:
        if not board.headed:
            print(
                f"left out, as no checkpoint has its {board.suite.headline.column}: {board.suite.name}", file=sys.stderr
            )
    if not boards:
        raise BenchError("no suite has a checkpoint with its headline score, so there is nothing to publish yet.")
    made = publication(
        arguments.out,
        boards,
        Store(settings.store),
        sections={board.suite.name: board_text(board, "md") for board in boards},
        selection=selection_of(arguments),
        source=arguments.source,
    )
    if made.changes:
        _print_changes(made.changes)
        if not arguments.update:
            files = ", ".join(dict.fromkeys(change.file for change in made.changes))
            raise BenchError(
                f"{len(made.changes)} published rows of {files} would change, so nothing was written; "
                "--update publishes the new ones."
            )
    fresh = {place: text for place, text in made.files.items() if _read(arguments.out / place) != text}
    for place, text in fresh.items():
        write(arguments.out / place, text)
    print(f"{len(fresh)} of {len(made.files)} files written in {arguments.out}" if fresh else "nothing has changed")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _print_changes(changes: "Sequence[Change]") -> None:
    from bench.text import render

    rows = [[change.file, change.row, change.old, change.new or "gone"] for change in changes[:_SHOWN]]
    print(render(["file", "row", "published", "now"], rows))
    if len(changes) > _SHOWN:
        print(f"… and {len(changes) - _SHOWN:,} more")
