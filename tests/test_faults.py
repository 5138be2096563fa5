"""Real faults in real processes: kills, full disks, damaged files. Nothing stored is lost, nothing wrong is shown.

The processes are forked from one that has imported torch already (`processes.py`), so that each takes as long as its
work.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import bench
from bench.store import Store
from tests.processes import Ended, Started, Warm

TESTS = Path(__file__).parent
ZOO = Path(bench.__file__).parent / "checkpoints" / "zoo"
PAIR = ("--checkpoint", "digits-vit", "--checkpoint", "digits-resnet")
VIT = ("--checkpoint", "digits-vit")
BIG = ("run", "--suite", "digits-c", *VIT, "--limit", "4", "--batch-size", "3", "--device", "cpu")
SMALL = ("run", "--suite", "digits", *PAIR, "--limit", "20", "--batch-size", "8", "--device", "cpu")
TABLE = ("table", "--suite", "digits", "--format", "csv")
NOBODY = 65534


@dataclass(frozen=True)
class Undisturbed:
    store: Path
    outcomes: Mapping[str, bytes]
    seconds: float


def undisturbed(warm: Warm, command: Sequence[str], store: Path) -> Undisturbed:
    start = time.monotonic()
    ended = warm.run(command, store=store)
    assert ended.status == 0, ended.err
    return Undisturbed(store, outcomes(store), time.monotonic() - start)


@pytest.fixture(scope="module")
def big(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """76 cells."""
    return undisturbed(warm, BIG, tmp_path_factory.mktemp("big") / "runs")


@pytest.fixture(scope="module")
def small(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """2 cells."""
    return undisturbed(warm, SMALL, tmp_path_factory.mktemp("small") / "runs")


@pytest.fixture
def copy(small: Undisturbed, tmp_path: Path) -> Path:
    """A store with the 2 cells, to be damaged; its index knows the cells and their scores."""
    return Path(shutil.copytree(small.store, tmp_path / "runs"))


def outcomes(store: Path) -> dict[str, bytes]:
    """The outcome files."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in ("cells", "samples", "checkpoints")
        for path in (store / folder).rglob("*.*")
        if not path.name.endswith(".tmp")
    }


def half_written(store: Path) -> list[Path]:
    return list(store.rglob("*.tmp"))


def cells(store: Path) -> list[Path]:
    return sorted(store.glob("cells/*/*.parquet"))


def assert_whole(warm: Warm, store: Path, wanted: Undisturbed) -> None:
    """The outcome files are those of the undisturbed run, and nothing else lies about."""
    assert outcomes(store).keys() == wanted.outcomes.keys()
    assert outcomes(store) == wanted.outcomes
    assert not half_written(store)
    assert warm.run(["store", "verify"], store=store).status == 0


def until(moment: Callable[[], bool], run: Started) -> None:
    while run.running and not moment():
        time.sleep(0.0005)


# -- kills ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("often", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_at_many_moments_a_run_ends_with_the_bytes_of_an_undisturbed_one(warm, big, tmp_path, often):
    store, cache = tmp_path / "runs", tmp_path / "cache"
    rng = random.Random(0)
    total = len(cells(big.store))

    def more(run: Started, count: int) -> None:
        wanted = len(cells(store)) + count
        until(lambda: len(cells(store)) >= wanted, run)

    moments: list[Callable[[Started], None]] = [
        *[lambda run: time.sleep(0.02)] * often,  # while it plans
        *[lambda run: until((store / "samples").exists, run)] * often,
        lambda run: until(lambda: bool(half_written(store)), run),  # while it writes
        *[lambda run: more(run, rng.randrange(1, 15))] * (8 if often else 2),
        *[lambda run: time.sleep(rng.uniform(0.1, 0.3) * big.seconds)] * (8 if often else 0),
        *[lambda run: until(lambda: bool(half_written(store)), run)] * (8 if often else 0),
        *[lambda run: more(run, total)] * (8 if often else 0),  # with every cell stored, and no table yet
    ]
    stages = []
    for moment in moments:
        run = warm.start(BIG, store=store, cache=cache)
        moment(run)
        run.kill()
        assert run.wait().status in (-signal.SIGKILL, 0)
        stages.append(len(cells(store)))
    assert len({count for count in stages if 0 < count < total}) >= (4 if often else 2), (
        f"the kills were not spread: {stages}"
    )
    assert warm.run(BIG, store=store, cache=cache).status == 0
    assert_whole(warm, store, big)


