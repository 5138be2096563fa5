"""A stranger's package adds to rtbench without a line changed in it; one that is broken stops loudly."""

import json
import os
import subprocess
import sys

import pytest

SUITE = """
from bench.records import Condition, Data, Protocol
from bench.suite.scores import classification
from bench.suite import Suite, suites

suites.register(
    Suite(
        name={name!r}, version=1, title="", paper="", track="mine", protocol=Protocol(terms=()),
        scores=classification(Condition(data=Data(dataset="digits"))),
    )
)
"""


@pytest.fixture
def refused(bench):
    """A function that runs a command that must stop with one sentence, and returns the sentence."""

    return lambda *arguments, path: sentence(bench(*arguments, path=path))


def sentence(done):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("kind", "name"),
    [("suites", "lights"), ("datasets", "lights"), ("checkpoints", "lights-mean"), ("corruptions", "dusk"),
     ("attacks", "drift"), ("tracks", "lights")],
)  # fmt: skip
def test_what_a_plugin_brings_is_listed_beside_what_is_ours(bench, lights_site, kind, name):
    names = {row["name"] for row in json.loads(bench("list", kind, "--json", path=lights_site).stdout)}
    without = {row["name"] for row in json.loads(bench("list", kind, "--json").stdout)}
    assert names - without == {name}
    assert without


def test_a_plugins_suite_runs_with_its_own_data_checkpoint_and_corruption(bench, lights_site, pictures, tmp_path):
    (tmp_path / "bench.toml").write_text(f'[data]\nlights = "{pictures}"\n')
    run = ("run", "--suite", "lights", "--limit", 8, "--workers", 0, "--device", "cpu", "--store", "runs")
    first = bench(*run, path=lights_site)
    assert first.returncode == 0, first.stderr
    [row] = [line.split() for line in first.stdout.splitlines() if "lights-mean" in line]
    assert row[:4] == ["1", "lights-mean", "linear", "none"]
    assert float(row[4]) >= 80  # percent; the mean colour tells lamps apart by day
    tables = {path.name for path in (tmp_path / "runs" / "tables").iterdir()}
    assert tables == {"lights-limit-8.csv", "lights-limit-8.board.csv", "lights-limit-8.meta.json"}
    assert len(list((tmp_path / "runs" / "cells").glob("*/*.parquet"))) == 6
    again = bench(*run, path=lights_site)
    assert (again.returncode, again.stdout) == (0, first.stdout)


def test_a_plugin_joins_a_track_of_ours_without_changing_it(bench, lights_site):
    ours = bench("plan", "--limit", 8, "--device", "cpu")
    theirs = bench("plan", "--limit", 8, "--device", "cpu", path=lights_site)
    planned = [done.stdout.partition("timed on")[0] for done in (theirs, ours)]  # what follows is never the same
    assert theirs.returncode == 0
    assert planned[0] == planned[1] != ""


def test_a_data_set_without_its_place_says_what_to_write(refused, lights_site):
    assert "[data] lights =" in refused("plan", "--suite", "lights", path=lights_site)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no flux')", "RuntimeError: no flux"),
        ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
        ("def broken(:", "SyntaxError"),
        ("from bench.datasets import datasets\ndatasets.get('digit')", "Did you mean 'digits'"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_with_its_reason(refused, install, text, reason):
    site = install("rtbench-broken", {"flaky": "flaky_module"}, {"flaky_module.py": text})
    line = refused("list", "suites", path=[site])
    for part in ("'flaky'", "rtbench-broken", "flaky_module", reason):
        assert part in line


def test_a_module_that_fails_inside_a_plugins_package_is_named_too(refused, install):
    site = install("rtbench-broken", {"flaky": "parts"}, {"parts/__init__.py": "", "parts/bad.py": "1 / 0"})
    line = refused("list", "datasets", path=[site])
    assert "'flaky'" in line
    assert "ZeroDivisionError" in line


def test_an_entry_point_that_leads_nowhere_is_named(cold_bench, install):
    line = sentence(cold_bench("list", "suites", path=[install("rtbench-broken", {"flaky": "nowhere_at_all"}, {})]))
    assert "'flaky' of rtbench-broken" in line


def test_a_name_taken_twice_names_both_modules(refused, install):
    site = install("rtbench-rude", {"rude": "rude_suite"}, {"rude_suite.py": SUITE.format(name="digits-c")})
    line = refused("list", "suites", path=[site])
    for part in ("'digits-c'", "rtbench_suites.digits_c", "rude_suite"):
        assert part in line


def test_two_plugins_that_take_one_name_are_both_named(refused, install):
    sites = [
        install(f"rtbench-{who}", {who: f"{who}_suite"}, {f"{who}_suite.py": SUITE.format(name="same")})
        for who in ("one", "two")
    ]
    line = refused("run", path=sites)
    for part in ("'same'", "one_suite", "two_suite"):
        assert part in line


@pytest.mark.parametrize("file", ["suites/__init__.py", "suites/digits.py", "suites.py"])
@pytest.mark.parametrize(
    "call",
    [
        ["-c", "from bench import api; print(api.select(['digits'])); import suites"],
        ["-m", "bench.cli", "list", "suites"],
    ],
    ids=["from Python", "the command"],
)
def test_a_folder_with_suites_of_its_own_is_a_place_to_work_in(tmp_path, file, call):
    theirs = tmp_path / file
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("")
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *call], cwd=tmp_path, env=outside, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout
