"""`bench table` and `bench outcomes`: what is stored, scored or row by row."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    by_reference,
    emit,
    new_command,
    out_option,
    stored_options,
    suite_settings,
)
from bench.errors import BenchError
from bench.machine.files import writing

if TYPE_CHECKING:
    import pandas as pd

    from bench.board.leaderboard import Board, Want
    from bench.records import Settings
    from bench.suite import Suite


_LEADERBOARDS = ("text", "md", "latex")
"""Formats for reading."""


def add_table(commands: Any) -> None:
    """Declare `bench table`."""
    command = new_command(commands, "table", _table, "score what is stored")
    stored_options(command)
    command.add_argument(
        "--format",
        choices=("text", "csv", "md", "json", "latex"),
        help="text, md and latex: a leaderboard; csv and json: a row a score (default: by the ending of --out, else "
        "text)",
    )
    command.add_argument(
        "--summary",
        action="store_true",
        help="one table: a row a checkpoint, a column each suite's headline score, and its gap to the clean score",
    )
    command.add_argument("--columns", metavar="A,B,…", help="of csv and json: only these")
    command.add_argument(
        "--published", action="store_true", help="beside the numbers that others published for the same checkpoint"
    )
    out_option(command)


def _table(arguments: argparse.Namespace) -> int:
    style = arguments.format or _style_of(arguments.out)
    if arguments.columns and style in _LEADERBOARDS:
        raise BenchError("--columns chooses from a row a score: give --format csv or json with it.")
    if arguments.summary and (arguments.published or style not in _LEADERBOARDS):
        raise BenchError("--summary is a table for reading: give --format text, md or latex with it, no --published.")
    if arguments.published and (arguments.columns or style != "text"):
        raise BenchError("--published prints a table of its own, as text: leave out --format and --columns.")
    boards, _ = stored_boards(arguments)
    if arguments.published:
        from bench.board.reference_check import compare, render_comparisons

        emit(render_comparisons(compare(boards)), arguments.out)
        return 0
    if arguments.summary:
        text = _summary_text(boards, style)
    elif style in _LEADERBOARDS:
        text = "\n\n".join(board_text(board, style) for board in boards)
    else:
        text = _long_text(boards, style, arguments.columns)
    emit(text, arguments.out)
    return 0


def _style_of(out: Path | None) -> str:
    """The format that a file's ending asks for."""
    return {".csv": "csv", ".md": "md", ".json": "json", ".tex": "latex"}.get(out.suffix if out else "", "text")


def stored_boards(arguments: argparse.Namespace) -> "tuple[list[Board], Settings]":
    """What is stored of the suites that were asked for, scored."""
    from bench import api
    from bench.store import Store

    suites, want, settings = asked(arguments)
    boards = api.boards(suites, Store(settings.store), checkpoints=arguments.checkpoint, want=want)
    shown = {board.suite.name for board in boards}
    possible = {suite.name: {s.name for s in (suite, suite.stand_in) if s} for suite in suites}
    absent = sorted(name for name, names in possible.items() if not names & shown)
    if absent:
        print(f"nothing stored as asked of: {', '.join(absent)}", file=sys.stderr)
    return boards, settings


def asked(arguments: argparse.Namespace) -> "tuple[list[Suite], Want, Settings]":
    """The suites, what their tables are to hold, and where the outcomes are."""
    from bench import api
    from bench.board.leaderboard import Want

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
    return suites, want, config.settings


def _long_text(boards: "Sequence[Board]", style: str, columns: str | None) -> str:
    from bench import api
    from bench.board import tables

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
    print("\n" + board_text(board, "text"))


def board_text(board: "Board", style: str) -> str:
    """A leaderboard with its protocol and notes, as text, Markdown or LaTeX."""
    from bench.board.tables import leaderboard, warnings_in_words

    head = f"{board.suite.name} v{board.suite.version}: {board.suite.title}"
    lower = [score.column for score in board.suite.board if not score.metric.higher_is_better]
    about = [
        board.protocol,
        f"{board.choice.text}; fractions in percent, ± half the 95% interval"
        + (f"; lower is better: {', '.join(lower)}" if lower else ""),
    ]
    return _laid_out(head, about, leaderboard(board), [*warnings_in_words(board), *board.notes], style)


def _summary_text(boards: "Sequence[Board]", style: str) -> str:
    from bench.board.summary import summarise

    summary = summarise(boards)
    about = "headline scores in percent, ± half the 95% interval; gap: to the clean score, in points; by mean rank"
    return _laid_out(
        f"{len(boards)} suites, {len(summary.frame)} checkpoints", [about], summary.frame, summary.notes, style
    )


def _laid_out(head: str, about: "Sequence[str]", frame: "pd.DataFrame", notes: "Sequence[str]", style: str) -> str:
    """A heading, lines about the table, the table, and notes below it."""
    from bench.board.tables import latex
    from bench.text import render, render_markdown

    if style == "latex":
        comments = [f"% {' '.join(line.split())}" for line in (head, *about)]
        return "\n".join([*comments, latex(frame), *(f"% {' '.join(line.split())}" for line in notes)])
    rows = frame.astype(str).values.tolist()
    body = (render if style == "text" else render_markdown)(list(frame.columns), rows)
    apart = "\n" if style == "text" else "; "  # Markdown would run two lines together
    title = head if style == "text" else f"### {head}"
    listed = "".join(f"\n{'' if style == 'text' else '- '}{line}" for line in notes)
    return f"{title}\n{apart.join(about)}\n\n{body}" + (f"\n{listed}" if listed else "")


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
