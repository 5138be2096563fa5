"""Work in processes of its own: in order, a few tasks ahead, and over when whoever waits for it ends, however it ends.

Each process has a connection of its own and shares no lock or queue with the others, so that one that is killed, at any
moment, keeps nobody waiting: its connection closes. Nothing goes through /dev/shm (`handover.py`).
"""

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, RunError, one_line
from bench.machine.handover import receive, send
from bench.registry import plug_in, plugin_files

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_AHEAD = 2
"""Tasks a process that are under way or wait for it."""
_GRACE = 1.0
"""Seconds within which a signal that was sent to a whole group of processes has reached all of them."""
_PATIENCE = 10.0
"""Seconds within which a process that ends has ended, on a machine that is busy."""
_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_WITHOUT_GUARD = 97
"""Exit status of a process that runs the user's script again, and would make processes itself."""


def in_processes(
    work: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    workers: int,
    *,
    doing: str,
    begin: Callable[[], None] | None = None,
    advice: str = "give fewer --workers",
    ahead: int | None = None,
) -> Iterator[_Result]:
    """Carry out tasks.

    Processes are forked on Linux and spawned elsewhere, unless `multiprocessing.set_start_method` says otherwise.

    Args:
        work: what is done with a task. Pickled where processes are not forked.
        tasks: taken as processes become free.
        workers: processes at most; 0 works in this one.
        doing: what a process does, for messages, such as `makes images`.
        begin: called in each process before its first task, if anything is.
        advice: what to do when a process dies.
        ahead: tasks that are given out before their results are taken, at most; two a process if None.

    Yields:
        Results in the order of the tasks.

    Raises:
        RunError: a process died or could not be started. What `work` raises passes through.
    """
    if workers == 0:
        yield from map(work, tasks)
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells
        os._exit(_WITHOUT_GUARD)  # whoever waits says so; from here there would be a traceback
    pool = _Pool(work, begin, workers, doing, advice)
    try:
        yield from pool.results(iter(tasks), ahead or _AHEAD * workers)
    finally:
        pool.end()


def crosses(work: object) -> bool:
    """Whether processes can be given this: forked ones have it already, others take what can be pickled."""
    if start_method() == "fork":
        return True
    try:
        pickle.dumps(work)
    except Exception:  # pickling runs code of whatever it is given
        return False
    return True


def start_method() -> str:
    """How processes are started here."""
    return multiprocessing.get_start_method(allow_none=True) or ("fork" if sys.platform == "linux" else "spawn")


@dataclass
class _Worker:
    process: Any
    """Of multiprocessing; its class depends on how it was started."""
    connection: "multiprocessing.connection.Connection[Any, Any]"
    tasks: int = 0
    """That it was given and has not done."""
    begun: bool = False


class _Pool:
    """Processes that are started when there is something to do for them."""

    def __init__(
        self, work: Callable[[Any], Any], begin: Callable[[], None] | None, most: int, doing: str, advice: str
    ) -> None:
        self._work, self._most, self._doing, self._advice = (work, begin), most, doing, advice
        self._workers: list[_Worker] = []
        self._method = start_method()

    def results(self, tasks: Iterator[Any], ahead: int) -> Iterator[Any]:
        """What the work makes of tasks, in their order."""
        done: dict[int, _Outcome] = {}
        given = taken = 0
        more = True
        while True:
            while more and given - taken < ahead:
                try:
                    task = next(tasks)
                except StopIteration:
                    more = False
                else:
                    done |= self._collected(timeout=0)
                    self._give(given, task)
                    given += 1
            if taken == given:
                return
            while taken not in done:
                done |= self._collected()
            yield done.pop(taken).result()
            taken += 1

    def _give(self, number: int, task: object) -> None:
        """To the process with the least to do, or a new one where all have something."""
        worker = min(self._workers, key=lambda worker: worker.tasks, default=None)
        if worker is None or (worker.tasks and len(self._workers) < self._most):
            worker = self._start()
        worker.tasks += 1
        try:
            send(worker.connection, (number, task))
        except OSError as error:
            raise self._death(worker) from error

    def _start(self) -> _Worker:
        context = multiprocessing.get_context(self._method)
        try:
            ours, theirs = context.Pipe()
        except OSError as error:
            raise RunError(self._not_started(one_line(error))) from error
        forked = self._method == "fork"
        given = (ours, self._work) if forked else None
        files = [] if forked else plugin_files
        process = context.Process(target=_serve, args=(theirs, given, files), daemon=True)  # type: ignore[attr-defined]
        try:
            with _undisturbed(), _uncollected():
                process.start()
        except (OSError, EOFError) as error:
            raise RunError(self._not_started(one_line(error))) from error
        finally:
            theirs.close()  # or a dead process would not be noticed
        worker = _Worker(process, ours)
        self._workers.append(worker)
        if not forked:
            self._hand_over(worker)
        return worker

    def _hand_over(self, worker: _Worker) -> None:
        try:
            send(worker.connection, self._work)
        except OSError as error:
            raise self._death(worker) from error
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise RunError(
                f"what {self._doing} cannot be handed to another process ({one_line(error)}); give 0 --workers."
            ) from error

    def _collected(self, timeout: float | None = None) -> "dict[int, _Outcome]":
        """What has been done by now, by the numbers of the tasks; waits until there is something, or a process died."""
        done = {}
        by_connection = {worker.connection: worker for worker in self._workers}
        sentinels = {worker.process.sentinel: worker for worker in self._workers}
        ready = set(multiprocessing.connection.wait([*by_connection, *sentinels], timeout))
        for connection, worker in by_connection.items():
            if connection in ready:
                try:
                    message = receive(connection)
                except (EOFError, OSError) as error:
                    raise self._death(worker) from error
                if worker.begun:
                    number, outcome = message
                    if number is None:
                        outcome.result()
                    done[number] = outcome
                    worker.tasks -= 1
                else:
                    message.result()
                    worker.begun = True
        for sentinel, worker in sentinels.items():
            if sentinel in ready and worker.connection not in ready:
                raise self._death(worker)
        return done

    def _death(self, worker: _Worker) -> RunError:
        """Why a process is no more."""
        worker.process.join(_PATIENCE)
        status = worker.process.exitcode
        if status is not None and -status in _STOPPING:
            time.sleep(_GRACE)  # sent to a whole group: this process's own signal comes before the sentence
        if status == _WITHOUT_GUARD:
            return RunError(self._not_started("it runs the script again"))
        if not worker.begun and self._method != "fork":
            return RunError(self._not_started(_ending(status)))
        return RunError(f"a process that {self._doing} died ({_ending(status)}); {self._advice}.")

    def _not_started(self, reason: str) -> str:
        text = f"a process that {self._doing} could not be started ({reason}); {self._advice}"
        if self._method != "fork":
            text += ', and in a script put what it does below `if __name__ == "__main__":`'
        return text + "."

    def end(self) -> None:
        """End all processes; those with something to do at once."""
        for worker in self._workers:
            worker.connection.close()
            if worker.tasks:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()


