"""The gate against published files: with the outcomes beside them it sees what a store shows, and no edit passes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _outcomes import write_outcome

from bench import api
from bench.board.published_outcomes import file_digest, read_outcomes
from bench.board.tables import NotAsPublishedError, read_csv, read_published
from bench.cli import main
from bench.compare.gate import Report, judge
from bench.compare.numbers import published, stored
from bench.errors import RunError
from bench.metrics.classification import MEAN_ACCURACY, MEAN_OF_SETS, TOP1
from bench.metrics.shift import RELATIVE_DROP
from bench.records import Condition, Data, Images, Measurement, Perturbation, Protocol
from bench.store import Store
from bench.suite import Score, Suite, suites

DIGITS = suites.get("digits")
CLEAN = DIGITS.headline.conditions[0]
OTHER = Condition(data=Data(dataset="digits-r"))
FOG = [
    Condition(data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption="fog", severity=number)))
    for number in (1, 2)
]


def suite(name: str, headline: Score) -> Suite:
    protocol = Protocol(terms=("10-way",))
    return Suite(name=name, version=1, title=name, paper="", track=name, protocol=protocol, scores=(headline,))


HEADLINES = {
    "share": DIGITS,
    "mean": suite("mean", Score(metric=MEAN_ACCURACY, conditions=tuple(FOG), column="mean")),
    "ratio": suite("ratio", Score(metric=RELATIVE_DROP, conditions=(CLEAN, *FOG), column="drop")),
    "two-sets": suite("two-sets", Score(metric=RELATIVE_DROP, conditions=(CLEAN, OTHER), column="drop")),
    "sets": suite(
        "sets",
        Score(
            metric=MEAN_OF_SETS.given(groups=((TOP1, 1), (TOP1, 1))), conditions=(CLEAN, OTHER), column="mean of sets"
        ),
    ),
}


def fill(suite: Suite, store: Store, seed: int, right: float = 0.8, n: int = 400) -> None:
    """A checkpoint with images right at random, the ids in another order each time."""
    for number, condition in enumerate(suite.conditions):
        rng = np.random.default_rng([number, seed])
        share = 0.95 if condition == CLEAN and suite.name != "digits" else right
        write_outcome(store, "a", condition, rng.random(n) < share)


def boards(suite: Suite, store: Store):
    return api.boards([suite], store)


def publish(suite: Suite, store: Store, folder: Path) -> Path:
    api.publish(folder, boards(suite, store), store)
    return folder / f"{suite.name}.csv"


def numbers(suite: Suite, store: Store):
    return stored(boards(suite, store), store)


def found(report: Report):
    [row] = report.rows
    d = row.difference
    return row.verdict, d.value, d.ci_low, d.ci_high, d.p, d.lost, d.gained, d.how


@pytest.mark.parametrize("name", sorted(HEADLINES))
def test_published_outcomes_say_what_the_store_says(tmp_path, name):
    suite, before, after = HEADLINES[name], Store(tmp_path / "before"), Store(tmp_path / "after")
    fill(suite, before, 0)
    fill(suite, after, 1, right=0.72)
    pair = [("a", "a")]
    by_store = judge(numbers(suite, before), numbers(suite, after), [suite], pair)
    table = publish(suite, before, tmp_path / "results")
    by_file = judge(published([table]), numbers(suite, after), [suite], pair)
    assert found(by_file) == found(by_store)
    assert by_file.notes == ()
    assert by_store.rows[0].difference.how != "two samples"


@pytest.fixture
def worse(tmp_path, monkeypatch) -> Path:
    """A published baseline of 500 digits, and a candidate that lost 1.4 points net of what it gained: p 0.02."""
    monkeypatch.chdir(tmp_path)
    right = np.arange(500) < 480
    lost = right.copy()
    lost[:13], lost[490:492] = False, True
    write_outcome(Store(Path("base")), "a", CLEAN, right)
    write_outcome(Store(Path("runs")), "a", CLEAN, lost)
    assert main(["publish", "--store", "base", "--suite", "digits", "--out", "results"]) == 0
    return tmp_path / "results"


def gate(capsys, *options: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["gate", "results/digits.csv", *options])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out + said.err


def test_a_drop_that_values_alone_hide_is_found_by_the_published_outcomes(worse, capsys):
    status, said = gate(capsys, "--tolerance", "0")
    assert status == 1
    assert "by image −13 +2" in said
    (worse / "digits.outcomes.parquet").unlink()
    status, said = gate(capsys, "--tolerance", "0")
    assert status == 0
    assert "digits.outcomes.parquet, which shows far smaller drops, is not beside results/digits.csv" in said
    assert "nothing got worse" not in said
    assert "no significant drop; scores compared: 1; a drop under " in said


def test_a_table_of_an_older_version_still_reads_with_a_word(worse, capsys):
    path = worse / "digits.meta.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({name: meta[name] for name in meta if name not in ("digest", "board", "outcomes")}))
    status, said = gate(capsys)
    assert status == 0
    assert "results/digits.csv carries no digest: whether it was edited" in said


EDITS = {
    "a lower value": ("digits.csv", lambda text: text.replace("0.960000", "0.950000")),
    "a wide interval": ("digits.csv", lambda text: text.replace("0.938", "0.138")),
    "another checkpoint": ("digits.csv", lambda text: text.replace("\na,", "\nb,")),
    "a row less": ("digits.csv", lambda text: "\n".join(text.splitlines()[:-1]) + "\n"),
    "a row twice": ("digits.csv", lambda text: text + text.splitlines()[-1] + "\n"),
    "rows in another order": ("digits.csv", lambda text: "\n".join([text.split("\n")[0], *text.split("\n")[:0:-1]])),
    "another protocol": ("digits.meta.json", lambda text: text.replace('"10-way"', '"9-way"')),
    "other data": ("digits.meta.json", lambda text: text.replace("made up", "made down")),
    "no outcomes": ("digits.meta.json", lambda text: text.replace('"outcomes"', '"outgoes"')),
    "no digest": ("digits.meta.json", lambda text: text.replace('"digest"', '"ingest"')),
    "a leaderboard": ("digits.board.csv", lambda text: text.replace("0.960000", "0.990000")),
}


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_what_was_edited_is_refused_in_one_sentence_and_published_anew(worse, capsys, edit):
    name, change = EDITS[edit]
    path = worse / name
    whole = path.read_text()
    assert change(whole) != whole
    path.write_text(change(whole))
    status, said = gate(capsys, "--tolerance", "0")
    assert status == 3
    assert "do not belong together: one was edited, or not all were replaced" in said
    assert said.count("\n") == 1
    with pytest.raises(NotAsPublishedError):
        read_csv(worse / "digits.csv")
    assert main(["publish", "--store", "base", "--suite", "digits", "--out", "results", "--update"]) == 0
    assert path.read_text() == whole
    assert gate(capsys, "--tolerance", "0")[0] == 1


def test_what_reads_the_same_is_no_edit(worse, capsys):
    for name in ("digits.csv", "digits.board.csv", "digits.meta.json"):
        path = worse / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    table = worse / "digits.csv"
    table.write_text(table.read_text().replace("0.960000", "0.96"))
    assert gate(capsys, "--tolerance", "0")[0] == 1


@pytest.mark.parametrize("spoil", [lambda file: file[:-9], lambda file: b"", lambda file: b"x" + file])
def test_outcomes_that_are_not_those_published_are_no_pass(worse, capsys, spoil):
    path = worse / "digits.outcomes.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    status, said = gate(capsys)
    assert status == 3
    assert "digits.outcomes.parquet does not belong to digits.csv" in said


def test_outcomes_of_another_file_are_no_pass(worse, capsys):
    write_outcome(Store(Path("other")), "a", CLEAN, np.arange(500) < 300)
    assert main(["publish", "--store", "other", "--suite", "digits", "--out", "others"]) == 0
    shutil.copy("others/digits.outcomes.parquet", worse)
    assert gate(capsys)[0] == 3


@pytest.mark.parametrize("left", range(4))
def test_a_kill_between_two_files_is_told_and_mended(worse, capsys, left):
    """Of four files that follow from the store, those before `left` are new."""
    names = [f"digits.{end}" for end in ("outcomes.parquet", "csv", "board.csv", "meta.json")]
    write_outcome(Store(Path("newer")), "a", CLEAN, np.arange(500) < 400)
    again = ["publish", "--store", "newer", "--suite", "digits", "--update", "--out"]
    assert main([*again, "new"]) == 0
    for name in names[:left]:
        shutil.copy(Path("new") / name, worse)
    assert (gate(capsys)[0] == 3) == (left > 0)
    assert main([*again, "results"]) == 0
    assert gate(capsys)[0] == 0
    assert all((worse / name).read_bytes() == (Path("new") / name).read_bytes() for name in names)


def test_a_card_takes_nothing_from_a_table_of_another_suite_that_was_edited(worse, capsys):
    for number in range(2):
        write_outcome(Store(Path("base")), "a", suites.get("digits-r").conditions[number], np.arange(500) < 300)
    path = worse / "digits.csv"
    path.write_text(path.read_text().replace("0.960000", "0.990000"))
    capsys.readouterr()
    assert main(["publish", "--store", "base", "--suite", "digits-r", "--out", "results"]) == 1
    assert "results/digits.csv and digits.meta.json do not belong together" in capsys.readouterr().err
    assert not (worse / "digits-r.csv").exists()


def test_published_outcomes_are_small(tmp_path):
    store, n = Store(tmp_path / "store"), 20_000
    suite = HEADLINES["mean"]
    fill(suite, store, 0, n=n)
    publish(suite, store, tmp_path)
    file = tmp_path / "mean.outcomes.parquet"
    assert file.stat().st_size < n / 3  # bytes: three values an image
    assert pq.read_table(file).num_rows == 1


def test_outcomes_that_do_not_make_the_published_value_are_no_pass(worse, tmp_path):
    before = published([worse / "digits.csv"])
    frame = before.frame.copy()
    frame.loc[frame["score"] == "top-1", "value"] = 0.951
    report = judge(replace(before, frame=frame), numbers(DIGITS, Store(tmp_path / "runs")), [DIGITS], [("a", "a")])
    assert report.exit_status == 3
    assert "the outcomes beside it make 0.960000" in report.rows[0].reason


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_published_outcomes_that_are_no_numbers_are_damage_though_their_digest_fits(worse, wrong):
    path, table = worse / "digits.outcomes.parquet", read_published(worse / "digits.csv")
    rows = pq.read_table(path).to_pylist()
    rows[0]["values"][0] = wrong
    pq.write_table(pa.Table.from_pylist(rows), path)
    fitting = replace(table, metadata={**table.metadata, "outcomes": file_digest(path.read_bytes())})
    with pytest.raises(RunError, match=r"damaged \(some of its values are NaN or infinite\)"):
        read_outcomes(fitting)


@pytest.mark.parametrize(("suite", "clean"), [("digits", np.nan), ("two-sets", 0.0)])
def test_outcomes_that_make_no_value_are_no_pass(tmp_path, suite, clean):
    """Whatever compares with NaN is false: as `apart by more than`, it let these through."""
    suite, store = {"digits": DIGITS, **HEADLINES}[suite], Store(tmp_path / "store")
    fill(suite, store, 0)
    before = published([publish(suite, store, tmp_path)])
    [[first, *others]] = before.outcomes.values()
    edited = [replace(first, values_NC=np.full_like(first.values_NC, clean)), *others]
    report = judge(replace(before, outcomes={(suite.name, "a"): edited}), numbers(suite, store), [suite], [("a", "a")])
    assert report.exit_status == 3
    assert "the outcomes beside it make nan" in report.rows[0].reason


# -- what was learnt from -------------------------------------------------------------------------------------

PROBE = suite(
    "probe",
    Score(
        metric=MEAN_ACCURACY,
        conditions=(Condition(data=Data(dataset="cifar10", fit=("train",)), measure=Measurement(name="linear-probe")),),
        column="linear",
    ),
)


def learnt(store: Path, images: int, fingerprint: str) -> Store:
    write_outcome(Store(store), "a", PROBE.headline.conditions[0], np.arange(500) < 400, learnt=[(fingerprint, images)])
    return Store(store)


def test_a_training_split_that_is_not_whole_stands_in_protocol_and_metadata(tmp_path):
    store = learnt(tmp_path / "part", 500, "few")
    [board] = boards(PROBE, store)
    assert "500 of 50,000 images of cifar10/train to learn from" in board.protocol
    publish(PROBE, store, tmp_path)
    meta = json.loads((tmp_path / "probe.meta.json").read_text())
    assert meta["fingerprints"] == {"cifar10/test": "made up", "cifar10/train": "few"}
    [whole] = boards(PROBE, learnt(tmp_path / "whole", 50_000, "all"))
    assert "learn" not in whole.protocol


@pytest.mark.parametrize(
    ("images", "fingerprint", "reason"),
    [(500, "few", "measured in two ways"), (5000, "other", "cifar10/train has other contents")],
)
@pytest.mark.parametrize("by", ["store", "file"])
def test_a_probe_that_learnt_from_other_images_cannot_be_compared(tmp_path, images, fingerprint, reason, by):
    before, after = learnt(tmp_path / "before", 5000, "many"), learnt(tmp_path / "after", images, fingerprint)
    first = numbers(PROBE, before) if by == "store" else published([publish(PROBE, before, tmp_path / "results")])
    report = judge(first, numbers(PROBE, after), [PROBE], [("a", "a")])
    assert report.exit_status == 3
    assert (reason if by == "file" else "") in report.rows[0].reason


def test_damaged_metadata_that_are_json_are_one_sentence(worse, capsys):
    for text in ('{"columns": NaN}', "[" * 100_000, '{"columns": []}'):
        (worse / "digits.meta.json").write_text(text)
        with pytest.raises(RunError, match=r"digits\.meta\.json is damaged"):
            read_csv(worse / "digits.csv")
        assert gate(capsys)[0] == 3
