"""Tables from the store: the right cells, nothing mixed, nothing scored from missing data, and CSV that reads back."""

import ast
import functools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.board.index import Index, sources
from bench.board.leaderboard import NothingStoredError, Want, make_board
from bench.board.printed import board_html
from bench.board.tables import column, leaderboard, long_table, read_csv, to_csv
from bench.errors import BenchError, UnknownNameError
from bench.metrics import Metric
from bench.metrics.classification import MEAN_ACCURACY, TOP1
from bench.records import (
    Cell,
    Checkpoint,
    ClassSpace,
    Condition,
    Data,
    Estimate,
    Images,
    Measurement,
    Numerics,
    Params,
    Perturbation,
    Protocol,
)
from bench.store import Store
from bench.suite import Score, Suite, suites

CLEAN = Condition(data=Data(dataset="letters"))
FOGS = tuple(
    Condition(data=Data(dataset="letters"), images=Images(perturbation=Perturbation(corruption="fog", severity=s)))
    for s in (1, 2)
)
SUITE = Suite(
    name="letters-c",
    version=3,
    title="Letters",
    paper="none",
    track="letters",
    protocol=Protocol(terms=("2-way",)),
    scores=(
        Score(metric=MEAN_ACCURACY, conditions=FOGS, column="fog"),
        Score(metric=TOP1, conditions=(CLEAN,), column="clean", clean=True),
        *(Score(metric=TOP1, conditions=(fog,)) for fog in FOGS),
    ),
)
SPACE = ClassSpace(name="two", classes=("x", "y"))
ONE = Checkpoint(name="one", class_space=SPACE, family="vit", sam="none")
TWO = Checkpoint(name="two", class_space=SPACE, family="vit", sam="sam")


class Filled:
    """A store with made-up outcomes."""

    def __init__(self, root):
        self.store = Store(root)
        self.store.prepare()

    def add(self, checkpoint, condition, right, *, n=4, **changes):
        perturbed = condition.images.perturbation is not None
        cell = Cell(
            checkpoint=checkpoint,
            condition=condition,
            model_digest=changes.pop("model", checkpoint.name),
            fingerprints=("f",),
            n=n,
            versions=Params(images=1, measure=1, corruption=2) if perturbed else Params(images=1, measure=1),
            seed=0 if perturbed else None,
            limit=None,
            of=n,
            numerics=Numerics(),
        )
        cell = replace(cell, **changes)
        ids = np.array([f"{i}" for i in range(n)])
        self.store.record_checkpoint(cell.model_digest, checkpoint)
        self.store.write(cell, ids, np.zeros(n, np.int64), {"correct": np.arange(n) < right})
        return cell

    def board(self, **how):
        index = Index(self.store)
        try:
            return make_board(SUITE, self.store, index, **how)
        finally:
            index.close()


@pytest.fixture
def filled(tmp_path):
    return Filled(tmp_path / "runs")


def fill(filled, checkpoint, rights=(4, 3, 1), **changes):
    for condition, right in zip((CLEAN, *FOGS), rights, strict=True):
        seedless = condition is CLEAN and "seed" in changes
        filled.add(checkpoint, condition, right, **{**changes, **({"seed": None} if seedless else {})})


def values(board):
    return {(row.checkpoint.name, row.score.column): row.estimate.value for row in board.rows if row.score.column}


def test_scores_come_from_the_cells_of_their_conditions(filled):
    fill(filled, ONE)
    board = filled.board()
    assert values(board) == {("one", "fog"): 0.5, ("one", "clean"): 1.0}
    assert board.protocol == "2-way"
    assert board.notes == ()


def test_the_best_headline_comes_first(filled):
    fill(filled, ONE, (4, 2, 0))
    fill(filled, TWO, (1, 4, 4))
    assert [checkpoint.name for checkpoint in filled.board().ranking] == ["two", "one"]


def test_a_missing_cell_blocks_the_scores_that_need_it_and_no_others(filled):
    fill(filled, ONE)
    filled.add(TWO, CLEAN, 4)
    filled.add(TWO, FOGS[0], 4)
    board = filled.board()
    assert ("two", "fog") not in values(board)
    assert values(board)["two", "clean"] == 1.0
    frame = leaderboard(board)
    row = frame[frame.checkpoint == "two"].iloc[0]
    assert (row["cells"], row["fog"], row["rank"]) == ("2/3 cells", "–", "–")


