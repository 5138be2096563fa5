"""`bench gate`: whether anything got worse than a baseline."""

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import by_reference, cell_options, new_command, registry_option, store_option, suites_options
from bench.cli.output import complain
from bench.cli.tables import chosen, every_suite, wanted
from bench.errors import BenchError, RunError
from bench.machine.files import write
from bench.text import plain

if TYPE_CHECKING:
    from bench.compare.gate import Report

NO_PASS = 3
"""What cannot be told is no pass, and no regression; as `CannotCompareError` has it."""


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
    suites_options(command, "every suite of the baseline")
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
    return _tell(_report(arguments), arguments)


def _report(arguments: argparse.Namespace) -> "Report":
    from bench import api
    from bench.store import Store

    want, settings = wanted(arguments)
    meant = not every_suite(arguments)
    published = not any(path.is_dir() for path in arguments.baseline)
    if published and not meant and (arguments.set or by_reference(arguments)):
        raise BenchError("--set and --corruptions reference make other suites: name these with --suite.")
    return api.gate(
        arguments.baseline,
        Store(settings.store),
        None if published and not meant else chosen(arguments),
        checkpoints=list(dict.fromkeys(arguments.checkpoint)),
        against=arguments.against,
        want=want,
        alpha=arguments.alpha,
        tolerance=None if arguments.tolerance is None else arguments.tolerance / 100,
        every=not meant,
        needed=bool(arguments.suite),
    )


def _tell(report: "Report", arguments: argparse.Namespace) -> int:
    """Write the report where it is wanted, and print it.

    Returns:
        The report's status; where that is 0 and something cannot be written, the fault's: it is no pass, and a full
        disk is no regression.
    """
    from bench.compare.gate_texts import as_json, as_junit, as_markdown, as_text

    statuses = [report.exit_status]
    if arguments.junit is not None:
        statuses.append(_written(arguments.junit, as_junit(report)))
    if arguments.json is not None:
        statuses.append(_written(arguments.json, as_json(report) + "\n"))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(Path(summary), as_markdown(report))
    for fault in report.faults:
        complain(plain(fault))
    if report.rows:
        print(as_text(report))
    return next((status for status in statuses if status), 0)


def _written(place: Path, text: str) -> int:
    """Write a file; the exit status that this alone would give."""
    try:
        write(place, text)
    except RunError as error:  # a full disk: nothing to be changed about the call
        complain(str(error))
        return NO_PASS
    except BenchError as error:
        complain(str(error))
        return error.exit_code
    return 0


def _append(summary: Path, text: str) -> None:
    """Add to a job's summary; a verdict is not lost for want of it."""
    try:
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        complain(f"{summary} cannot be written ({error.strerror}); the summary is left out.")
