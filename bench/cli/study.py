"""`bench study`."""

import argparse
import functools
import shlex
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import data_option, new_command, settings_of


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
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, … (default: auto)")
    command.add_argument("--workers", metavar="N", type=int, help="trainings at the same time (default: one a core)")
    data_option(command)


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
        workers=arguments.workers,
        note=functools.partial(print, file=sys.stderr, flush=True),
        progress=progress.for_stream(),
        command=shlex.join(["bench", *sys.argv[1:]]),
    )
    print(to_text(result.tables, "text"))
    print(f"\nPage: {result.page}; tables and figures beside it")
    return 0
