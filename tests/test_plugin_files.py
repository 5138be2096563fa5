"""A file of Python named by --plugin or in bench.toml is a plug-in, without any packaging."""

import json
import multiprocessing
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.machine.processes import in_processes
from bench.registry import plug_in

ROOT = Path(__file__).parents[1]
SHIPPED = (ROOT / "suites" / "digits_c.py").read_text()
CORRUPTION = """
from bench.corruptions import Corruption, corruptions


def darken(images_NCHW, severity, draws):
    return images_NCHW // (severity + 1)


corruptions.register(Corruption(name="darken", version=1, load=lambda: darken))
"""
RUN = ("run", "--limit", 10, "--checkpoint", "digits-mixer", "--workers", 0, "--cache", "off", "--device", "cpu")


@pytest.fixture
def my_c(tmp_path):
    """A copy of the suite that ships, of one's own corruption."""
    copied = SHIPPED.replace('"digits-c"', '"my-c"').replace(
        "DATA), severities_of, MCE_CORRUPTIONS", 'DATA), severities_of, ["darken"]'
    )
    assert copied.count('["darken"]') == 1
    path = tmp_path / "my_c.py"
    path.write_text(copied + CORRUPTION)
    return path


def named(bench, *arguments):
    done = bench("list", "suites", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {row["name"] for row in json.loads(done.stdout)}, done.stderr


def test_a_copy_of_a_suite_with_ones_own_corruption_runs(bench, my_c, tmp_path):
    done = bench(*RUN, "--plugin", "my_c.py", "--suite", "my-c")
    assert done.returncode == 0, done.stderr
    assert "mean of 1 " in done.stdout
    (tmp_path / "bench.toml").write_text('plugins = ["my_c.py"]\n')
    assert "mean of 1 " in bench("table").stdout


def test_a_changed_plugin_is_measured_anew(bench, my_c):
    run = (*RUN, "--plugin", "my_c.py", "--suite", "my-c")
    assert "6 cells measured" in bench(*run).stderr
    assert "0 cells measured" in bench(*run).stderr
    my_c.write_text(my_c.read_text().replace("severity + 1", "severity + 2"))
    assert "5 cells measured, 1 were stored" in bench(*run).stderr


def test_a_helper_beside_a_plugin_counts_as_its_source(bench, my_c, tmp_path):
    (tmp_path / "shades.py").write_text("DEPTH = 1\n")
    my_c.write_text("import shades\n" + my_c.read_text().replace("severity + 1", "severity + shades.DEPTH"))
    run = (*RUN, "--plugin", "my_c.py", "--suite", "my-c")
    assert "6 cells measured" in bench(*run).stderr
    (tmp_path / "shades.py").write_text("DEPTH = 2\n")
    assert "5 cells measured, 1 were stored" in bench(*run).stderr


def test_several_plugins_may_be_named_here_and_there(bench, tmp_path):
    from tests.test_plugins import SUITE

    for name in ("one", "two", "three"):
        (tmp_path / f"{name}_suite.py").write_text(SUITE.format(name=name))
    (tmp_path / "bench.toml").write_text('plugins = ["one_suite.py"]\n')
    names, said = named(bench, "--plugin", "two_suite.py", "--plugin", "three_suite.py", "--plugin", "one_suite.py")
    assert {"one", "two", "three"} <= names
    assert said == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("import sys\nsys.exit(0)\n", "it calls sys.exit(0) (broken.py, line 2)"),
        ("def broken(:\n", "(broken.py, line 1)"),
        ("\nfrom bench.datasets import datasets\ndatasets.get('digit')\n", "(broken.py, line 3)"),
    ],
)
def test_a_broken_one_names_file_and_line_and_stops_only_what_needs_it(bench, tmp_path, text, says):
    (tmp_path / "broken.py").write_text(text)
    names, said = named(bench, "--plugin", "broken.py")
    assert "digits" in names
    [line] = said.splitlines()
    assert line.startswith("bench: warning: the plug-in broken.py")
    assert says in line
    missing = bench("run", "--plugin", "broken.py", "--suite", "mine")
    assert missing.returncode == 2
    assert "The plug-in broken.py did not load, and may have it" in missing.stderr


