"""Cells that contradict themselves, though every checksum of theirs is right: neither stored nor scored."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.board.index import Index
from bench.errors import RunError
from bench.metrics.classification import TOP1
from bench.records import Cell, Checkpoint, ClassSpace, Condition, Data, Numerics, Params
from bench.store import DamagedCellError, Store
from bench.store.columns import column_digest, columns_digest
from bench.store.damage import examine
from bench.suite import Score

SMALL, LARGE = 50, 200_000  # of the second each column is read by itself
CONDITION = Condition(data=Data(dataset="letters"))


def columns_of(n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    prediction = np.where(rng.random(n) < 0.7, labels, (labels + 3) % 10).astype(np.int32)
    return labels, {"prediction": prediction, "correct": prediction == labels, "loss": rng.random(n).astype(np.float32)}


def cell_of(n: int, classes: int | None = 10) -> Cell:
    return Cell(
        checkpoint=Checkpoint(name="one", class_space=ClassSpace(name="ten", classes=tuple("0123456789"))),
        condition=CONDITION, model_digest="m", fingerprints=("f",), n=n, versions=Params(measure=1), seed=None,
        limit=None, of=n, numerics=Numerics(), classes=classes,
    )  # fmt: skip


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def stored(request, tmp_path):
    """A store, and its cell."""
    store, cell = Store(tmp_path), cell_of(request.param)
    labels, columns = columns_of(cell.n)
    store.write(cell, np.array([f"{i}" for i in range(cell.n)]), labels, columns)
    return store, cell


def rewrite(store: Store, cell: Cell, columns: dict[str, np.ndarray], **meta: object) -> None:
    """Put other columns in the place of a cell's, with digests that match them."""
    path = store._cell_path(cell.key)
    said = {
        **json.loads(pq.read_metadata(path).metadata[b"bench"]),
        "columns": columns_digest(columns),
        "digests": [[name, column_digest(name, column)] for name, column in columns.items()],
        **meta,
    }
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    table = table.replace_schema_metadata({b"bench": json.dumps(said).encode()})
    pq.write_table(table, path, write_page_checksum=True)


HARMS = {
    "right where it is wrong": ("correct", lambda columns: ~columns["correct"]),
    "half right": ("correct", lambda columns: np.full(len(columns["correct"]), 0.5)),
    "a class beyond the last": ("prediction", lambda columns: np.where(columns["correct"], columns["prediction"], 99)),
    "a loss of NaN": ("loss", lambda columns: np.where(columns["correct"], np.float32("nan"), columns["loss"])),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_cell_that_contradicts_itself_gives_no_score(stored, harm):
    store, cell = stored
    name, make = HARMS[harm]
    whole = columns_of(cell.n)[1]
    index = Index(store)
    [[before]] = index.estimates("s", [[(Score(metric=TOP1, conditions=(CONDITION,)), [cell.key])]])
    assert before.value == whole["correct"].mean()
    index.close()
    rewrite(store, cell, {**whole, name: make(whole)})
    with pytest.raises(DamagedCellError, match=f"column '{name}'"):
        store.read(cell.key).columns[name]
    assert list(examine(store).damaged) == [store._cell_path(cell.key)]
    if name == "correct":
        with pytest.raises(DamagedCellError, match="column 'correct'"):
            Index(store).estimates("s", [[(Score(metric=TOP1, conditions=(CONDITION,)), [cell.key])]])


@pytest.mark.parametrize("harm", HARMS)
def test_it_is_not_stored_in_the_first_place(tmp_path, harm):
    store, cell = Store(tmp_path / "runs"), cell_of(SMALL)
    labels, columns = columns_of(SMALL)
    name, make = HARMS[harm]
    with pytest.raises(RunError, match=f"'classify' gave is not stored, as its column '{name}'"):
        store.write(cell, np.array([f"{i}" for i in range(SMALL)]), labels, {**columns, name: make(columns)})
    assert not store.root.exists()


def test_neither_are_samples_of_which_one_comes_twice(tmp_path):
    store, cell = Store(tmp_path / "runs"), cell_of(SMALL)
    labels, columns = columns_of(SMALL)
    with pytest.raises(RunError, match="an id of its samples comes twice"):
        store.write(cell, np.array(["same"] * SMALL), labels, columns)


def test_labels_of_another_order_contradict_what_was_right(stored):
    store, cell = stored
    labels, columns = columns_of(cell.n)
    ids = np.array([f"{i}" for i in range(cell.n)])
    rewrite(store, cell, columns, samples=store.record_samples(ids, np.roll(labels, 1)))
    with pytest.raises(DamagedCellError, match="contradicts the predictions and labels"):
        store.read(cell.key).columns["correct"]


def test_cells_of_older_versions_which_know_no_number_of_classes_are_read(stored):
    store, cell = stored
    _, columns = columns_of(cell.n)
    rewrite(store, cell, columns)
    path = store._cell_path(cell.key)
    table = pq.read_table(path, partitioning=None)
    meta = json.loads(table.schema.metadata[b"bench"])
    assert meta.pop("classes") == 10
    pq.write_table(table.replace_schema_metadata({b"bench": json.dumps(meta).encode()}), path, write_page_checksum=True)
    assert np.array_equal(store.read(cell.key).columns["correct"], columns["correct"])
    assert not examine(store).damaged
