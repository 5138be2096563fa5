"""`bench curve`: the scores of a suite against the parameter that it runs through, as a picture."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import (
    DIGITS,
    by_reference,
    new_command,
    stored_options,
    suite_settings,
)
from bench.cli.tables import stored_boards
from bench.errors import BenchError
from bench.machine.files import writing


def add_curve(commands: Any) -> None:
    """Declare `bench curve`."""
    command = new_command(
        commands, "curve", _curve, "draw what is stored of a suite against the setting that it changes"
    )
    stored_options(command, DIGITS)
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="a .png or .svg file")


def _curve(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.board.tables import warnings_in_words

    kind = arguments.out.suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        raise BenchError(f"--out must end in .png or .svg, not {arguments.out.name!r}.")
    _check_suite(arguments)
    [board], _ = stored_boards(arguments)
    with writing(arguments.out) as whole:
        api.curve(board, whole, kind)
    print(f"{arguments.out}: {board.suite.name}")
    for line in (*warnings_in_words(board), *board.notes):
        print(line, file=sys.stderr)
    return 0


def _check_suite(arguments: argparse.Namespace) -> None:
    """One suite, and one that can be drawn; said before the store is read."""
    from bench import api
    from bench.report.curves import check_curve

    api.configure(registry=arguments.registry)
    chosen = api.select_suites(
        arguments.suite, arguments.track, reference=by_reference(arguments), settings=suite_settings(arguments)
    )
    if len(chosen) > 1:
        names = ", ".join(suite.name for suite in chosen)
        raise BenchError(f"bench curve draws one suite, not {len(chosen)} ({names}); name it with --suite.")
    check_curve(chosen[0])
