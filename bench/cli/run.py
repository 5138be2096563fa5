"""`bench list`, `bench plan` and `bench run`."""

import argparse
import functools
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    by_reference,
    cell_options,
    checkpoints_asked,
    choice_options,
    data_option,
    new_command,
    registry_option,
    selection_of,
    settings_of,
    store_option,
    suite_settings,
)
from bench.cli.tables import print_board
from bench.errors import BenchError
from bench.text import some

if TYPE_CHECKING:
    from bench.api import RunResult
    from bench.datasets import Library
    from bench.records import Checkpoint, Settings
    from bench.run.forecast import Forecast
    from bench.run.plan import Plan

LONG_PLAN = 2_000_000
"""Images shown to models above which a run asks first: an hour or so on a laptop."""
_SHOWN = 5
"""Rows of each kind in a forecast."""
KINDS = ("suites", "checkpoints", "datasets", "corruptions", "attacks", "tracks", "recipes", "studies")


def add_list(commands: Any) -> None:
    """Declare `bench list`."""
    command = new_command(commands, "list", _list, "show what is registered")
    command.add_argument("kind", choices=KINDS)
    registry_option(command)
    command.add_argument("--json", action="store_true", help="as JSON")


def _list(arguments: argparse.Namespace) -> int:
    from bench import api

    api.configure(registry=arguments.registry)
    rows = api.listing(arguments.kind)
    if arguments.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    from bench.text import render

    print(render(list(rows[0]), [list(row.values()) for row in rows]))
    return 0


def add_plan(commands: Any) -> None:
    """Declare `bench plan`."""
    command = new_command(commands, "plan", _plan, "show what a run would do")
    choice_options(command)
    data_option(command)
    cell_options(command)
    store_option(command)


def _plan(arguments: argparse.Namespace) -> int:
    from bench import api, progress
    from bench.text import render, size

    settings = api.configure(**settings_of(arguments)).settings
    planned = _planned(arguments, settings)
    parts = {suite.name: api.cost(planned.part(suite)) for suite in planned.suites}
    cost = api.cost(planned)
    rows = [
        [name, part["cells"], part["stored"], f"{part['images']:,}"]
        for name, part in {**parts, "together, shared cells once": cost}.items()
    ]
    print(render(["suite", "cells", "stored", "images to show"], rows))
    print(f"\n{_count(len(planned.checkpoints), 'checkpoint')}: {_names(planned.checkpoints)}")
    if planned.to_fetch:
        print(f"weights to fetch first: {_names(planned.to_fetch)}")
    print(
        f"disk: outcomes about {size(cost['outcome_bytes'])} in {settings.store}, "
        f"crops at most {size(cost['crop_bytes'])} in {settings.cache or 'no cache'}"
    )
    for name, reason in planned.unavailable.items():
        print(f"not available: {name}: {reason}")
    if planned.missing:
        forecast = api.forecast(planned, progress.for_stream())
        if planned.to_fetch:
            print(f"weights to fetch: about {size(forecast.fetch_bytes)}")
        _print_forecast(forecast, settings)
    return 0


def _names(checkpoints: "Iterable[Checkpoint]") -> str:
    return ", ".join(checkpoint.name for checkpoint in checkpoints)


def _print_forecast(forecast: "Forecast", settings: "Settings") -> None:
    """Hours, and what takes most of them."""
    from bench.text import render, some

    rows = [["models", name, _hours(hours)] for name, hours in list(forecast.models.items())[:_SHOWN]]
    rows += [["crops", name, _hours(hours)] for name, hours in list(forecast.prepared.items())[:_SHOWN]]
    workers = max(forecast.workers, 1)
    rows += [["images", name, _hours(hours / workers)] for name, hours in list(forecast.images.items())[:_SHOWN]]
    print(f"\ntimed on {settings.device} in {settings.precision}, {_count(workers, 'process')} making images:")
    print(render(["", "the most time in", "time"], rows))
    how = "images are made beside the models" if forecast.beside else "images and models share the processor"
    most = ", as if every image withstood all attacks" if forecast.attacked else ""
    print(f"together about {_hours(forecast.hours)} ({how}{most})")
    reasons: dict[str, list[str]] = {}
    for name, reason in forecast.unknown.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        print(f"not timed: {some(names)}: {reason}")