def test_what_fails_while_it_runs_names_file_and_line_too(bench, my_c):
    my_c.write_text(my_c.read_text().replace("return images_NCHW //", "return 1 // 0 *"))
    run = (*RUN, "--plugin", "my_c.py", "--suite", "my-c")
    line = my_c.read_text().splitlines().index("    return 1 // 0 * (severity + 1)") + 1
    said = bench(*run).stderr
    assert f"by zero (my_c.py, line {line})" in said
    assert "Traceback" not in said
    whole = bench(*run, "--traceback").stderr
    assert "Traceback" in whole
    assert f'my_c.py", line {line}, in darken' in whole


def test_a_mistake_shows_where_it_was_found_only_when_asked(bench):
    told, shown = bench("table", "--suite", "digit"), bench("table", "--suite", "digit", "--traceback")
    assert "Traceback" not in told.stderr
    assert "Traceback" in shown.stderr
    assert shown.stderr.endswith(told.stderr)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("nowhere.py", None, "there is no plug-in nowhere.py"),
        ("mine.txt", "", "a file of Python was wanted"),
        ("a.b.py", "", "its name has a dot"),
        ("json.py", "", "bears the name of another module of Python, json"),
    ],
)
def test_what_can_be_no_plugin_stops_the_call(bench, tmp_path, file, text, says):
    if text is not None:
        (tmp_path / file).write_text(text)
    done = bench("list", "suites", "--plugin", file)
    assert done.returncode == 2
    assert says in done.stderr
    (tmp_path / "bench.toml").write_text(f'plugins = ["{file}"]\n')
    assert bench("table").stderr == done.stderr


@pytest.mark.parametrize(("text", "says"), [("'my.py'", "plugins must be list"), ("[1]", "a plug-in must be a path")])
def test_plugins_of_bench_toml_are_a_list_of_paths(bench, tmp_path, text, says):
    (tmp_path / "bench.toml").write_text(f"plugins = {text}\n")
    done = bench("list", "suites")
    assert done.returncode == 2
    assert f"bench.toml, line 1: {says}" in done.stderr


def _severest(name: str) -> str:
    from bench.corruptions import corruptions

    return f"{corruptions.get(name).load().__module__}.{corruptions.get(name).name}"


def test_processes_that_are_not_forked_know_them_too(tmp_path, monkeypatch, scratch_registries):
    (tmp_path / "spawned_plugin.py").write_text(CORRUPTION)
    monkeypatch.setattr("bench.registry.plugin_files", (files := []))
    monkeypatch.setattr("bench.registry._waiting", [])
    monkeypatch.setattr("bench.machine.processes.plugin_files", files)
    monkeypatch.setattr("sys.path", sys.path[:])
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    plug_in([tmp_path / "spawned_plugin.py"])
    assert list(in_processes(_severest, ["darken"], 1, doing="looks up")) == ["spawned_plugin.darken"]


def test_a_plugin_that_is_gone_is_named_from_python_too(tmp_path):
    with pytest.raises(BenchError, match="there is no plug-in"):
        plug_in([tmp_path / "gone.py"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'terms=("10-way", Generated())',
            'terms=("10-way")',
            "suite 'my-c': its protocol: terms must be a tuple, such as",
        ),
        (
            "load=lambda: darken",
            'load=lambda: darken, group="my/own"',
            "the group of corruption 'darken': 'my/own' reads as",
        ),
        (
            "load=lambda: darken",
            'load=lambda: darken, group="a\\nb"',
            "the group of corruption 'darken': 'a\\nb' has the",
        ),
        ("load=lambda: darken", "load=lambda: darken, group=3", "corruption 'darken': its group must be a text, not 3"),
        ('name="darken"', 'name="a\\tb"', "corruption 'a\\tb' has the character U+0009"),
        ('name="darken"', "name=7", "corruption '7': its name must be a text, not 7"),
        ('track="digits"', 'track="../mine"', "the track of suite 'my-c': '../mine' reads as a path"),
        ("version=2", 'version="2"', "suite 'my-c': its version must be a whole number, not '2'"),
        (
            'Data(dataset="digits")',
            'Data(dataset="digits", fit=("train"))',
            "data: fit must be a tuple, such as ('train',)",
        ),
    ],
)
def test_a_field_that_holds_what_it_cannot_is_named_when_it_is_registered(bench, my_c, old, new, says):
    assert old in my_c.read_text()
    my_c.write_text(my_c.read_text().replace(old, new))
    _, said = named(bench, "--plugin", "my_c.py")
    [line] = said.splitlines()
    assert says in line
    assert "(my_c.py, line" in line
