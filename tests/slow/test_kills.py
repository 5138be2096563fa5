"""Runs, and the processes that work for them, are killed at random moments: nothing is lost, hung or left behind.

The seed is fixed.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Started, is_alive
from tests.slow.fuzzing import times
from tests.test_faults import BIG, VIT, Undisturbed, assert_whole, cells, half_written, outcomes, undisturbed

TIMES = times(4)
pytestmark = pytest.mark.slow
NAPS = """
import time
from bench.corruptions import Corruption, corruptions
from bench.metrics.classification import MEAN_ACCURACY
from bench.records import Condition, Data, Images, Perturbation, Protocol
from bench.suite import Score, Suite, suites

def load():
    def nap(images_NCHW, severity, draws):
        time.sleep(0.02 * len(images_NCHW))
        return images_NCHW
    return nap

corruptions.register(Corruption(name="nap", version=1, load=load, batched=False))
corruptions.register(Corruption(name="siesta", version=1, load=load, batched=False))
conditions = tuple(
    Condition(data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption=name, severity=severity)))
    for name in ("nap", "siesta") for severity in range(1, 6)
)
scores = (Score(metric=MEAN_ACCURACY, conditions=conditions, column="asleep"),)
protocol = Protocol(terms=())
suites.register(Suite(name="naps", version=1, title="Naps", paper="", track="naps", protocol=protocol, scores=scores))
"""
"""10 cells, whose images are made in the processes, one at a time: that takes long and no processor time."""
NAPPING = ("run", "--suite", "naps", *VIT, "--limit", "20", "--batch-size", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def whole(warm, tmp_path_factory) -> Undisturbed:
    return undisturbed(warm, BIG, tmp_path_factory.mktemp("whole") / "runs")


def family(pid: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in listed.read_text().split()]
        except OSError:
            continue
        for child in children:
            found |= {child, *family(child)}
    return found


def assert_gone(processes: set[int]) -> None:
    deadline = time.monotonic() + 60
    while left := [pid for pid in processes if is_alive(pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def some_time(rng: random.Random, run: Started, most: float) -> set[int]:
    """Wait a random time, or until there are processes; those that were seen."""
    seen: set[int] = set()
    end = time.monotonic() + rng.uniform(0, most)
    while run.running and time.monotonic() < end:
        seen |= family(run.pid)
        time.sleep(0.005)
    return seen | family(run.pid)


def test_killed_alone_a_run_leaves_no_process_and_goes_on(warm, tmp_path, whole):
    rng, store = random.Random(1), tmp_path / "runs"
    for _ in range(TIMES):
        run = warm.start(BIG, store=store, cache=tmp_path / "cache", workers=2)
        seen = some_time(rng, run, whole.seconds)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait().status in (-signal.SIGKILL, 0)
        assert_gone(seen)
        assert outcomes(store).items() <= whole.outcomes.items()
    assert warm.run(BIG, store=store, cache=tmp_path / "cache", workers=2).status == 0
    assert_whole(warm, store, whole)


def test_a_killed_worker_ends_the_run_with_one_sentence(warm, install, tmp_path):
    rng, site, told = random.Random(2), install("naps", {"naps": "naps"}, {"naps.py": NAPS}), 0
    for turn in range(TIMES):
        store = tmp_path / "runs" / str(turn // 3)
        run = warm.start(NAPPING, store=store, workers=3, tear_down=True, path=[site])
        while run.running and not family(run.pid):
            time.sleep(0.001)
        time.sleep(rng.choice([0, rng.uniform(0, 1)]))
        workers = list(family(run.pid))
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
        ended = run.wait()
        assert ended.status in (0, 1)
        if ended.status:
            told += 1
            assert "SIGKILL, mostly for want of memory" in ended.sentence
            assert "fewer --workers" in ended.sentence
        assert_gone(set(workers))
        assert not half_written(store)
    assert told
    before = outcomes(store)
    assert warm.run(NAPPING, store=store, path=[site]).status == 0
    assert len(cells(store)) == 10
    assert before.items() <= outcomes(store).items()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_stop_does_so_in_order(warm, tmp_path, whole, number):
    rng, store = random.Random(3), tmp_path / "runs"
    for _ in range(TIMES):
        run = warm.start(BIG, store=store, workers=2, tear_down=True)
        seen = some_time(rng, run, whole.seconds)
        (os.kill if rng.random() < 0.5 else os.killpg)(run.pid, number)
        ended = run.wait()
        # Before the command has begun, a signal ends it as it ends every process.
        assert ended.status in (0, 128 + number, -number), ended
        assert "Traceback" not in ended.err or ended.status == -number
        assert_gone(seen)
        assert outcomes(store).items() <= whole.outcomes.items()
    assert warm.run(BIG, store=store).status == 0
    assert_whole(warm, store, whole)


def test_killed_make_c_goes_on_to_the_same_files(warm, tmp_path, imagenet_family):
    rng = random.Random(4)
    place = f"imagenet={imagenet_family['imagenet']}"

    def command(out: Path, workers: int) -> list[str]:
        words = ["data", "make-c", place, "--corruption", "fog,contrast", "--severity", "1,5", "--cache", "off"]
        return [*words, "--out", str(out), "--workers", str(workers)]

    assert warm.fork(command(tmp_path / "wanted", 0)).wait().status == 0
    for turn in range(TIMES):
        run = warm.fork(command(tmp_path / "made", 2))
        seen = some_time(rng, run, 2.0)
        if turn % 2 and (workers := list(family(run.pid))):
            os.kill(rng.choice(workers), signal.SIGKILL)
        else:
            os.kill(run.pid, signal.SIGKILL)
        assert run.wait().status in (-signal.SIGKILL, 0, 1)
        assert_gone(seen)
    assert warm.fork(command(tmp_path / "made", 2)).wait().status == 0
    made, wanted = (
        {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "made", tmp_path / "wanted")
    )
    assert made == wanted
