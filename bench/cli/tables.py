"""`bench table` and `bench outcomes`: what is stored, scored or row by row."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    by_reference,
    emit,
    new_command,
    out_option,
    printed_width,
    stored_options,
    suite_settings,
)
from bench.errors import BenchError
from bench.machine.files import writing

if TYPE_CHECKING:
    from bench.board.leaderboard import Board, Want
    from bench.records import Settings
    from bench.suite import Suite


_LEADERBOARDS = ("text", "md", "latex")
"""Formats for reading."""
_CHOICES = ("cost", "all")
"""What --columns takes for them."""


def add_table(commands: Any) -> None:
    """Declare `bench table`."""
    command = new_command(commands, "table", _table, "score what is stored")
    stored_options(command)
    command.add_argument(
        "--format",
        choices=("text", "csv", "md", "json", "latex"),
        help="text, md and latex: a leaderboard; csv and json: a row a score, with every column (default: by the "
        "ending of --out, else text). Printed text leaves out the columns that the terminal has no room for; where "
        "there is none, that is 120 characters, or $COLUMNS",
    )
    command.add_argument(
        "--summary",
        action="store_true",
        help="one table: a row a checkpoint, a column each suite's headline score, and its gap to the clean score",
    )
    command.add_argument(
        "--by",
        choices=("recipe",),
        help="a row a recipe: mean, spread and interval over its trainings, which differ in their seed",
    )
    command.add_argument(
        "--columns",
        metavar="cost|all|A,B,…",
        help="of a leaderboard: cost (the headline beside size, work, speed and memory) or all (every column, whatever "
        "the width); of csv and json: only these",
    )
    command.add_argument(
        "--published", action="store_true", help="beside the numbers that others published for the same checkpoint"
    )
    out_option(command)


def _table(arguments: argparse.Namespace) -> int:
    style = arguments.format or _style_of(arguments.out)
    if arguments.columns not in (None, *_CHOICES) and style in _LEADERBOARDS:
        raise BenchError(
            "--columns chooses from a row a score: give --format csv or json with it; of a leaderboard it takes cost "
            "or all."
        )
    if arguments.summary and (arguments.published or style not in _LEADERBOARDS):
        raise BenchError("--summary is a table for reading: give --format text, md or latex with it, no --published.")
    if arguments.summary and arguments.columns == "cost":
        raise BenchError("--summary has no costs: leave --columns cost out, or --summary.")
    if arguments.published and (arguments.columns or style != "text"):
        raise BenchError("--published prints a table of its own, as text: leave out --format and --columns.")
    if arguments.by and (arguments.summary or arguments.published):
        raise BenchError("--by recipe is a table of its own: leave out --summary and --published.")
    if arguments.by and (style == "latex" or arguments.columns not in (None, "all")):
        raise BenchError("--by recipe gives text, md, csv or json; of --columns it takes all: every score.")
    boards, settings = stored_boards(arguments)
    if arguments.by:
        emit(_by_recipe(boards, settings, style, every=arguments.columns == "all"), arguments.out)
        return 0
    if arguments.published:
        from bench import api
        from bench.board.reference_check import render_comparisons

        emit(render_comparisons(api.published(boards)), arguments.out)
        return 0
    from bench.board.printed import board_text, summary_text

    width = printed_width() if style == "text" and arguments.out is None else None
    if arguments.summary:
        text = summary_text(boards, style, arguments.columns, width)
    elif style in _LEADERBOARDS:
        text = "\n\n".join(board_text(board, style, arguments.columns, width) for board in boards)
    else:
        text = _long_text(boards, style, arguments.columns)
    emit(text, arguments.out)
    return 0


def _by_recipe(boards: "Sequence[Board]", settings: "Settings", style: str, *, every: bool) -> str:
    from bench import api
    from bench.compare import tables, training_tables
    from bench.store import Store

    recipes = api.by_recipe(boards, Store(settings.store))
    records = training_tables.recipe_records(recipes.found)
    if style == "csv":
        return tables.to_csv(records)
    if style == "json":
        return json.dumps({"recipes": records, "notes": recipes.found.notes}, indent=1)
    return tables.to_text(training_tables.recipe_sections(boards, recipes.found, every=every), style)


def _style_of(out: Path | None) -> str:
    """The format that a file's ending asks for."""
    return {".csv": "csv", ".md": "md", ".json": "json", ".tex": "latex"}.get(out.suffix if out else "", "text")