def _hours(hours: float) -> str:
    """Hours where there are some, else minutes or seconds."""
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def _planned(arguments: argparse.Namespace, settings: "Settings") -> "Plan":
    """The plan of what was asked for; of a track, of those suites whose data are here."""
    from bench import api

    suites, checkpoints = api.select(
        arguments.suite,
        arguments.track,
        checkpoints_asked(arguments),
        arguments.family,
        reference=by_reference(arguments),
        settings=suite_settings(arguments),
    )
    planned = api.plan(suites, checkpoints, settings, _library(settings), needed=bool(arguments.suite))
    notes = [*planned.notes]
    if planned.left_out:
        names = ", ".join(planned.left_out)
        notes.append(f"left out, for want of their data: {names} (`bench data list` says where to get them)")
    for note in notes:
        print(note, file=sys.stderr)
    return planned


def _library(settings: "Settings") -> "Library":
    """What opens data sets, and says where that takes a while."""
    from bench.datasets import Library

    return Library(settings.places, note=functools.partial(print, file=sys.stderr))


def add_run(commands: Any) -> None:
    """Declare `bench run`."""
    command = new_command(commands, "run", _run, "measure what the store lacks, then print leaderboards and write CSV")
    choice_options(command)
    data_option(command)
    cell_options(command)
    store_option(command)
    command.add_argument("--batch-size", metavar="N|auto", help="default: auto, halved when memory runs out")
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes that make images (default: one a core, at most 8)"
    )
    command.add_argument("--cache", metavar="DIR|off", help="where crops are kept (default: ~/.cache/rtbench)")
    command.add_argument("--on-error", choices=("skip", "stop"), help="after a checkpoint fails (default: skip)")
    command.add_argument("--yes", action="store_true", help="do not ask before a long run")
    command.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME",
        help="also tell wandb, mlflow or tensorboard (extras of these names), or a hook of a plug-in; may be repeated",
    )


def _run(arguments: argparse.Namespace) -> int:
    from bench import api, progress
    from bench.hooks.finding import find_hooks
    from bench.machine.distributed import is_main

    settings = api.configure(**settings_of(arguments)).settings
    if not is_main():  # torchrun started several: the first plans, stores and prints
        api.take_part(settings, _library(settings))
        return 0
    hooks = find_hooks(arguments.log)  # what they lack is better said before data are opened
    planned = _planned(arguments, settings)
    if not arguments.yes:
        _ask(planned, named=bool(checkpoints_asked(arguments)))
    result = api.carry_out(planned, progress.for_stream(), log=hooks)
    measured = len(result.plan.missing) - len(result.failures)
    stored = len(result.plan.stored)
    print(f"{_count(measured, 'cell')} measured, {stored:,} were stored in {settings.store}", file=sys.stderr)
    written = api.write_tables(result, selection_of(arguments)) if result.boards else None  # before all that may fail
    for board in result.boards:
        print_board(board)
    if written:
        print(f"\nCSV: {written}/")
    return _report_failures(result)


def _ask(planned: "Plan", *, named: bool) -> None:
    """Before a long run, and before weights are fetched of checkpoints that nobody named."""
    fetched = len(planned.to_fetch)
    if planned.images <= LONG_PLAN and (named or not fetched):
        return
    deed = f"show {planned.images:,} images to models"
    if fetched:
        deed = f"fetch the weights of {_count(fetched, 'checkpoint')} and {deed}"
    if not sys.stdin.isatty():
        fewer = "name fewer with --checkpoint" + ", or give --limit N" * (planned.images > LONG_PLAN)
        raise BenchError(f"this run would {deed}; add --yes, or {fewer}.")
    answer = input(f"This run would {deed}. Go on? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise BenchError("not started; `bench plan` shows what would be done, --limit N makes it shorter.")


def _report_failures(result: "RunResult") -> int:
    if result.ok:
        return 0
    counts = Counter((failure.message, failure.checkpoint) for failure in result.failures)
    unavailable = result.plan.unavailable
    faults = [f"{_count(len(result.failures), 'cell')} failed"] * bool(result.failures)
    faults += [f"{_count(len(unavailable), 'checkpoint')} could not be evaluated"] * bool(unavailable)
    faults += [
        f"{board.suite.name} has no {board.suite.headline.column} for some checkpoint (see the notes on it)"
        for board in result.boards
        if not board.complete and not faults
    ]
    listed = ":" if unavailable or counts else "."
    print(f"\nbench: {' and '.join(faults)}; everything else is stored{listed}", file=sys.stderr)
    for reason in dict.fromkeys(unavailable.values()):
        names = [name for name in unavailable if unavailable[name] == reason]
        which = names[0] if len(names) == 1 else f"{len(names)} checkpoints ({some(names)})"
        print(f"  {which}: {reason}", file=sys.stderr)
    for message, group in itertools.groupby(sorted(counts), key=lambda pair: pair[0]):
        which = ", ".join(f"{name} ({_count(counts[message, name], 'cell')})" for _, name in group)
        print(f"  {which}: {message}", file=sys.stderr)
    return 1


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"
