"""`bench attack`: what an attack does to pictures of one's own."""

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.corrupt import check_stems
from bench.cli.options import new_command, registry_option, settings_of
from bench.machine.files import writing

if TYPE_CHECKING:
    from bench.tools.gallery import PictureError


def add_attack(commands: Any) -> None:
    """Declare `bench attack`."""
    command = new_command(commands, "attack", _attack, "attack pictures of your own, and write what comes of it as PNG")
    command.add_argument(
        "image",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="a picture of 8 bits a channel; the checkpoint's own crop of it is attacked, away from the class that the "
        "checkpoint predicts, as there is no label",
    )
    command.add_argument("--checkpoint", metavar="NAME", required=True, help="one of `bench list checkpoints`")
    command.add_argument("--attack", metavar="NAME", default="pgd", help="one of `bench list attacks` (default: pgd)")
    command.add_argument(
        "--eps",
        metavar="E",
        required=True,
        help="how far it may go, in pixels of [0, 1]: 4/255, 0.0157, under l2 also 3",
    )
    command.add_argument("--norm", metavar="linf|l2", default="linf", help="how that is measured (default: linf)")
    command.add_argument(
        "--loss", metavar="ce|dlr", default="ce", help="what is raised: cross-entropy, or DLR (default: ce)"
    )
    command.add_argument("--steps", type=int, metavar="N", help="gradients at most (default: the attack's own number)")
    command.add_argument(
        "--seed", type=int, metavar="N", help="of the random start, which also goes by the file's name (default: 0)"
    )
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    registry_option(command)
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets NAME.ATTACK-NORM-EPS.png of each: clean, perturbed and their difference, with predictions",
    )


def _attack(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.checkpoints.naming import checkpoint_called

    settings = api.configure(**settings_of(arguments)).settings
    check_stems(arguments.image)
    skipped: list[PictureError] = []

    def skip(error: "PictureError") -> None:
        print(f"bench: {error}", file=sys.stderr)
        skipped.append(error)

    for attacked in api.attack(
        arguments.image,
        checkpoint_called(arguments.checkpoint),
        settings,
        attack=arguments.attack,
        eps=arguments.eps,
        norm=arguments.norm,
        loss=arguments.loss,
        steps=arguments.steps,
        note=functools.partial(print, file=sys.stderr),
        skip=skip,
    ):
        path = arguments.out / f"{attacked.name}.png"
        with writing(path) as whole:
            attacked.draw().save(whole, format="PNG")
        print(f"{path}: {attacked.summary}", flush=True)
    return 1 if skipped else 0
