"""Every function of `bench.api` called from Python, on one small store: records and data frames come back."""

import math
import re
import shutil

import pandas as pd
import pytest

from bench import api
from bench.compare.sides import CannotCompareError
from bench.errors import BenchError

LIMIT = 40
NAMES = ["digits-resnet", "digits-resnet-sam", "digits-vit", "digits-vit-sam"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The result of a run, whose store the tests only read."""
    root = tmp_path_factory.mktemp("measured")
    flags = {"store": str(root / "runs"), "cache": str(root / "cache"), "workers": 0, "device": "cpu", "limit": LIMIT}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        result = api.run(*api.select(["digits", "digits-r"], checkpoints=NAMES), api.configure(**flags).settings)
    assert result.ok
    return result


@pytest.fixture
def settings(measured):
    return measured.plan.settings


@pytest.fixture
def store(settings):
    return api.Store(settings.store)


@pytest.fixture
def copied(store, tmp_path):
    """A store of the same cells, to be changed."""
    shutil.copytree(store.root, tmp_path / "copied")
    return api.Store(tmp_path / "copied")


@pytest.fixture
def boards(measured, store):
    return api.boards(measured.plan.suites, store, want=measured.want)


def test_the_map_names_every_function():
    named = set(re.findall(r"`(\w+)`", api.__doc__))
    assert {name for name in api.__all__ if name.islower()} == named


# -- what is registered, and the data ---------------------------------------------------------------------------------


def test_listings_are_records():
    assert "digits-c" in {row["name"] for row in api.listing("suites")}
    with pytest.raises(BenchError, match="Did you mean 'suites'"):
        api.listing("suite")


def test_data_sets_are_listed_with_what_is_here(tmp_path):
    config = api.configure(data={"imagenet": str(tmp_path)})
    here = {placed.dataset.name: placed.here for placed in api.list_data(config)}
    assert here["digits"] == "built in"
    assert here["imagenet"] == f"{tmp_path}, a folder of 0 entries"
    assert "no place given" in here["imagenet-r"]


def test_a_data_set_is_verified_by_split(settings):
    [report] = api.verify_data("digits", settings)
    assert report.ok


def test_predictions_made_elsewhere_are_scored(measured, settings, boards, copied, tmp_path):
    rows = api.outcomes(boards[0], api.Store(settings.store)).query("checkpoint == 'digits-vit'")
    rows[["id", "prediction"]].to_csv(tmp_path / "rows.csv", index=False)
    elsewhere = api.configure(store=str(copied.root)).settings
    with pytest.raises(BenchError, match="wants a name"):
        api.import_predictions(tmp_path / "rows.csv", measured.plan.suites[0], " ", elsewhere)
    whole = api.Library({}).open("digits", "test").samples
    frame = pd.DataFrame({"id": whole.ids, "prediction": whole.labels})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    imported = api.import_predictions(tmp_path / "rows.csv", measured.plan.suites[0], "theirs", elsewhere)
    assert imported.fresh
    [board] = api.boards(measured.plan.suites[:1], copied, want=api.Want(device="imported"))
    assert api.table([board]).query("metric == 'top1'").value.astype(float).tolist() == [1.0]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_boards_of_what_was_meant_leave_out_suites_that_only_share_cells(store):
    every = [row["name"] for row in api.listing("suites")]
    suites = api.select_suites(every)
    assert "digits-c" in {board.suite.name for board in api.boards(suites, store)}  # its clean cells
    assert {board.suite.name for board in api.measured_boards(suites, store)} == {"digits", "digits-r"}
    with pytest.raises(BenchError, match="nothing as asked of any suite"):
        api.measured_boards(suites, store, want=api.Want(limit=LIMIT - 1, any_limit=False))


def test_a_summary_has_a_row_a_checkpoint(boards):
    summary = api.summary(boards)
    assert set(summary.frame.checkpoint) == set(NAMES)
    assert {"digits", "digits-r"} <= set(summary.frame.columns)


def test_published_numbers_are_those_of_others(boards):
    assert api.published(boards) == []  # nobody published any of these


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_two_checkpoints_compare_into_a_row_a_score(measured, store):
    compared = api.compare("digits-vit", "digits-vit-sam", measured.plan.suites, store, want=measured.want, flips=3)
    frame = compared.frame
    assert set(frame.suite) == {"digits", "digits-r"}
    assert {"score", "difference", "p"} <= set(frame.columns)
    assert set(frame.before) == {"digits-vit"}
    assert len(compared.flips) <= 3
    with pytest.raises(CannotCompareError, match="nothing of digits is stored"):
        api.compare("digits-vit", "digits-vit@000000", measured.plan.suites, store)


def test_pairs_that_differ_in_sam_have_a_row_each(measured, store):
    frame = api.compare_pairs(measured.plan.suites, store, want=measured.want).frame
    assert set(frame[frame.suite == "digits"].after) == {"digits-resnet-sam", "digits-vit-sam"}


def test_a_line_has_a_row_a_checkpoint(measured, store):
    line = api.robust_line(measured.plan.suites[1], store, want=measured.want)
    assert line.board.suite.name == "digits-r"
    assert set(line.frame.checkpoint) == set(NAMES)


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_a_gate_against_published_numbers_judges_the_suites_in_them(measured, store, boards, tmp_path):
    published = api.publish(tmp_path / "results", boards, store)
    baseline = [tmp_path / "results" / name for name in published.files if name.endswith("-40.csv")]
    report = api.gate(baseline, store, want=measured.want)
    assert report.exit_status == 0
    assert {row.suite.name for row in report.rows} == {"digits", "digits-r"}


def test_a_gate_against_a_store_compares_image_by_image(measured, store, copied):
    suites = measured.plan.suites
    report = api.gate([store.root], copied, suites, checkpoints=["digits-vit"], want=measured.want)
    assert (report.exit_status, len(report.rows)) == (0, 2)
    worse = api.gate([store.root], copied, suites, checkpoints=["digits-vit"], against="digits-resnet", alpha=0.5)
    assert {row.against for row in worse.rows} == {"digits-resnet"}


def test_what_cannot_be_compared_is_no_pass(measured, store, tmp_path):
    report = api.gate([store.root], api.Store(tmp_path / "empty"), measured.plan.suites)
    assert report.exit_status == 3
    assert report.faults
    with pytest.raises(BenchError, match="are one store"):
        api.gate([store.root], store, measured.plan.suites)


# -- for others to read -----------------------------------------------------------------------------------------------


def test_a_page_and_plots_are_made_of_boards(boards, store):
    assert api.report(boards, store, api.Library({})).startswith("<!doctype html>")
    assert any("scatter" in name for name, _ in api.plots(boards, store))


def test_publishing_is_refused_where_a_number_would_change(boards, store, tmp_path):
    folder = tmp_path / "results"
    first = api.publish(folder, boards, store)
    assert set(first.written) == set(first.files)
    assert all((folder / name).is_file() for name in first.files)
    assert api.publish(folder, boards, store).written == ()
    table = folder / "digits-limit-40.csv"
    table.write_text(table.read_text().replace("digits-vit,", "digits-vat,"))
    before = table.read_text()
    refused = api.publish(folder, boards, store)
    assert refused.refused
    assert refused.changes
    assert table.read_text() == before
    assert api.publish(folder, boards, store, update=True).written


def test_the_tables_of_a_run_lie_below_its_store(measured, store):
    folder = api.write_tables(measured)
    assert folder == store.root / "tables"
    assert {path.name for path in folder.glob("*-40.csv")} == {"digits-limit-40.csv", "digits-r-limit-40.csv"}


# -- looking after ----------------------------------------------------------------------------------------------------


def test_a_store_lists_its_cells(store):
    cells = api.list_store(store)
    assert len(cells) == len(store.keys()) == 2 * len(NAMES)
    assert set(cells.limit) == {LIMIT}
    assert cells.seed.isna().all()  # nothing is random here
    with pytest.raises(BenchError, match="there is no store"):
        api.list_store(api.Store(store.root / "nowhere"))


def test_damaged_cells_are_found_and_removed(copied):
    assert api.verify_store(copied).damaged == ()
    [path, *_] = sorted(copied.root.glob("cells/*/*.parquet"))
    path.write_bytes(b"")
    verified = api.verify_store(copied)
    assert (verified.cells, len(verified.damaged)) == (2 * len(NAMES), 1)
    assert list(api.remove_cells(copied, damaged=True).moved) == [path]
    assert api.verify_store(copied).damaged == ()


def test_nothing_is_removed_where_one_key_is_wrong(copied):
    keys = sorted(copied.keys())
    with pytest.raises(BenchError, match="0 stored cells begin with 'zz'"):
        api.remove_cells(copied, [keys[0], "zz"])
    assert sorted(copied.keys()) == keys
    assert list(api.remove_cells(copied, keys[:1]).keys) == keys[:1]
    assert sorted(copied.keys()) == keys[1:]


def test_stores_merge_into_one(store, tmp_path):
    target = api.Store(tmp_path / "merged")
    with pytest.raises(BenchError, match="there is no store at"):
        api.merge_stores(target, [store.root, tmp_path / "nowhere"])
    assert not target.keys()
    merged = api.merge_stores(target, [store.root])[store.root]
    assert (merged.copied, merged.known) == (2 * len(NAMES), 0)
    assert target.keys() == store.keys()


def test_a_cache_lists_what_it_keeps_and_is_cleared(settings, tmp_path):
    kept = api.list_cache(settings)
    assert set(kept.dataset) == {"digits", "digits-r"}
    assert (kept.bytes > 0).all()
    other = api.configure(cache=str(tmp_path / "other")).settings
    shutil.copytree(settings.cache, other.cache)
    assert api.clear_cache(other) > 0
    assert api.list_cache(other).empty
    with pytest.raises(BenchError, match="the cache is off"):
        api.list_cache(api.configure(cache="off").settings)


def test_the_doctor_gives_findings():
    findings = {finding.what: finding for finding in api.doctor()}
    assert findings["data sets"].ok


def test_a_forecast_is_of_the_plan_as_it_stands(measured, settings):
    from dataclasses import replace

    planned = api.plan(measured.plan.suites, measured.plan.checkpoints[:1], replace(settings, limit=LIMIT + 1))
    assert len(planned.missing) == 2
    assert 0 < api.forecast(planned).hours < math.inf
