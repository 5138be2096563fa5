"""Options and output that several commands share."""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.machine.files import write

_WIDTH = 120
"""Characters of a line where nobody says how many there are."""


def new_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> Any:
    """Declare a command that calls `run` with the parsed arguments and exits with what it returns."""
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    command.add_argument("--traceback", action="store_true", help="show where in the code an error came from")
    command.set_defaults(command=run, name=command.prog)
    return command


def new_group(commands: Any, name: str, help: str) -> Any:
    """Declare a command that has actions, such as `bench store`, and return what these are declared in."""
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    return command.add_subparsers(metavar="ACTION", required=True)


DIGITS, STORED = "digits", "every suite that is stored"
"""What is meant where no suite is named: by what measures, and by what looks at the store."""


def suites_options(command: Any, default: str) -> None:
    """Which suites; `default` says which are meant without a name."""
    command.add_argument("--suite", action="append", default=[], metavar="NAME", help="a suite; may be repeated")
    command.add_argument(
        "--track", metavar="NAME", help=f"every suite of a track, instead of --suite (default: {default})"
    )
    command.add_argument(
        "--corruptions",
        choices=("batched", "reference"),
        default="batched",
        help="who makes the pictures of generated suites: ours (default), or imagecorruptions-imaug, slower by ten "
        "times and with other random draws; the two never share a table",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the suites that have it, such as steps=100 of attacks; makes another suite, whose "
        "name and protocol say so; may be repeated",
    )


def suite_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """What `--set` says.

    Raises:
        BenchError: one is not NAME=VALUE, or a name comes twice.
    """
    settings: dict[str, str] = {}
    for text in arguments.set:
        name, _, value = text.partition("=")
        if not name or not value:
            raise BenchError(f"--set wants NAME=VALUE, such as steps=100, not {text!r}.")
        if name in settings:
            raise BenchError(f"--set says {name} twice, {settings[name]} and {value}; leave one of them out.")
        settings[name] = value
    return settings


def selection_of(arguments: argparse.Namespace) -> list[str]:
    """The choice of suites, where it is more than their names: such a suite's name is none to ask for it by."""
    if not arguments.set and not by_reference(arguments):
        return []
    words = [word for name in arguments.suite for word in ("--suite", name)]
    words += ["--track", arguments.track] if arguments.track else []
    words += [word for text in arguments.set for word in ("--set", text)]
    return words + (["--corruptions", "reference"] if by_reference(arguments) else [])


def by_reference(arguments: argparse.Namespace) -> bool:
    """Whether `--corruptions reference` is asked for."""
    return bool(arguments.corruptions == "reference")


def choice_options(command: Any) -> None:
    """Which suites and checkpoints."""
    suites_options(command, DIGITS)
    command.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME",
        help="a checkpoint: a name or a pattern of names, timm/TAG, torchvision/MODEL.WEIGHTS, "
        "transformers/OWNER/NAME, open_clip/ARCH/PRETRAINED, ./FILE.onnx, each also with @SIZE; may be repeated "
        "(default: those of --registry, else all that predict the suites' classes)",
    )
    command.add_argument(
        "--checkpoint-file", metavar="FILE", type=Path, help="a file of such names, one a line, beside --checkpoint"
    )
    command.add_argument("--family", metavar="NAME", help="only checkpoints of a family: vit, mixer, resnet, …")
    registry_option(command)


def checkpoints_asked(arguments: argparse.Namespace) -> list[str]:
    """The names and patterns that are asked for: without any, the checkpoints of a file that `--registry` names.

    Raises:
        BenchError: the file of names can't be read.
    """
    from bench.checkpoints.naming import names_in

    names = list(arguments.checkpoint)
    if arguments.checkpoint_file is not None:
        names += names_in(arguments.checkpoint_file)
    if not names and arguments.registry is not None:
        from bench.api import registered_by

        names = [entry.name for entry in registered_by(Path(arguments.registry))]
    return names


