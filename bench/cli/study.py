"""`bench study`."""

import argparse
import functools
import shlex
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import names_of, new_command, settings_of, training_options
from bench.errors import BenchError


def add_study(commands: Any) -> None:
    """Declare `bench study`."""
    command = new_command(
        commands,
        "study",
        _run,
        "train a grid of recipes, measure what comes of it, and hold the arms against each other: a page, figures, CSV",
    )
    command.add_argument("study", metavar="STUDY", help="one of `bench list studies`, or a TOML file of one's own")
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="for all of it; resumes what is there")
    command.add_argument("--draws", metavar="N", type=int, help="random settings of each arm")
    command.add_argument("--seeds", metavar="N", type=int, help="trainings of each setting")
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="FACTOR=LEVEL,LEVEL",
        help="some levels of a factor alone; the rest may follow into the same folder; may be repeated",
    )
    training_options(command)


def _run(arguments: argparse.Namespace) -> int:
    from bench import api, progress
    from bench.compare.tables import to_text

    settings = api.configure(**{**settings_of(arguments), "workers": None}).settings
    result = api.study(
        arguments.study,
        arguments.out,
        settings,
        draws=arguments.draws,
        seeds=arguments.seeds,
        only=_levels(arguments.only),
        workers=arguments.workers,
        note=functools.partial(print, file=sys.stderr, flush=True),
        progress=progress.for_stream(),
        command=shlex.join(["bench", *sys.argv[1:]]),
    )
    print(to_text(result.tables, "text"))
    print(f"\nPage: {result.page}; tables and figures beside it")
    return 0


def _levels(texts: list[str]) -> dict[str, list[str]]:
    levels: dict[str, list[str]] = {}
    for text in texts:
        factor, equals, named = text.partition("=")
        if not equals or factor in levels:
            raise BenchError(f"--only must be FACTOR=LEVEL,LEVEL, once a factor, not {text!r}.")
        levels[factor] = names_of([named])
    return levels
