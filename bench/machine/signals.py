"""Signals that ask a process to stop: the first one unwinds it in order, a second one ends it at once.

Python runs its handlers between two steps of Python. A thread, woken by the signal itself, ends the process where that
takes too long: within one call of a library that waits for another machine, say.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 10.0
"""Seconds from SIGTERM or SIGHUP to the end at most, within what a machine that shuts down gives. Ctrl-C can be pressed
again."""
_OVER = b"\0"
"""Where the numbers of signals come, which begin at 1: nothing more comes."""
_SHOW_CURSOR = "\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """A signal asks to stop; as Ctrl-C, no `except Exception` takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells have it: 130 after Ctrl-C."""
        return 128 + self.number

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` at the first stop signal, for a while, in the main thread of a process.

    Signals that whoever started the process has it ignore (nohup) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    handle = _Handler()
    handlers = {number: signal.signal(number, handle) for number in numbers}
    watch = threading.Thread(target=_watch, args=(woken, frozenset(numbers)), daemon=True)
    watch.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        wakes.send(_OVER)  # to close it would not do: processes that were forked meanwhile hold it too
        watch.join()
        wakes.close()


class _Handler:
    """Raises once: what is done about the first signal, the second must not break off halfway."""

    _stopping = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            raise Stopped(number)


def _watch(woken: socket.socket, numbers: frozenset[int]) -> None:
    """End the process at the second signal, or some time after the first."""
    first = 0
    with woken:
        while True:
            try:
                came = woken.recv(64)
            except TimeoutError:
                _end(first)
            if _OVER in came:
                return
            for number in numbers.intersection(came):
                if first:
                    _end(number)
                first = number
                if number != signal.SIGINT:
                    woken.settimeout(_PATIENCE)


def _end(number: int) -> None:
    """End at once. Processes that work for this one end with it: their connections close."""
    with contextlib.suppress(Exception):
        if sys.stderr.isatty():
            os.write(2, _SHOW_CURSOR.encode())  # a progress bar hides it
        os.write(2, b"\nbench: ended at once.\n")
    os._exit(128 + number)