def registry_option(command: Any) -> None:
    """What the user brings."""
    command.add_argument("--registry", metavar="FILE", help="a TOML file of your own checkpoints and data sets")
    plugin_option(command)


def plugin_option(command: Any) -> None:
    """The user's own Python; every command that looks something up takes it."""
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file that registers suites, corruptions, … of your own; may be repeated, and stand as plugins = "
        "[...] in bench.toml",
    )


def cell_options(command: Any) -> None:
    """What decides which cells these are."""
    command.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="N samples of each data set that is measured, always the same; what is learnt from stays whole "
        "(--set train_limit=N makes that fewer)",
    )
    command.add_argument("--seed", type=int, metavar="N", help="of all random draws (default: 0)")
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    command.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="default: auto, which is fp32 on a CPU and bf16 or fp16 on CUDA",
    )


def data_option(command: Any) -> None:
    """Where data sets are."""
    command.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where a data set is (`bench data list`); may be repeated, and stand under [data] in bench.toml",
    )


def training_options(command: Any) -> None:
    """Where, and how many at a time, trainings are carried out."""
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, … (default: auto)")
    command.add_argument("--workers", metavar="N", type=int, help="trainings at the same time (default: one a core)")
    data_option(command)
    plugin_option(command)


def parse_place(text: str) -> tuple[str, str]:
    """The two sides of NAME=PATH.

    Raises:
        BenchError: one of them is missing.
    """
    name, _, path = text.partition("=")
    if not name or not path:
        raise BenchError(f"--data wants NAME=PATH, such as imagenet=/data/imagenet/val, not {text!r}.")
    return name, path


def store_option(command: Any) -> None:
    """Where outcomes are."""
    command.add_argument("--store", metavar="DIR", help="where outcomes are kept (default: runs)")


def stored_options(command: Any, default: str = STORED) -> None:
    """Which of the stored outcomes; `default` is as `suites_options` takes it."""
    suites_options(command, default)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    registry_option(command)
    cell_options(command)
    store_option(command)


def corruption_options(command: Any) -> None:
    """Which corruptions, and how strong."""
    command.add_argument(
        "--corruption",
        action="append",
        default=[],
        metavar="A,B,…",
        help="one or several of `bench list corruptions`, or a group (weather); may be repeated (default: all)",
    )
    command.add_argument(
        "--severity", action="append", default=[], metavar="1,2,…", help="1 to 5, one or several (default: all five)"
    )


def names_of(values: Sequence[str]) -> list[str]:
    """The names in comma lists, each once.

    >>> names_of(["fog,snow", "fog"])
    ['fog', 'snow']
    """
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",")))


def severities_of(values: Sequence[str]) -> list[int]:
    """The severities in comma lists, ascending; all five where there are none.

    Raises:
        BenchError: one is not a whole number from 1 to 5.

    >>> severities_of(["3,1"]), severities_of([])
    ([1, 3], [1, 2, 3, 4, 5])
    """
    from bench.corruptions import SEVERITIES

    texts = names_of(values)
    for text in texts:
        if text not in map(str, SEVERITIES):
            raise BenchError(f"--severity wants 1 to 5, or several as in 1,3,5, not {text!r}.")
    return sorted(map(int, texts)) or list(SEVERITIES)


def out_option(command: Any) -> None:
    """Where to write what would be printed."""
    command.add_argument("--out", metavar="FILE", type=Path, help="write to a file")


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that are settings, as `bench.api.configure` takes them."""
    names = (
        "store",
        "cache",
        "device",
        "precision",
        "batch_size",
        "workers",
        "seed",
        "limit",
        "on_error",
        "registry",
    )
    places = dict(map(parse_place, getattr(arguments, "data", [])))
    return {**{name: getattr(arguments, name, None) for name in names}, "data": places}


def printed_width() -> int:
    """Characters of a line that is printed: as COLUMNS or the terminal says; 120 where the output goes elsewhere."""
    return shutil.get_terminal_size((_WIDTH, 0)).columns


def emit(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        print(text)
    else:
        write(out, text + "\n")
