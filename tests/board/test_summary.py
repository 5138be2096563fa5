"""The summary over suites, and leaderboards as LaTeX."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.board.index import Index
from bench.board.leaderboard import make_board
from bench.board.printed import latex
from bench.board.summary import summarise
from bench.measure.cells import versions
from bench.metrics import Metric
from bench.metrics.classification import MEAN_ACCURACY, TOP1
from bench.records import (
    Cell,
    Checkpoint,
    ClassSpace,
    Condition,
    Data,
    Images,
    Numerics,
    Perturbation,
    Protocol,
)
from bench.store import Store
from bench.suite import Score, Suite

CLEAN = Condition(data=Data(dataset="letters"))
FOG = replace(CLEAN, images=Images(perturbation=Perturbation(corruption="fog", severity=1)))
PLAIN = Suite(
    name="letters", version=1, title="Letters", paper="none", track="letters", protocol=Protocol(terms=("2-way",)),
    scores=(Score(metric=TOP1, conditions=(CLEAN,), column="top-1"),),
)  # fmt: skip
FOGGY = replace(
    PLAIN,
    name="letters-c",
    scores=(
        Score(metric=MEAN_ACCURACY, conditions=(FOG,), column="fog"),
        Score(metric=TOP1, conditions=(CLEAN,), column="clean", clean=True),
    ),
)
SPACE = ClassSpace(name="two", classes=("x", "y"))


def summary_of(root, rights):
    """Of checkpoints that have so many of 4 images right: name to clean and foggy, None where it is not measured."""
    store = Store(root)
    store.prepare()
    for name, counts in rights.items():
        checkpoint = Checkpoint(name=name, class_space=SPACE, family="vit")
        store.record_checkpoint(name, checkpoint)
        for condition, right in zip((CLEAN, FOG), counts, strict=True):
            if right is not None:
                cell = Cell(
                    checkpoint=checkpoint, condition=condition, model_digest=name, fingerprints=("f",), n=4,
                    versions=versions(condition), seed=None, limit=None, of=4, numerics=Numerics(),
                )  # fmt: skip
                columns = {"correct": np.arange(4) < right}
                store.write(cell, np.array(list("abcd")), np.zeros(4, np.int64), columns)
    index = Index(store)
    try:
        return summarise([make_board(suite, store, index) for suite in (PLAIN, FOGGY)])
    finally:
        index.close()


def test_a_row_is_a_checkpoint_and_a_gap_is_the_headline_less_the_clean_score(tmp_path):
    frame = summary_of(tmp_path, {"one": (4, 1), "two": (2, 2)}).frame.set_index("checkpoint")
    assert frame.columns.tolist() == ["family", "sam", "mean rank", "letters", "letters-c", "letters-c gap"]
    assert frame.loc["one", "letters-c gap"] == "-75.0"
    assert frame.loc["two", "letters-c gap"] == "0.0"
    assert frame.loc["two", "letters"].startswith("50.0")


def test_the_best_mean_rank_comes_first_and_equal_scores_share_a_rank(tmp_path):
    frame = summary_of(tmp_path, {"a": (1, 1), "b": (4, 3), "c": (4, 4)}).frame
    assert frame.checkpoint.tolist() == ["c", "b", "a"]
    assert frame["mean rank"].tolist() == ["1.0", "1.5", "3.0"]


def test_an_unfinished_suite_shows_no_score_and_is_noted(tmp_path):
    summary = summary_of(tmp_path, {"half": (4, None), "whole": (1, 1)})
    assert summary.frame.checkpoint.tolist() == ["whole", "half"]
    half = summary.frame.set_index("checkpoint").loc["half"]
    assert half[["mean rank", "letters-c", "letters-c gap"]].tolist() == ["–", "–", "–"]
    assert half["letters"].startswith("100.0")
    assert "letters-c: half has 1 of 2 cells, so no fog" in summary.notes


def test_every_column_has_its_protocol(tmp_path):
    notes = summary_of(tmp_path, {"one": (4, 1)}).notes
    assert notes[:2] == (
        "letters v1 (top-1): 2-way; all samples, seed 0, cpu fp32",
        "letters-c v1 (fog): 2-way; all samples, seed 0, cpu fp32",
    )


def test_an_error_relative_to_another_model_has_no_gap():
    mce = Metric(name="mce", function=lambda *_: None, higher_is_better=False)
    suite = replace(FOGGY, scores=(replace(FOGGY.scores[0], metric=mce), FOGGY.scores[1]))
    assert suite.gap_from is None
    assert FOGGY.gap_from is FOGGY.scores[1]


SPECIAL = r"50% & $x_1$ #{a}~^\ <b> |c| –"


def test_latex_escapes_what_it_would_take_for_its_own():
    text = latex(pd.DataFrame({"checkpoint": [SPECIAL], "gap": ["-1.5"], "top-1": ["99.0 (96–100)"]}))
    row = text.splitlines()[4]
    assert row == (
        r"50\% \& \$x\_1\$ \#\{a\}\textasciitilde{}\textasciicircum{}\textbackslash{} \textless{}b\textgreater{} "
        r"\textbar{}c\textbar{} -- & $-$1.5 & 99.0 (96--100) \\"
    )


def test_latex_has_the_rules_of_booktabs_and_as_many_columns_as_the_table():
    frame = pd.DataFrame({"rank": ["1", "2"], "checkpoint": ["a", "b"], "top-1": ["50.0 ±1.2", "–"]})
    lines = latex(frame).splitlines()
    assert lines[0] == r"\begin{tabular}{rlr}"
    assert [lines[1], lines[3], *lines[-2:]] == [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
    assert lines[4] == r"1 & a & 50.0 $\pm$ 1.2 \\"
    assert all(line.count(" & ") == 2 for line in lines if line.endswith(r"\\"))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--summary", "--format", "csv"], "--summary is a table for reading"),
        (["--summary", "--published"], "--summary is a table for reading"),
        (["--format", "latex", "--columns", "value"], "--columns chooses from a row a score"),
    ],
)
def test_formats_that_do_not_go_together_are_one_sentence(bench, options, wanted):
    done = bench("table", *options)
    assert done.returncode == 2
    assert wanted in done.stderr
    assert done.stderr.count("\n") == 1
