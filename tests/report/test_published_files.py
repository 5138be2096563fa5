"""Published tables as files: what a CSV leaves out stands beside it, old forms are read, and the gate takes both."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _outcomes import write_outcome

from bench import api
from bench.board.tables import metadata_of, read_csv, to_csv, wide_table
from bench.cli import main
from bench.errors import BenchError, RunError
from bench.store import Store
from bench.suite import suites

RESULTS = Path(__file__).parents[2] / "results"
DIGITS = suites.get("digits")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a store of two checkpoints on digits, published in `results`."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("one", 400), ("two", 450)):
        write_outcome(Store(Path("runs")), name, DIGITS.headline.conditions[0], np.arange(500) < count)
    assert main(["publish", "--suite", "digits", "--out", "results"]) == 0
    return tmp_path / "results"


def whole() -> pd.DataFrame:
    return api.table(api.boards([DIGITS], Store(Path("runs"))))


def gate(table: Path) -> int:
    return main(["gate", str(table)])


def test_a_published_csv_leaves_out_what_is_the_same_in_every_row(folder):
    assert (folder / "digits.csv").read_text().splitlines()[0] == "checkpoint,level,score,metric,value,ci_low,ci_high,n"
    columns = json.loads((folder / "digits.meta.json").read_text())["columns"]
    assert (columns["suite"], columns["version"], columns["measure"], columns["fit"]) == ("digits", 1, "classify", None)
    pd.testing.assert_frame_equal(read_csv(folder / "digits.csv"), whole())


def test_a_row_a_checkpoint_stands_beside_it_in_plain_numbers(folder):
    lines = (folder / "digits.board.csv").read_text().splitlines()
    assert lines[0].startswith("rank,checkpoint,family,sam,top-1,top-1 ci_low,top-1 ci_high")
    assert [line.split(",")[:5] for line in lines[1:]] == [
        ["1", "two", "other", "none", "0.900000"],
        ["2", "one", "other", "none", "0.800000"],
    ]
    assert all(line.endswith(",500") for line in lines[1:])


def test_the_gate_reads_a_table_with_its_metadata_and_one_of_the_old_form_without(folder, capsys):
    assert gate(folder / "digits.csv") == 0
    old = folder.parent / "old.csv"
    old.write_text(to_csv(whole()))
    assert gate(old) == 0
    assert main(["table", "--suite", "digits", "--out", "table.csv"]) == 0
    assert Path("table.csv").read_text() == old.read_text()


def test_a_table_without_its_metadata_is_one_sentence(folder, capsys):
    alone = Path(shutil.copy(folder / "digits.csv", folder.parent / "alone.csv"))
    capsys.readouterr()
    assert gate(alone) == 2
    said = capsys.readouterr().err
    assert "alone.meta.json, which has them, is not beside it" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["", "[]", '{"columns": 1}', "{"])
def test_damaged_metadata_are_no_pass(folder, capsys, text):
    (folder / "digits.meta.json").write_text(text)
    with pytest.raises(RunError, match=r"digits\.meta\.json is damaged"):
        read_csv(folder / "digits.csv")
    capsys.readouterr()
    assert gate(folder / "digits.csv") == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_column_that_neither_file_has_is_refused_by_name(folder):
    path = metadata_of(folder / "digits.csv")
    meta = json.loads(path.read_text())
    del meta["columns"]["severity"]
    path.write_text(json.dumps(meta))
    with pytest.raises(BenchError, match="has no column 'severity'"):
        read_csv(folder / "digits.csv")


def test_a_table_of_checkpoints_is_no_table_of_scores(folder):
    with pytest.raises(BenchError, match="has no column 'suite'"):
        read_csv(folder / "digits.board.csv")


@pytest.mark.parametrize("board", sorted(RESULTS.glob("*.board.csv")), ids=lambda path: path.name)
def test_the_boards_of_this_repository_are_those_of_their_scores(board):
    table = board.with_name(board.name.replace(".board.csv", ".csv"))
    frame = read_csv(table)
    [name] = frame["suite"].unique()
    suite = suites.get(name).over(frame["dataset"].dropna().unique().tolist())
    assert board.read_text() == to_csv(wide_table(frame, suite))


# -- what is printed -----------------------------------------------------------------------------------------


def printed(capsys, *options) -> list[str]:
    capsys.readouterr()
    assert main(["table", "--suite", "digits", *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_printed_table_is_as_wide_as_the_terminal_says(folder, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    [head] = [line for line in printed(capsys) if line.startswith("rank")]
    assert "family" in head
    monkeypatch.setenv("COLUMNS", "30")
    lines = printed(capsys)
    assert any(line.split() == ["rank", "checkpoint", "top-1"] for line in lines)
    assert max(map(len, lines)) <= 30
    assert "family" in next(line for line in printed(capsys, "--columns", "all") if line.startswith("rank"))


def test_a_file_has_every_column_whatever_the_terminal(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    assert main(["table", "--suite", "digits", "--out", "table.txt"]) == 0
    assert "family" in Path("table.txt").read_text()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--columns", "value"], "of a leaderboard it takes cost or all"),
        (["--summary", "--columns", "cost"], "--summary has no costs"),
    ],
)
def test_columns_that_a_table_does_not_have_are_one_sentence(options, wanted, capsys):
    assert main(["table", *options]) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert said.count("\n") == 1
