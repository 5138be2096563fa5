"""A stranger's package adds to rtbench without a line changed in it; one that is broken is named, and stops nothing."""

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


def warned_of(done):
    """The one warning of a command that did what it was to do."""
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("bench: warning: ")
    return line


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
        ("import sys\nsys.exit(0)", "it calls sys.exit(0)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
        ("from bench.datasets import datasets\ndatasets.get('digit')", "Did you mean 'digits'"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_and_stops_nothing(bench, install, text, reason):
    site = install("rtbench-broken", {"flaky": "flaky_module"}, {"flaky_module.py": text})
    line = warned_of(bench("list", "suites", path=[site]))
    for part in ("'flaky'", "rtbench-broken", "flaky_module", reason):
        assert part in line


def test_a_module_that_fails_inside_a_plugins_package_is_named_too(bench, install):
    site = install("rtbench-broken", {"flaky": "parts"}, {"parts/__init__.py": "", "parts/bad.py": "1 / 0"})
    line = warned_of(bench("list", "datasets", path=[site]))
    assert "'flaky'" in line
    assert "ZeroDivisionError" in line


def test_what_a_half_imported_plugin_brought_goes_and_the_others_stay(bench, install):
    sites = [
        install("rtbench-a", {"a": "half"}, {"half/__init__.py": "", "half/b.py": SUITE.format(name="half"),
                                             "half/c.py": "import good_suite\nraise SystemExit(0)"}),
        install("rtbench-z", {"z": "good_suite"}, {"good_suite.py": SUITE.format(name="good")}),
    ]  # fmt: skip
    done = bench("list", "suites", "--json", path=sites)
    warned_of(done)
    names = {row["name"] for row in json.loads(done.stdout)}
    assert "good" in names
    assert "half" not in names
    missing = bench("run", "--suite", "half", path=sites)
    assert missing.returncode == 2
    assert "The plug-in 'a' of rtbench-a did not load, and may have it" in missing.stderr


def test_a_plugin_that_ends_the_program_ends_no_gate(bench, install, tmp_path):
    site = install("rtbench-rude", {"rude": "rude_exit"}, {"rude_exit.py": "import sys\nsys.exit(0)"})
    (tmp_path / "old.csv").write_text("no table\n")
    done = bench("gate", "old.csv", path=[site])
    assert done.returncode == 2
    assert "old.csv" in done.stderr


STATE = """
import os, random, sys, warnings
import numpy, torch
os.chdir("/")
os.environ["RUDE"] = "1"
numpy.random.seed(1), random.seed(1), torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
numpy.seterr(all="raise")
warnings.simplefilter("ignore")
sys.stdout = sys.stderr
"""


def test_what_a_plugin_changes_of_the_process_when_it_is_imported_is_put_back(bench, lights_site, install, tmp_path):
    site = install("rtbench-rude", {"rude": "rude_state"}, {"rude_state.py": STATE})
    run = ("run", "--limit", 20, "--suite", "digits", "--checkpoint", "digits-mixer", "--workers", 0, "--cache", "off")
    rude, plain = bench(*run, "--store", "a", path=[site]), bench(*run, "--store", "b")
    assert rude.returncode == plain.returncode == 0, rude.stderr
    assert rude.stdout.replace("CSV: a", "CSV: b") == plain.stdout
    assert (tmp_path / "a" / "cells").is_dir()


def test_an_entry_point_that_leads_nowhere_is_named(cold_bench, install):
    site = install("rtbench-broken", {"flaky": "nowhere_at_all"}, {})
    assert "'flaky' of rtbench-broken" in warned_of(cold_bench("list", "suites", path=[site]))


def test_a_name_taken_twice_names_both_modules(bench, install):
    site = install("rtbench-rude", {"rude": "rude_suite"}, {"rude_suite.py": SUITE.format(name="digits-c")})
    line = warned_of(bench("list", "suites", path=[site]))
    for part in ("'digits-c'", "rtbench_suites.digits_c", "rude_suite"):
        assert part in line


def test_two_plugins_that_take_one_name_are_both_named(bench, install):
    sites = [
        install(f"rtbench-{who}", {who: f"{who}_suite"}, {f"{who}_suite.py": SUITE.format(name="same")})
        for who in ("one", "two")
    ]
    line = warned_of(bench("list", "suites", path=sites))
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
