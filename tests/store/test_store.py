"""The store: what is written is read back, whole, once, and under a name that says what it is."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from bench.errors import RunError
from bench.machine.files import replacing
from bench.records import Cell, Checkpoint, ClassSpace, Condition, Data, Numerics, Params
from bench.store import DamagedCellError, Store
from bench.store.damage import examine
from bench.store.footers import entry_of
from bench.store.merge import Merged, merge

IDS = np.array(["a", "b", "c"])
LABELS = np.array([0, 1, 0])
CHECKPOINT = Checkpoint(name="one", class_space=ClassSpace(name="two", classes=("x", "y")), family="vit")


def make_cell(**changes: object) -> Cell:
    cell = Cell(
        checkpoint=CHECKPOINT,
        condition=Condition(data=Data(dataset="letters")),
        model_digest="m" * 64,
        fingerprints=("f",),
        n=3,
        versions=Params(measure=1),
        seed=None,
        limit=None,
        of=3,
        numerics=Numerics(),
    )
    return replace(cell, **changes)


def columns() -> dict[str, np.ndarray]:
    return {
        "prediction": np.array([0, 1, 1], dtype=np.int32),
        "correct": np.array([True, True, False]),
        "top_logits": np.array([[2.0, 1.0], [3.0, 0.5], [0.1, 0.0]], dtype=np.float32),
        "loss": np.array([0.1, np.float32(1) / 3, 2.0], dtype=np.float32),
    }


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.prepare()
    return store


def test_an_outcome_reads_back_with_the_same_types_and_values(store):
    cell = make_cell()
    assert store.write(cell, IDS, LABELS, columns())
    outcome = store.read(cell.key)
    assert outcome.ids.tolist() == IDS.tolist()
    assert outcome.labels.tolist() == LABELS.tolist()
    for name, column in columns().items():
        assert outcome.columns[name].dtype == column.dtype
        assert np.array_equal(outcome.columns[name], column)


def test_the_footer_says_what_was_measured_and_nothing_of_when_or_who(store):
    cell = make_cell()
    store.write(cell, IDS, LABELS, columns())
    assert store.footer(cell.key).identity == cell.identity
    assert "one" not in json.dumps(cell.identity)


def test_the_first_writer_wins(store):
    cell = make_cell()
    store.write(cell, IDS, LABELS, columns())
    other = {**columns(), "prediction": np.array([1, 0, 1]), "correct": np.array([False, False, False])}
    assert not store.write(cell, IDS, LABELS, other)
    assert store.read(cell.key).columns["correct"].tolist() == [True, True, False]


def test_equal_work_gives_equal_bytes(tmp_path):
    files = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        store.prepare()
        store.write(make_cell(), IDS, LABELS, columns())
        files.append({p.relative_to(store.root): p.read_bytes() for p in store.root.glob("*/**/*.parquet")})
    assert len(files[0]) == 2
    assert files[0] == files[1]


def test_many_writers_at_once_leave_one_whole_file(store):
    cell = make_cell()
    wins = []
    threads = [
        threading.Thread(target=lambda: wins.append(store.write(cell, IDS, LABELS, columns()))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wins) == 1
    assert store.keys() == {cell.key}
    assert not list(store.root.glob("*/**/.*.tmp"))


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": "other"},
        {"condition": Condition(data=Data(dataset="digits"))},
        {"fingerprints": ("g",)},
        {"versions": Params(measure=2)},
        {"seed": 1},
        {"limit": 3},
        {"numerics": Numerics(precision="bf16")},
        {"numerics": Numerics(device="cuda")},
    ],
)
def test_whatever_decides_the_outcome_is_in_the_key(change):
    assert make_cell(**change).key != make_cell().key


def test_the_name_of_a_checkpoint_is_not_in_the_key():
    assert make_cell(checkpoint=replace(CHECKPOINT, name="two")).key == make_cell().key


def test_rows_that_are_not_the_cells_samples_are_refused(store):
    with pytest.raises(RunError, match="3 samples were to be measured"):
        store.write(make_cell(), IDS[:2], LABELS[:2], {k: v[:2] for k, v in columns().items()})
    assert not store.keys()


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "rename"])
def test_a_damaged_file_is_named_with_what_to_do(store, harm):
    cell = make_cell()
    store.write(cell, IDS, LABELS, columns())
    path = store.root / "cells" / cell.key[:2] / f"{cell.key}.parquet"
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[30] ^= 0xFF
    path.write_bytes({"cut": data[:-20], "flip": data, "empty": b"", "rename": data}[harm])
    if harm == "rename":
        renamed = store.root / "cells" / "00" / ("0" * 32 + ".parquet")
        renamed.parent.mkdir()
        path = path.rename(renamed)
    [(found, reason)] = examine(store).damaged.items()
    assert found == path
    assert "store rm --damaged" in reason


def test_samples_that_do_not_match_their_name_are_damage(store):
    cell = make_cell()
    store.write(cell, IDS, LABELS, columns())
    other = make_cell(condition=Condition(data=Data(dataset="other")))
    store.write(other, np.array(["a", "b", "d"]), LABELS, columns())
    mine, theirs = (store._samples_path(store.footer(c.key).samples) for c in (cell, other))
    mine.write_bytes(theirs.read_bytes())
    with pytest.raises(DamagedCellError, match="do not match its name"):
        store.read(cell.key)


def test_what_a_killed_run_left_is_removed_and_what_a_live_one_writes_is_not(store, killed_while_writing):
    path = store.root / "cells" / "ab" / "x.parquet"
    left = killed_while_writing(path)
    with replacing(path) as half:
        half.write_bytes(b"half")
        store.prepare()
        assert half.exists()
        assert not left.exists()


def test_merging_copies_what_is_lacking_and_keeps_what_is_there(store, tmp_path):
    other = Store(tmp_path / "other")
    other.prepare()
    shared, new = make_cell(), make_cell(seed=1)
    store.write(shared, IDS, LABELS, columns())
    other.write(shared, IDS, LABELS, columns())
    other.write(new, IDS, LABELS, columns())
    other.record_checkpoint("m" * 64, CHECKPOINT)
    other.log({"key": new.key})
    assert merge(store, other) == Merged(copied=1, known=1)
    assert store.keys() == {shared.key, new.key}
    assert [entry.name for entry in store.checkpoints()] == ["one"]
    assert merge(store, other) == Merged(copied=0, known=2)
    assert (store.root / "log.jsonl").read_text().count(new.key) == 1


def test_merging_refuses_a_damaged_cell(store, tmp_path):
    other = Store(tmp_path / "other")
    other.prepare()
    other.write(make_cell(), IDS, LABELS, columns())
    [path] = other.root.glob("cells/*/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedCellError):
        merge(store, other)
    assert not store.keys()


def test_merging_refuses_a_damaged_registry_entry(store, tmp_path):
    other = Store(tmp_path / "other")
    other.prepare()
    other.record_checkpoint("m" * 64, CHECKPOINT)
    [path] = other.root.glob("checkpoints/*.json")
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DamagedCellError):
        merge(store, other)
    assert not store.checkpoints()


def test_one_model_under_two_names_is_two_rows(store):
    store.record_checkpoint("m" * 64, CHECKPOINT)
    store.record_checkpoint("m" * 64, replace(CHECKPOINT, name="two"))
    store.record_checkpoint("m" * 64, CHECKPOINT)
    assert [entry.name for entry in store.checkpoints()] == ["one", "two"]


def test_a_corrected_registry_entry_stands_in_place_of_the_old_one(store):
    store.record_checkpoint("m" * 64, CHECKPOINT)
    store.record_checkpoint("m" * 64, replace(CHECKPOINT, sam="sam", family="mixer"))
    [entry] = store.checkpoints()
    assert (entry.sam, entry.family) == ("sam", "mixer")


def test_trainings_of_a_recipe_differ_in_their_seed_and_share_their_setup(store):
    first = replace(CHECKPOINT, recipe="mine", seed=0, arch="resnet18")
    entries = [first, replace(first, name="two", seed=2**63 - 1), replace(first, name="wide", arch="resnet34")]
    for entry in entries:
        store.record_checkpoint(entry.name * 8, entry)
    one, two, wide = store.checkpoints()
    assert [(entry.recipe, entry.seed) for entry in (one, two, wide)] == [("mine", 0), ("mine", 2**63 - 1), ("mine", 0)]
    assert one.setup == two.setup != wide.setup


def test_a_registry_entry_of_older_code_has_no_seed(store):
    store.record_checkpoint("m" * 64, replace(CHECKPOINT, recipe="mine", seed=1))
    [path] = store.root.glob("checkpoints/*.json")
    entry = entry_of(path.read_bytes())
    path.write_text(json.dumps({name: value for name, value in entry.items() if name not in ("seed", "pair_differs")}))
    [read] = store.checkpoints()
    assert (read.recipe, read.seed, read.pair_differs) == ("mine", None, "")


@pytest.mark.parametrize("seed", [-1, True, "3", 1.0])
def test_a_seed_that_is_none_is_damage(store, seed):
    store.record_checkpoint("m" * 64, replace(CHECKPOINT, seed=seed))
    with pytest.raises(DamagedCellError, match="a seed that is none"):
        store.checkpoints()


def test_a_registry_entry_is_not_written_again_for_another_place_of_its_weights(store):
    store.record_checkpoint("m" * 64, CHECKPOINT)
    [path] = store.root.glob("checkpoints/*.json")
    before = path.stat()
    store.record_checkpoint("m" * 64, replace(CHECKPOINT, weights="/elsewhere/one.safetensors"))
    assert path.stat() == before


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written.*--store DIR"):
        Store(tmp_path / "file" / "runs").prepare()
