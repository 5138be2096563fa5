"""What a long run shows: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO


class Progress(Protocol):
    """Told by the engine what has been done."""

    def begin(self, total: int) -> None:
        """`total` images, counted once per checkpoint and condition, are to be shown."""
        ...

    def advance(self, count: int, doing: str) -> None:
        """`count` more are done (or will not be, after a fault)."""
        ...

    def note(self, text: str) -> None:
        """One line that stays."""
        ...

    def end(self) -> None:
        """Nothing more comes."""
        ...


def compiling(progress: Progress) -> Callable[[str], None]:
    """What `bench.machine.compiling.told_of_compiling` is given, so that the first use on a machine is no standstill.

    Args:
        progress: says once that it takes a while, and shows each kernel.
    """
    told: list[str] = []

    def tell(kernel: str) -> None:
        if not told:
            progress.note("compiling kernels, which is done once on a machine: half a minute for all corruptions")
        told.append(kernel)
        progress.advance(0, f"compiling {kernel.strip('_')}")

    return tell


class Silent:
    """Shows nothing."""

    def begin(self, total: int) -> None:
        """See `Progress`."""

    def advance(self, count: int, doing: str) -> None:
        """See `Progress`."""

    def note(self, text: str) -> None:
        """See `Progress`."""

    def end(self) -> None:
        """See `Progress`."""


class Lines:
    """A plain line now and then, for logs and CI.

    Args:
        stream: where to print.
        every: seconds between lines.
    """

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream = stream
        self._every = every

    def begin(self, total: int) -> None:
        """See `Progress`."""
        self._total, self._done = total, 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int, doing: str) -> None:
        """See `Progress`."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= self._every or self._done >= self._total:
            self._last = now
            rate = self._done / max(now - self._start, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            self.note(
                f"{self._done:,}/{self._total:,} images ({self._done / max(self._total, 1):.0%}), "
                f"{rate:,.0f}/s, {left:.0f} s left, {doing}"
            )

    def note(self, text: str) -> None:
        """See `Progress`."""
        print(text, file=self._stream, flush=True)

    def end(self) -> None:
        """See `Progress`."""


class Bar:
    """A bar with rate and time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream),
            transient=True,
        )

    def begin(self, total: int) -> None:
        """See `Progress`."""
        self._start = time.monotonic()
        self._task = self._bar.add_task("", total=total, rate="–")
        self._bar.start()

    def advance(self, count: int, doing: str) -> None:
        """See `Progress`."""
        done = self._bar.tasks[0].completed + count
        rate = done / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, advance=count, description=doing, rate=f"{rate:,.0f}")

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._bar.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        """See `Progress`."""
        self._bar.stop()


def for_stream(stream: TextIO | None = None) -> Progress:
    """A bar where `stream` is a terminal, lines elsewhere."""
    stream = stream or sys.stderr  # as it is now, not as it was when this was imported
    return Bar(stream) if stream.isatty() else Lines(stream)
