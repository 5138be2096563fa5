"""`bench data`: which data sets there are and where to obtain them, whether those here are sound, and making one."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bench.cli.options import (
    corruption_options,
    names_of,
    new_command,
    new_group,
    parse_place,
    plugin_option,
    severities_of,
)
from bench.errors import BenchError
from bench.text import plain, some


def add_data(commands: Any) -> None:
    """Declare `bench data` and its actions."""
    actions = new_group(commands, "data", "look after data sets: list, fetch, verify, make-c")
    listing = new_command(actions, "list", _list, "list data sets: what they hold, where to obtain them, what is here")
    fetch = new_command(actions, "fetch", _fetch, "fetch a data set that is free to be fetched: resumable, and checked")
    fetch.add_argument("data", metavar="NAME", help="imagenet-c, imagenet-r, …: of others it says where to ask")
    fetch.add_argument("--out", metavar="DIR", type=Path, help="gets its archives (default: ./NAME)")
    fetch.add_argument("--url", metavar="URL", default="", help="a mirror's folder, where archives have their names")
    verify = new_command(actions, "verify", _verify, "decode every image of a data set and name what is wrong")
    verify.add_argument("data", metavar="NAME[=PATH]", help="a data set, and its place where bench.toml has none")
    verify.add_argument("--workers", type=int, metavar="N", help="processes that decode (default: one a core, up to 8)")
    make_c = new_command(
        actions, "make-c", _make_c, "make ImageNet-C from the validation set, as JPEG files in the original's folders"
    )
    make_c.add_argument("data", metavar="imagenet[=PATH]", help="the validation set; its place, if bench.toml has none")
    corruption_options(make_c)
    make_c.add_argument("--limit", type=int, metavar="N", help="N images of it, as `bench run --limit` takes them")
    make_c.add_argument("--seed", type=int, metavar="N", help="of all random draws (default: 0)")
    make_c.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets GROUP/CORRUPTION/SEVERITY/WNID/NAME.JPEG"
    )
    make_c.add_argument("--workers", type=int, metavar="N", help="processes that write (default: one a core, up to 8)")
    make_c.add_argument("--cache", metavar="DIR|off", help="where crops are kept (default: ~/.cache/rtbench)")
    for command in (listing, verify):
        command.add_argument("--registry", metavar="FILE", help="a TOML file of your own data sets")
    for command in (listing, fetch, verify, make_c):
        plugin_option(command)


def _list(arguments: argparse.Namespace) -> int:
    from bench import api

    blocks = []
    for placed in api.list_data(api.configure(registry=arguments.registry)):
        dataset = placed.dataset
        rows = {
            "images": some(f"{whole.images:,} {split}" for split, whole in dataset.expected.items()),
            "classes": _classes(dataset),
            "splits": some(dataset.splits),
            "download": dataset.size,
            "licence": dataset.licence,
            "obtain": dataset.source,
            "layout": dataset.layout,
            "here": placed.here,
        }
        text = [f"  {key:<9} {plain(value)}" for key, value in rows.items() if value]
        blocks.append("\n".join([f"{dataset.name}: {plain(dataset.about)}", *text]))
    print("\n\n".join(blocks))
    return 0


def _classes(dataset: Any) -> str:
    space = dataset.class_space
    counts = {whole.classes for whole in dataset.expected.values()} or {len(space.classes)}
    return f"{max(counts):,}, labelled as in {space.name}"


def _fetch(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.progress import Lines

    api.configure()
    out = arguments.out or Path(arguments.data)
    api.fetch_data(arguments.data, out, Lines(sys.stderr), url=arguments.url)
    print(f"read it with --data {arguments.data}={out}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.datasets import datasets
    from bench.datasets.verify import lines
    from bench.progress import for_stream

    name, given = _named(arguments.data)
    settings = api.configure(registry=arguments.registry, data=given, workers=arguments.workers).settings
    reports = api.verify_data(name, settings, for_stream())
    print(f"{name}, {settings.places.get(name) or datasets.get(name).source or 'built in'}")
    for report in reports:
        print("\n".join(lines(report)))
    return 0 if all(report.ok for report in reports) else 1


def _named(text: str) -> tuple[str, dict[str, str]]:
    """A data set's name, and its place where NAME=PATH gives one."""
    if "=" not in text:
        return text, {}
    name, place = parse_place(text)
    return name, {name: place}


def _make_c(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.progress import for_stream

    name, given = _named(arguments.data)
    if name != "imagenet":
        raise BenchError(f"make-c takes imagenet or imagenet=PATH, not {name!r}: ImageNet-C is made of nothing else.")
    names, severities = names_of(arguments.corruption), severities_of(arguments.severity)
    settings = api.configure(
        data=given, limit=arguments.limit, seed=arguments.seed, workers=arguments.workers, cache=arguments.cache
    ).settings
    made = api.make_c(arguments.out, settings, names, severities, for_stream())
    print(f"{made.written:,} files written, {made.found:,} were there: {arguments.out}")
    print(
        f"read them with --data imagenet-c={arguments.out}; numbers from them are those of imagenet-c-generated, and "
        "not of the published files"
    )
    return 0
