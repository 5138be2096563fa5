"""`bench compare`: its tables, its files, and one sentence for what it cannot do."""

import csv
import io
import json
from dataclasses import replace

import pytest

from bench import api
from bench.checkpoints import checkpoints
from bench.cli import main
from bench.records import Checkpoint
from bench.store import Store

NAMES = ("digits-resnet", "digits-resnet-sam", "digits-vit", "digits-vit-sam")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small run of two pairs."""
    folder = tmp_path_factory.mktemp("compared")
    flags = {"store": str(folder / "runs"), "cache": "off", "workers": 0, "device": "cpu", "limit": 60}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        chosen = api.select(["digits", "digits-r", "digits-v2"], checkpoints=NAMES)
        assert api.run(*chosen, api.configure(**flags).settings).ok
    return folder


@pytest.fixture
def compare(folder, monkeypatch, capsys):
    """A function that runs the command there: exit status, output, errors."""
    monkeypatch.chdir(folder)

    def _compare(*arguments):
        code = main(["compare", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return _compare


def test_two_checkpoints_are_compared_score_by_score(compare):
    code, text, _ = compare("digits-vit", "digits-vit-sam", "--suite", "digits", "--suite", "digits-r")
    assert code == 0
    assert "digits-r v1: from digits-vit to digits-vit-sam, 60 images\n10-way, limit 60\n" in text
    assert "lower is better: NLL, Brier, ECE, rel. drop" in text
    assert "Images lost under most conditions" in text
    assert max(map(len, text.splitlines())) <= 120


def test_records_say_what_the_table_says(compare):
    arguments = ("digits-vit", "digits-vit-sam", "--suite", "digits-r")
    rows = list(csv.DictReader(io.StringIO(compare(*arguments, "--format", "csv")[1])))
    assert [row["score"] for row in rows] == ["top-1", "NLL", "Brier", "ECE", "clean", "rel. drop"]
    top1 = rows[0]
    assert float(top1["difference"]) == pytest.approx(
        float(top1["value_after"]) - float(top1["value_before"]), abs=2e-6
    )
    assert float(top1["difference"]) == pytest.approx(
        (int(top1["gained"]) - int(top1["lost"])) / int(top1["n"]), abs=2e-6
    )
    assert rows[3]["ci_low"] == rows[3]["p"] == ""  # a calibration error has no paired interval
    assert f"{100 * float(top1['value_after']):.1f}" in compare(*arguments)[1]
    written = json.loads(compare(*arguments, "--format", "json", "--flips", "3")[1])
    assert [row["score"] for row in written["differences"]] == [row["score"] for row in rows]
    assert len(written["flips"]) == min(3, int(top1["lost"]))


def test_flipped_images_go_to_a_file_by_its_ending(compare, folder):
    assert compare("digits-vit-sam", "digits-vit", "--suite", "digits-r", "--flips", "2", "--out", "f.csv") == (
        0,
        "",
        "",
    )
    rows = list(csv.DictReader(io.StringIO((folder / "f.csv").read_text())))
    assert [row["lost"] for row in rows] == ["1", "1"]
    assert all(row["prediction_before"] == row["label"] != row["prediction_after"] for row in rows)


def test_no_images_are_shown_where_none_are_asked_for(compare):
    assert "Images lost" not in compare("digits-vit", "digits-vit-sam", "--suite", "digits-r", "--flips", "0")[1]


def test_pairs_are_shown_by_suite_and_over_suites_with_the_papers_question(compare):
    code, text, _ = compare("--pair", "sam")
    assert code == 0
    for title in (
        "digits v1: top-1",
        "digits-r v1: top-1",
        "Over the suites",
        "digits-r: do ViT and Mixer gain more by SAM",
    ):
        assert title in text
    assert "the suites are taken as independent, though some share images" in text
    assert "say nothing of another training" in text
    assert "more than SAM" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_pairs_of_a_family_in_markdown_and_records(compare):
    text = compare("--pair", "sam", "--family", "vit", "--suite", "digits-r", "--format", "md")[1]
    assert "| digits-vit-sam | vit |" in text
    assert "\n- Each side is one training with one seed" in text
    rows = list(csv.DictReader(io.StringIO(compare("--pair", "sam", "--format", "csv")[1])))
    assert len(rows) == 2 * 3 + 2
    assert {row["test"] for row in rows} == {"McNemar", "independent sum"}
    written = json.loads(compare("--pair", "sam", "--format", "json")[1])
    assert {row["family"] for row in written["gains"]} == {"resnet", "vit"}
    assert "gain_shifted_less_resnet" in written["gains"][0]


def test_a_pair_that_differs_in_more_than_sam_says_so(compare, folder):
    stored, entry = Store(folder / "runs"), checkpoints.get("digits-vit-sam")
    [model] = [one.model for one in stored.checkpoints() if one.name == entry.name]
    try:
        stored.record_checkpoint(model, replace(entry, pair_differs="augmentation and epochs"))
        text = compare("--pair", "sam", "--suite", "digits-r")[1]
    finally:
        stored.record_checkpoint(model, entry)
    assert "digits-vit-sam differs from digits-vit in more than SAM: augmentation and epochs." in text
    assert "more than SAM" in text.split("digits-vit-sam", 1)[1].splitlines()[0]


def test_the_line_names_its_fit(compare):
    code, text, _ = compare("--line", "digits-r")
    assert code == 0
    assert "line through the 4 checkpoints of this table" in text
    assert "the line: n = 4, slope" in text
    assert max(map(len, text.splitlines())) <= 120
    rows = list(csv.DictReader(io.StringIO(compare("--line", "digits-r", "--format", "csv")[1])))
    assert {row["checkpoint"] for row in rows} == set(NAMES)
    for row in rows:
        difference = float(row["shifted"]) - float(row["expected"])
        assert float(row["effective_robustness"]) == pytest.approx(difference, abs=2e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("", 2, "wants two checkpoints, or --pair sam, or --line SUITE, and only one of these; it was given none."),
        ("digits-vit", 2, "it was given 1 checkpoint."),
        ("digits-vit digits-vit-sam --pair sam", 2, "it was given 2 checkpoints and --pair sam."),
        ("--pair sam --line digits-r", 2, "it was given --pair sam and --line digits-r."),
        ("--pair sam --flips 3", 2, "--flips shows images that two checkpoints differ on"),
        ("digits-vit digits-vit-sam --flips -1", 2, "--flips wants a number of images, 0 or more, not -1."),
        ("digits-vit digits-vit-sam --family vit", 2, "--family chooses among pairs"),
        ("--line digits-r --track digits", 2, "--line names its suite itself"),
        ("--line digits", 2, "needs a clean accuracy beside a shifted one, which suite 'digits' lacks"),
        ("--pair sam --family mixer", 2, "no pair of family 'mixer' that differs in SAM is stored whole"),
        ("digits-vit digits-vitsam", 2, "no checkpoint in the store 'digits-vitsam'. Did you mean"),
        ("digits-vit digits-vit-sam --suite digits-c --limit 7", 2, "holds nothing of digits-c as asked"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(compare, arguments, code, says):
    status, printed, error = compare(*arguments.split())
    assert (status, printed) == (code, "")
    assert says in error.splitlines()[-1]
    assert "Traceback" not in error


def test_two_models_of_one_name_are_told_apart(compare, folder):
    stored = Store(folder / "runs")
    [model] = [one.model for one in stored.checkpoints() if one.name == "digits-resnet-sam"]
    path = stored._checkpoint_path(model, "digits-vit")
    stored.record_checkpoint(
        model, Checkpoint(name="digits-vit", class_space=checkpoints.get("digits-vit").class_space)
    )
    try:
        status, _, error = compare("digits-vit", "digits-vit-sam", "--suite", "digits")
        named, text, _ = compare(f"digits-vit@{model[:6]}", "digits-vit-sam", "--suite", "digits")
    finally:
        path.unlink()
    assert status == 2
    assert "2 models are stored as 'digits-vit'; name one of them: digits-vit@" in error
    assert named == 0
    assert f"from digits-vit@{model[:6]} to digits-vit-sam" in text


def test_a_checkpoint_that_a_suite_was_not_measured_on_cannot_be_compared(compare):
    flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "limit": 60}
    assert api.run(*api.select(["digits"], checkpoints=["digits-mixer"]), api.configure(**flags).settings).ok
    status, _, error = compare("digits-vit", "digits-mixer", "--suite", "digits-r")
    assert status == 3
    assert "digits-mixer lacks" in error or "nothing of digits-r is stored of digits-mixer" in error


def test_without_a_suite_all_that_both_have_is_compared(compare):
    code, text, errors = compare("digits-vit", "digits-vit-sam", "--format", "csv")
    assert (code, errors) == (0, "")
    assert {row["suite"] for row in csv.DictReader(io.StringIO(text))} == {"digits", "digits-r", "digits-v2"}
    pairs = json.loads(compare("--pair", "sam", "--format", "json")[1])["pairs"]
    assert {row.get("suite") for row in pairs} == {"digits", "digits-r", "digits-v2", None}


def test_without_a_suite_what_only_one_has_is_left_out_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = {"store": "some", "cache": "off", "workers": 0, "device": "cpu", "limit": 20}
    settings = api.configure(**flags).settings
    assert api.run(*api.select(["digits"], checkpoints=NAMES[:2]), settings).ok
    assert api.run(*api.select(["digits-r"], checkpoints=NAMES[:1]), settings).ok
    assert main(["compare", *NAMES[:2], "--store", "some", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert {row["suite"] for row in csv.DictReader(io.StringIO(printed.out))} == {"digits"}
    assert printed.err == "left out, as not both were measured whole on it: digits-r\n"
    assert main(["compare", *NAMES[:2], "--store", "some", "--suite", "digits-r"]) == 3
