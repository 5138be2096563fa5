"""Work in processes: results in order, faults as they are, and nobody left behind."""

import contextlib
import errno
import gc
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError, RunError, UnknownNameError
from bench.machine.processes import in_processes


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    tasks = [9000, 1, 2, 3000, 3, 4, 5]  # the first takes longest
    assert list(in_processes(math.factorial, tasks, workers, doing="counts")) == list(map(math.factorial, tasks))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_work_raises_passes_through(workers: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(in_processes(math.factorial, [1, -1, 2], workers, doing="counts"))


@pytest.mark.parametrize(
    ("work", "task", "reason"),
    [
        (os._exit, 9, "exit status 9"),
        (signal.raise_signal, signal.SIGKILL, "SIGKILL, mostly for want of memory"),
        (signal.raise_signal, signal.SIGUSR1, "SIGUSR1"),
    ],
)
def test_the_death_of_a_process_is_one_sentence(work: Callable[[int], None], task: int, reason: str) -> None:
    with pytest.raises(RunError, match=rf"^a process that counts died \({reason}\); rest\.$"):
        list(in_processes(work, [task], 1, doing="counts", advice="rest"))
    assert not multiprocessing.active_children()


def test_a_process_killed_while_it_starts_keeps_nobody_waiting() -> None:
    def kill_itself() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match="a process that counts died"):
        list(in_processes(math.factorial, range(9), 3, doing="counts", begin=kill_itself))


def test_code_that_ends_a_process_by_itself_ends_nobody_else() -> None:
    with pytest.raises(RunError, match="SystemExit"):
        list(in_processes(sys.exit, [0], 1, doing="counts"))


def test_an_exception_that_cannot_travel_arrives_as_its_text() -> None:
    def work(_: int) -> None:
        raise UnknownNameError("suite", "digit", ["digits"])

    with pytest.raises(BenchError, match="no suite 'digit'. Did you mean 'digits'"):
        list(in_processes(work, [1], 1, doing="counts"))


def test_arrays_come_whole_and_can_be_written_to() -> None:
    def work(n: int) -> dict[str, object]:
        return {"large": np.full((n, 1000), n), "small": np.arange(n), "views": np.ones((2 * n, 999), "u1")[::2]}

    for n, made in zip((500, 3), in_processes(work, [500, 3], 2, doing="counts"), strict=True):
        assert (made["large"] == n).all()
        made["large"] += 1  # type: ignore[operator]
        assert (made["small"] == np.arange(n)).all()
        assert made["views"].shape == (n, 999)  # type: ignore[attr-defined]


def test_arrays_come_through_the_connection_where_there_is_no_memory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: str) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "memfd_create", forbidden)
    made = list(in_processes(np.ones, [10**6, 10**5, 3], 1, doing="counts"))
    assert [len(array) for array in made] == [10**6, 10**5, 3]


def test_garbage_of_this_process_is_finalised_here_alone(tmp_path: Path) -> None:
    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    def collect(task: int) -> bool:
        gc.collect()
        return gc.isenabled()

    gc.disable()  # until the processes have begun
    Garbage()
    results = in_processes(collect, [0, 1], 2, doing="collects")
    assert next(results)
    gc.enable()
    assert next(results)
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def open_no_file_from(number: int) -> None:
    """From now on this process opens no file whose number is so high."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@contextlib.contextmanager
def no_file_from(number: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_no_file_from(number)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


REFUSED = r"^the 800,000 bytes that another process hands over cannot be taken \(Too many open files\); .*ulimit -n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arrays go through the connection")
def test_arrays_for_which_there_is_no_descriptor_are_one_sentence() -> None:
    results = in_processes(np.ones, [3, *[10**5] * 9], 1, doing="counts")
    next(results)
    with no_file_from(3), pytest.raises(RunError, match=REFUSED):
        list(results)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arrays go through the connection")
def test_a_process_that_has_no_descriptor_for_its_task_says_so() -> None:
    tasks = [np.ones(10**5)] * 3
    with pytest.raises(RunError, match=REFUSED):
        list(in_processes(len, tasks, 1, doing="counts", begin=lambda: open_no_file_from(3)))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("left", range(4))
def test_a_process_that_cannot_be_started_for_want_of_descriptors_is_one_sentence(left: int) -> None:
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(left)]
    with no_file_from(max(held, default=2) + 1):
        for descriptor in held:
            os.close(descriptor)
        with pytest.raises(RunError, match="counts could not be started .*Too many open files.*fewer --workers"):
            list(in_processes(np.ones, [10**5] * 3, 2, doing="counts"))
    assert not multiprocessing.active_children()


def test_no_more_processes_are_started_than_there_is_work_for() -> None:
    assert len(set(in_processes(lambda _: os.getpid(), [1, 2], 50, doing="counts"))) == 2


def test_no_more_is_done_ahead_than_may_wait() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for n in range(20):
            taken.append(n)
            yield n

    results = in_processes(math.factorial, tasks(), 4, doing="counts", ahead=3)
    next(results)
    assert taken == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_what_is_left_of_a_pool_that_nobody_waits_for_ends() -> None:
    results = in_processes(time.sleep, [0, 600, 600], 2, doing="sleeps")
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_a_process_that_cannot_be_started_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(RunError, match="a process that counts could not be started .*temporarily.*give fewer --work"):
        list(in_processes(math.factorial, [1], 1, doing="counts"))


UNGUARDED = """
import math, multiprocessing, sys
from bench.errors import RunError
from bench.machine.processes import in_processes

multiprocessing.set_start_method(sys.argv[1], force=True)
try:
    print(list(in_processes(math.factorial, [1, 2, 3], 2, doing="counts")))
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_script_without_a_guard_is_told_so(tmp_path: Path, method: str) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "script.py", method], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert ("[1, 2, 6]" if method == "fork" else 'below `if __name__ == "__main__":`') in done.stdout


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
