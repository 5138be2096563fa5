"""`bench gate`: whether anything got worse than a baseline."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import cell_options, new_command, registry_option, store_option, suites_options
from bench.cli.tables import asked
from bench.errors import BenchError, RunError
from bench.machine.files import write

if TYPE_CHECKING:
    from bench.board.leaderboard import Want
    from bench.compare.gate import Report
    from bench.compare.numbers import Numbers
    from bench.store import Store
    from bench.suite import Suite


def add_gate(commands: Any) -> None:
    """Declare `bench gate`."""
    command = new_command(
        commands,
        "gate",
        _gate,
        "fail where a headline score got worse: exit 0 if none did, 1 if one did, 2 for a wrong call, 3 if they cannot "
        "be compared",
    )
    command.add_argument(
        "baseline",
        metavar="BASELINE",
        type=Path,
        nargs="+",
        help="published CSVs (results/digits.csv), or a store of outcomes, which is compared image by image",
    )
    suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    command.add_argument("--against", metavar="NAME", help="what the baseline calls the one checkpoint")
    registry_option(command)
    cell_options(command)
    store_option(command)
    command.add_argument(
        "--alpha", type=float, default=0.05, metavar="P", help="chance of a false alarm, over all rows (default: 0.05)"
    )
    command.add_argument(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="largest drop that passes however sure it is, in percent (default: each suite's own, 0.3 for most)",
    )
    command.add_argument("--junit", metavar="FILE", type=Path, help="write JUnit XML, a test case a row")
    command.add_argument("--json", metavar="FILE", type=Path, help="write every number as JSON")


def _gate(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.alpha < 1:
        raise BenchError(f"--alpha wants a chance between 0 and 1, such as 0.05, not {arguments.alpha:g}.")
    if arguments.tolerance is not None and not 0 <= arguments.tolerance < math.inf:
        raise BenchError(f"--tolerance wants percentage points from 0 up, such as 0.3, not {arguments.tolerance:g}.")
    if arguments.against is not None and len(arguments.checkpoint) > 1:
        raise BenchError(
            f"--against {arguments.against} is for one checkpoint, not {len(arguments.checkpoint)}; gate them in turn."
        )
    arguments.checkpoint = list(dict.fromkeys(arguments.checkpoint))
    report = _report(arguments)
    return _tell(report, arguments)


def _report(arguments: argparse.Namespace) -> "Report":
    from bench.board.leaderboard import NothingStoredError
    from bench.compare.gate import Report, common, judge
    from bench.compare.sides import CannotCompareError

    place = ", ".join(map(str, arguments.baseline))
    try:
        before, after, suites = _sides(arguments, _store_of(arguments.baseline))
        pairs, notes = common(before, after, arguments.checkpoint, arguments.against)
        tolerance = None if arguments.tolerance is None else arguments.tolerance / 100
        return judge(before, after, suites, pairs, alpha=arguments.alpha, tolerance=tolerance, notes=notes)
    except (CannotCompareError, NothingStoredError, RunError) as error:  # a damaged store is no regression, and no pass
        return Report(baseline=place, candidate=arguments.store or "", alpha=arguments.alpha, faults=(str(error),))


def _store_of(baseline: Sequence[Path]) -> Path | None:
    """The baseline as a store of outcomes; None where it is files.

    Raises:
        BenchError: it is neither.
        CannotCompareError: it is a folder without outcomes.
    """
    from bench.compare.sides import CannotCompareError

    for path in baseline:
        if not path.exists():
            raise BenchError(f"there is no {path}; the baseline is a published CSV or a store of outcomes.")
        if path.is_dir() and len(baseline) > 1:
            raise BenchError(f"{path} is a folder; the baseline is one store of outcomes, or CSV files alone.")
    if baseline[0].is_dir() and not (baseline[0] / "cells").is_dir():
        raise CannotCompareError(
            f"{baseline[0]} holds no outcomes; the baseline is a store that has some, or CSV files."
        )
    return baseline[0] if baseline[0].is_dir() else None


def _sides(arguments: argparse.Namespace, folder: Path | None) -> "tuple[Numbers, Numbers, list[Suite]]":
    """The baseline, the candidate, and the suites that are judged."""
    from bench import api
    from bench.compare.numbers import published
    from bench.store import Store

    if folder is None:
        before = published(arguments.baseline)
        if not arguments.suite and arguments.track is None:
            api.configure(registry=arguments.registry)  # the suites of one's own data sets are known from here on
            arguments.suite = list(before.frame["suite"].dropna().unique())
        chosen, want, settings = asked(arguments)
    else:
        chosen, want, settings = asked(arguments)
        if folder.resolve() == settings.store.resolve() and arguments.against is None:
            raise BenchError(f"the baseline and the candidate are one store, {folder}; name the other with --store.")
        names = [arguments.against] if arguments.against else arguments.checkpoint
        before = _stored(chosen, Store(folder), names, want)
    after = _stored(chosen, Store(settings.store), arguments.checkpoint, want)
    for name in [] if arguments.against else arguments.checkpoint:
        if name not in before.names | after.names:
            raise BenchError(f"neither {before.place} nor {after.place} has a checkpoint {name!r}; mind its spelling.")
    return before, after, _judged(chosen, before, named=bool(arguments.suite))


def _stored(chosen: "Sequence[Suite]", store: "Store", names: Sequence[str], want: "Want") -> "Numbers":
    """What a store has of those checkpoints that it knows: a run may have failed on the others."""
    from bench import api
    from bench.compare.numbers import stored

    known = {checkpoint.name for checkpoint in store.checkpoints()}
    here = [name for name in names if name in known]
    return stored([] if names and not here else api.boards(chosen, store, checkpoints=here, want=want), store)


def _judged(chosen: "Sequence[Suite]", before: "Numbers", *, named: bool) -> "list[Suite]":
    """The suites that the baseline has, their stand-ins among them; where suites were named, also those it lacks."""
    found = {}
    for suite in chosen:
        held = [s for s in (suite, suite.stand_in) if s is not None and before.holds(s)]
        for one in held[:1] or ([suite] if named else []):
            found[one.name] = one
    return list(found.values())


def _tell(report: "Report", arguments: argparse.Namespace) -> int:
    """Print the report and write it where it is wanted."""
    from bench.compare.gate_texts import as_json, as_junit, as_markdown, as_text

    if report.rows:
        print(as_text(report))
    for fault in report.faults:
        print(f"bench: {fault}", file=sys.stderr)
    if arguments.junit is not None:
        write(arguments.junit, as_junit(report))
    if arguments.json is not None:
        write(arguments.json, as_json(report) + "\n")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(Path(summary), as_markdown(report))
    return report.exit_status


def _append(summary: Path, text: str) -> None:
    """Add to a job's summary; a verdict is not lost for want of it."""
    try:
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"bench: {summary} cannot be written ({error.strerror}); the summary is left out.", file=sys.stderr)
