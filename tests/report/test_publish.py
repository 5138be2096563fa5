"""Publishing: what is written reads back, twice changes nothing, and a number changes only when it is meant to."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from bench import api
from bench.board.tables import read_csv
from bench.cli import main
from bench.names import file_name
from bench.records import digest
from bench.report.publish import BEGIN, END
from bench.store import Store

CHECKPOINTS = ("digits-vit", "digits-vit-sam")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with 20 samples of digits, and 10 of digits-v2."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for suite, limit in (("digits", 20), ("digits-v2", 20), ("digits", 10)):
            settings = api.configure(cache="off", workers=0, device="cpu", limit=limit).settings
            assert api.run(*api.select([suite], checkpoints=CHECKPOINTS), settings).ok
    return folder / "runs"


def publish(*options, suites=("digits", "digits-v2"), limit=20):
    names = [word for suite in suites for word in ("--suite", suite)]
    return main(["publish", "--out", "results", *names, "--limit", str(limit), *options])


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spoil(folder, new_value):
    """Change a published number, as if the store had another by now."""
    path = folder / "results" / "digits-limit-20.csv"
    frame = read_csv(path)
    old = frame["value"][0]
    frame.loc[0, "value"] = new_value
    path.write_text(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    return old


def test_what_is_published_reads_back_equal_to_the_boards(folder):
    assert publish() == 0
    for suite in ("digits", "digits-v2"):
        [board] = api.boards(api.select_suites([suite]), Store(folder / "runs"), want=_limit(20))
        pd.testing.assert_frame_equal(read_csv(folder / "results" / f"{suite}-limit-20.csv"), api.table([board]))


def _limit(limit):
    from bench.board.leaderboard import Want

    return Want(limit=limit, any_limit=False)


def test_publishing_twice_changes_nothing(folder, capsys):
    publish()
    first, times = files(folder / "results"), {p: p.stat().st_mtime_ns for p in (folder / "results").rglob("*")}
    (folder / "runs" / "index.sqlite").unlink()
    capsys.readouterr()
    assert publish() == 0
    assert capsys.readouterr().out == "nothing has changed\n"
    assert files(folder / "results") == first
    assert {p: p.stat().st_mtime_ns for p in (folder / "results").rglob("*")} == times


def test_two_folders_of_one_store_are_equal_to_the_byte(folder):
    publish()
    shutil.move("results", "first")
    publish()
    assert files(folder / "first") == files(folder / "results")


def test_a_number_that_changes_is_shown_and_nothing_is_written(folder, capsys):
    publish()
    old = spoil(folder, 0.123456)
    before = files(folder / "results")
    capsys.readouterr()
    assert publish() == 2
    said = capsys.readouterr()
    assert "0.123456" in said.out
    assert f"{old:.6f}" in said.out
    assert "digits-vit, top-1" in said.out
    assert "1 published rows of digits-limit-20.csv would change, so nothing was written" in said.err
    assert said.err.count("\n") == 1
    assert files(folder / "results") == before


def test_update_publishes_the_new_number(folder, capsys):
    publish()
    wanted = files(folder / "results")
    spoil(folder, 0.123456)
    assert publish("--update") == 0
    assert "0.123456" in capsys.readouterr().out
    assert files(folder / "results") == wanted


def test_a_published_row_does_not_go_unnoticed(folder, capsys):
    publish()
    assert publish("--checkpoint", "digits-vit") == 2
    assert "gone" in capsys.readouterr().out


def test_a_new_row_needs_no_leave(folder):
    publish("--checkpoint", "digits-vit")
    assert publish() == 0
    assert set(read_csv(folder / "results" / "digits-limit-20.csv")["checkpoint"]) == set(CHECKPOINTS)


def test_what_is_known_of_a_table_stands_beside_it_and_tells_of_no_machine(folder):
    publish()
    text = (folder / "results" / "digits-limit-20.meta.json").read_text()
    meta = json.loads(text)
    log = [json.loads(line) for line in (folder / "runs" / "log.jsonl").read_text().splitlines()]
    assert meta["command"] == "bench run --suite digits --limit 20 --device cpu --precision fp32"
    assert meta["protocol"] == "10-way, limit 20"
    assert meta["measured"]["first"] in {entry["when"] for entry in log}
    assert meta["versions"] == [log[0]["versions"]]
    store = Store(folder / "runs")
    models = {entry.name: entry.model for entry in store.checkpoints()}
    [board] = api.boards(api.select_suites(["digits"]), store, want=_limit(20))
    for name, known in meta["checkpoints"].items():
        keys = [cell.key for (model, _), cell in board.cells.items() if model == models[name]]
        assert known["model"] == models[name]
        assert (known["cells"], known["cells_digest"]) == (1, digest(keys))
    assert str(folder) not in text
    assert log[0]["host"] not in text.split()


def test_the_rest_of_a_readme_is_kept_and_other_tables_of_the_block_too(folder):
    (folder / "results").mkdir()
    readme = folder / "results" / "README.md"
    readme.write_text(f"# Mine\n\nbefore\n\n{BEGIN}\n{END}\n\nafter\n")
    publish(suites=["digits"])
    publish(suites=["digits-v2"])
    publish(suites=["digits"], limit=10)
    text = readme.read_text()
    assert text.startswith(f"# Mine\n\nbefore\n\n{BEGIN}\n<!-- table digits-limit-10 -->\n### digits v1")
    assert text.endswith(f"{END}\n\nafter\n")
    assert [line for line in text.splitlines() if line.startswith("<!-- table")] == [
        f"<!-- table {name} -->" for name in ("digits-limit-10", "digits-limit-20", "digits-v2-limit-20")
    ]
    assert text.count("| digits-vit-sam |") == 3


def test_a_readme_without_the_marks_gets_them_at_its_end(folder):
    (folder / "results").mkdir()
    (folder / "results" / "README.md").write_text("# Mine\n")
    publish()
    assert (folder / "results" / "README.md").read_text().startswith(f"# Mine\n\n{BEGIN}\n")


@pytest.mark.parametrize("text", [BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_with_half_of_the_marks_is_one_sentence(folder, capsys, text):
    (folder / "results").mkdir()
    (folder / "results" / "README.md").write_text(text)
    assert publish() == 2
    assert "leave one of each" in capsys.readouterr().err
    assert files(folder / "results") == {"README.md": text.encode()}


def test_a_model_card_has_the_hubs_fields(folder):
    publish("--source", "https://example.org/results")
    text = (folder / "results" / "cards" / "digits-vit.yaml").read_text()
    index = yaml.safe_load(text)["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "digits-vit"
    [top1] = [r for r in results if (r.dataset_type, r.metric_name) == ("digits", "top-1")]
    frame = read_csv(folder / "results" / "digits-limit-20.csv")
    row = frame[(frame.checkpoint == "digits-vit") & (frame.score == "top-1")].iloc[0]
    assert (top1.task_type, top1.metric_type, top1.metric_value) == ("image-classification", "accuracy", row["value"])
    assert top1.dataset_args == {"protocol": "10-way, limit 20", "version": 1}
    assert top1.metric_args["n"] == 20
    assert all(result.verified is False for result in results)
    assert {result.source_url for result in results} == {"https://example.org/results"}
    assert ModelCard(f"---\n{text}---\n").data.eval_results == results


def test_a_card_keeps_what_was_published_of_other_suites(folder):
    publish(suites=["digits"])
    publish(suites=["digits-v2"])
    text = (folder / "results" / "cards" / "digits-vit.yaml").read_text()
    _, results = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    assert {result.dataset_type for result in results} == {"digits", "digits-v2"}


def rename(folder, name):
    """Give the first checkpoint another name in the store, as its registry entry would."""
    from dataclasses import replace

    from bench.checkpoints import checkpoints

    store = Store(folder / "runs")
    [entry] = [entry for entry in store.checkpoints() if entry.name == "digits-vit"]
    for path in (folder / "runs" / "checkpoints").glob("*.json"):
        if json.loads(path.read_text())["name"] == "digits-vit":
            path.unlink()
    store.record_checkpoint(entry.model, replace(checkpoints.get("digits-vit"), name=name))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", f"{END}", "x" * 300, "a|b: - {x}", 'quo"ted'])
def test_a_name_is_only_a_name(folder, name):
    rename(folder, name)
    assert publish() == 0
    text = (folder / "results" / "README.md").read_text()
    assert "<script>" not in text
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    card = (folder / "results" / "cards" / f"{file_name(name)}.yaml").read_text()
    assert yaml.safe_load(card)["model-index"][0]["name"] == name
    assert publish() == 0
    assert (folder / "results" / "README.md").read_text() == text


def test_a_csv_edited_by_hand_with_a_wrong_column_is_one_sentence(folder, capsys):
    publish()
    path = folder / "results" / "digits-limit-20.csv"
    path.write_text(path.read_text().replace(",value,", ",worth,", 1))
    assert publish() == 2
    said = capsys.readouterr().err
    assert "has no column 'value'" in said
    assert said.count("\n") == 1


def test_meta_that_is_not_ours_is_one_sentence(folder, capsys):
    publish(suites=["digits-v2"])
    (folder / "results" / "digits-v2-limit-20.meta.json").write_text("{}")
    assert publish(suites=["digits"]) == 2
    said = capsys.readouterr().err
    assert "is not as `bench publish` wrote it" in said
    assert said.count("\n") == 1


def test_an_empty_store_and_a_source_that_is_no_address_are_one_sentence(folder, capsys):
    assert publish("--store", "nowhere") == 2
    assert publish("--source", "here") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "holds nothing of digits" in first
    assert "--source wants an address" in second
    assert not (folder / "results").exists()
