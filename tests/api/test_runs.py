"""From Python: what the command line does, with records and frames."""

from dataclasses import replace

import pandas as pd
import pytest

from bench import api
from bench.board.leaderboard import Want
from bench.errors import BenchError
from bench.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(here, **flags):
    return api.configure(store=str(here / "runs"), cache=str(here / "cache"), workers=0, device="cpu", **flags).settings


def test_nothing_asked_for_means_the_embedded_track_and_all_its_checkpoints():
    suites, checkpoints = api.select()
    assert {suite.name for suite in suites} == {"digits", "digits-v2", "digits-r", "digits-c"}
    assert len([entry for entry in checkpoints if entry.name.startswith("digits-")]) == 6


def test_a_family_narrows_the_checkpoints():
    assert {entry.family for entry in api.select(["digits"], family="mixer")[1]} == {"mixer"}


def test_an_empty_choice_is_an_error():
    with pytest.raises(BenchError, match="digits-vit: none of these is of the family resnet"):
        api.select(["digits"], checkpoints=["digits-vit"], family="resnet")


def test_a_result_is_short_when_printed_and_its_leaderboards_in_a_notebook(here):
    result = api.run(*api.select(["digits"], checkpoints=["digits-vit"]), settings(here, limit=3))
    assert str(result) == "<RunResult: <Board digits v1: 1 checkpoints, digits-vit first>>"
    assert "<td>digits-vit</td>" in result._repr_html_()


@pytest.mark.parametrize(
    ("suites", "family", "says"),
    [
        (["digits", "imagenet"], None, r"digits: digits; imagenet: imagenet-1k\), only others \(.*digits: digits-"),
        (["digits"], "convit", r"no checkpoint of the family convit predicts .*\(digits: digits\), only others"),
    ],
)
def test_a_choice_that_no_checkpoint_fits_says_which_classes_were_wanted_and_who_has_which(suites, family, says):
    with pytest.raises(BenchError, match=says):
        api.select(suites, family=family)


def test_a_run_measures_only_what_is_lacking(here):
    suites, checkpoints = api.select(["digits"], checkpoints=["digits-vit"])
    first = api.run(suites, checkpoints, settings(here, limit=20))
    assert first.ok
    assert first.plan.images == 20
    again = api.run(*api.select(["digits", "digits-v2"], checkpoints=["digits-vit"]), settings(here, limit=20))
    assert again.plan.images == 20  # the clean pass of digits is shared
    assert [board.suite.name for board in again.boards] == ["digits", "digits-v2"]


def test_limits_are_nested(here):
    small, large = (
        api.outcomes(
            api.run(*api.select(["digits"], checkpoints=["digits-vit"]), settings(here, limit=limit)).boards[0],
            Store(here / "runs"),
        )
        for limit in (15, 40)
    )
    both = small.merge(large, on="id", suffixes=("", "_large"))
    assert len(both) == len(small) == 15
    assert (both.prediction == both.prediction_large).all()


def test_tables_and_outcomes_agree(here):
    result = api.run(*api.select(["digits"], family="resnet"), settings(here, limit=30))
    table = api.table(result.boards)
    rows = api.outcomes(result.boards[0], Store(here / "runs"))
    accuracy = rows.groupby("checkpoint").correct.mean()
    top1 = table[table.metric == "top1"].set_index("checkpoint").value.astype(float)
    pd.testing.assert_series_equal(top1, accuracy, check_names=False, check_index_type=False, atol=1e-6)


def test_stored_boards_can_be_asked_for_later(here):
    api.run(*api.select(["digits"], checkpoints=["digits-vit"]), settings(here, limit=20))
    suites, _ = api.select(["digits"])
    [board] = api.boards(suites, Store(here / "runs"), want=Want(seed=0))
    assert board.choice.limit == 20
    with pytest.raises(BenchError, match="checkpoint in the store"):
        api.boards(suites, Store(here / "runs"), checkpoints=["digits-mixer"])


def test_the_cost_of_a_plan_is_known_before_it_runs(here):
    suites, checkpoints = api.select(["digits-c"], checkpoints=["digits-vit", "digits-resnet"])
    cost = api.cost(api.plan(suites, checkpoints, settings(here)))
    assert (cost["cells"], cost["stored"], cost["images"]) == (152, 0, 152 * 500)
    assert cost["crop_bytes"] == 500 * 32 * 32 * 3


def test_an_entry_whose_weights_are_gone_leaves_the_others(here):
    suites, checkpoints = api.select(["digits"], checkpoints=["digits-vit"])
    gone = replace(checkpoints[0], name="gone", weights="nowhere.safetensors")
    result = api.run(suites, [*checkpoints, gone], settings(here, limit=10))
    assert not result.ok
    assert "nowhere.safetensors" in result.plan.unavailable["gone"]
    assert len(result.boards[0].rows) > 0


def test_outcomes_as_csv_hold_lists_that_can_be_read(here):
    import json

    from bench.cli import main

    api.run(*api.select(["digits"], checkpoints=["digits-vit"]), settings(here, limit=5))
    assert main(["outcomes", "--suite", "digits", "--store", str(here / "runs"), "--out", "rows.csv"]) == 0
    rows = pd.read_csv("rows.csv")
    assert len(rows) == 5
    assert [len(json.loads(text)) for text in rows.top_logits] == [10] * 5


def test_suites_and_a_track_at_once_are_refused():
    with pytest.raises(BenchError, match="not both"):
        api.select(["digits"], track="digits")


def test_scores_of_one_suite_can_be_told_apart_in_the_long_table(here):
    result = api.run(*api.select(["digits-c"], checkpoints=["digits-vit"]), settings(here, limit=2))
    table = api.table(result.boards)
    keys = table.drop(columns=["value", "ci_low", "ci_high", "n"])
    assert not keys.duplicated().any()