def test_what_a_killed_run_left_half_written_is_removed_even_when_all_is_stored(
    warm, small, copy, killed_while_writing
):
    killed_while_writing(cells(copy)[0])
    assert half_written(copy)
    assert warm.run(SMALL, store=copy).status == 0
    assert_whole(warm, copy, small)


def test_two_runs_at_once_share_a_store_and_a_cache(warm, big, tmp_path):
    store, cache = tmp_path / "runs", tmp_path / "cache"
    both = [warm.start(BIG, store=store, cache=cache) for _ in range(2)]
    assert [run.wait().status for run in both] == [0, 0]
    assert_whole(warm, store, big)


def test_every_stored_cell_has_its_line_in_the_log_after_kills(warm, small, tmp_path):
    store = tmp_path / "runs"
    run = warm.start(SMALL, store=store)
    until(lambda: len(cells(store)) > 0, run)
    run.kill()
    run.wait()
    assert warm.run(SMALL, store=store).status == 0
    logged = {json.loads(line)["key"] for line in (store / "log.jsonl").read_text().splitlines()}
    assert logged == Store(store).keys()


@pytest.mark.parametrize("moments", [[(10, 0)], pytest.param([(1, 2), (20, 0), (40, 2)], marks=pytest.mark.slow)])
def test_ctrl_c_ends_with_one_sentence_and_keeps_finished_cells(warm, big, tmp_path, moments):
    store = tmp_path / "runs"
    for wanted, workers in moments:
        run = warm.start(BIG, store=store, workers=workers, tear_down=True)
        until(lambda wanted=wanted: len(cells(store)) >= wanted, run)
        run.kill(signal.SIGINT)
        ended = run.wait()
        assert ended.status == 130
        assert "same command goes on" in ended.sentence
        assert len(cells(store)) >= wanted
        assert outcomes(store).items() <= big.outcomes.items()
    if len(moments) > 1:
        assert warm.run(BIG, store=store).status == 0
        assert_whole(warm, store, big)


