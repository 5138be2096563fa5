"""Damage is what was read and is not what it must be; all else that lies in a store stays where it is."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import api
from bench.cli import main
from bench.store import DamagedCellError, Store, UnreadableError
from bench.store.damage import examine
from bench.store.log import cost, read_log
from tests.store.test_store import CHECKPOINT, IDS, LABELS, columns, make_cell

NOBODY = 65534
COST = {"parameters": 10, "macs": 20, "images_per_second": 30.5, "peak_memory": None}


@pytest.fixture
def store(tmp_path):
    return filled(tmp_path / "runs")


def filled(root: Path) -> Store:
    store = Store(root)
    store.prepare()
    for cell in (make_cell(), make_cell(seed=1)):
        store.record_checkpoint("m" * 64, CHECKPOINT)
        store.log({"key": cell.key, **COST})
        store.write(cell, IDS, LABELS, columns())
    return store


def snapshot(store: Store) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


# -- what could not be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied"), OSError(24, "Too many open files"), OSError(5, "Input/output error"),
     OSError(116, "Stale file handle"), MemoryError(), pa.lib.ArrowMemoryError("malloc of size 64 failed")],
    ids=lambda error: str(error) or "memory",
)  # fmt: skip
def test_what_could_not_be_read_is_left_where_it_is(store, monkeypatch, capsys, error):
    def fails(*_, **__):
        raise error

    before = snapshot(store)
    monkeypatch.setattr(pq, "read_table", fails)
    with pytest.raises(UnreadableError, match="cannot be read"):
        store.read(make_cell().key)
    found = examine(store)
    assert not found.damaged
    assert len(found.unreadable) == 3  # two cells, and their samples
    assert main(["store", "verify", "--store", str(store.root)]) == 1
    assert "2 cells, 0 damaged files, 3 that could not be read" in capsys.readouterr().out
    assert main(["store", "rm", "--damaged", "--store", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert said.count("left as it is: ") == 3
    assert "rm --damaged" not in said
    assert snapshot(store) == before


def test_a_cell_of_a_newer_format_is_no_damage(store, capsys):
    path = store._cell_path(make_cell().key)
    table = pq.read_table(path, partitioning=None)
    meta = {**json.loads(table.schema.metadata[b"bench"]), "format": 2}
    pq.write_table(table.replace_schema_metadata({b"bench": json.dumps(meta).encode()}), path)
    before = snapshot(store)
    with pytest.raises(UnreadableError, match="its format is 2, and this version of rtbench reads 1; update rtbench"):
        store.read(path.stem)
    assert main(["store", "rm", "--damaged", "--store", str(store.root)]) == 1
    assert snapshot(store) == before


def test_files_that_the_store_did_not_write_are_not_looked_at(store, tmp_path, capsys):
    foreign = [
        "mine.parquet", "data/x.parquet", "cells/mine.parquet", "cells/ab/notes.parquet", "samples/table.parquet",
        "checkpoints/notes.json", f"other/{'0' * 32}.parquet", "damaged/old.parquet",
    ]  # fmt: skip
    for name in foreign:
        (store.root / name).parent.mkdir(exist_ok=True)
        (store.root / name).write_text("not ours")
    before = snapshot(store)
    assert api.verify_store(store).sound
    assert len(api.list_store(store)) == 2
    assert main(["store", "rm", "--damaged", "--store", str(store.root)]) == 0
    (store.root / "index.sqlite").unlink()
    assert snapshot(store) == before


# -- what is damaged ----------------------------------------------------------------------------------------------


def test_damaged_files_are_moved_and_never_overwrite_one_another(store, capsys):
    path = store._cell_path(make_cell().key)
    for number, text in enumerate(("first", "second")):
        path.write_text(text)
        assert main(["store", "rm", "--damaged", "--store", str(store.root)]) == 0
        place = store.root / "damaged" / "cells" / path.parent.name / f"{path.name}{number or ''}"
        assert capsys.readouterr().out == f"moved {path} to {place}\n"
        assert place.read_text() == text
        assert not path.exists()
    assert api.verify_store(store).sound


def test_a_flipped_bit_in_the_log_is_found_and_its_costs_are_not_shown(store, capsys):
    path = store.root / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"macs": 20', b'"macs": 21', 1))
    [good] = read_log(store).values()
    assert good["macs"] == 20
    [(found, reason)] = examine(store).damaged.items()
    assert found == path
    assert "line 1: it does not match its checksum" in reason
    assert main(["store", "rm", "--damaged", "--store", str(store.root)]) == 0
    assert api.verify_store(store).sound
    assert [good] == list(read_log(store).values())
    assert (store.root / "damaged" / "log.jsonl").exists()


def test_any_flipped_bit_in_the_log_is_found_or_changes_nothing(store):
    path = store.root / "log.jsonl"
    good, wanted = path.read_bytes(), read_log(store)
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        os.utime(path, ns=(0, place))
        for key, entry in read_log(store).items():
            entry = {name: value for name, value in entry.items() if name != "crc" and name in COST}
            assert {"key": key, **entry} == wanted[key]


def test_lines_of_older_versions_have_no_checksum_and_are_read(store):
    line = json.dumps({"key": make_cell().key, **COST, "macs": 5})
    with (store.root / "log.jsonl").open("a") as log:
        log.write(line + "\n" + line[:-9])  # the second cut short
    assert cost([read_log(store)[make_cell().key]]).macs == 5
    assert api.verify_store(store).sound


@pytest.mark.parametrize("line", ["[1]", "{}", '{"key": 3}', '{"key": ["a"]}', "{nothing}", '"text"', "\x00}"])
def test_lines_that_name_no_cell_are_passed_over(store, line):
    with (store.root / "log.jsonl").open("a") as log:
        log.write(line + "\n")
    assert len(read_log(store)) == 2


def test_any_flipped_bit_in_a_checkpoints_entry_is_found_or_changes_nothing(store):
    [path] = store.root.glob("checkpoints/*.json")
    good, wanted = path.read_bytes(), store.checkpoints()
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        try:
            assert store.checkpoints() == wanted
        except DamagedCellError:
            continue
    store.record_checkpoint("m" * 64, CHECKPOINT)
    assert store.checkpoints() == wanted


def test_entries_of_older_versions_have_no_digest_and_get_one(store):
    [path] = store.root.glob("checkpoints/*.json")
    entry = json.loads(path.read_text())
    digest = entry.pop("digest")
    path.write_text(json.dumps(entry))
    assert [one.name for one in store.checkpoints()] == ["one"]
    assert not examine(store).damaged
    store.record_checkpoint("m" * 64, replace(CHECKPOINT))
    assert json.loads(path.read_text())["digest"] == digest


def test_a_samples_file_in_which_an_id_comes_twice_is_damage(store):
    from bench.store import samples_digest

    ids = np.array(["a", "a", "c"])
    path = store._samples_path(samples_digest(ids, LABELS))
    pq.write_table(pa.table({"id": ids.tolist(), "label": LABELS}), path)
    with pytest.raises(DamagedCellError, match="comes twice"):
        store.samples(path.stem)


# -- stores of others ---------------------------------------------------------------------------------------------

READ_FIRST = [
    "store ls --store theirs",
    "store verify --store theirs",
    "store rm --damaged --store theirs",
    "store merge theirs --store mine",
    "table --suite digits --store theirs",
    "outcomes --suite digits --store theirs --out rows.csv",
    "report --store theirs --out page.html",
    "publish --suite digits --store theirs --out results",
]
"""Commands that read all of a store, whatever it holds."""
OTHERS = [
    "store rm ab --store theirs",
    "store merge mine --store theirs",
    "compare digits-vit digits-resnet --suite digits --store theirs",
    "gate mine --suite digits --store theirs",
    "gate theirs --suite digits --store mine",
    "run --suite digits --checkpoint digits-vit --limit 2 --device cpu --workers 0 --cache off --store theirs",
    "import rows.csv --suite digits --checkpoint mine --store theirs",
]

ASK = """
import contextlib, ctypes, io, json, traceback
from bench.cli import main

