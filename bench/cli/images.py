"""`bench images`: what a suite shows, as files for code that is not ours."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    corruption_options,
    data_option,
    names_of,
    new_command,
    registry_option,
    settings_of,
    severities_of,
)
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.tools.images import Shown


def add_images(commands: Any) -> None:
    """Declare `bench images`."""
    command = new_command(
        commands, "images", _images, "write the exact images that a suite shows, for predictions by other code"
    )
    command.add_argument("suite", metavar="SUITE")
    command.add_argument("--checkpoint", metavar="NAME", help="whose crop and input size the images have")
    command.add_argument(
        "--crop", metavar="SIZE/RATIO/INTERPOLATION", help="the crop itself, such as 224/0.875/bicubic"
    )
    corruption_options(command)
    command.add_argument(
        "--format", choices=("png", "npz"), default="png", help="a PNG file an image (default), or an npz a condition"
    )
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="gets a folder a condition")
    command.add_argument("--workers", type=int, metavar="N", help="processes that make images (default: one a core)")
    command.add_argument("--cache", metavar="DIR|off", help="where crops are kept (default: ~/.cache/rtbench)")
    registry_option(command)
    data_option(command)


def _images(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.checkpoints.naming import checkpoint_called
    from bench.progress import for_stream

    if arguments.checkpoint and arguments.crop:
        raise BenchError("--checkpoint and --crop both say what the crop is; give one of them.")
    settings = api.configure(**settings_of(arguments)).settings
    [suite] = api.select_suites([arguments.suite])
    written = api.images(
        suite,
        arguments.out,
        settings,
        crop=checkpoint_called(arguments.checkpoint) if arguments.checkpoint else arguments.crop or "",
        corruptions=names_of(arguments.corruption),
        severities=severities_of(arguments.severity) if arguments.severity else (),
        format=arguments.format,
        progress=for_stream(),
    )
    for shown in written:
        print(f"{shown.n:,} images{'' if shown.fresh else ', written before'}: {shown.folder / 'images.csv'}")
    print(f"with a column prediction in it: {_import(suite.name, written[0])}")
    return 0


def _import(suite: str, shown: "Shown") -> str:
    """The command that takes in what other code predicts."""
    words = ["bench", "import", str(shown.folder / "images.csv"), "--suite", suite, "--checkpoint", "NAME"]
    if perturbation := shown.condition.images.perturbation:
        words += ["--corruption", perturbation.corruption, "--severity", str(perturbation.severity)]
    return shlex.join(words)
