"""`bench import`: predictions that were made elsewhere."""

import argparse
from pathlib import Path
from typing import Any

from bench.cli.options import (
    data_option,
    new_command,
    registry_option,
    settings_of,
    severities_of,
    store_option,
)


def add_import(commands: Any) -> None:
    """Declare `bench import`."""
    command = new_command(commands, "import", _import, "store predictions that were made elsewhere, to be scored")
    command.add_argument(
        "rows",
        metavar="ROWS",
        type=Path,
        help="a CSV or Parquet file, a row a sample: id and prediction (a class's name or index), or logit_0, "
        "logit_1, …, or logits (a list), or top_1 to top_5",
    )
    command.add_argument("--suite", metavar="NAME", required=True, help="whose images they are of")
    command.add_argument("--checkpoint", metavar="NAME", required=True, help="what to call it")
    command.add_argument("--family", metavar="NAME", default="", help="vit, mixer, resnet, …, of an unregistered one")
    command.add_argument("--corruption", metavar="NAME", default="", help="of the images (default: none)")
    command.add_argument("--severity", metavar="N", default="", help="of the corruption, 1 to 5")
    registry_option(command)
    data_option(command)
    store_option(command)


def _import(arguments: argparse.Namespace) -> int:
    from bench import api

    settings = api.configure(**settings_of(arguments)).settings
    [suite] = api.select_suites([arguments.suite])
    done = api.import_predictions(
        arguments.rows,
        suite,
        arguments.checkpoint,
        settings,
        family=arguments.family,
        corruption=arguments.corruption,
        severity=severities_of([arguments.severity])[0] if arguments.severity else 0,
    )
    verb = "stored" if done.fresh else "was stored before"
    images = done.cell.condition.image_set
    where = f"{images.dataset}, {images.split}" + f", {arguments.corruption} {arguments.severity}" * bool(
        images.perturbation
    )
    print(f"{done.cell.n:,} rows of {where}, {verb}: {', '.join(done.columns)}")
    print(f"`bench table --suite {suite.name} --device imported --store {settings.store}` scores them")
    return 0
