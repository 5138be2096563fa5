"""`bench table` and `bench outcomes`: what is stored, scored or row by row."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    by_reference,
    cell_options,
    emit,
    new_command,
    out_option,
    registry_option,
    store_option,
    suite_settings,
    suites_options,
    writing,
)
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.leaderboard import Board
    from bench.records import Settings


def add_table(commands: Any) -> None:
    """Declare `bench table`."""
    command = new_command(commands, "table", _table, "score what is stored")
    suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    registry_option(command)
    cell_options(command)
    store_option(command)
    command.add_argument(
        "--format",
        choices=("text", "csv", "md", "json"),
        help="text and md: a leaderboard; csv and json: a row a score (default: by the ending of --out, else text)",
    )
    command.add_argument("--columns", metavar="A,B,…", help="of csv and json: only these")
    command.add_argument(
        "--published", action="store_true", help="beside the numbers that others published for the same checkpoint"
    )
    out_option(command)


def _table(arguments: argparse.Namespace) -> int:
    style = arguments.format or _style_of(arguments.out)
    if arguments.columns and style in ("text", "md"):
        raise BenchError("--columns chooses from a row a score: give --format csv or json with it.")
    if arguments.published and (arguments.columns or style != "text"):
        raise BenchError("--published prints a table of its own, as text: leave out --format and --columns.")
    boards, _ = stored_boards(arguments)
    if arguments.published:
        from bench.published import compare, render_comparisons

        emit(render_comparisons(compare(boards)), arguments.out)
        return 0
    if style in ("text", "md"):
        text = "\n\n".join(_board_text(board, style) for board in boards)
    else:
        text = _long_text(boards, style, arguments.columns)
    emit(text, arguments.out)
    return 0


def _style_of(out: Path | None) -> str:
    """The format that a file's ending asks for."""
    return {".csv": "csv", ".md": "md", ".json": "json"}.get(out.suffix if out else "", "text")


def stored_boards(arguments: argparse.Namespace) -> "tuple[list[Board], Settings]":
    """What is stored of the suites that were asked for, scored."""
    from bench import api
    from bench.leaderboard import Want

    config = api.configure(
        store=arguments.store,
        precision=arguments.precision,
        seed=arguments.seed,
        limit=arguments.limit,
        registry=arguments.registry,
    )
    suites = api.select_suites(
        arguments.suite, arguments.track, reference=by_reference(arguments), settings=suite_settings(arguments)
    )
    from bench.store import Store

    # Not looked for here: the outcomes may be another machine's.
    device = arguments.device.split(":")[0] if arguments.device else None
    want = Want(
        limit=arguments.limit,
        any_limit=arguments.limit is None,
        seed=arguments.seed,
        device=config.settings.numerics().device if device == "auto" else device,
        precision=config.settings.precision if arguments.precision else None,
        precision_asked=config.settings.precision_asked,
    )
    store = Store(config.settings.store)
    boards = api.boards(suites, store, checkpoints=arguments.checkpoint, want=want)
    shown = {board.suite.name for board in boards}
    possible = {suite.name: {s.name for s in (suite, suite.stand_in) if s} for suite in suites}
    absent = sorted(name for name, names in possible.items() if not names & shown)
    if absent:
        print(f"nothing stored as asked of: {', '.join(absent)}", file=sys.stderr)
    return boards, config.settings


def _long_text(boards: "Sequence[Board]", style: str, columns: str | None) -> str:
    from bench import api, tables

    frame = api.table(boards)
    if columns:
        names = [name.strip() for name in columns.split(",")]
        for name in names:
            tables.column(frame, name)
        frame = frame[names]
    if style == "csv":
        return tables.to_csv(frame).rstrip("\n")
    return frame.to_json(orient="records", indent=1, double_precision=tables.DIGITS)


def print_board(board: "Board") -> None:
    """Print a leaderboard."""
    print("\n" + _board_text(board, "text"))


def _board_text(board: "Board", style: str) -> str:
    from bench.tables import leaderboard, warnings_in_words
    from bench.text import render, render_markdown

    frame = leaderboard(board)
    rows = frame.astype(str).values.tolist()
    head = f"{board.suite.name} v{board.suite.version}: {board.suite.title}"
    apart = "\n" if style == "text" else "; "  # Markdown would run two lines together
    lower = [score.column for score in board.suite.board if not score.metric.higher_is_better]
    about = f"{board.suite.protocol.name}{apart}{board.choice.text}; fractions in percent, ± half the 95% interval" + (
        f"; lower is better: {', '.join(lower)}" if lower else ""
    )
    body = (render if style == "text" else render_markdown)(list(frame.columns), rows)
    title = head if style == "text" else f"### {head}"
    lines = [*warnings_in_words(board), *board.notes]
    notes = "".join(f"\n{'' if style == 'text' else '- '}{line}" for line in lines)
    return f"{title}\n{about}\n\n{body}" + (f"\n{notes}" if notes else "")


def add_outcomes(commands: Any) -> None:
    """Declare `bench outcomes`."""
    command = new_command(commands, "outcomes", _outcomes, "write the stored outcomes, one row a sample")
    suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    registry_option(command)
    cell_options(command)
    store_option(command)
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
