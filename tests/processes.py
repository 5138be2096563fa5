"""Processes of `bench` that start at once: each is forked from one that has imported everything (`warm_process.py`)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "warm_process.py"
LONGEST = 120  # seconds


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Ended:
    """What a process left."""

    status: int
    """Negative for a signal."""
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The only line of standard error that is not progress; no traceback is near it."""
        assert "Traceback" not in self.err, self.err
        told = (" images (", " were stored in ")
        lines = [line for line in self.err.splitlines() if line.strip() and not any(word in line for word in told)]
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass
class Started:
    """A process that runs."""

    pid: int
    folder: Path
    ask: Callable[[Mapping[str, object]], object]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process and its workers."""
        os.killpg(self.pid, number)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"

    def wait(self) -> Ended:
        """Wait for its end, and kill it where that does not come."""
        timer = threading.Timer(LONGEST, self.kill)
        timer.start()
        status = self.ask({"wait": self.pid})
        timer.cancel()
        return Ended(int(str(status)), (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text())


class Warm:
    """The process that forks the others.

    Args:
        folder: for what they print.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._answer() == "ready"

    def _answer(self) -> object:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def _ask(self, request: Mapping[str, object]) -> object:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def fork_two(self, text: str) -> list[Ended]:
        """Run a script in two processes that torchrun would have started together; what each ended with."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        begun = [self.fork(text, environment={**place, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
        return [process.wait() for process in begun]

    def fork(
        self,
        start: Sequence[str] | str,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
        path: Sequence[Path] = (),
        file_limit: int | None = None,
        user: int | None = None,
        tear_down: bool = False,
    ) -> Started:
        """Begin `bench …`, or a script.

        Args:
            start: the words of the command, or Python's text.
            cwd: where, a new folder by default.
            environment: variables that it has beside those of here, or None for one that it lacks.
            path: folders of plug-ins, as PYTHONPATH gives them.
            file_limit: bytes that a file may have.
            user: whose process it is.
            tear_down: end as Python does, which takes most of a second.
        """
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        for name in ("stdout", "stderr"):  # killed at once, a process would not have made them
            (folder / name).touch()
        request = {
            "start": start, "cwd": str(cwd or folder), "folder": str(folder), "environment": environment or {},
            "path": [str(place) for place in path], "file_limit": file_limit, "user": user, "tear_down": tear_down,
        }  # fmt: skip
        return Started(int(str(self._ask(request))), folder, self._ask)

    def start(
        self, command: Sequence[str], *, store: Path, cache: Path | str | None = None, workers: int = 0, **how: object
    ) -> Started:
        """Begin `bench COMMAND` on a store, in a folder of its own; `how`: see `fork`."""
        command = [*command, "--store", str(store)]
        if command[0] == "run":
            command += ["--workers", str(workers), "--cache", str(cache or self.folder / str(self.count + 1) / "cache")]
        return self.fork(command, **how)  # type: ignore[arg-type]

    def run(self, command: Sequence[str], **how: object) -> Ended:
        """`start` and `wait`."""
        return self.start(command, **how).wait()  # type: ignore[arg-type]

    def close(self) -> None:
        """End the process itself."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
