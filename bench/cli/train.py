"""`bench train`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import new_command, settings_of, suite_settings, training_options
from bench.cli.output import complain
from bench.errors import BenchError
from bench.machine.distributed import is_main
from bench.text import some


def add_train(commands: Any) -> None:
    """Declare `bench train`."""
    command = new_command(commands, "train", _run, "make checkpoints by recipes (`bench list recipes`)")
    command.add_argument("recipe", metavar="RECIPE", nargs="+")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the recipes, such as ascent=gsam or learning_rate=1e-3; makes another recipe, whose name "
        "says so; may be repeated",
    )
    seeds = command.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", metavar="N", type=int, help="train with each of the seeds 0 to N - 1")
    seeds.add_argument("--seed", metavar="K", type=int, help="train with this seed (default: 0)")
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets RECIPE-seedK.safetensors of each training, and registry.toml with all of them, for --registry",
    )
    training_options(command)


def _run(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.training.recipes import typed

    settings = api.configure(**{**settings_of(arguments), "seed": None, "workers": None}).settings
    done = api.train(
        arguments.recipe,
        arguments.out,
        changes={key: typed(text) for key, text in suite_settings(arguments).items()},
        seeds=_seeds(arguments),
        device=settings.device,
        workers=arguments.workers,
        places=settings.places,
        progress=_tell,
    )
    for diverged in [each.record for each in done if each.record.diverged]:
        complain(f"{diverged.name}: {diverged.diverged}")
    trained = [each for each in done if not each.record.diverged]
    if trained and is_main():
        before = sum(not each.anew for each in trained)
        finished = f" ({before} had been before)" if before else ""
        print(
            f"trained {some(each.record.name for each in trained)}{finished}; evaluate with: "
            f"bench run --registry {trained[0].registry}"
        )
    return 0 if len(trained) == len(done) else 1


def _seeds(arguments: argparse.Namespace) -> list[int]:
    if arguments.seeds is not None and arguments.seeds < 1:
        raise BenchError(f"--seeds must be at least 1, not {arguments.seeds}; it is how many trainings there are.")
    if arguments.seed is not None and arguments.seed < 0:
        raise BenchError(f"--seed must be at least 0, not {arguments.seed}.")
    if arguments.workers is not None and arguments.workers < 0:
        raise BenchError(f"--workers must be at least 0, not {arguments.workers}; 0 trains in this process.")
    return list(range(arguments.seeds)) if arguments.seeds else [arguments.seed or 0]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
