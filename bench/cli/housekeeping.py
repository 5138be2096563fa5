"""`bench store`, `bench cache`, `bench doctor` and `bench train`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import data_option, new_command, settings_of, store_option
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.images.cache import CropCache
    from bench.run.feature_cache import FeatureCache


def add_store(commands: Any) -> None:
    """Declare `bench store` and its actions."""
    actions = commands.add_parser("store", help="look after stored outcomes").add_subparsers(
        metavar="ACTION", required=True
    )
    store_option(new_command(actions, "ls", _store_ls, "list stored cells"))
    store_option(new_command(actions, "verify", _store_verify, "read every file whole and name the damaged"))
    merge = new_command(actions, "merge", _store_merge, "copy what other stores have and this one lacks")
    merge.add_argument("source", nargs="+", type=Path, metavar="DIR")
    store_option(merge)
    remove = new_command(actions, "rm", _store_rm, "remove cells; the next run measures them anew")
    remove.add_argument("key", nargs="*", metavar="KEY", help="as `bench store ls` shows it; its first digits do")
    remove.add_argument("--damaged", action="store_true", help="every file that cannot be read whole")
    store_option(remove)


def _open_store(arguments: argparse.Namespace) -> Any:
    from bench import api
    from bench.store import Store

    store = Store(api.configure(store=arguments.store).settings.store)
    if not store.root.is_dir():
        raise BenchError(f"there is no store at {store.root}; give its folder with --store DIR.")
    return store


def _store_ls(arguments: argparse.Namespace) -> int:
    from bench.board.index import Index
    from bench.suite.words import columns_in_words
    from bench.text import render

    store = _open_store(arguments)
    names: dict[str, str] = {}
    for entry in store.checkpoints():
        names[entry.model] = f"{names[entry.model]} = {entry.name}" if entry.model in names else entry.name
    rows = []
    for cell in Index(store).cells():
        i = cell.identity
        condition = columns_in_words(i["condition"])
        checkpoint = names.get(i["model"], i["model"][:12])
        rows.append([checkpoint, condition, i["condition"]["measure"], i["n"], i["limit"] or "all",
                     "–" if i["seed"] is None else i["seed"], f"{i['device']} {i['precision']}", cell.key])  # fmt: skip
    print(
        render(
            ["checkpoint", "condition", "measure", "n", "limit", "seed", "numerics", "key"],
            sorted(rows, key=str),
        )
    )
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
        if not (folder / "cells").is_dir():
            raise BenchError(f"there is no store at {folder}; give the folder that a run had as its --store.")
        merged = store.merge(Store(folder))
        print(f"{folder}: {merged.copied} cells copied, {merged.known} were here")
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
        matches = [key for key in sorted(store.keys()) if prefix and key.startswith(prefix)]
        if len(matches) != 1:
            raise BenchError(
                f"{len(matches)} stored cells begin with {prefix!r}; give the key of one, as `bench store ls` shows it."
            )
        store.remove(matches[0])
        print(f"removed {matches[0]}")
    return 0


def add_cache(commands: Any) -> None:
    """Declare `bench cache` and its actions."""
    actions = commands.add_parser("cache", help="look after kept crops and features").add_subparsers(
        metavar="ACTION", required=True
    )
    for name, run, text in (
        ("ls", _cache_ls, "list kept crops and features, the least recently used first"),
        ("clear", _cache_clear, "remove all kept crops and features"),
    ):
        command = new_command(actions, name, run, text)
        command.add_argument("--cache", metavar="DIR", help="where they are kept (default: ~/.cache/rtbench)")


def _open_cache(arguments: argparse.Namespace) -> "tuple[CropCache, FeatureCache]":
    from bench import api
    from bench.images.cache import CropCache
    from bench.run.feature_cache import FeatureCache

    settings = api.configure(cache=arguments.cache).settings
    if settings.cache is None:
        raise BenchError("the cache is off; name its folder with --cache DIR.")
    where = (settings.cache, settings.cache_budget)
    return CropCache(*where), FeatureCache(*where)


def _cache_ls(arguments: argparse.Namespace) -> int:
    import datetime

    from bench.text import render, size

    def when(used: float) -> str:
        return f"{datetime.datetime.fromtimestamp(used):%Y-%m-%d %H:%M}"

    crops, features = _open_cache(arguments)
    rows = [[e.dataset, e.crop, size(e.bytes), when(e.used), e.folder.name] for e in crops.entries()]
    rows += [[e.dataset, "features", size(e.bytes), when(e.used), e.path.name] for e in features.entries()]
    print(f"{crops.root}, budget {size(crops.budget)} of crops, as much again of features")
    print(render(["dataset", "crop", "size", "last used", "folder or file"], rows))
    return 0


def _cache_clear(arguments: argparse.Namespace) -> int:
    from bench.text import size

    crops, features = _open_cache(arguments)
    print(f"{size(crops.clear() + features.clear())} removed from {crops.root}")
    return 0


def add_doctor(commands: Any) -> None:
    """Declare `bench doctor`."""
    new_command(commands, "doctor", _doctor, "check this installation, and say what is where")


def _doctor(arguments: argparse.Namespace) -> int:
    from bench.tools.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what}: {finding.text}")
    return 0 if all(finding.ok for finding in findings) else 1


def add_train(commands: Any) -> None:
    """Declare `bench train`."""
    command = new_command(commands, "train", _train, "make a checkpoint by a recipe (`bench list recipes`)")
    command.add_argument("recipe", metavar="RECIPE")
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets RECIPE.safetensors and RECIPE.toml, an entry for --registry",
    )
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, … (default: auto)")
    data_option(command)


def _train(arguments: argparse.Namespace) -> int:
    from bench import api

    settings = api.configure(**settings_of(arguments)).settings
    registry = api.train(
        arguments.recipe,
        arguments.out,
        device=settings.device,
        places=settings.places,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(
        f"trained {arguments.recipe}; evaluate it with: bench run --registry {registry} --checkpoint "
        f"{registry.stem}-retrained"
    )
    return 0
