"""`bench publish`: results as files that others can read, and that change only when they are meant to."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import new_command, selection_of, stored_options
from bench.cli.tables import stored_boards
from bench.errors import BenchError

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
    command.add_argument(
        "--space", metavar="OWNER/NAME", default="", help="also write the folder of a static Space that shows them"
    )


def _publish(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.datasets import Library
    from bench.store import Store

    if arguments.source and not arguments.source.startswith(("https://", "http://")):
        raise BenchError(f"--source wants an address such as https://example.org/results, not {arguments.source!r}.")
    boards, settings = stored_boards(arguments)
    for board in boards:
        if not board.headed:
            print(
                f"left out, as no checkpoint has its {board.suite.headline.column}: {board.suite.name}", file=sys.stderr
            )
    published = api.publish(
        arguments.out,
        boards,
        Store(settings.store),
        update=arguments.update,
        selection=selection_of(arguments),
        source=arguments.source,
        space=arguments.space,
        library=Library(settings.places),
    )
    if published.changes:
        _print_changes(published.changes)
    if published.refused:
        files = ", ".join(dict.fromkeys(change.file for change in published.changes))
        raise BenchError(
            f"{len(published.changes)} published rows of {files} would change, so nothing was written; --update "
            "publishes the new ones."
        )
    count, written = len(published.files), len(published.written)
    print(f"{written} of {count} files written in {arguments.out}" if written else "nothing has changed")
    if arguments.space:
        print(f"to upload: {_upload(arguments.space, arguments.out)}")
    return 0


def _upload(space: str, folder: Path) -> str:
    """The command that uploads the folder of a Space, and makes it where there is none."""
    from bench.report.hub import SPACE

    return shlex.join(["hf", "upload", space, str(folder / SPACE), ".", "--repo-type", "space"])


def _print_changes(changes: "Sequence[Change]") -> None:
    from bench.text import render

    rows = [[change.file, change.row, change.old, change.new or "gone"] for change in changes[:_SHOWN]]
    print(render(["file", "row", "published", "now"], rows))
    if len(changes) > _SHOWN:
        print(f"… and {len(changes) - _SHOWN:,} more")
