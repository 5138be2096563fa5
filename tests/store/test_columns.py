"""Large outcomes are read column by column: the same values, each checked when it is read."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.metrics.classification import top1
from bench.records import Cell, Checkpoint, ClassSpace, Condition, Data, Numerics, Params
from bench.store import DamagedCellError, Store
from bench.store.columns import StoredColumns
from bench.store.damage import examine

N = 40_000
RNG = np.random.default_rng(0)
IDS, LABELS = np.array([f"{i}" for i in range(N)]), RNG.integers(0, 2, N)
PREDICTIONS = RNG.integers(0, 2, N).astype(np.int32)
COLUMNS = {
    "prediction": PREDICTIONS,
    "correct": PREDICTIONS == LABELS,
    "top_logits": np.sort(RNG.normal(size=(N, 10)).astype(np.float32))[:, ::-1],
    "part/loss": RNG.random(N).astype(np.float32),
    "fooled_by": np.where(RNG.random(N) < 0.5, "pgd", "").astype(object),
}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    return store


@pytest.fixture
def cell(store):
    cell = Cell(
        checkpoint=Checkpoint(name="one", class_space=ClassSpace(name="two", classes=("x", "y"))),
        condition=Condition(data=Data(dataset="letters")), model_digest="m", fingerprints=("f",), n=N,
        versions=Params(measure=1), seed=None, limit=None, of=N, numerics=Numerics(),
    )  # fmt: skip
    store.write(cell, IDS, LABELS, COLUMNS)
    return cell


def test_a_large_outcome_reads_back_with_the_same_types_and_values(store, cell):
    outcome = store.read(cell.key)
    assert isinstance(outcome.columns, StoredColumns)
    assert list(outcome.columns) == list(COLUMNS)
    assert outcome.n == N
    for name, column in COLUMNS.items():
        assert outcome.columns[name].dtype == column.dtype
        assert np.array_equal(outcome.columns[name], column)
    assert outcome.columns.get("rank") is None


def flip(store, cell, name):
    """Change the last byte of a column's last page."""
    path = store._cell_path(cell.key)
    group = pq.read_metadata(path).row_group(0)
    [column] = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.split(".")[0] == name]
    data = bytearray(path.read_bytes())
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["correct", "top_logits"])
def test_a_damaged_column_is_named_when_it_is_asked_for(store, cell, name):
    flip(store, cell, name)
    outcome = store.read(cell.key)
    with pytest.raises(DamagedCellError, match="store rm --damaged"):
        outcome.columns[name]
    assert list(examine(store).damaged) == [store._cell_path(cell.key)]


def test_a_score_needs_only_its_own_columns(store, cell):
    flip(store, cell, "top_logits")
    assert top1(store.read(cell.key)).value == COLUMNS["correct"].mean()


def test_columns_that_changed_places_are_noticed(store, cell):
    path = store._cell_path(cell.key)
    table = pq.read_table(path, partitioning=None)
    swapped = table.set_column(1, "correct", pa.array(~COLUMNS["correct"]))
    pq.write_table(swapped, path, compression="zstd", write_page_checksum=True)
    with pytest.raises(DamagedCellError, match="column 'correct' does not match its footer"):
        store.read(cell.key).columns["correct"]


def test_outcomes_from_before_columns_had_digests_are_read_whole(store, cell):
    path = store._cell_path(cell.key)
    table = pq.read_table(path, partitioning=None)
    meta = json.loads(table.schema.metadata[b"bench"])
    del meta["digests"]
    pq.write_table(table.replace_schema_metadata({b"bench": json.dumps(meta).encode()}), path, write_page_checksum=True)
    outcome = store.read(cell.key)
    assert isinstance(outcome.columns, dict)
    assert np.array_equal(outcome.columns["correct"], COLUMNS["correct"])
    assert not examine(store).damaged
