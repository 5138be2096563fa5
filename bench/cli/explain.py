"""`bench explain`: what a suite measures, and what a column of it means."""

import argparse
from typing import Any

from bench.cli.options import new_command, registry_option, suite_settings


def add_explain(commands: Any) -> None:
    """Declare `bench explain`."""
    command = new_command(commands, "explain", _explain, "say what a suite measures, or what a column of it means")
    command.add_argument("suite", metavar="SUITE")
    command.add_argument(
        "column", metavar="COLUMN", nargs="?", help="a heading of its leaderboard, such as 'rel. drop'"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="of the suite with a setting changed"
    )
    registry_option(command)


def _explain(arguments: argparse.Namespace) -> int:
    from bench import api

    api.configure(registry=arguments.registry)
    [suite] = api.select_suites([arguments.suite], settings=suite_settings(arguments))
    print(api.explain(suite, arguments.column))
    return 0
