"""`bench data`: which data sets there are and where to obtain them, and whether those here are sound."""

import argparse
from typing import Any

from bench.cli.options import new_command, parse_place

_SHOWN_AT_MOST = 4  # splits; ImageNet-C has 95


def add_data(commands: Any) -> None:
    """Declare `bench data` and its actions."""
    actions = commands.add_parser("data", help="look after data sets").add_subparsers(metavar="ACTION", required=True)
    listing = new_command(actions, "list", _list, "list data sets: what they hold, where to obtain them, what is here")
    verify = new_command(actions, "verify", _verify, "decode every image of a data set and name what is wrong")
    verify.add_argument("data", metavar="NAME[=PATH]", help="a data set, and its place where bench.toml has none")
    verify.add_argument("--workers", type=int, metavar="N", help="processes that decode (default: one a core, up to 8)")
    for command in (listing, verify):
        command.add_argument("--registry", metavar="FILE", help="a TOML file of your own data sets")


def _list(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.datasets import datasets
    from bench.verify import some

    config = api.configure(registry=arguments.registry)
    blocks = []
    for dataset in datasets:
        rows = {
            "images": some([f"{images:,} {split}" for split, (images, _) in dataset.expected.items()], _SHOWN_AT_MOST),
            "classes": _classes(dataset),
            "splits": some(dataset.splits, _SHOWN_AT_MOST),
            "download": dataset.size,
            "licence": dataset.licence,
            "obtain": dataset.source,
            "layout": dataset.layout,
            "here": _here(dataset, config),
        }
        text = [f"  {key:<9} {value}" for key, value in rows.items() if value]
        blocks.append("\n".join([f"{dataset.name}: {dataset.about}", *text]))
    print("\n\n".join(blocks))
    return 0


def _classes(dataset: Any) -> str:
    space = dataset.class_space
    counts = {classes for _, classes in dataset.expected.values()} or {len(space.classes)}
    return f"{max(counts):,}, labelled as in {space.name}"


def _here(dataset: Any, config: Any) -> str:
    """Where the set is, and what stands there."""
    from bench.datasets import datasets
    from bench.text import size

    place = config.settings.places.get(dataset.name)
    if place is None and datasets.origin(dataset.name) == str(config.registry):
        return f"as {config.registry} says"
    if place is None and not dataset.source:
        return "built in"
    if place is None:
        return f'no place given: --data {dataset.name}=PATH, or {dataset.name} = "PATH" under [data] in bench.toml'
    if place.is_dir():
        try:
            return f"{place}, a folder of {sum(1 for _ in place.iterdir()):,} entries"
        except OSError as error:
            return f"{place}, a folder that can't be read ({error.strerror})"
    if place.is_file():
        return f"{place}, a file of {size(place.stat().st_size)}"
    return f"{place}, but nothing is there: correct it under [data] in bench.toml"


def _verify(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.datasets import Library, datasets
    from bench.progress import for_stream
    from bench.verify import lines, verify

    given = dict([parse_place(arguments.data)]) if "=" in arguments.data else {}
    name = next(iter(given), arguments.data)
    settings = api.configure(registry=arguments.registry, data=given, workers=arguments.workers).settings
    dataset = datasets.get(name)
    reports = verify(dataset, Library(settings.places), settings.workers, for_stream())
    print(f"{name}, {settings.places.get(name) or dataset.source or 'built in'}")
    for report in reports:
        print("\n".join(lines(report)))
    return 0 if all(report.ok for report in reports) else 1
