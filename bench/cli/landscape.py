"""`bench landscape`: the loss landscape of checkpoints as pictures."""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import (
    cell_options,
    data_option,
    new_command,
    registry_option,
    settings_of,
    store_option,
    suite_settings,
)
from bench.errors import BenchError
from bench.machine.files import make_folder, writing


def add_landscape(commands: Any) -> None:
    """Declare `bench landscape`."""
    command = new_command(
        commands, "landscape", _landscape, "measure what the store lacks of checkpoints' loss landscapes, and draw them"
    )
    command.add_argument("checkpoint", nargs="+", metavar="CHECKPOINT", help="one of `bench list checkpoints`")
    command.add_argument(
        "--suite", metavar="NAME", default="digits-landscape", help="a suite of the landscape (default: %(default)s)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the suite, such as images=200; makes another suite; may be repeated",
    )
    registry_option(command)
    data_option(command)
    cell_options(command)
    store_option(command)
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets surfaces, spectra, blocks, neurons, attention maps and the way between two, as PNG and SVG",
    )


def _landscape(arguments: argparse.Namespace) -> int:
    from bench import api, progress
    from bench.datasets import Library
    from bench.report.curves import Kind, save
    from bench.report.landscape import check_landscape

    settings = api.configure(**settings_of(arguments)).settings
    chosen, checkpoints = api.select(
        [arguments.suite], None, arguments.checkpoint, None, settings=suite_settings(arguments)
    )
    check_landscape(chosen[0])
    make_folder(arguments.out)
    say = functools.partial(print, file=sys.stderr)
    library = Library(settings.places, note=say)
    result = api.run(chosen, checkpoints, settings, progress.for_stream(), library)
    for failure in result.failures:
        say(f"{failure.checkpoint}: {failure.message}")
    if not result.boards:
        raise BenchError("nothing could be measured, so there is nothing to draw.")
    kinds: tuple[Kind, ...] = ("png", "svg")
    for name, figure in api.landscape(result, library, say):
        for kind in kinds:
            with writing(arguments.out / f"{name}.{kind}") as whole:
                save(figure, whole, kind)
        print(f"{arguments.out / name}.png, .svg", flush=True)
    return 0 if result.ok else 1
