"""The command line: parse, call `bench.api`, print. Imports wait until a command needs them."""

import argparse
import contextlib
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from bench import __version__
from bench.cli import attack, compare, corrupt, curve, data, gate, housekeeping, imports, publish, report, run, tables
from bench.cli.output import complain, drop_output
from bench.errors import DISK_FULL, BenchError, BenchWarning, RunError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
_RESUME = {
    "bench run": "; finished cells are stored, and the same command goes on from there",
    "bench data make-c": "; finished files are kept, and the same command goes on from there",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 where everything asked for is done, 1 where some of it failed, 2 where the call must change, 3 where
        two sides cannot be compared, 130 after Ctrl-C.
    """
    # Read when torch is first imported. OpenMP's threads would spin while they wait, and take the cores from
    # the processes that make images: on two busy cores the digits suite took 33 s spinning and 5 s sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments, unknown = parser().parse_known_args(argv)
    status = 0
    try:
        try:
            with _warnings_in_a_line():
                status = _carry_out(arguments, unknown)
        finally:
            sys.stdout.flush()  # here, where a full disk can still be said, and not while Python shuts down
    except BrokenPipeError:  # `bench … | head`
        sys.stderr.close()
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        drop_output()
        complain(f"the output cannot be written ({error.strerror}); make room.")
        return RunError.exit_code
    return status


def _carry_out(arguments: argparse.Namespace, unknown: Sequence[str]) -> int:
    """Call the command; what a user did wrong, and Ctrl-C, become one sentence."""
    try:
        if unknown:
            raise BenchError(
                f"`{arguments.name}` does not take {' '.join(unknown)}; suites go by --suite NAME, checkpoints by "
                f"--checkpoint NAME; `{arguments.name} --help` lists what it takes."
            )
        return int(arguments.command(arguments))
    except BenchError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print(f"bench: interrupted{_RESUME.get(arguments.name, '')}.", file=sys.stderr)
        return INTERRUPTED


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Show what a user should know as errors are shown, each once, whatever hides other warnings."""
    shown: set[str] = set()
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, BenchWarning):
            others(message, category, *where, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", BenchWarning)
        warnings.showwarning = show
        yield


_GROUPS = {
    "measure": (
        "bench run --suite digits-c --limit 100",
        (run.add_list, run.add_plan, run.add_run, imports.add_import, housekeeping.add_train),
    ),
    "look": (
        "bench table --summary",
        (
            tables.add_table,
            tables.add_outcomes,
            compare.add_compare,
            gate.add_gate,
            curve.add_curve,
            corrupt.add_corrupt,
            attack.add_attack,
        ),
    ),
    "publish": ("bench report --out page.html", (report.add_report, publish.add_publish)),
    "look after": (
        "bench store verify",
        (data.add_data, housekeeping.add_store, housekeeping.add_cache, housekeeping.add_doctor),
    ),
}
"""What users do, to an example of it and to what declares its commands."""
_WIDTH = 100
"""Characters of a line of help at most; longer ones are hard to read."""


def parser() -> argparse.ArgumentParser:
    """Every command and option; a test holds the list."""
    root = argparse.ArgumentParser(
        prog="bench",
        usage="bench [-h] [--version] COMMAND ...",
        epilog="Settings also come from bench.toml here, or the file that $BENCH_CONFIG names; flags win.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"rtbench {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", prog="bench", required=True, help=argparse.SUPPRESS)
    blocks = ["Robustness and transfer benchmarks for image classifiers. `bench COMMAND --help` says more."]
    for title, (example, declare) in _GROUPS.items():
        before = set(commands.choices)
        for add in declare:
            add(commands)
        added = {name: command for name, command in commands.choices.items() if name not in before}
        blocks.append("\n".join([f"{title}, as in `{example}`:", *map(_described, added, added.values())]))
    root.description = "\n\n".join(blocks)
    return root


def _described(name: str, command: argparse.ArgumentParser) -> str:
    """A command and what it does, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDTH)
    text = str(command.description).rstrip(".")
    return textwrap.fill(text, width, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
