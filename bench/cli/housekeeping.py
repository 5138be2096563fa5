"""`bench store`, `bench cache` and `bench doctor`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import new_command, new_group, plugin_option, store_option

if TYPE_CHECKING:
    from bench.store import Store


def add_store(commands: Any) -> None:
    """Declare `bench store` and its actions."""
    actions = new_group(commands, "store", "look after stored outcomes: ls, verify, merge, rm")
    store_option(new_command(actions, "ls", _store_ls, "list stored cells"))
    store_option(new_command(actions, "verify", _store_verify, "read every file whole and name the damaged"))
    merge = new_command(actions, "merge", _store_merge, "copy what other stores have and this one lacks")
    merge.add_argument("source", nargs="+", type=Path, metavar="DIR")
    store_option(merge)
    remove = new_command(actions, "rm", _store_rm, "remove cells; the next run measures them anew")
    remove.add_argument("key", nargs="*", metavar="KEY", help="as `bench store ls` shows it; its first digits do")
    remove.add_argument(
        "--damaged", action="store_true", help="move every damaged file aside, to damaged/ in the store"
    )
    store_option(remove)


def _store_of(arguments: argparse.Namespace) -> "Store":
    from bench import api
    from bench.store import Store

    return Store(api.configure(store=arguments.store).settings.store)


def _store_ls(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.text import render

    cells = api.list_store(_store_of(arguments))
    texts = cells.astype(object).assign(
        limit=cells["limit"].astype(object).fillna("all"),
        seed=cells["seed"].astype(object).fillna("–"),
        numerics=cells["device"] + " " + cells["precision"],
    )
    headings = ["checkpoint", "condition", "measure", "n", "limit", "seed", "numerics", "key"]
    print(render(headings, sorted(texts[headings].values.tolist(), key=str)))
    return 0


def _store_verify(arguments: argparse.Namespace) -> int:
    from bench import api

    verified = api.verify_store(_store_of(arguments))
    for reason in (*verified.damaged, *verified.unreadable):
        print(reason)
    for key in verified.nameless:
        print(f"{key} is of a model that no checkpoint names, so no table shows it; run or import it again")
    unreadable = f", {len(verified.unreadable)} that could not be read" * bool(verified.unreadable)
    print(f"{verified.cells} cells, {len(verified.damaged)} damaged files{unreadable}")
    return 0 if verified.sound else 1


def _store_merge(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.suite.words import columns_in_words

    merged = api.merge_stores(_store_of(arguments), arguments.source)
    for source, result in merged.items():
        last_digits = f" ({result.rounded} with other last digits)" * bool(result.rounded)
        differ = f", {len(result.differing)} differ" * bool(result.differing)
        print(f"{source}: {result.copied} cells copied, {result.known} were here{last_digits}{differ}")
        for one in result.differing:
            words = f" ({columns_in_words(one.cell.identity['condition'])})" if one.cell else ""
            print(f"  {one.what}{words} is another there: {one.how}; each store keeps its own")
    return 1 if any(result.differing for result in merged.values()) else 0


def _store_rm(arguments: argparse.Namespace) -> int:
    from bench import api

    removed = api.remove_cells(_store_of(arguments), arguments.key, damaged=arguments.damaged)
    for path, place in removed.moved.items():
        print(f"moved {path} to {place}")
    for key in removed.keys:
        print(f"removed {key}")
    for reason in removed.unreadable:
        print(f"left as it is: {reason}")
    return 1 if removed.unreadable else 0


def add_cache(commands: Any) -> None:
    """Declare `bench cache` and its actions."""
    actions = new_group(commands, "cache", "look after kept crops and features: ls, clear")
    for name, run, text in (
        ("ls", _cache_ls, "list kept crops and features, the least recently used first"),
        ("clear", _cache_clear, "remove all kept crops and features"),
    ):
        command = new_command(actions, name, run, text)
        command.add_argument("--cache", metavar="DIR", help="where they are kept (default: ~/.cache/rtbench)")


def _cache_ls(arguments: argparse.Namespace) -> int:
    import datetime

    from bench import api
    from bench.text import render, size

    def when(used: float) -> str:
        return f"{datetime.datetime.fromtimestamp(used):%Y-%m-%d %H:%M}"

    settings = api.configure(cache=arguments.cache).settings
    rows = [
        [row["dataset"], row["crop"], size(row["bytes"]), when(row["used"]), row["name"]]
        for row in api.list_cache(settings).to_dict("records")
    ]
    print(f"{settings.cache}, budget {size(settings.cache_budget)} of crops, as much again of features")
    print(render(["dataset", "crop", "size", "last used", "folder or file"], rows))
    return 0


def _cache_clear(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.text import size

    settings = api.configure(cache=arguments.cache).settings
    print(f"{size(api.clear_cache(settings))} removed from {settings.cache}")
    return 0


def add_doctor(commands: Any) -> None:
    """Declare `bench doctor`."""
    plugin_option(new_command(commands, "doctor", _doctor, "check this installation, and say what is where"))


def _doctor(arguments: argparse.Namespace) -> int:
    from bench import api

    findings = api.doctor()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what}: {finding.text}")
    return 0 if all(finding.ok for finding in findings) else 1
