"""Work in processes of its own: in order, a few tasks ahead, and over when whoever waits for it is killed."""

import collections
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from bench.errors import RunError, one_line

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_AHEAD = 2
"""Tasks a process that wait for it."""


def in_processes(
    work: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    workers: int,
    *,
    doing: str,
    begin: Callable[[], None] | None = None,
    advice: str = "give fewer --workers",
) -> Iterator[_Result]:
    """Carry out tasks.

    Args:
        work: what is done with a task; pickled once a process.
        tasks: taken as processes become free.
        workers: processes; 0 works in this one.
        doing: what a process does, for messages, such as `makes images`.
        begin: called in each process before its first task, if anything is.
        advice: what to do when a process dies.

    Yields:
        Results in the order of the tasks.

    Raises:
        RunError: a process died. What `work` raises passes through.
    """
    if workers == 0:
        yield from map(work, tasks)
        return
    # Spawned, not forked: a fork would copy the threads of the progress bar and of Arrow half-alive.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (work, begin))
    waiting: collections.deque[Future[_Result]] = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_do_own, task))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            f"a process that {doing} died ({one_line(error)}), mostly for want of memory; {advice}."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_own: list[Callable[[Any], Any]] = []
"""What a process does with its tasks."""


def _begin(work: Callable[[Any], Any], begin: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin:
        begin()
    _own.append(work)


def _end_with_parent() -> None:
    """A pool's processes wait for tasks for ever where the one that gives them is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do_own(task: Any) -> Any:
    return _own[0](task)