def test_a_table_holds_one_limit_and_names_what_it_left_out(filled):
    fill(filled, ONE)
    fill(filled, ONE, (2, 2, 2), n=2, limit=2)
    assert values(filled.board())["one", "fog"] == 0.5
    assert "left out: 3 cells with limit 2, seed 0, cpu fp32" in filled.board().notes
    limited = filled.board(want=Want(limit=2, any_limit=False))
    assert values(limited)["one", "fog"] == 1.0
    assert limited.protocol == "2-way, limit 2"


def test_a_set_no_larger_than_the_limit_was_measured_whole(filled):
    fill(filled, ONE)
    assert values(filled.board(want=Want(limit=100, any_limit=False)))["one", "fog"] == 0.5


def test_a_limit_that_left_nothing_out_is_not_part_of_the_protocol(filled):
    fill(filled, ONE)
    assert filled.board(want=Want(limit=100, any_limit=False)).protocol == "2-way"


def test_a_seed_that_nothing_drew_from_is_not_part_of_the_protocol(filled):
    filled.add(ONE, CLEAN, 4)
    assert filled.board(want=Want(seed=9)).protocol == "2-way"


def test_the_fullest_choice_is_shown_before_the_unlimited_one(filled):
    filled.add(ONE, CLEAN, 4)
    fill(filled, ONE, (1, 1, 1), n=2, limit=2)
    board = filled.board()
    assert board.choice.limit == 2
    assert "left out: 1 cells with all samples, seed 0, cpu fp32" in board.notes


def test_seeds_are_not_mixed_and_share_what_is_not_random(filled):
    fill(filled, ONE)
    fill(filled, ONE, (4, 4, 4), seed=7)
    assert values(filled.board(want=Want(seed=7))) == {("one", "fog"): 1.0, ("one", "clean"): 1.0}
    assert values(filled.board(want=Want(seed=0)))["one", "fog"] == 0.5
    assert filled.board(want=Want(seed=7)).protocol == "2-way, seed 7"


def test_precisions_are_not_mixed(filled):
    fill(filled, ONE)
    filled.add(ONE, FOGS[0], 0, numerics=Numerics(device="cuda", precision="bf16"))
    assert values(filled.board())["one", "fog"] == 0.5
    assert filled.board(want=Want(precision="bf16")).protocol == "2-way, bf16"


def test_other_contents_of_a_data_set_are_left_out_and_named(filled):
    fill(filled, ONE)
    filled.add(TWO, CLEAN, 0, fingerprints=("g",))
    board = filled.board()
    assert ("two", "clean") not in values(board)
    assert any("other contents of letters" in note for note in board.notes)


def test_a_run_shows_its_own_contents_of_a_data_set_however_many_cells_saw_others(filled):
    fill(filled, ONE)
    filled.add(ONE, CLEAN, 1, fingerprints=("g",))
    board = filled.board(want=Want(fingerprints=frozenset({("g",)})))
    assert values(board) == {("one", "clean"): 0.25}
    assert board.notes == ("left out: 3 cells with other contents of letters",)
    with pytest.raises(NothingStoredError):
        filled.board(want=Want(fingerprints=frozenset({("h",)})))


def test_outcomes_of_an_older_corruption_or_measure_do_not_stand_for_todays(filled):
    fill(filled, ONE)
    filled.add(TWO, FOGS[0], 4, versions=Params(images=1, measure=1, corruption=0))
    filled.add(TWO, CLEAN, 4, versions=Params(images=1, measure=0))
    assert {row.checkpoint.name for row in filled.board().rows} == {"one"}


def test_two_models_under_one_name_are_told_apart(filled):
    fill(filled, ONE, model="a" * 64)
    fill(filled, ONE, (0, 0, 0), model="b" * 64)
    names = leaderboard(filled.board()).checkpoint.tolist()
    assert names == ["one@aaaaaa", "one@bbbbbb"]


