"""The command line: parse, call `bench.api`, print. Imports wait until a command needs them."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.api import RunResult
    from bench.leaderboard import Board
    from bench.records import Settings

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
LONG_PLAN = 2_000_000
"""Images shown to models above which a run asks first: an hour or so on a laptop."""
KINDS = ("suites", "checkpoints", "datasets", "corruptions", "tracks", "recipes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 where everything asked for is done, 1 where some of it failed, 2 where the call must change, 130 after Ctrl-C.
    """
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("bench: interrupted; finished cells are stored, and the same command goes on from there.",
              file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `bench … | head`
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """Every command and option; a test holds the list."""
    root = argparse.ArgumentParser(
        prog="bench",
        description="Robustness and transfer benchmarks for image classifiers.",
        epilog="Settings also come from bench.toml here, or from the file that $BENCH_CONFIG names; flags win.",
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _add_list(commands)
    _add_plan(commands)
    _add_run(commands)
    _add_table(commands)
    _add_outcomes(commands)
    _add_store(commands)
    _add_cache(commands)
    _add_doctor(commands)
    _add_train(commands)
    return root


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> Any:
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.set_defaults(command=run)
    return command


def _suites_options(command: Any) -> None:
    command.add_argument("--suite", action="append", default=[], metavar="NAME", help="a suite; may be repeated")
    command.add_argument("--track", metavar="NAME", help="every suite of a track (default: digits)")


def _choice_options(command: Any) -> None:
    _suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME",
                         help="a checkpoint; may be repeated (default: all that predict the suites' classes)")
    command.add_argument("--family", metavar="NAME", help="only checkpoints of a family: vit, mixer, resnet, …")
    command.add_argument("--registry", metavar="FILE", help="a TOML file of your own checkpoints")


def _cell_options(command: Any) -> None:
    command.add_argument("--limit", type=int, metavar="N", help="measure N samples of each data set")
    command.add_argument("--seed", type=int, metavar="N", help="of all random draws (default: 0)")
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    command.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"),
                         help="default: auto, which is fp32 on a CPU and bf16 or fp16 on CUDA")


def _store_option(command: Any) -> None:
    command.add_argument("--store", metavar="DIR", help="where outcomes are kept (default: runs)")


def _out_option(command: Any) -> None:
    command.add_argument("--out", metavar="FILE", type=Path, help="write to a file")


# -- list ---------------------------------------------------------------------------------------------------------


def _add_list(commands: Any) -> None:
    command = _command(commands, "list", _list, "show what is registered")
    command.add_argument("kind", choices=KINDS)
    command.add_argument("--registry", metavar="FILE", help="a TOML file of your own checkpoints")
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


# -- plan and run ---------------------------------------------------------------------------------------------------


def _add_plan(commands: Any) -> None:
    command = _command(commands, "plan", _plan, "show what a run would do")
    _choice_options(command)
    _cell_options(command)
    _store_option(command)


