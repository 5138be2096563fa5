"""`bench compare`: two checkpoints, pairs that differ in SAM, or accuracy on the line, from what is stored."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    STORED,
    cell_options,
    emit,
    new_command,
    out_option,
    registry_option,
    store_option,
    suites_options,
)
from bench.cli.tables import chosen, every_suite, note_absent, wanted
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.board.leaderboard import Board
    from bench.suite import Suite

_FLIPS = 5
"""Images shown where nobody says how many."""


def add_compare(commands: Any) -> None:
    """Declare `bench compare`."""
    command = new_command(commands, "compare", _compare, "say how stored checkpoints differ, and how sure that is")
    command.add_argument("checkpoint", nargs="*", metavar="CHECKPOINT", help="two of them: before and after")
    command.add_argument("--pair", choices=("sam",), help="every stored pair that differs in SAM, instead of two")
    command.add_argument(
        "--by",
        choices=("seed",),
        help="of --pair: recipes instead of checkpoints, the mean over their trainings, paired by the trainings' seeds",
    )
    command.add_argument("--line", metavar="SUITE", help="effective robustness in a suite, instead of two")
    suites_options(command, STORED)
    command.add_argument("--family", metavar="NAME", help="of --pair: only pairs of a family")
    registry_option(command)
    cell_options(command)
    store_option(command)
    command.add_argument(
        "--flips",
        type=int,
        metavar="N",
        help=f"of two: the N images lost under most conditions (default: {_FLIPS}); csv has them instead of the scores",
    )
    command.add_argument(
        "--format", choices=("text", "csv", "md", "json"), help="default: by the ending of --out, else text"
    )
    out_option(command)


def _compare(arguments: argparse.Namespace) -> int:
    _check(arguments)
    endings = {".csv": "csv", ".md": "md", ".json": "json"}
    style = arguments.format or endings.get(arguments.out.suffix if arguments.out else "", "text")
    if arguments.by:
        text = _by_seed(arguments, style)
    elif arguments.pair:
        text = _pairs(arguments, style)
    elif arguments.line:
        arguments.suite = [arguments.line]
        text = _line(arguments, style)
    else:
        text = _two(arguments, style)
    emit(text, arguments.out)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """One thing is asked for, and options that belong to another are not given."""
    asked = [bool(arguments.checkpoint), bool(arguments.pair), bool(arguments.line)]
    if sum(asked) != 1 or (arguments.checkpoint and len(arguments.checkpoint) != 2):
        raise BenchError(
            "bench compare wants two checkpoints, or --pair sam, or --line SUITE, and only one of these; "
            f"it was given {_given(arguments)}."
        )
    if arguments.flips is not None and not arguments.checkpoint:
        raise BenchError("--flips shows images that two checkpoints differ on: name the two, or leave it out.")
    if arguments.flips is not None and arguments.flips < 0:
        raise BenchError(f"--flips wants a number of images, 0 or more, not {arguments.flips}.")
    if arguments.family is not None and not arguments.pair:
        raise BenchError("--family chooses among pairs: give --pair sam with it, or leave it out.")
    if arguments.by is not None and not arguments.pair:
        raise BenchError("--by seed compares recipes in pairs: give --pair sam with it, or leave it out.")
    if arguments.line and (arguments.suite or arguments.track):
        raise BenchError("--line names its suite itself: leave out --suite and --track.")


def _given(arguments: argparse.Namespace) -> str:
    count = len(arguments.checkpoint)
    parts = [f"{count} checkpoint{'s' * (count != 1)}"] if count else []
    parts += [f"--pair {arguments.pair}"] if arguments.pair else []
    parts += [f"--line {arguments.line}"] if arguments.line else []
    return " and ".join(parts) or "none"


def _two(arguments: argparse.Namespace, style: str) -> str:
    from bench import api
    from bench.compare import tables
    from bench.store import Store

    want, settings = wanted(arguments)
    suites, (before, after) = chosen(arguments), arguments.checkpoint
    compared = api.compare(
        before,
        after,
        suites,
        Store(settings.store),
        want=want,
        flips=_FLIPS if arguments.flips is None else arguments.flips,
        every=every_suite(arguments),
    )
    if compared.of_one:
        print(f"left out, as not both were measured whole on it: {', '.join(compared.of_one)}", file=sys.stderr)
    _note_absent(arguments, suites, compared.boards)
    if style in ("csv", "json"):
        records = tables.difference_records([row for rows in compared.differences for row in rows], before, after)
        images = tables.flip_records(compared.flips, before, after)
        if style == "csv":
            return tables.to_csv(images if arguments.flips is not None else records)
        return json.dumps({"differences": records, "flips": images}, indent=1)
    pairs = zip(compared.boards, compared.differences, strict=True)
    sections = [tables.between(board, rows, before, after) for board, rows in pairs if rows]
    sections += [tables.flipped(compared.flips, before, after)] if compared.flips else []
    return tables.to_text(sections, style)


def _note_absent(arguments: argparse.Namespace, suites: "Sequence[Suite]", boards: "Sequence[Board]") -> None:
    """Of every suite, those that are not stored are no news."""
    if not every_suite(arguments):
        note_absent(suites, boards)


def _pairs(arguments: argparse.Namespace, style: str) -> str:
    from bench import api
    from bench.compare import tables
    from bench.store import Store

    want, settings = wanted(arguments)
    suites, store = chosen(arguments), Store(settings.store)
    pairs = api.compare_pairs(suites, store, family=arguments.family, want=want, every=every_suite(arguments))
    _note_absent(arguments, suites, pairs.boards)
    if style == "csv":
        return tables.to_csv(tables.pair_records(pairs.compared))
    if style == "json":
        records = {"pairs": tables.pair_records(pairs.compared), "gains": tables.gain_records(pairs.gains)}
        return json.dumps({**records, "notes": [*pairs.compared.notes, tables.about_trainings(pairs.boards)]}, indent=1)
    return tables.to_text(tables.pair_sections(pairs.boards, pairs.compared, pairs.gains), style)


def _by_seed(arguments: argparse.Namespace, style: str) -> str:
    from bench import api
    from bench.compare import tables, training_tables
    from bench.store import Store

    want, settings = wanted(arguments)
    suites = chosen(arguments)
    recipes = api.compare_by_seed(
        suites, Store(settings.store), family=arguments.family, want=want, every=every_suite(arguments)
    )
    _note_absent(arguments, suites, recipes.boards)
    records = training_tables.seed_records(recipes.compared)
    if style == "csv":
        return tables.to_csv(records)
    if style == "json":
        return json.dumps({"pairs": records, "notes": recipes.compared.notes}, indent=1)
    return tables.to_text(training_tables.seed_sections(recipes.boards, recipes.compared), style)


def _line(arguments: argparse.Namespace, style: str) -> str:
    from bench import api
    from bench.compare import tables
    from bench.store import Store

    want, settings = wanted(arguments)
    [suite] = chosen(arguments)
    line = api.robust_line(suite, Store(settings.store), want=want)
    if style == "csv":
        return tables.to_csv(tables.line_records(line.board, line.lines))
    if style == "json":
        return json.dumps(tables.line_records(line.board, line.lines), indent=1)
    return tables.to_text([tables.line_section(line.board, lined) for lined in line.lines], style)