VERSION_3 = 0x20080522
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)())  # root as anybody
answers = {{}}
for command in {commands!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(command.split())
        except BaseException:
            status = traceback.format_exc()
    answers[command] = [status, out.getvalue(), err.getvalue()]
print(json.dumps(answers))
"""


def forbid_all(root):
    os.chown(root, NOBODY, NOBODY)


def forbid_cells(root):
    os.chown(root / "cells", NOBODY, NOBODY)


def forbid_a_folder_of_cells(root):
    os.chown(next((root / "cells").iterdir()), NOBODY, NOBODY)


def forbid_a_cell(root):
    os.chown(next(root.glob("cells/*/*")), NOBODY, NOBODY)


def forbid_entries(root):
    os.chown(root / "checkpoints", NOBODY, NOBODY)


def be_a_file(root):
    shutil.rmtree(root)
    root.write_text("")


@pytest.mark.parametrize(
    "forbid", [forbid_all, forbid_cells, forbid_a_folder_of_cells, forbid_a_cell, forbid_entries, be_a_file]
)
def test_of_a_store_that_cannot_be_read_every_command_says_so_in_one_sentence(warm, tmp_path, forbid):
    if os.getuid():
        pytest.skip("only root can give a folder to another user")
    for name in ("theirs", "mine"):
        filled(tmp_path / name)
    (tmp_path / "rows.csv").write_text("id,prediction\n0,1\n")
    for path in tmp_path.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    forbid(tmp_path / "theirs")
    ended = warm.fork(ASK.format(commands=READ_FIRST + OTHERS), cwd=tmp_path).wait()
    assert ended.status == 0, ended.err
    for command, (status, out, err) in json.loads(ended.out.splitlines()[-1]).items():
        assert status in (1, 2, 3), (command, status, out, err)
        assert "rm --damaged" not in err, (command, err)
        if command in READ_FIRST:
            assert "cannot be read: " in out + err or "no store at theirs" in err, (command, status, out, err)


def test_a_log_that_cannot_be_read_is_one_sentence(store, monkeypatch):
    path = store.root / "log.jsonl"
    path.unlink()
    path.mkdir()
    with pytest.raises(UnreadableError, match="log.jsonl cannot be read: Is a directory"):
        read_log(store)
    assert path in examine(store).unreadable
