"""Signals that ask to stop: one sentence, the status that shells know, and nobody left behind."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.processes import is_alive

WAITS = """
import os, signal, sys, time
from bench import cli
from bench.cli import main, run
from bench.machine.processes import in_processes

def wait(seconds):
    open(f"{{os.getpid()}}.pid", "w").close()
    time.sleep(seconds)

{before}
run._list = lambda _: {work}
status = main(["list", "suites"])
sys.stderr.flush()
os._exit(status)
"""
ALL = 'list(in_processes(wait, [600, 600], 2, doing="waits"))'
STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def begun(warm, folder: Path, before: str = "", work: str = ALL):
    """A process whose two workers are at work, and these."""
    run = warm.fork(WAITS.format(before=before, work=work), cwd=folder)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.pid"))) < 2 and time.monotonic() < deadline and run.running:
        time.sleep(0.01)
    return run, [int(path.stem) for path in folder.glob("*.pid")]


def assert_gone(processes: list[int]) -> None:
    assert len(processes) == 2
    deadline = time.monotonic() + 20
    while any(is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.01)


@pytest.mark.parametrize("everybody", [False, True], ids=["alone", "its whole group"])
@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_ends_all_with_one_sentence(warm, tmp_path, number, everybody):
    run, workers = begun(warm, tmp_path)
    (os.killpg if everybody else os.kill)(run.pid, number)
    ended = run.wait()
    assert ended.status == 128 + number
    assert ended.sentence in ("bench: interrupted.", f"bench: stopped by {signal.Signals(number).name}.")
    assert_gone(workers)


@pytest.mark.parametrize("number", STOPPING)
def test_a_second_signal_does_not_wait_for_what_takes_long(warm, tmp_path, number):
    before = "from bench.machine import processes\nprocesses._Pool.end = lambda self: time.sleep(600)"
    run, workers = begun(warm, tmp_path, before)
    run.kill(number)
    while "at once" not in (run.folder / "stderr").read_text() and run.running:
        run.kill(number)
        time.sleep(0.05)
    assert run.wait().status == 128 + number
    assert_gone(workers)


def test_a_call_that_does_not_come_back_is_ended_some_time_after_the_signal(warm, tmp_path):
    before = "from bench.machine import signals\nsignals._PATIENCE = 0.2\n"
    before += "from bench.machine import processes\nprocesses._Pool.end = lambda self: time.sleep(600)"
    run, workers = begun(warm, tmp_path, before)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait().status == 128 + signal.SIGTERM
    assert_gone(workers)


def test_processes_end_with_the_one_they_work_for(warm, tmp_path):
    run, workers = begun(warm, tmp_path)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert_gone(workers)


def test_a_signal_that_is_ignored_stays_ignored(warm, tmp_path):
    run, workers = begun(warm, tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    run.kill(signal.SIGHUP)
    time.sleep(0.1)
    assert run.running
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait().status == 128 + signal.SIGTERM
    assert_gone(workers)


def test_a_pool_that_is_left_halfway_ends_too(warm, tmp_path):
    """The signal comes while results are used, not while they are waited for: what frames hold is alive still."""
    before = """
def halfway():
    results = in_processes(wait, [0, 600, 600], 2, doing="waits")
    next(results)
    time.sleep(600)
"""
    run, workers = begun(warm, tmp_path, before, "halfway()")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait().status == 128 + signal.SIGTERM
    assert_gone(workers)
