"""The command line: parse, call `bench.api`, print. Imports wait until a command needs them."""

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from bench import __version__
from bench.cli import (
    attack,
    compare,
    corrupt,
    curve,
    data,
    explain,
    gate,
    housekeeping,
    images,
    imports,
    landscape,
    publish,
    report,
    run,
    study,
    tables,
    train,
)
from bench.cli.output import complain
from bench.errors import DISK_FULL, BenchError, BenchWarning, RunError, one_line
from bench.machine.allocator import keep_freed_memory
from bench.machine.distributed import is_main
from bench.machine.signals import Stopped, stoppable
from bench.machine.streams import lasting_streams

_log = logging.getLogger("bench")
_RESUME = {
    "bench run": "; finished cells are stored, and the same command goes on from there",
    "bench data make-c": "; finished files are kept, and the same command goes on from there",
    "bench study": "; what was trained and measured is kept, and the same command goes on from there",
    "bench train": "; finished trainings are kept, and the same command goes on from there",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 where everything asked for is done, 1 where some of it failed, 2 where the call must change, 3 where
        two sides cannot be compared, 130 after Ctrl-C, 143 and 129 after SIGTERM and SIGHUP.
    """
    # Read when torch is first imported. OpenMP's threads would spin while they wait, and take the cores from
    # the processes that make images: on two busy cores the digits suite took 33 s spinning and 5 s sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:] if argv is None else argv
    ended: SystemExit | None = None
    with lasting_streams() as output:
        try:
            with _warnings_in_a_line():
                status = _carry_out(words)
        except SystemExit as end:  # argparse's: --help, and what it does not understand
            ended, status = end, int(end.code or 0)
    if output.fault:
        complain(f"the output cannot be written ({output.fault}); make room, or send it elsewhere.")
        status = status or _trouble(words)
    if ended:
        raise SystemExit(status)
    return status


def _carry_out(argv: Sequence[str]) -> int:
    """Carry the command out so that a signal stops it in order."""
    try:
        main_process = is_main()
    except BenchError as error:
        complain(error)
        return error.exit_code
    # Whoever takes part in another's cells is ended by torchrun, within calls that wait for the others.
    with stoppable() if main_process else contextlib.nullcontext():
        return _status(argv)


def _status(argv: Sequence[str]) -> int:
    """Parse and call the command; what a user did wrong, and signals, become one sentence."""
    name = ""
    try:
        _check_text(argv)
        arguments, unknown = parser().parse_known_args(argv)
        name = arguments.name
        if unknown:
            raise BenchError(
                f"`{name}` does not take {' '.join(unknown)}; suites go by --suite NAME, checkpoints by "
                f"--checkpoint NAME; `{name} --help` lists what it takes."
            )
        _check_folder()
        keep_freed_memory()
        if arguments.traceback:
            _show_tracebacks()
        return _called(arguments)
    except BenchError as error:
        _log.debug("", exc_info=error)
        complain(error)
        return _trouble(argv) if isinstance(error, RunError) else error.exit_code
    except OSError as error:
        _log.debug("", exc_info=error)
        place = f"{error.filename}: " if error.filename else ""
        advice = "make room" if error.errno in DISK_FULL else "see to it that it can be read and written there"
        complain(f"{place}{error.strerror or one_line(error)}; {advice}.")
        return _trouble(argv)
    except MemoryError as error:
        _log.debug("", exc_info=error)
        complain("out of memory; free some, or ask for less at once (--workers, --batch-size, --limit).")
        return _trouble(argv)
    except KeyboardInterrupt as stop:
        stop = stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT)
        complain(f"{stop}{_RESUME.get(name, '')}.")
        return stop.status
    except Exception:  # a fault of ours: Python's own status, 1, would be the gate's "got worse"
        traceback.print_exc()
        return _trouble(argv)


def _show_tracebacks() -> None:
    """Let everything that is told in a sentence be told with its traceback before, on standard error."""
    logging.basicConfig(format="%(message)s")
    _log.setLevel(logging.DEBUG)


def _trouble(argv: Sequence[str]) -> int:
    """The exit status of a fault that is not the call's. The gate's 1 says that something got worse."""
    return gate.NO_PASS if list(argv[:1]) == ["gate"] else RunError.exit_code


def _called(arguments: argparse.Namespace) -> int:
    if getattr(arguments, "plugin", None):
        from bench import api

        api.configure(plugins=arguments.plugin)
    try:
        return int(arguments.command(arguments))
    except SystemExit as end:  # no code of ours does so, and whoever calls must not take it for success
        raise RunError(
            f"`{arguments.name}` was ended by code that it ran (sys.exit({end.code!r})), of a plug-in or a model."
        ) from end


def _check_text(argv: Sequence[str]) -> None:
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise BenchError(f"{word!r} is not text in UTF-8; rename what it names.") from None
        if "\0" in word:
            raise BenchError(f"{word!r} holds a NUL, which no name or path can.")


def _check_folder() -> None:
    """Relative paths mean nothing in a folder that has been removed."""
    try:
        os.getcwd()
    except OSError as error:
        raise BenchError(f"the working directory cannot be used ({error.strerror}); change to another one.") from error


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
        (
            run.add_list,
            run.add_plan,
            run.add_run,
            images.add_images,
            imports.add_import,
            train.add_train,
            study.add_study,
        ),
    ),
    "look": (
        "bench table --summary",
        (
            tables.add_table,
            tables.add_outcomes,
            explain.add_explain,
            compare.add_compare,
            gate.add_gate,
            curve.add_curve,
            landscape.add_landscape,
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
