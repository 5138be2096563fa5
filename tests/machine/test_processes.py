"""Work in processes: results in order, faults as they are, and nobody left behind."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import RunError
from bench.machine.processes import in_processes


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    tasks = [9000, 1, 2, 3000, 3, 4, 5]  # the first takes longest
    assert list(in_processes(math.factorial, tasks, workers, doing="counts")) == list(map(math.factorial, tasks))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_work_raises_passes_through(workers: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(in_processes(math.factorial, [1, -1, 2], workers, doing="counts"))


def test_the_death_of_a_process_is_one_sentence() -> None:
    with pytest.raises(RunError, match=r"a process that counts died \(.*\), mostly for want of memory; rest\.$"):
        list(in_processes(os._exit, [9], 1, doing="counts", advice="rest"))


WAITS = """
import os, sys, time
from bench.machine.processes import in_processes

def work(task):
    open(f"{os.getpid()}.pid", "w").close()
    time.sleep(600)

if __name__ == "__main__":
    list(in_processes(work, [1], 1, doing="waits"))
"""


def test_the_processes_of_a_killed_one_end(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    parent = subprocess.Popen([sys.executable, "waits.py"], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.pid")) and time.monotonic() < deadline:
            time.sleep(0.05)
        [worker] = [int(path.stem) for path in tmp_path.glob("*.pid")]
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    while time.monotonic() < deadline and _is_alive(worker):
        time.sleep(0.05)
    assert not _is_alive(worker)


def _is_alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"  # a zombie waits for whoever inherits it
    except FileNotFoundError:
        return False
