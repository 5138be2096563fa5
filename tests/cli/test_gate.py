"""`bench gate` as it is called: exit status, what it prints and writes, and one sentence for every wrong call."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from _outcomes import write_outcome

from bench import api
from bench.cli import main
from bench.compare.gate import Report, judge
from bench.compare.numbers import published, stored
from bench.errors import RunError
from bench.records import Condition
from bench.store import Store
from bench.suite import suites

DIGITS, SHIFTED = suites.get("digits"), suites.get("digits-r")
CLEAN, RENDERED = (suite.headline.conditions[0] for suite in (DIGITS, SHIFTED))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def put(folder: str, name: str, right: int, condition: Condition = CLEAN, n: int = 500, **how: object) -> None:
    """A checkpoint that has the first images right."""
    write_outcome(Store(Path(folder)), name, condition, np.arange(n) < right, **how)


def bench(command: str) -> int:
    return main(shlex.split(command))


@pytest.fixture
def worse() -> None:
    """A candidate of which one checkpoint got worse, and one did not."""
    for name, after in (("a", 380), ("b", 400)):
        put("base", name, 400)
        put("runs", name, after)


def test_nothing_worse_is_0(worse, capsys):
    assert bench("gate base --checkpoint b") == 0
    assert capsys.readouterr().out.endswith("nothing got worse; scores compared: 1\n")


def test_something_worse_is_1_with_the_table(worse, capsys):
    assert bench("gate base") == 1
    printed = capsys.readouterr().out
    assert "digits, a: top-1 80.00 → 76.00 (-4.00 points" in printed
    assert "image 00380 (0): 0 → 1" in printed
    assert printed.endswith("1 of 2 scores got worse\n")


def test_published_numbers_are_a_baseline(worse, capsys):
    assert bench("table --store base --suite digits --out digits.csv") == 0
    assert bench("gate digits.csv --alpha 0.2") == 1
    assert "two samples" in capsys.readouterr().out
    put("better", "a", 480)
    put("better", "b", 480)
    assert bench("gate digits.csv --store better") == 0


def test_several_tables_are_one_baseline(worse):
    for folder in ("base", "runs"):
        put(folder, "a", 300, RENDERED)
    for suite in ("digits", "digits-r"):
        assert bench(f"table --store base --suite {suite} --out {suite}.csv") == 0
    assert bench("gate digits.csv digits-r.csv --json gate.json") == 3  # b has nothing of digits-r
    rows = json.loads(Path("gate.json").read_text())["rows"]
    assert [(row["suite"], row["checkpoint"]) for row in rows] == [
        ("digits", "a"), ("digits", "b"), ("digits-r", "a"), ("digits-r", "b"),
    ]  # fmt: skip


def test_suites_that_the_baseline_lacks_are_judged_where_they_are_named(worse):
    assert bench("gate base --checkpoint b") == 0
    assert bench("gate base --checkpoint b --suite digits --suite digits-r") == 3


def test_a_suite_that_the_candidate_lacks_is_3(worse, capsys):
    put("base", "b", 300, RENDERED)
    assert bench("gate base --checkpoint b") == 3
    assert "cannot compare digits-r, b: b lacks 1 of 1 cells of digits-r" in capsys.readouterr().out


def test_a_checkpoint_that_only_one_side_has_is_3_where_it_is_named(worse, capsys):
    put("base", "c", 400)
    put("runs", "d", 400)
    assert bench("gate base --checkpoint c") == 3
    assert "runs holds nothing of digits as asked for c" in capsys.readouterr().out
    assert bench("gate base --checkpoint d") == 3
    assert "base holds none of these suites for d" in capsys.readouterr().err
    assert bench("gate base --checkpoint d --against c") == 0


def test_another_limit_is_3(worse, capsys):
    put("quick", "a", 40, n=50, limit=50)
    assert bench("gate base --store quick --checkpoint a") == 3
    assert "limit 50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("gate empty", "empty holds no outcomes"),
        ("gate base --store empty", "empty holds nothing of digits"),
        ("gate base --store other", "no checkpoint is in both base (a, b) and other (c)"),
        ("gate base --limit 7", "base holds nothing as asked of any suite"),
        ("gate garbled.csv", "not a readable CSV"),
    ],
)
def test_what_cannot_be_compared_at_all_is_3_and_one_sentence(worse, capsys, command, sentence):
    Path("empty").mkdir()
    Path("garbled.csv").write_bytes(b"\xff\xfe\x00\x01")
    put("other", "c", 400)
    assert bench(f"{command} --junit gate.xml --json gate.json") == 3
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert ElementTree.parse("gate.xml").find(".//error") is not None
    assert json.loads(Path("gate.json").read_text())["exit_status"] == 3


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("gate absent.csv", "there is no absent.csv"),
        ("gate base runs", "base is a folder; the baseline is one store"),
        ("gate runs", "one store"),
        ("gate base --alpha 5", "--alpha wants a chance between 0 and 1"),
        ("gate base --alpha nan", "--alpha wants"),
        ("gate base --tolerance -1", "--tolerance wants percentage points"),
        ("gate base --suite digit", "no suite 'digit'"),
        ("gate base --checkpoint c", "neither base nor runs has a checkpoint 'c'"),
        ("gate base --against a", "for one candidate, not 2"),
        ("gate base --against a --checkpoint a --checkpoint b", "for one checkpoint, not 2"),
        ("gate wrong.csv", "has no column 'value'"),
        ("gate text.csv", "has text where a number belongs"),
        ("gate strange.csv", "no suite 'dogits'"),
    ],
)
def test_a_wrong_call_is_2_and_one_sentence(worse, capsys, command, sentence):
    assert bench("table --store base --suite digits --out digits.csv") == 0
    text = Path("digits.csv").read_text()
    Path("wrong.csv").write_text(text.replace(",value,", ",accuracy,"))
    Path("text.csv").write_text(text.replace(",0.800000,", ",80%,"))
    Path("strange.csv").write_text(text.replace("\ndigits,", "\ndogits,"))
    assert bench(command) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_store_is_compared_with_itself_only_under_another_name(capsys):
    put("runs", "old", 400)
    put("runs", "new", 380)
    assert bench("gate runs --checkpoint new --against old") == 1
    assert "new (was old)" in capsys.readouterr().out


def test_a_spoilt_copy_of_a_store_fails(worse):
    shutil.copytree("base", "copy")
    assert bench("gate base --store copy") == 0
    store = Store(Path("copy"))
    for cell in Path("copy/cells").glob("*/*"):
        store.remove(cell.stem)
    for name, right in (("a", 400), ("b", 380)):
        put("copy", name, right)
    assert bench("gate base --store copy") == 1


# -- what it writes -------------------------------------------------------------------------------------------


def test_the_jobs_summary_gets_markdown(worse, monkeypatch):
    summary = Path("summary.md")
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert bench("gate base") == 1
    text = summary.read_text()
    assert text.startswith("before\n### bench gate: 1 of 2 scores got worse\n\n| suite |")
    assert "**digits, a: top-1 80.00 → 76.00" in text


def test_a_summary_that_cannot_be_written_changes_no_verdict(worse, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/such/folder/summary.md")
    assert bench("gate base") == 1
    assert "the summary is left out" in capsys.readouterr().err


def test_junit_has_a_case_a_row(worse):
    put("base", "c", 400)
    assert bench("gate base --checkpoint a --checkpoint b --checkpoint c --junit gate.xml") == 1
    root = ElementTree.parse("gate.xml").getroot()
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {"a, top-1": ["failure"], "b, top-1": [], "c, top-1": ["error"]}


def test_a_hostile_name_is_only_a_name(monkeypatch):
    name = "<script>&'\"|\x01]]>"
    put("base", name, 400)
    put("runs", name, 300)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert bench("gate base --junit gate.xml --json gate.json") == 1
    assert json.loads(Path("gate.json").read_text())["rows"][0]["checkpoint"] == name
    case = next(ElementTree.parse("gate.xml").iter("testcase"))
    assert case.get("name") == f"{name}, top-1".replace("\x01", "�")
    assert "<script>" not in Path("summary.md").read_text()


def test_json_has_every_number(worse):
    assert bench("gate base --json gate.json --tolerance 1") == 1
    report = json.loads(Path("gate.json").read_text())
    assert (report["format"], report["status"], report["alpha"]) == (2, "something got worse", 0.05)
    row = report["rows"][0]
    assert (row["verdict"], row["lost"], row["gained"], row["tolerance"]) == ("got worse", 20, 0, 0.01)
    assert row["before"]["value"] == 0.8
    assert row["difference"] == pytest.approx(-0.04)
    assert row["p"] < row["p_adjusted"] < 0.001


def test_a_report_that_cannot_be_written_is_no_pass(worse, capsys):
    assert bench("gate base --checkpoint b --junit base/index.sqlite/gate.xml") != 0
    assert "cannot be written" in capsys.readouterr().err


# -- where nothing can be written -------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--json", "--junit"])
@pytest.mark.parametrize(("name", "status"), [("b", 3), ("a", 1)])
def test_a_full_disk_is_no_regression_and_no_pass(worse, capsys, monkeypatch, option, name, status):
    def full(path: Path, _: str) -> None:
        raise RunError(f"{path} cannot be written: No space left on device; make room or name another place.")

    monkeypatch.setattr("bench.cli.gate.write", full)
    assert bench(f"gate base --checkpoint {name} {option} gate.out") == status
    said = capsys.readouterr()
    assert "gate.out cannot be written: No space left on device" in said.err
    assert said.err.count("\n") == 1
    assert "scores" in said.out  # the verdict is told


def test_a_fault_of_the_run_is_no_regression(worse, capsys, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RunError("the store cannot be read.")

    monkeypatch.setattr("bench.api.gate", fail)
    assert bench("gate base") == 3
    assert capsys.readouterr().err == "bench: the store cannot be read.\n"


@pytest.mark.parametrize(
    ("redirected", "name", "status"),
    [(">/dev/full", "b", 3), (">/dev/full", "a", 1), ("| true", "b", 0), ("| true", "a", 1)],
)
def test_an_output_that_is_full_or_closed_is_no_regression(worse, tmp_path, redirected, name, status):
    command = shlex.join([sys.executable, "-m", "bench.cli", "gate", "base", "--checkpoint", name])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {redirected}"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("cannot be written" in done.stderr) == (redirected == ">/dev/full")


# -- names that are more than names -----------------------------------------------------------------------------

PASSED = "nothing got worse; scores compared: 99"
HOSTILE = [
    f"a\n### bench gate: {PASSED}\n",
    f"a\r\n\r\n{PASSED}",
    f"a\u2028{PASSED}",
    "a\x1b[2J\x1b[1;1H",
    "[a](https://example.org) <b> `c` www.example.org",
    "a\udc80",
    "\u202ea",
    "]]></failure></testcase>",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("lost", [100, 0])
def test_a_name_stays_a_name_in_every_output(monkeypatch, capsys, name, lost):
    """Registration refuses such names; a report is safe without."""
    report = named(name, lost)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    monkeypatch.setattr("bench.api.gate", lambda *_, **__: report)
    assert bench("gate . --json gate.json --junit gate.xml") == report.exit_status == (1 if lost else 0)
    summary, printed = Path("summary.md").read_text(), capsys.readouterr().out
    assert json.loads(Path("gate.json").read_text())["rows"][0]["checkpoint"] == name
    root = ElementTree.parse("gate.xml").getroot()
    assert [len(root.findall(".//testcase")), len(root.findall(".//failure"))] == [1, lost > 0]
    for text in (summary, printed):
        lines = text.splitlines()
        assert not any(line.lstrip("# ").startswith(("bench gate: nothing", PASSED)) for line in lines[1:])
        assert not any(unicodedata.category(char) in ("Cf", "Cs") or char == "\x1b" for char in text)
        assert len(lines) == len(text.split("\n")) - text.endswith("\n")
    assert summary.startswith(
        "### bench gate: 1 of 1 scores got worse" if lost else "### bench gate: nothing got worse"
    )
    assert not re.search(r"(?<!\\)\]\(|https://|www\.|<b>", summary)


def named(name: str, lost: int) -> Report:
    """A report on a checkpoint of this name, that stands in reasons and notes too."""
    put("base", "a", 400)
    put("runs", "a", 400 - lost)
    before, after = (
        stored(api.boards([DIGITS], Store(Path(folder))), Store(Path(folder))) for folder in ("base", "runs")
    )
    report = judge(before, after, [DIGITS], [("a", "a")], notes=[f"not judged: {name}"])
    rows = [replace(row, checkpoint=name, against=name) for row in report.rows]
    return replace(report, rows=tuple(rows), candidate=name)


# -- the action -----------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


@pytest.fixture
def action() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "action.yml").read_text())


def steps(action: dict[str, Any], inputs: dict[str, str], folder: Path) -> list[list[str]]:
    """What each command that the action calls is given, when a stub stands in for it."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("bench", "python"):
        stub = tools / name
        words = f'for word in {name} "$@"; do printf "%s\\037" "$word"; done; echo'
        stub.write_text(f'#!/bin/sh\n{{ {words}; }} >> "{folder}/log"\n')
        stub.chmod(0o755)
    values = {name: inputs.get(name, given.get("default", "")) for name, given in action["inputs"].items()}
    for step in _scripts(action):
        given = {
            name: values[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()
        }
        environment = {"PATH": f"{tools}:/usr/bin:/bin", "RUNNER_TEMP": "TEMP", "GITHUB_ACTION_PATH": "ACTION", **given}
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        subprocess.run(shell, env=environment, cwd=folder, check=True, timeout=60)
    lines = (folder / "log").read_text().splitlines()
    return [[re.sub(r"gate-\d+", "gate-N", word) for word in line.split("\037")[:-1]] for line in lines]


def _scripts(action: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that are no other's actions."""
    return [step for step in action["runs"]["steps"] if "run" in step]


def test_the_action_measures_and_judges(action, tmp_path):
    inputs = {
        "baseline": "a.csv b.csv",
        "suites": "digits digits-c",
        "checkpoints": "mine",
        "data": "imagenet=/a folder/val\nx=y\n",
        "tolerance": "0.5",
        "registry": "mine.toml",
        "limit": "50",
        "against": "older",
        "junit": "out/gate.xml",
        "json": "gate.json",
    }
    uv, install, run, gate = steps(action, inputs, tmp_path)
    choice = ["--suite", "digits", "--suite", "digits-c", "--checkpoint", "mine", "--registry", "mine.toml"]
    choice += ["--limit", "50"]
    judged = ["--alpha", "0.05", "--tolerance", "0.5", "--against", "older", "--junit", "out/gate.xml"]
    data = ["--data", "imagenet=/a folder/val", "--data", "x=y"]
    store = ["--store", "TEMP/bench-gate-N"]
    assert uv == ["python", "-m", "pip", "install", "uv"]
    assert install[:6] == ["python", "-m", "uv", "pip", "install", "--python"]
    assert install[-1] == "ACTION"
    assert run == ["bench", "run", *choice, *data, *store, "--yes"]
    assert gate == ["bench", "gate", "a.csv", "b.csv", *choice, *store, *judged, "--json", "gate.json"]


def test_the_action_needs_a_baseline_alone(action, tmp_path):
    assert [name for name, given in action["inputs"].items() if given.get("required")] == ["baseline"]
    *_, run, gate = steps(action, {"baseline": "*.csv; touch harm", "install": "rtbench==1"}, tmp_path)
    assert run == ["bench", "run", "--store", "TEMP/bench-gate-N", "--yes"]
    assert gate[2:6] == ["*.csv;", "touch", "harm", "--store"]
    assert not (tmp_path / "harm").exists()


def test_nothing_is_pasted_into_the_actions_scripts(action):
    assert not any("${{" in step["run"] for step in _scripts(action))


def test_a_regression_fails_the_action_and_stands_in_its_outputs(action, tmp_path):
    [judge] = [step for step in action["runs"]["steps"] if step.get("id") == "judge"]
    (tmp_path / "bench").write_text('#!/bin/sh\n[ "$1" = run ] || exit 1\n')
    (tmp_path / "bench").chmod(0o755)
    environment = dict.fromkeys(judge["env"], "") | {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "RUNNER_TEMP": "TEMP", "GITHUB_OUTPUT": str(tmp_path / "outputs"),
    }  # fmt: skip
    done = subprocess.run(["bash", "-e", "-c", judge["run"]], env=environment, cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 1
    assert "status=1\nstore=TEMP/bench-gate-" in (tmp_path / "outputs").read_text()
    assert all(f"outputs.{name}" in given["value"] for name, given in action["outputs"].items())


def test_the_workflow_gates_what_is_published():
    job = yaml.safe_load((ROOT / ".github/workflows/gate.yml").read_text())["jobs"]["digits"]
    [given] = [step["with"] for step in job["steps"] if step.get("uses") == "./"]
    tables = published([ROOT / name for name in given["baseline"].split()])
    assert set(tables.frame["suite"]) == set(given["suites"].split())
    for name in given["suites"].split():
        assert tables.scores(suites.get(name), "digits-vit")  # of today's version


def test_a_fault_of_ours_is_no_regression(capsys, monkeypatch):
    def fail(*_: Any, **__: Any) -> Report:
        raise ValueError("a bug")

    monkeypatch.setattr("bench.api.gate", fail)
    assert main(["gate", "old.csv"]) == 3
    assert "ValueError: a bug" in capsys.readouterr().err
