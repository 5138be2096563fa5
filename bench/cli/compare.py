"""`bench compare`: two checkpoints, pairs that differ in SAM, or accuracy on the line, from what is stored."""

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from bench.cli.options import (
    cell_options,
    emit,
    new_command,
    out_option,
    registry_option,
    store_option,
    suites_options,
)
from bench.cli.tables import stored_boards
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.board.leaderboard import Board
    from bench.compare.sides import Side
    from bench.store import Store, StoredCheckpoint

_FLIPS = 5
"""Images shown where nobody says how many."""
_MODEL = re.compile(r"@[0-9a-f]{6}$")
"""What tables add to a name that two models bear."""


def add_compare(commands: Any) -> None:
    """Declare `bench compare`."""
    command = new_command(commands, "compare", _compare, "say how stored checkpoints differ, and how sure that is")
    command.add_argument("checkpoint", nargs="*", metavar="CHECKPOINT", help="two of them: before and after")
    command.add_argument("--pair", choices=("sam",), help="every stored pair that differs in SAM, instead of two")
    command.add_argument("--line", metavar="SUITE", help="effective robustness in a suite, instead of two")
    suites_options(command)
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
    if arguments.pair:
        arguments.checkpoint = []
        text = _pairs(arguments, style)
    elif arguments.line:
        arguments.suite, arguments.checkpoint = [arguments.line], []
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
    if arguments.line and (arguments.suite or arguments.track):
        raise BenchError("--line names its suite itself: leave out --suite and --track.")


def _given(arguments: argparse.Namespace) -> str:
    count = len(arguments.checkpoint)
    parts = [f"{count} checkpoint{'s' * (count != 1)}"] if count else []
    parts += [f"--pair {arguments.pair}"] if arguments.pair else []
    parts += [f"--line {arguments.line}"] if arguments.line else []
    return " and ".join(parts) or "none"


def _two(arguments: argparse.Namespace, style: str) -> str:
    from bench.compare import tables
    from bench.compare.differences import adjusted, differences
    from bench.compare.flips import flips
    from bench.store import Store
    from bench.suite.words import condition_scores

    names = arguments.checkpoint
    arguments.checkpoint = [_MODEL.sub("", name) for name in names]
    boards, settings = stored_boards(arguments)
    sides = [_sides(board, Store(settings.store), names) for board in boards]
    rows, lost = [], []
    count = _FLIPS if arguments.flips is None else arguments.flips
    for before, after in sides:
        suite = before.board.suite
        rows.append(differences(before, after, [*suite.board, *condition_scores(suite)], seed=settings.seed))
        lost += flips(before, after, count) if count else []
        for side in (before, after):
            side.kept.clear()  # one suite's outcomes at a time
    every = iter(adjusted([row for some in rows for row in some]))
    rows = [[next(every) for _ in some] for some in rows]
    lost = sorted(lost, key=lambda flip: (-flip.lost, flip.gained, flip.id))[:count]
    if style in ("csv", "json"):
        records = tables.difference_records([row for some in rows for row in some], *names)
        images = tables.flip_records(lost, *names)
        if style == "csv":
            return tables.to_csv(images if arguments.flips is not None else records)
        return json.dumps({"differences": records, "flips": images}, indent=1)
    sections = [tables.between(board, some, *names) for board, some in zip(boards, rows, strict=True) if some]
    return tables.to_text([*sections, *([tables.flipped(lost, *names)] if lost else [])], style)


def _sides(board: "Board", store: "Store", names: list[str]) -> "tuple[Side, Side]":
    from bench.compare.sides import Side

    first, second = (Side(board=board, checkpoint=_named(board, name), store=store) for name in names)
    return first, second


def _named(board: "Board", name: str) -> "StoredCheckpoint":
    """The checkpoint of a board that goes by this name in tables."""
    from bench.board.tables import display_names
    from bench.compare.sides import CannotCompareError

    shown = display_names(board.checkpoints)
    found = [checkpoint for checkpoint, text in shown.items() if text == name]
    if found:
        return found[0]
    several = sorted(text for checkpoint, text in shown.items() if checkpoint.name == name)
    if several:
        raise BenchError(f"{len(several)} models are stored as {name!r}; name one of them: {', '.join(several)}.")
    raise CannotCompareError(
        f"nothing of {board.suite.name} is stored of {name} with {board.choice.text}; "
        f"`bench run --suite {board.suite.name} --checkpoint {_MODEL.sub('', name)}` measures it."
    )


def _pairs(arguments: argparse.Namespace, style: str) -> str:
    from bench.compare import tables
    from bench.compare.pairs import compare_pairs, gains
    from bench.store import Store

    boards, settings = stored_boards(arguments)
    store = Store(settings.store)
    compared = compare_pairs(boards, store, arguments.family, seed=settings.seed)
    gained = gains(boards, store, arguments.family, seed=settings.seed)
    if style == "csv":
        return tables.to_csv(tables.pair_records(compared))
    if style == "json":
        records = {"pairs": tables.pair_records(compared), "gains": tables.gain_records(gained)}
        return json.dumps({**records, "notes": [*compared.notes, tables.ONE_TRAINING]}, indent=1)
    return tables.to_text(tables.pair_sections(boards, compared, gained), style)


def _line(arguments: argparse.Namespace, style: str) -> str:
    from bench.compare import tables
    from bench.compare.lines import effective_robustness
    from bench.store import Store

    [board], settings = stored_boards(arguments)
    lined = effective_robustness(board, Store(settings.store))
    if style == "csv":
        return tables.to_csv(tables.line_records(board, lined))
    if style == "json":
        return json.dumps(tables.line_records(board, lined), indent=1)
    return tables.to_text([tables.line_section(board, one) for one in lined], style)