def test_a_score_that_is_not_defined_is_a_note_not_a_number(filled):
    fill(filled, ONE)
    from bench.metrics.shift import RELATIVE_DROP

    filled.add(TWO, CLEAN, 0)
    filled.add(TWO, FOGS[0], 0)
    suite = replace(SUITE, scores=(Score(metric=RELATIVE_DROP, conditions=(CLEAN, FOGS[0]), column="drop"),))
    index = Index(filled.store)
    board = make_board(suite, filled.store, index)
    index.close()
    assert {row.checkpoint.name for row in board.rows} == {"one"}
    assert any(note.startswith("two, drop: ") for note in board.notes)


def test_an_empty_store_is_one_sentence(filled):
    with pytest.raises(NothingStoredError, match="bench run --suite letters-c"):
        filled.board()


def test_scores_are_computed_once_and_again_without_the_index(filled, monkeypatch):
    fill(filled, ONE)
    first = values(filled.board())
    reads = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, key: reads.append(key) or read(self, key))
    assert values(filled.board()) == first
    assert not reads
    (filled.store.root / "index.sqlite").unlink()
    assert values(filled.board()) == first
    assert reads


@pytest.mark.parametrize("name", [suite.name for suite in suites])
def test_scores_are_kept_by_every_module_that_they_are_computed_by(name):
    for metric in {score.metric.name: score.metric for score in suites.get(name).scores}.values():
        function = metric.function
        while isinstance(function, functools.partial):
            function = next((part for part in function.args if callable(part)), function.func)
        kept = {path.resolve() for path in sources(function.__module__)}
        assert used_by(function.__module__) <= kept, metric.name


def used_by(module):
    """The files of a module and of what it imports of `bench.metrics`, and these in turn."""
    found, wanted = set(), [module]
    while wanted:
        path = Path(sys.modules[wanted.pop()].__file__).resolve()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("bench.metrics"):
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                wanted += [str(node.module), *(name for name in names if name in sys.modules)]
    return found


def test_a_mean_over_data_sets_is_kept_between_processes(tmp_path):
    [first, second] = (describe_in_a_process("knn") for _ in range(2))
    assert first == second