# -- no room ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "limit"), [("small", 600), ("small", 4_000), ("big", 30_000)])
def test_a_full_disk_stops_with_one_sentence_and_the_run_goes_on_once_there_is_room(
    warm, request, tmp_path, kind, limit
):
    """A limit on the size of files gives real failed and short writes, without a disk of its own."""
    wanted, command = request.getfixturevalue(kind), {"small": SMALL, "big": BIG}[kind]
    store = tmp_path / "runs"
    ended = warm.run(command, store=store, cache="off", file_limit=limit)
    assert ended.status == 1
    assert "cannot be written: " in ended.sentence
    assert any(reason in ended.sentence for reason in ("File too large", "No space left on device"))
    assert "goes on from there" in ended.sentence
    assert not half_written(store)
    assert outcomes(store).items() <= wanted.outcomes.items()
    assert bool(cells(store)) == (kind == "big")  # there the log is the first file to grow too long
    assert warm.run(command, store=store).status == 0
    assert_whole(warm, store, wanted)
    lines = [line for line in (store / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    assert {json.loads(line)["key"] for line in lines} == Store(store).keys()


def test_a_table_that_cannot_be_written_leaves_the_old_one(warm, big, tmp_path):
    store = Path(shutil.copytree(big.store, tmp_path / "runs"))
    table = store / "tables" / "digits-c-limit-4.csv"
    before = table.read_bytes()
    ended = warm.run(BIG, store=store, file_limit=5_000)  # more than the leaderboard, which goes to a file too
    assert ended.status == 1
    assert ".csv cannot be written" in ended.sentence
    assert "make room" in ended.sentence
    assert table.read_bytes() == before
    assert not half_written(store)


def test_output_that_cannot_be_written_is_said(warm, big, tmp_path):
    store = Path(shutil.copytree(big.store, tmp_path / "runs"))
    command = ("table", "--suite", "digits-c", "--format", "csv")
    ended = warm.run(command, store=store, file_limit=1_000)  # less than the table, which goes to a file
    assert ended.status == 1
    assert "the output cannot be written (File too large); make room" in ended.sentence


def test_a_crop_cache_without_room_is_gone_without(warm, small, tmp_path):
    store, cache = tmp_path / "runs", tmp_path / "cache"
    ended = warm.run(SMALL, store=store, cache=cache, file_limit=30_000)
    assert ended.status == 0
    assert "going on without it" in ended.sentence
    assert_whole(warm, store, small)


FULL_DISKS = """
import contextlib, ctypes, io, pathlib, subprocess
from bench.cli import main

NEW_MOUNTS = 0x20000
assert ctypes.CDLL(None).unshare(NEW_MOUNTS) == 0
subprocess.run(["mount", "--make-rprivate", "/"], check=True)

def mounted(size, *options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={{size}}", *options]), "none", "disk"], check=True)

def run(*more):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = main([*command, *more])
    print(status, errors.getvalue().replace("\\n", " "))

command = {command!r}
mounted("64k")
run("--store", "disk/runs", "--cache", "cache")
print(sorted(str(p) for p in pathlib.Path("disk").rglob("*.tmp")), flush=True)
mounted("64m", "remount")
run("--store", "disk/runs", "--cache", "cache")
subprocess.run(["cp", "-a", "disk/runs", "first"], check=True)
subprocess.run(["umount", "disk"], check=True)
mounted("16k")
with contextlib.suppress(OSError):
    pathlib.Path("disk/fill").write_bytes(bytes(10**6))
run("--store", "second", "--cache", "disk/cache")
"""


def test_on_a_disk_that_is_full_the_run_stops_and_the_cache_does_not(warm, tmp_path):
    """A disk of its own: a small tmpfs that only the test's process sees."""
    command = ("run", "--suite", "digits-v2", *PAIR, "--limit", "100", "--device", "cpu", "--workers", "0")
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    (tmp_path / "disk").mkdir()
    wanted = undisturbed(warm, command, tmp_path / "wanted")
    ended = warm.fork(FULL_DISKS.format(command=command), cwd=tmp_path).wait()
    assert ended.status == 0, ended.err
    full, left, again, without_cache = ended.out.splitlines()
    assert full[0] == "1"
    assert "bench: the store disk/runs cannot be written: No space left on device" in full
    assert left == "[]"
    assert again[0] == "0"
    assert without_cache[0] == "0"
    assert "the crop cache disk/cache" in without_cache
    assert_whole(warm, tmp_path / "first", wanted)
    assert_whole(warm, tmp_path / "second", wanted)


@pytest.mark.parametrize("place", ["file/runs", "/proc/nowhere"])
def test_a_store_that_cannot_be_made_is_one_sentence(warm, tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    ended = warm.run(SMALL, store=tmp_path / place)
    assert ended.status == 1
    assert "cannot be written" in ended.sentence
    assert "--store DIR" in ended.sentence


def test_a_store_that_may_only_be_read_gives_its_tables(warm, small):
    for path in (Path(bench.__file__), Path(torch.__file__), TESTS):
        if any(parent.stat().st_mode & 0o005 != 0o005 for parent in path.parents):
            pytest.skip("another user cannot read the program here")
    wanted = warm.run(TABLE, store=small.store).out
    with tempfile.TemporaryDirectory() as folder:
        store = Path(shutil.copytree(small.store, Path(folder) / "runs"))
        for index in (True, False):
            if not index:
                (store / "index.sqlite").unlink()
            for path in (Path(folder), store, *store.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
            user = NOBODY if os.getuid() == 0 else None  # root may write everywhere
            assert warm.run(TABLE, store=store, user=user) == Ended(0, wanted, "")
            ended = warm.run(SMALL, store=store, user=user, cache="off")
            assert ended.status != 0
            assert "cannot be written: Permission denied" in ended.sentence
            for path in (Path(folder), store, *store.rglob("*")):
                path.chmod(0o755)


# -- damage -----------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    column = pq.read_metadata(path).row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start + column.total_compressed_size - 1] ^= 0x10  # the last of its values: headers hold bits without meaning
    path.write_bytes(data)


def flip_last(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x10
    path.write_bytes(data)


def swap(path: Path) -> None:
    [other] = [other for other in path.parents[1].rglob("*.parquet") if other != path]
    path.write_bytes(other.read_bytes())


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, flip, swap, empty])
def test_a_damaged_cell_is_named_and_measured_anew_on_request(warm, small, copy, harm):
    path = cells(copy)[0]
    harm(path)
    remedy = f"`bench store rm --damaged --store {copy}`"
    verified = warm.run(["store", "verify"], store=copy)
    assert verified.status == 1
    assert str(path) in verified.out
    assert remedy in verified.out
    for command in (TABLE, SMALL):  # a run must not pass over it either
        ended = warm.run(command, store=copy)
        assert ended.status == 1
        assert str(path) in ended.sentence
        assert remedy in ended.sentence
        assert ended.out == ""
    removed = warm.run(["store", "rm", "--damaged"], store=copy)
    assert removed.out == f"moved {path} to {copy / 'damaged' / path.relative_to(copy)}\n"
    assert warm.run(SMALL, store=copy).status == 0
    assert_whole(warm, copy, small)
    assert warm.run(TABLE, store=copy).out == warm.run(TABLE, store=small.store).out


@pytest.mark.parametrize("folder", ["samples", "checkpoints"])
@pytest.mark.parametrize("harm", [cut, empty])
def test_damage_beside_the_cells_is_mended_without_measuring_them_again(warm, small, copy, folder, harm):
    path = next((copy / folder).iterdir())
    harm(path)
    (copy / "index.sqlite").unlink()
    assert str(path) in warm.run(TABLE, store=copy).sentence
    assert f"moved {path} to " in warm.run(["store", "rm", "--damaged"], store=copy).out
    lines = (copy / "log.jsonl").read_text()
    assert warm.run(SMALL, store=copy).status == 0
    assert (copy / "log.jsonl").read_text() == lines
    assert_whole(warm, copy, small)


def test_a_file_under_a_name_that_is_not_its_own_stands_for_no_cell(warm, small, copy):
    right = cells(copy)[0]
    wrong = right.parent / (right.stem[:-1] + ("0" if right.stem[-1] != "0" else "1") + ".parquet")
    elsewhere = copy / "cells" / "zz" / right.name
    elsewhere.parent.mkdir()
    shutil.copy(right, elsewhere)
    right.rename(wrong)
    assert str(wrong) in warm.run(TABLE, store=copy).sentence
    verified = warm.run(["store", "verify"], store=copy)
    assert verified.status == 1
    assert str(wrong) in verified.out
    assert str(elsewhere) in verified.out
    assert warm.run(["store", "rm", "--damaged"], store=copy).status == 0
    assert warm.run(SMALL, store=copy).status == 0
    assert_whole(warm, copy, small)


def test_any_flipped_bit_is_noticed_or_changes_nothing(small):
    store = Store(small.store)
    path = cells(small.store)[0]
    whole, good = store.read(path.stem), path.read_bytes()
    rng = random.Random(1)
    try:
        for place in [*range(0, len(good), 11), *range(len(good) - 200, len(good))]:
            data = bytearray(good)
            data[place] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            try:
                read = store.read(path.stem)
            except bench.store.DamagedCellError:
                continue
            assert read.columns.keys() == whole.columns.keys()
            assert all(read.columns[name].tobytes() == whole.columns[name].tobytes() for name in whole.columns)
    finally:
        path.write_bytes(good)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(40_000))


def riddled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(0).randbytes(len(data) - 4096)
    path.write_bytes(data)


def falsified(path: Path) -> None:
    data = path.read_bytes()
    assert b'"value": 0.9' in data
    path.write_bytes(data.replace(b'"value": 0.9', b'"value": 0.1'))


@pytest.mark.parametrize("harm", [garbage, riddled, falsified, cut, empty, Path.unlink])
def test_a_damaged_index_changes_no_table(warm, copy, harm):
    wanted = warm.run(TABLE, store=copy)
    assert wanted.status == 0
    harm(copy / "index.sqlite")
    for _ in range(2):
        assert warm.run(TABLE, store=copy) == wanted
    assert (copy / "index.sqlite").read_bytes()[:15] == b"SQLite format 3"  # made anew


def test_a_cell_measured_anew_with_other_numbers_is_scored_anew(warm, copy):
    """The index must not answer for a file that has been replaced."""
    before = warm.run(TABLE, store=copy).out
    path = cells(copy)[0]
    stored = Store(copy)
    footer, outcome = stored.footer(path.stem), stored.read(path.stem)
    stored.remove(path.stem)
    prediction = np.where(outcome.columns["correct"], (outcome.labels + 1) % 10, outcome.labels)
    columns = {"prediction": prediction, "correct": prediction == outcome.labels}

    @dataclass
    class Cell:
        key, identity, n, classes = path.stem, dict(footer.identity), footer.n, 10

    assert stored.write(Cell(), outcome.ids, outcome.labels, columns)
    assert warm.run(TABLE, store=copy).out != before


@pytest.mark.parametrize("name", ["crops", "records"])
@pytest.mark.parametrize("harm", [cut, flip_last, empty, garbage])
def test_a_damaged_crop_cache_changes_no_outcome(warm, small, tmp_path, name, harm):
    cache = tmp_path / "cache"
    assert warm.run(SMALL, store=tmp_path / "first", cache=cache).status == 0
    [path] = cache.glob(f"*/{name}")
    harm(path)
    assert warm.run(SMALL, store=tmp_path / "second", cache=cache).status == 0
    assert_whole(warm, tmp_path / "second", small)


# -- checkpoints that fail ----------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A registry file with a checkpoint whose weights hold a NaN."""
    arrays = load_file(ZOO / "digits-vit.safetensors")
    name = next(name for name in arrays if name.endswith("head.weight"))
    arrays[name] = arrays[name].clone()
    arrays[name][3, 5] = torch.nan
    save_file(arrays, tmp_path / "broken.safetensors")
    entry = """
        [broken]
        arch = "digits_vit"
        weights = "broken.safetensors"
        dataset = "digits"
        input_size = 32
    """
    (tmp_path / "mine.toml").write_text(entry)
    return tmp_path / "mine.toml"


def test_a_checkpoint_that_gives_nan_fails_alone(warm, small, tmp_path, broken):
    store = tmp_path / "runs"
    mine = ("--registry", str(broken), "--checkpoint", "broken")
    ended = warm.run((*SMALL, *mine), store=store)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "bench: 1 cell failed; everything else is stored:" in ended.err
    assert "NaN" in ended.err.splitlines()[-1]
    assert "digits-vit" in ended.out
    assert "broken" not in ended.out
    assert {k: v for k, v in outcomes(store).items() if k in small.outcomes} == small.outcomes
    assert len(cells(store)) == 2


def test_on_error_stop_stops_at_the_first_fault(warm, tmp_path, broken):
    run = ("run", "--suite", "digits", "--registry", str(broken), "--checkpoint", "broken", *PAIR, "--limit", "20")
    ended = warm.run((*run, "--device", "cpu", "--on-error", "stop"), store=tmp_path / "runs")
    assert ended.status == 1
    assert "--on-error stop" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert not cells(tmp_path / "runs")


def test_on_error_stop_does_not_begin_where_a_checkpoint_is_missing(warm, tmp_path):
    entry = '[gone]\narch = "resnet18"\nweights = "gone.safetensors"\ndataset = "digits"\n'
    (tmp_path / "mine.toml").write_text(entry)
    mine = ("--registry", str(tmp_path / "mine.toml"), "--checkpoint", "gone")
    ended = warm.run((*SMALL, *mine, "--on-error", "stop"), store=tmp_path / "runs")
    assert ended.status == 1
    assert "gone.safetensors" in ended.err.splitlines()[-1]
    assert not cells(tmp_path / "runs")
