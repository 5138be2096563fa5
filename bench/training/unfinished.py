"""What a training keeps of itself, so that it can go on where it was stopped."""

import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.errors import one_line
from bench.machine.files import replacing

_SHARE = 0.1
"""Of the time that may go into writing."""
_SECONDS = 180.0
"""Between two states within an epoch."""


class Unfinished:
    """The state file of one training.

    Args:
        path: its place; the folder is made when it is first written. None keeps nothing.
        digest: of all that decides the result; a state of another is not gone on from.
        label: what the training is called in notes.
        note: told what becomes of a state that cannot be used.
    """

    def __init__(self, path: Path | None, digest: str, label: str, note: Callable[[str], None]) -> None:
        self._path = path
        self._digest, self._label, self._note = digest, label, note
        self._written = time.monotonic()
        self._pause = 0.0

    def load(self) -> dict[str, Any] | None:
        """The last state, tensors on the CPU; None where there is none to go on from."""
        if self._path is None or not self._path.exists():
            return None
        try:
            _check_sums(self._path)
            kept = torch.load(self._path, map_location="cpu", weights_only=True)
            digest, state = kept["digest"], kept["state"]
        except Exception as error:  # whatever its readers raise at bytes that nobody wrote
            self._note(f"{self._label}: its kept state is damaged ({one_line(error)}); it begins anew.")
            return None
        if digest != self._digest:
            self._note(f"{self._label}: its kept state is of other settings; it begins anew.")
            return None
        return dict(state)

    def save_if_due(self, state: Callable[[], dict[str, Any]], *, epoch_over: bool) -> None:
        """Write the state at an epoch's end, and every few minutes within, unless writing takes too long for that."""
        waited = time.monotonic() - self._written
        if self._path is not None and waited >= (self._pause if epoch_over else max(self._pause, _SECONDS)):
            self._save(self._path, state())

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        start = time.monotonic()
        try:
            with replacing(path) as half:
                torch.save({"digest": self._digest, "state": state}, half)
        except (OSError, RuntimeError) as error:  # RuntimeError: of torch's writer, on a full disk
            self._path = None
            self._note(f"{self._label}: its state cannot be kept ({one_line(error)}); stopped, it would begin anew.")
        self._written = time.monotonic()
        self._pause = (self._written - start) * (1 / _SHARE - 1)


def _check_sums(path: Path) -> None:
    """Hold the file's parts against their sums, which torch writes and does not read.

    Raises:
        zipfile.BadZipFile: one has changed.
    """
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"the sum of {broken} does not hold")
