"""Stores become one: what both have is compared, and what differs is told and stays where it is."""

from dataclasses import replace

import numpy as np
import pytest

from bench import api
from bench.cli import main
from bench.store import DamagedCellError, Store
from bench.store.log import read_log
from bench.store.merge import Merged, merge
from tests.store.test_store import CHECKPOINT, IDS, LABELS, columns, make_cell

OTHER_ROWS = {
    **columns(),
    "prediction": np.array([0, 0, 1], dtype=np.int32),
    "correct": np.array([True, False, False]),
}
LAST_DIGITS = {**columns(), "loss": np.nextafter(columns()["loss"], np.float32(9))}


def a_store(root, rows, checkpoint=CHECKPOINT):
    store = Store(root)
    store.prepare()
    store.record_checkpoint("m" * 64, checkpoint)
    store.log({"key": make_cell().key, "host": root.name})
    store.write(make_cell(), IDS, LABELS, rows)
    return store


@pytest.fixture
def ours(tmp_path):
    return a_store(tmp_path / "ours", columns())


def test_other_rows_of_one_cell_are_told_and_both_stay(ours, tmp_path, capsys):
    theirs, key = a_store(tmp_path / "theirs", OTHER_ROWS), make_cell().key
    new = make_cell(seed=1)
    theirs.write(new, IDS, LABELS, columns())
    before = [store._cell_path(key).read_bytes() for store in (ours, theirs)]
    merged = merge(ours, theirs)
    assert (merged.copied, merged.known) == (1, 0)
    [differing] = merged.differing
    assert differing.what == key
    assert differing.how == "1 of 3 rows in 'prediction', 1 of 3 rows in 'correct'"
    assert [store._cell_path(key).read_bytes() for store in (ours, theirs)] == before
    assert read_log(ours)[key]["host"] == "ours"  # what the log says is of the rows that stand here
    assert main(["store", "merge", str(theirs.root), "--store", str(ours.root)]) == 1
    said = capsys.readouterr().out
    assert "0 cells copied, 1 were here, 1 differ" in said
    assert f"{key} (letters, classify)" in said or key in said


def test_numbers_with_other_last_digits_are_known(ours, tmp_path, capsys):
    theirs = a_store(tmp_path / "theirs", LAST_DIGITS)
    assert merge(ours, theirs) == Merged(copied=0, known=1, rounded=1)
    assert main(["store", "merge", str(theirs.root), "--store", str(ours.root)]) == 0
    assert "1 were here (1 with other last digits)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ids", "labels", "rows", "how"),
    [
        (np.array(["a", "b", "d"]), LABELS, columns(), "other samples or labels"),
        (IDS, LABELS, {k: v for k, v in columns().items() if k != "loss"}, "other columns: loss"),
    ],
)
def test_other_samples_and_columns_are_told(ours, tmp_path, ids, labels, rows, how):
    theirs = Store(tmp_path / "theirs")
    theirs.prepare()
    theirs.write(make_cell(), ids, labels, rows)
    assert [one.how for one in merge(ours, theirs).differing] == [how]


def test_another_entry_of_one_checkpoint_is_told(ours, tmp_path, capsys):
    theirs = a_store(tmp_path / "theirs", columns(), replace(CHECKPOINT, family="mixer", sam="sam"))
    assert main(["store", "merge", str(theirs.root), "--store", str(ours.root)]) == 1
    assert "family 'mixer' there, 'vit' here, sam 'sam' there, " in capsys.readouterr().out
    assert [entry.family for entry in ours.checkpoints()] == ["vit"]


@pytest.mark.parametrize("mine", [True, False])
def test_where_one_of_two_is_damaged_that_is_said(ours, tmp_path, mine):
    theirs = a_store(tmp_path / "theirs", OTHER_ROWS)
    path = (ours if mine else theirs)._cell_path(make_cell().key)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedCellError) as raised:
        merge(ours, theirs)
    assert raised.value.path == path


def test_a_merge_that_is_cut_short_leaves_no_cell_without_its_checkpoint(tmp_path, monkeypatch):
    theirs, ours = a_store(tmp_path / "theirs", columns()), Store(tmp_path / "ours")
    monkeypatch.setattr(Store, "log", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        merge(ours, theirs)
    assert ours.keys() == theirs.keys()
    assert api.verify_store(ours).sound