def _ending(status: int | None) -> str:
    if status is None:
        return "its connection broke"
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}, mostly for want of memory" if -status in (signal.SIGKILL, signal.SIGBUS) else name


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No stop signal arrives while a process begins: between the fork and its first line it would be handled twice."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads. The child takes no lock that a thread of ours may hold: it
            # prints nothing while it works, and ends without Python's end.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected while a process begins, nor in a forked one before it has frozen what it was given.

    Garbage of this process must not be finalised in another: a tensor of a CUDA device would abort it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# -- in the processes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the work made of a task, or what it raised."""

    value: object = None
    error: Exception | None = None

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


def _serve(
    connection: "multiprocessing.connection.Connection[Any, Any]", forked: tuple[Any, Any] | None, plugins: list[Path]
) -> None:
    """Do tasks until nobody gives any more."""
    try:
        _leave_signals()
        plug_in(plugins)
        if forked:
            gc.freeze()  # all that came with the fork is its parent's to finalise
            forked[0].close()  # the other end: this process must not keep its own connection open
        gc.enable()
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_take_in, args=(connection, inbox), daemon=True).start()
        ready = _attempt(_begun, forked[1] if forked else inbox.get())
        send(connection, replace(ready, value=None))
        work: Any = ready.value
        while True:
            try:
                number, task = _taken(inbox.get())
            except RunError as unread:
                send(connection, (None, _Outcome(error=unread)))  # which task it is cannot be read either
                continue
            outcome = _attempt(work, task)
            try:
                send(connection, (number, outcome))
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                fault = RunError(f"what a process made cannot be handed over ({one_line(error)})")
                send(connection, (number, _Outcome(error=fault)))
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()  # what the work printed; Python's end, which would do so, does not come
    except OSError:  # nobody waits any more
        os._exit(0)
    except BaseException:
        os._exit(1)


def _leave_signals() -> None:
    """Ctrl-C is for the process that waits; other signals end this one at once."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _STOPPING - {signal.SIGINT}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _take_in(connection: "multiprocessing.connection.Connection[Any, Any]", inbox: "queue.SimpleQueue[Any]") -> None:
    """Take in what is sent, so that whoever sends never waits; once nobody can send any more, end at once."""
    while True:
        try:
            inbox.put(receive(connection))
        except (EOFError, OSError):
            os._exit(0)
        except Exception as error:
            inbox.put(error)


def _taken(value: Any) -> Any:
    """What was sent, where it could be read."""
    if isinstance(value, RunError):
        raise value
    if isinstance(value, Exception):
        raise RunError(f"a process cannot read what it is to do ({type(value).__name__}: {one_line(value)})")
    return value


def _begun(given: Any) -> Callable[[Any], Any]:
    """The work, once all is ready for it."""
    work, begin = _taken(given)
    if begin:
        begin()
    return work  # type: ignore[no-any-return]  # it was handed over


def _attempt(work: Callable[[Any], Any], task: object) -> _Outcome:
    try:
        return _Outcome(value=work(task))
    except Exception as error:
        return _Outcome(error=_portable(error))
    except BaseException as error:  # sys.exit in code of others must not end whoever waits
        return _Outcome(error=RunError(f"code that a process ran ended it ({type(error).__name__}: {one_line(error)})"))


def _portable(error: Exception) -> Exception:
    """The exception, or one with its text where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        if isinstance(error, BenchError):
            return RunError(str(error)) if error.exit_code == RunError.exit_code else BenchError(str(error))
        return RuntimeError(f"{type(error).__name__}: {one_line(error)}")
    return error
