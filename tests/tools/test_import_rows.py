"""Predictions from elsewhere: matched by id, scored like our own, and never taken for them."""

import json
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bench import api
from bench.board.index import Index
from bench.board.leaderboard import Want
from bench.cli import main
from bench.datasets import Library
from bench.measure.classify import describe
from bench.records import digest
from bench.store import Store

SAMPLES = Library().open("digits", "test").samples
N = len(SAMPLES.ids)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 1, (N, 10)).astype(np.float32) + 3 * np.eye(10, dtype=np.float32)[SAMPLES.labels]
PREDICTIONS = LOGITS.argmax(axis=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(**columns):
    return pd.DataFrame({"id": SAMPLES.ids, **columns})


def take(frame, *options, suite="digits", name="mine", file="rows.csv"):
    """Import a table; the exit status."""
    if file.endswith(".csv"):
        frame.to_csv(file, index=False)
    elif frame is not None:
        frame.to_parquet(file)
    return main(["import", file, "--suite", suite, "--checkpoint", name, *options])


def board(suite="digits", **want):
    [found] = api.boards(api.select_suites([suite]), Store(api.configure().settings.store), want=Want(**want))
    return found


def values(found):
    return {row.score.column: row.estimate.value for row in found.rows if row.score.column}


def test_rows_in_any_order_are_matched_by_id(folder):
    assert take(rows(prediction=PREDICTIONS).sample(frac=1, random_state=1)) == 0
    assert values(board()) == {"top-1": (SAMPLES.labels == PREDICTIONS).mean()}


def test_scores_that_need_more_than_predictions_are_left_out_with_a_note(folder):
    take(rows(prediction=PREDICTIONS))
    assert any("NLL" in note and "log_sum_exp" not in values(board()) for note in board().notes)
    assert set(values(board())) == {"top-1"}


@pytest.mark.parametrize("form", ["columns", "parquet", "json"])
def test_logits_give_every_column_that_our_own_measure_gives(folder, form):
    if form == "columns":
        status = take(rows(**{f"logit_{k}": LOGITS[:, k] for k in range(10)}))
    elif form == "parquet":
        status = take(rows(logits=list(LOGITS)), file="rows.parquet")
    else:
        status = take(rows(logits=[json.dumps(list(map(float, one))) for one in LOGITS]))
    assert status == 0
    [cell] = board().cells.values()
    stored = Store(api.configure().settings.store).read(cell.key).columns
    wanted = describe(torch.tensor(LOGITS), torch.tensor(SAMPLES.labels))
    assert list(stored) == list(wanted)
    for name, column in wanted.items():
        assert np.array_equal(stored[name], column.numpy()), name


def test_the_first_five_give_top5(folder):
    order = np.argsort(-LOGITS, axis=1)
    take(rows(**{f"top_{place + 1}": order[:, place] for place in range(5)}))
    [top5] = [row.estimate.value for row in board().rows if row.score.metric.name == "top5"]
    assert top5 == (order[:, :5] == SAMPLES.labels[:, None]).any(axis=1).mean()


def test_an_imported_row_never_stands_beside_a_measured_one(folder):
    suites, chosen = api.select(["digits"], checkpoints=["digits-vit"])
    settings = api.configure(cache="off", workers=0, device="cpu").settings
    api.run(suites, chosen, settings)
    take(rows(prediction=PREDICTIONS), name="other")
    ours, theirs = board(device="cpu"), board(device="imported")
    assert [c.name for c in ours.checkpoints] == ["digits-vit"]
    assert [c.name for c in theirs.checkpoints] == ["other"]
    assert ours.protocol == "10-way"
    assert theirs.protocol == "10-way, imported"
    assert theirs.choice.suffix == "-imported"
    assert any("imported" in note for note in ours.notes)


def test_the_model_digest_says_imported_the_name_and_the_file(folder):
    import hashlib

    take(rows(prediction=PREDICTIONS))
    [checkpoint] = board().checkpoints
    sha256 = hashlib.sha256((folder / "rows.csv").read_bytes()).hexdigest()
    assert checkpoint.model == digest(["imported", "mine", sha256])
    assert json.loads((folder / "runs" / "log.jsonl").read_text())["sha256"] == sha256


def test_conditions_of_one_checkpoint_come_together_one_after_the_other(folder):
    take(rows(prediction=PREDICTIONS))
    worse = np.where(np.arange(N) % 2, PREDICTIONS, (PREDICTIONS + 1) % 10)
    assert take(rows(prediction=worse), "--corruption", "fog", "--severity", "3", suite="digits-c") == 0
    found = board("digits-c")
    assert len(found.checkpoints) == 1
    assert found.present(found.checkpoints[0]) == 2
    assert values(found) == {"clean": (SAMPLES.labels == PREDICTIONS).mean()}  # no headline of 2 cells in 76


def test_a_registered_checkpoint_gives_its_family(folder):
    take(rows(prediction=PREDICTIONS), name="digits-mixer-sam")
    [checkpoint] = board().checkpoints
    assert (checkpoint.family, checkpoint.sam, checkpoint.pairs_with) == ("mixer", "sam", "digits-mixer")
    take(rows(prediction=PREDICTIONS), "--family", "vit", name="mine")
    assert {c.name: c.family for c in board().checkpoints}["mine"] == "vit"


def test_the_same_file_again_stores_nothing_and_another_is_refused(folder, capsys):
    take(rows(prediction=PREDICTIONS))
    capsys.readouterr()
    assert take(rows(prediction=PREDICTIONS)) == 0
    assert "was stored before" in capsys.readouterr().out
    assert take(rows(prediction=(PREDICTIONS + 1) % 10)) == 2
    assert "other predictions of 'mine' were imported" in capsys.readouterr().err
    assert len(Index(Store(folder / "runs")).cells()) == 1


WRONG = {
    "a sample without a row": (rows(prediction=PREDICTIONS)[2:], f"lacks 2 of {N} samples: {SAMPLES.ids[0]}"),
    "an unknown id": (
        pd.concat([rows(prediction=PREDICTIONS), pd.DataFrame({"id": ["zz"], "prediction": [1]})]),
        "has 1 ids that the data lack: zz",
    ),
    "an id twice": (rows(prediction=PREDICTIONS).iloc[[0, *range(N)]], f"has 1 ids twice: {SAMPLES.ids[0]}"),
    "no id that is known": (rows(prediction=PREDICTIONS).assign(id=[f"z{i}" for i in range(N)]), "no id of the rows"),
    "a class that is none": (rows(prediction=["cat", *PREDICTIONS[1:]]), "1 predictions are no class of 'digits'"),
    "a class beyond the last": (rows(prediction=[10, *PREDICTIONS[1:]]), "1 predictions are no class of 'digits'"),
    "a column twice": (
        rows(**{"prediction": PREDICTIONS, " prediction": PREDICTIONS}),
        "has the columns prediction twice; leave one of each",
    ),
    "a column in two spellings": (
        rows(**{"prediction": PREDICTIONS, "Prediction": PREDICTIONS}),
        "has the columns prediction, Prediction twice; leave one of each",
    ),
    "no prediction": (rows(guess=PREDICTIONS), "has the columns id, guess; wanted are id, and prediction"),
    "no rows": (rows(prediction=PREDICTIONS)[:0], "has no rows"),
    "too few logits": (rows(**{f"logit_{k}": LOGITS[:, k] for k in range(9)}), "9 columns of logits"),
    "a short list of logits": (rows(logits=["[1, 2]"] * N), "must have 10 numbers each"),
    "a logit that is no number": (rows(logits=["[a]"] * N), "logits that are no numbers"),
    "an infinite logit": (
        rows(**{f"logit_{k}": np.where(np.arange(N) == 0, np.inf, LOGITS[:, k]) for k in range(10)}),
        f"1 rows have NaN or infinite logits: {SAMPLES.ids[0]}",
    ),
    "logits in another order of classes": (
        rows(prediction=PREDICTIONS, **{f"logit_{k}": LOGITS[:, 9 - k] for k in range(10)}),
        "rows predict another class than their largest logit",
    ),
    "some of the first five": (rows(top_1=PREDICTIONS), "top_1, top_2, top_3, top_4, top_5 go together"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_rows_are_one_sentence_and_store_nothing(folder, capsys, fault):
    frame, wanted = WRONG[fault]
    assert take(frame) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert said.count("\n") == 1
    assert not list(folder.glob("runs/cells/*/*"))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("column", ["id", "prediction", "logit_3"])
def test_a_column_that_stands_twice_in_a_file_is_refused(folder, capsys, name, column):
    """pandas would read the second under another name."""
    frame = rows(prediction=PREDICTIONS, **{f"logit_{k}": LOGITS[:, k] for k in range(10)})
    frame = pd.concat([frame, frame[[column]]], axis=1)
    if name.endswith(".csv"):
        frame.to_csv(name, index=False)
    else:
        arrays = [pa.array(frame.iloc[:, place]) for place in range(frame.shape[1])]
        pq.write_table(pa.Table.from_arrays(arrays, names=list(frame.columns)), name)
    assert main(["import", name, "--suite", "digits", "--checkpoint", "mine"]) == 2
    said = capsys.readouterr().err
    assert column in said
    assert said.count("\n") == 1
    assert not list(folder.glob("runs/cells/*/*"))


def test_rows_that_are_longer_than_the_heading_are_refused(folder, capsys):
    """pandas would take their first value for a row's name, and each other value for that of the next column."""
    lines = [f"{i},{prediction},{prediction}" for i, prediction in zip(SAMPLES.ids, PREDICTIONS, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["id,prediction", *lines]))
    assert main(["import", "rows.csv", "--suite", "digits", "--checkpoint", "mine"]) == 2
    assert "cannot be read as CSV or Parquet" in capsys.readouterr().err


def test_columns_without_a_name_are_passed_over(folder):
    rows(prediction=PREDICTIONS).assign(**{"": 0}).to_csv("rows.csv")  # with pandas' own index
    assert main(["import", "rows.csv", "--suite", "digits", "--checkpoint", "mine"]) == 0


KILLED = """
import os, signal
from bench.cli import main
from bench.store import Store

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

Store.{write} = killed
main(["import", "rows.csv", "--suite", "digits", "--checkpoint", "mine"])
"""


@pytest.mark.parametrize("write", ["log", "record_checkpoint", "record_samples", "_create"])
def test_an_import_that_was_killed_is_scored_once_it_is_done_again(folder, warm, write):
    rows(prediction=PREDICTIONS).to_csv("rows.csv", index=False)
    assert warm.fork(KILLED.format(write=write), cwd=folder).wait().status == -signal.SIGKILL
    assert take(rows(prediction=PREDICTIONS)) == 0
    assert [c.name for c in board().checkpoints] == ["mine"]
    assert main(["store", "verify"]) == 0


def test_what_an_older_import_left_without_a_checkpoint_is_told_and_scored_once_it_is_done_again(folder, capsys):
    take(rows(prediction=PREDICTIONS))
    [path] = folder.glob("runs/checkpoints/*.json")
    path.unlink()
    assert main(["store", "verify"]) == 1
    assert "no checkpoint names" in capsys.readouterr().out
    assert take(rows(prediction=PREDICTIONS)) == 0
    assert set(values(board())) == {"top-1"}
    assert main(["store", "verify"]) == 0


@pytest.mark.parametrize(
    ("suite", "options", "wanted"),
    [
        ("digits-c", ["--corruption", "fog"], "--corruption and --severity go together"),
        ("digits-c", ["--corruption", "rain", "--severity", "1"], "has no condition of rain at severity 1"),
        ("digits-c", ["--corruption", "fog", "--severity", "6"], "--severity wants 1 to 5"),
        ("digits-pgd", [], "only those that classify"),
        ("imagenet", [], "imagenet"),
        ("nonsense", [], "no suite 'nonsense'"),
    ],
)
def test_conditions_that_cannot_be_imported_are_one_sentence(folder, capsys, suite, options, wanted):
    assert take(rows(prediction=PREDICTIONS), *options, suite=suite) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "text.parquet"])
def test_a_file_that_cannot_be_read_is_one_sentence(folder, capsys, name):
    (folder / "text.parquet").write_text("no parquet")
    assert main(["import", name, "--suite", "digits", "--checkpoint", "mine"]) == 2
    assert "cannot be read as CSV or Parquet" in capsys.readouterr().err


def test_a_blank_name_is_refused(folder, capsys):
    assert take(rows(prediction=PREDICTIONS), name=" ") == 2
    assert "--checkpoint wants a name" in capsys.readouterr().err


def test_a_type_that_arrow_does_not_convert_is_one_sentence(folder, capsys, monkeypatch):
    def fail(path):
        raise pa.ArrowNotImplementedError("Not implemented type for Arrow list to pandas: binary_view")

    monkeypatch.setattr("bench.tools.import_rows.pd.read_parquet", fail)
    (folder / "x.parquet").write_bytes(b"")
    assert main(["import", "x.parquet", "--suite", "digits", "--checkpoint", "mine"]) == 2
    assert "cannot be read as CSV or Parquet (Not implemented type" in capsys.readouterr().err


def test_labels_beside_the_predictions_are_held_against_the_data(folder, capsys):
    """A shift of all classes gave a score near 0, though the file itself tells of it."""
    assert take(rows(prediction=(PREDICTIONS + 1) % 10, label=(SAMPLES.labels + 1) % 10)) == 2
    assert f"{N:,} rows have another label than the data: " in capsys.readouterr().err
    assert take(rows(prediction=PREDICTIONS, label=SAMPLES.labels)) == 0
    assert take(rows(prediction=PREDICTIONS, label="of something else"), name="other") == 0


def test_classes_that_are_called_by_numbers_of_others_are_not_mistaken(folder, capsys, scratch_registries):
    """Indices from 0 of classes `1` to `3` were read as names: what was all right scored next to nothing."""
    ids = []
    for name in "123":
        (folder / "p" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (int(name), 0, 0)).save(folder / "p" / name / "a.png")
        ids.append(f"{name}/a.png")
    (folder / "d.toml").write_text('[datasets.numbered]\nfolder = "p"\nclasses = ["1", "2", "3"]\n')
    (folder / "bench.toml").write_text('registry = "d.toml"\n')
    for name, prediction in (("by-index", "012"), ("by-name", "123")):
        frame = pd.DataFrame({"id": ids, "prediction": list(prediction)})
        assert take(frame, suite="numbered", name=name) == 0
    assert {row.estimate.value for row in board("numbered").rows if row.score.column == "top-1"} == {1.0}
    assert take(pd.DataFrame({"id": ids, "prediction": list("121")}), suite="numbered", name="either") == 2
    assert (
        "the column 'prediction' has the class '1', which is the name of one class of 'num" in capsys.readouterr().err
    )