def stored_boards(arguments: argparse.Namespace) -> "tuple[list[Board], Settings]":
    """What is stored of the suites that were asked for, scored."""
    from bench import api
    from bench.store import Store

    want, settings = wanted(arguments)
    suites = chosen(arguments)
    score = api.measured_boards if every_suite(arguments) else api.boards
    boards = score(suites, Store(settings.store), checkpoints=arguments.checkpoint, want=want)
    if not every_suite(arguments):
        note_absent(suites, boards)
    return boards, settings


def every_suite(arguments: argparse.Namespace) -> bool:
    """Whether no suite was named: what is stored is then meant."""
    return not arguments.suite and arguments.track is None


def note_absent(suites: "Iterable[Suite]", boards: "Iterable[Board]") -> None:
    """Say of which suites nothing is stored, not even of what stands in for them."""
    present = {board.suite.name for board in boards}
    possible = {suite.name: {s.name for s in (suite, suite.stand_in) if s} for suite in suites}
    absent = sorted(name for name, names in possible.items() if not names & present)
    if absent:
        print(f"nothing stored as asked of: {', '.join(absent)}", file=sys.stderr)


def chosen(arguments: argparse.Namespace) -> "list[Suite]":
    """The suites that were asked for; those of the user's own data sets are known once `wanted` was called."""
    from bench import api

    return api.select_suites(
        arguments.suite,
        arguments.track,
        every=True,
        reference=by_reference(arguments),
        settings=suite_settings(arguments),
    )


def wanted(arguments: argparse.Namespace) -> "tuple[Want, Settings]":
    """What tables are to hold, and where the outcomes are; registers what the user brings."""
    from bench import api

    config = api.configure(
        store=arguments.store,
        precision=arguments.precision,
        seed=arguments.seed,
        limit=arguments.limit,
        registry=arguments.registry,
    )
    # Not looked for here: the outcomes may be another machine's.
    device = arguments.device.split(":")[0] if arguments.device else None
    want = api.Want(
        limit=arguments.limit,
        any_limit=arguments.limit is None,
        seed=arguments.seed,
        device=config.settings.numerics().device if device == "auto" else device,
        precision=config.settings.precision if arguments.precision else None,
        precision_asked=config.settings.precision_asked,
    )
    return want, config.settings


def _long_text(boards: "Sequence[Board]", style: str, columns: str | None) -> str:
    from bench import api
    from bench.board import tables

    frame = api.table(boards)
    if columns not in (None, "all"):
        names = [name.strip() for name in columns.split(",")]
        for name in names:
            tables.column(frame, name)
        frame = frame[names]
    if style == "csv":
        return tables.to_csv(frame).rstrip("\n")
    return frame.to_json(orient="records", indent=1, double_precision=tables.DIGITS)


def print_board(board: "Board") -> None:
    """Print a leaderboard."""
    from bench.board.printed import board_text

    print("\n" + board_text(board, "text", width=printed_width()))


def add_outcomes(commands: Any) -> None:
    """Declare `bench outcomes`."""
    command = new_command(commands, "outcomes", _outcomes, "write the stored outcomes, one row a sample")
    stored_options(command)
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="a .parquet or .csv file")


def _outcomes(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from bench import api
    from bench.store import Store

    if arguments.out.suffix not in (".parquet", ".csv"):
        raise BenchError(f"--out must end in .parquet or .csv, not {arguments.out.name!r}.")
    boards, settings = stored_boards(arguments)
    frame = pd.concat([api.outcomes(board, Store(settings.store)) for board in boards], ignore_index=True)
    with writing(arguments.out) as whole:
        if arguments.out.suffix == ".parquet":
            frame.to_parquet(whole, index=False)
        else:
            lists = {str(name): frame[name].map(_json_list) for name in frame if frame[name].dtype == object}
            frame.assign(**lists).to_csv(whole, index=False)
    print(f"{len(frame):,} rows in {arguments.out}")
    return 0


def _json_list(value: Any) -> Any:
    """Several values a sample as JSON, which CSV readers can take apart."""
    return json.dumps(value.tolist()) if hasattr(value, "tolist") else value