def describe_in_a_process(suite):
    script = (
        "from bench.board.index import _describe\nfrom bench.suite import suites\n"
        f"print(_describe(suites.get({suite!r}).headline.metric.function))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_a_metric_that_was_changed_is_computed_again(filled):
    def counting(step):
        return lambda outcome: Estimate(value=step + 0.5, n=outcome.n)

    cell = filled.add(ONE, CLEAN, 4)
    index = Index(filled.store)
    found = [
        index.estimate("letters@1", Score(metric=Metric(name="m", function=function), conditions=(CLEAN,)), [cell.key])
        for function in (
            lambda outcome: Estimate(value=0.25, n=outcome.n),
            lambda outcome: Estimate(value=0.75, n=outcome.n),
            counting(1),
            counting(2),
        )
    ]
    index.close()
    assert [estimate.value for estimate in found] == [0.25, 0.75, 1.5, 2.5]


def test_a_damaged_index_is_done_without(filled):
    fill(filled, ONE)
    first = values(filled.board())
    (filled.store.root / "index.sqlite").write_bytes(b"not a database" * 100)
    assert values(filled.board()) == first


def test_a_removed_cell_leaves_the_table(filled):
    fill(filled, ONE)
    filled.board()
    filled.store.remove(filled.add(ONE, FOGS[0], 3).key)
    assert ("one", "fog") not in values(filled.board())


def test_the_long_table_reads_back_equal(filled, tmp_path):
    fill(filled, ONE, (4, 3, 2))
    fill(filled, replace(TWO, name='a "quoted", name'), (3, 3, 3))
    frame = long_table([filled.board()])
    path = tmp_path / "table.csv"
    path.write_text(to_csv(frame))
    pd.testing.assert_frame_equal(read_csv(path), frame)
    assert to_csv(read_csv(path)) == to_csv(frame)


def test_columns_and_rows_have_a_fixed_order(filled):
    fill(filled, TWO)
    fill(filled, ONE)
    frame = long_table([filled.board()])
    assert frame.columns.tolist() == [
        "suite", "version", "protocol", "checkpoint", "family", "sam", "dataset", "split", "fit", "crop_size",
        "crop_ratio", "interpolation", "corruption", "severity", "jpeg_quality", "input_size", "measure", "level",
        "score", "metric", "value", "ci_low", "ci_high", "n",
    ]  # fmt: skip
    assert frame.checkpoint.tolist() == ["one"] * 4 + ["two"] * 4


def test_a_parameter_is_a_column_and_empty_where_a_score_spans_several(filled):
    fill(filled, ONE)
    frame = long_table([filled.board()])
    assert frame.corruption.fillna("").tolist() == ["fog", "", "fog", "fog"]
    assert frame.severity.fillna(0).tolist() == [0, 0, 1, 2]


def test_a_whole_number_among_parameters_stays_one_beside_scores_without_it(filled):
    stepped = replace(CLEAN, measure=Measurement(params=Params(steps=10)))
    scores = (SUITE.scores[1], Score(metric=TOP1, conditions=(stepped,), column="stepped"))
    filled.add(ONE, CLEAN, 4)
    filled.add(ONE, stepped, 2)
    index = Index(filled.store)
    table = long_table([make_board(replace(SUITE, scores=scores), filled.store, index)])
    index.close()
    assert table["steps"].fillna("").tolist() == ["", "10"]


def test_an_unknown_column_offers_the_nearest(filled):
    fill(filled, ONE)
    with pytest.raises(UnknownNameError, match="'severity'"):
        column(long_table([filled.board()]), "severty")


def test_a_csv_without_a_column_is_refused_by_name(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("suite,version\nx,1\n")
    with pytest.raises(BenchError, match="has no column 'protocol'"):
        read_csv(path)


@pytest.mark.parametrize(
    "scores",
    [(), (Score(metric=TOP1, conditions=(CLEAN,)),), (Score(metric=TOP1, conditions=(), column="x"),)],
)
def test_a_suite_needs_a_headline_and_conditions(scores):
    with pytest.raises(ValueError, match="needs a score with a column"):
        replace(SUITE, scores=scores)


def test_a_suite_refuses_scores_that_a_table_could_not_tell_apart():
    score = Score(metric=MEAN_ACCURACY, conditions=FOGS)
    with pytest.raises(ValueError, match="could not tell apart"):
        replace(SUITE, scores=(*SUITE.scores, score, replace(score, conditions=FOGS[::-1])))


def test_a_suite_refuses_one_heading_twice():
    score = Score(metric=TOP1, conditions=(CLEAN,), column="x")
    with pytest.raises(ValueError, match="heading twice"):
        replace(SUITE, scores=(score, score))


def test_rows_say_their_level_so_that_a_plain_group_by_is_right(filled):
    fill(filled, ONE)
    frame = long_table([filled.board()])
    assert list(frame.level) == ["headline", "clean", "condition", "condition"]
    means = frame[frame.metric == "top1"].groupby("level").value.mean()
    assert means["condition"] == frame[frame.level == "headline"].value.item()


def test_levels_of_a_suite_of_corruptions():
    suite = suites.get("digits-c")
    levels = {(score.column or score.columns()["corruption"], len(score.conditions)): suite.level(score)
              for score in suite.scores}  # fmt: skip
    assert levels["mean of 15", 75] == "headline"
    assert levels["noise", 15] == "group"
    assert levels["rel. drop", 76] == "suite"
    assert levels["fog", 5] == "corruption"
    assert levels["fog", 1] == "condition"


def test_a_table_without_levels_is_read_and_checked_as_before(filled, tmp_path):
    fill(filled, ONE)
    old = long_table([filled.board()]).drop(columns="level")
    (tmp_path / "old.csv").write_text(to_csv(old))
    pd.testing.assert_frame_equal(read_csv(tmp_path / "old.csv"), old)


def test_a_board_is_short_when_printed_and_a_leaderboard_in_a_notebook(filled):
    fill(filled, ONE)
    board = filled.board()
    assert repr(board) == "<Board letters-c v3: 1 checkpoints, one first>"
    shown = board_html(board)
    assert "letters-c v3: Letters" in shown
    assert "<td>one</td>" in shown
    assert "&lt;b&gt;" in board_html(replace(board, notes=("<b>",)))