def _plan(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.text import render, size

    config = api.configure(**_settings_of(arguments))
    suites, checkpoints = api.select(
        arguments.suite, arguments.track, arguments.checkpoint, arguments.family
    )
    rows = []
    for suite in suites:
        part = api.cost(api.plan([suite], checkpoints, config.settings))
        rows.append([suite.name, part["cells"], part["stored"], f"{part['images']:,}"])
    planned = api.plan(suites, checkpoints, config.settings)
    cost = api.cost(planned)
    rows.append(["together", cost["cells"], cost["stored"], f"{cost['images']:,}"])
    print(render(["suite", "cells", "stored", "images to show"], rows))
    print(f"\n{len(checkpoints)} checkpoints: {', '.join(checkpoint.name for checkpoint in checkpoints)}")
    print(f"disk: outcomes about {size(cost['outcome_bytes'])} in {config.settings.store}, "
          f"crops at most {size(cost['crop_bytes'])} in {config.settings.cache or 'no cache'}")
    for name, reason in planned.unavailable.items():
        print(f"not available: {name}: {reason}")
    return 0


def _add_run(commands: Any) -> None:
    command = _command(commands, "run", _run, "measure what the store lacks, then print leaderboards and write CSV")
    _choice_options(command)
    _cell_options(command)
    _store_option(command)
    command.add_argument("--batch-size", metavar="N|auto", help="default: auto, halved when memory runs out")
    command.add_argument("--workers", type=int, metavar="N",
                         help="processes that make images (default: one a core, at most 8)")
    command.add_argument("--cache", metavar="DIR|off", help="where crops are kept (default: ~/.cache/rtbench)")
    command.add_argument("--on-error", choices=("skip", "stop"), help="after a checkpoint fails (default: skip)")
    command.add_argument("--yes", action="store_true", help="do not ask before a long run")


def _run(arguments: argparse.Namespace) -> int:
    from bench import api, progress

    config = api.configure(**_settings_of(arguments))
    suites, checkpoints = api.select(
        arguments.suite, arguments.track, arguments.checkpoint, arguments.family
    )
    if not arguments.yes:
        _ask(api.plan(suites, checkpoints, config.settings).images)
    result = api.run(suites, checkpoints, config.settings, progress.for_stream())
    for board in result.boards:
        _print_board(board)
    _write_tables(result, config.settings)
    return _report_failures(result)


def _ask(images: int) -> None:
    if images <= LONG_PLAN:
        return
    if not sys.stdin.isatty():
        raise BenchError(f"this run would show {images:,} images to models; add --yes, or --limit N for fewer.")
    answer = input(f"This run shows {images:,} images to models. Go on? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise BenchError("not started; `bench plan` shows what would be done, --limit N makes it shorter.")


def _write_tables(result: "RunResult", settings: "Settings") -> None:
    from bench import api
    from bench.tables import to_csv

    folder = settings.store / "tables"
    for board in result.boards:
        _write(folder / f"{board.suite.name}.csv", to_csv(api.table([board])))
    if result.boards:
        print(f"\nCSV: {folder}/")


def _report_failures(result: "RunResult") -> int:
    if result.ok:
        return 0
    lines = [f"{name}: {reason}" for name, reason in result.plan.unavailable.items()]
    lines += [f"{f.checkpoint}: {f.cells} cells: {f.message}" for f in result.failures]
    print(f"\nbench: {len(lines)} failures; everything else is stored:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)
    return 1


# -- tables -----------------------------------------------------------------------------------------------------------


def _add_table(commands: Any) -> None:
    command = _command(commands, "table", _table, "score what is stored")
    _suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    _cell_options(command)
    _store_option(command)
    command.add_argument("--format", choices=("text", "csv", "md", "json"), default="text",
                         help="text and md: a leaderboard; csv and json: a row a score")
    command.add_argument("--columns", metavar="A,B,…", help="of csv and json: only these")
    _out_option(command)


def _table(arguments: argparse.Namespace) -> int:
    boards, _ = _stored_boards(arguments)
    if arguments.format in ("text", "md"):
        text = "\n\n".join(_board_text(board, arguments.format) for board in boards)
    else:
        text = _long_text(boards, arguments.format, arguments.columns)
    _emit(text, arguments.out)
    return 0


def _stored_boards(arguments: argparse.Namespace) -> "tuple[list[Board], Settings]":
    from bench import api
    from bench.leaderboard import Want

    config = api.configure(store=arguments.store, device=arguments.device, precision=arguments.precision)
    suites, _ = api.select(arguments.suite, arguments.track)
    from bench.store import Store

    want = Want(
        limit=arguments.limit,
        any_limit=arguments.limit is None,
        seed=arguments.seed,
        device=config.settings.numerics.device if arguments.device else None,
        precision=config.settings.precision if arguments.precision else None,
    )
    store = Store(config.settings.store)
    return api.boards(suites, store, checkpoints=arguments.checkpoint, want=want), config.settings


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


def _print_board(board: "Board") -> None:
    print("\n" + _board_text(board, "text"))


def _board_text(board: "Board", style: str) -> str:
    from bench.tables import leaderboard
    from bench.text import render, render_markdown

    frame = leaderboard(board)
    rows = frame.astype(str).values.tolist()
    head = f"{board.suite.name} v{board.suite.version}: {board.suite.title}"
    about = f"{board.protocol}; {board.choice.text}; fractions in percent, ± half the 95% interval"
    body = (render if style == "text" else render_markdown)(list(frame.columns), rows)
    title = head if style == "text" else f"### {head}"
    notes = "".join(f"\n{'' if style == 'text' else '- '}{note}" for note in board.notes)
    return f"{title}\n{about}\n\n{body}" + (f"\n{notes}" if notes else "")


def _add_outcomes(commands: Any) -> None:
    command = _command(commands, "outcomes", _outcomes, "write the stored outcomes, one row a sample")
    _suites_options(command)
    command.add_argument("--checkpoint", action="append", default=[], metavar="NAME", help="only these")
    _cell_options(command)
    _store_option(command)
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="a .parquet or .csv file")


def _outcomes(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from bench import api
    from bench.store import Store

    if arguments.out.suffix not in (".parquet", ".csv"):
        raise BenchError(f"--out must end in .parquet or .csv, not {arguments.out.name!r}.")
    boards, settings = _stored_boards(arguments)
    frame = pd.concat([api.outcomes(board, Store(settings.store)) for board in boards], ignore_index=True)
    with _writing(arguments.out):
        if arguments.out.suffix == ".parquet":
            frame.to_parquet(arguments.out, index=False)
        else:
            frame.to_csv(arguments.out, index=False)
    print(f"{len(frame):,} rows in {arguments.out}")
    return 0


# -- store and cache ----------------------------------------------------------------------------------------------------


def _add_store(commands: Any) -> None:
    actions = commands.add_parser("store", help="look after stored outcomes").add_subparsers(
        metavar="ACTION", required=True
    )
    _store_option(_command(actions, "ls", _store_ls, "list stored cells"))
    _store_option(_command(actions, "verify", _store_verify, "read every file whole and name the damaged"))
    merge = _command(actions, "merge", _store_merge, "copy what other stores have and this one lacks")
    merge.add_argument("source", nargs="+", type=Path, metavar="DIR")
    _store_option(merge)
    remove = _command(actions, "rm", _store_rm, "remove cells; the next run measures them anew")
    remove.add_argument("key", nargs="*", metavar="KEY", help="as `bench store ls` shows it; its first digits do")
    remove.add_argument("--damaged", action="store_true", help="every file that cannot be read whole")
    _store_option(remove)


def _open_store(arguments: argparse.Namespace) -> Any:
    from bench import api
    from bench.store import Store

    store = Store(api.configure(store=arguments.store).settings.store)
    if not store.root.is_dir():
        raise BenchError(f"there is no store at {store.root}; give its folder with --store DIR.")
    return store


def _store_ls(arguments: argparse.Namespace) -> int:
    from bench.index import Index
    from bench.text import render

    store = _open_store(arguments)
    names: dict[str, str] = {}
    for entry in store.checkpoints():
        names[entry.model] = f"{names[entry.model]} = {entry.name}" if entry.model in names else entry.name
    rows = []
    for cell in Index(store).cells():
        i = cell.identity
        condition = " ".join(str(v) for k, v in i["condition"].items() if k not in ("split", "measure"))
        checkpoint = names.get(i["model"], i["model"][:12])
        rows.append([checkpoint, condition, i["condition"]["measure"], i["n"], i["limit"] or "all",
                     "–" if i["seed"] is None else i["seed"], f"{i['device']} {i['precision']}", cell.key])  # fmt: skip
    print(render(["checkpoint", "condition", "measure", "n", "limit", "seed", "numerics", "key"], sorted(rows, key=str)))
    return 0


def _store_verify(arguments: argparse.Namespace) -> int:
    store = _open_store(arguments)
    damaged = store.damaged()
    for _, reason in damaged:
        print(reason)
    print(f"{len(store.keys())} cells, {len(damaged)} damaged files")
    return 1 if damaged else 0


def _store_merge(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.store import Store

    store = Store(api.configure(store=arguments.store).settings.store)
    for folder in arguments.source:
        if not folder.is_dir():
            raise BenchError(f"there is no store at {folder}.")
        copied, known = store.merge(Store(folder))
        print(f"{folder}: {copied} cells copied, {known} were here")
    return 0


def _store_rm(arguments: argparse.Namespace) -> int:
    store = _open_store(arguments)
    if not arguments.key and not arguments.damaged:
        raise BenchError("name the cells to remove by KEY (`bench store ls` shows them), or give --damaged.")
    if arguments.damaged:
        for path, _ in store.damaged():
            path.unlink(missing_ok=True)
            print(f"removed {path}")
    for prefix in arguments.key:
        matches = [key for key in store.keys() if key.startswith(prefix)]
        if len(matches) != 1:
            raise BenchError(f"{len(matches)} stored cells begin with {prefix!r}; give the key of one.")
        store.remove(matches[0])
        print(f"removed {matches[0]}")
    return 0


def _add_cache(commands: Any) -> None:
    actions = commands.add_parser("cache", help="look after kept crops").add_subparsers(metavar="ACTION", required=True)
    for name, run, text in (
        ("ls", _cache_ls, "list kept crops, the least recently used first"),
        ("clear", _cache_clear, "remove all kept crops"),
    ):
        command = _command(actions, name, run, text)
        command.add_argument("--cache", metavar="DIR", help="where crops are kept (default: ~/.cache/rtbench)")


def _open_cache(arguments: argparse.Namespace) -> Any:
    from bench import api
    from bench.images.cache import CropCache

    settings = api.configure(cache=arguments.cache).settings
    if settings.cache is None:
        raise BenchError("the cache is off; name its folder with --cache DIR.")
    return CropCache(settings.cache, settings.cache_budget)


def _cache_ls(arguments: argparse.Namespace) -> int:
    import datetime

    from bench.text import render, size

    cache = _open_cache(arguments)
    rows = [
        [e.dataset, e.crop, size(e.bytes), f"{datetime.datetime.fromtimestamp(e.used):%Y-%m-%d %H:%M}", e.folder.name]
        for e in cache.entries()
    ]
    print(f"{cache.root}, budget {size(cache.budget)}")
    print(render(["dataset", "crop", "size", "last used", "folder"], rows))
    return 0


def _cache_clear(arguments: argparse.Namespace) -> int:
    from bench.text import size

    cache = _open_cache(arguments)
    print(f"{size(cache.clear())} removed from {cache.root}")
    return 0


# -- doctor and train -----------------------------------------------------------------------------------------------------


def _add_doctor(commands: Any) -> None:
    _command(commands, "doctor", _doctor, "check this installation, and say what is where")


def _doctor(arguments: argparse.Namespace) -> int:
    from bench.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what}: {finding.text}")
    return 0 if all(finding.ok for finding in findings) else 1


def _add_train(commands: Any) -> None:
    command = _command(commands, "train", _train, "make a checkpoint by a recipe (`bench list recipes`)")
    command.add_argument("recipe", metavar="RECIPE")
    command.add_argument("--out", metavar="DIR", type=Path, required=True,
                         help="gets RECIPE.safetensors and RECIPE.toml, an entry for --registry")
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, … (default: auto)")


def _train(arguments: argparse.Namespace) -> int:
    from bench import api

    device = api.configure(device=arguments.device).settings.device
    registry = api.train(
        arguments.recipe, arguments.out, device=device, progress=lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(f"trained {arguments.recipe}; evaluate it with: bench run --registry {registry} --checkpoint "
          f"{registry.stem}-retrained")
    return 0


# -- helpers ----------------------------------------------------------------------------------------------------------------


def _settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("store", "cache", "device", "precision", "batch_size", "workers", "seed", "limit", "on_error", "registry")
    return {name: getattr(arguments, name, None) for name in names}


def _emit(text: str, out: Path | None) -> None:
    if out is None:
        print(text)
    else:
        _write(out, text + "\n")


def _write(path: Path, text: str) -> None:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class _writing:  # noqa: N801 - used as a statement
    """Turns a file that cannot be written into one sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise BenchError(f"{self.path} cannot be written: {error.strerror or error}.") from error
