"""`--log tensorboard`: event files below $TENSORBOARD_LOGGING_DIR, or ./tensorboard, in a folder a run.

Each checkpoint has a folder in it, which TensorBoard shows as a line of its own in every chart. The page lies beside.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from bench.hooks import LoggedScore, RunConfig
from bench.machine.files import write
from bench.machine.places import user_path
from bench.names import file_name
from bench.text import markdown, render_markdown

if TYPE_CHECKING:
    import pandas as pd


class TensorBoardHook:
    """See `bench.hooks.Hook`."""

    def __init__(self) -> None:
        import tensorboard  # noqa: F401 - torch's own error does not say which package it lacks

        place = os.environ.get("TENSORBOARD_LOGGING_DIR") or "tensorboard"
        self._root = user_path(place, "TENSORBOARD_LOGGING_DIR").absolute()
        self._writers: dict[str, Any] = {}
        self._texts: set[tuple[str, str]] = set()

    def started(self, config: RunConfig) -> None:
        """See `bench.hooks.Hook`."""
        self._folder = self._root / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        rows = [[name, "" if value is None else value] for name, value in config.flat.items()]
        self._add_text("", "config", render_markdown(["setting", "value"], rows))

    def progress(self, done: int, total: int) -> None:
        """See `bench.hooks.Hook`."""
        writer = self._writer("")
        writer.add_scalar("progress/share", done / total, global_step=done)
        writer.flush()

    def score(self, score: LoggedScore) -> None:
        """See `bench.hooks.Hook`."""
        writer = self._writer(score.checkpoint)
        for name, value in score.numbers.items():
            writer.add_scalar(name, value, global_step=0)
        place = (score.checkpoint, f"{score.suite}/protocol")
        if place not in self._texts:  # the scores of a suite share it
            self._add_text(*place, markdown(score.protocol))
        writer.flush()

    def table(self, suite: str, frame: "pd.DataFrame") -> None:
        """See `bench.hooks.Hook`."""
        texts = frame.map(lambda value: f"{value:.4f}" if isinstance(value, float) else value).astype(object)
        rows = texts.where(frame.notna(), "–").to_numpy().tolist()
        self._add_text("", f"{suite}/leaderboard", render_markdown(list(frame.columns), rows))

    def page(self, html: str) -> None:
        """See `bench.hooks.Hook`."""
        write(self._folder / "page.html", html)

    def ended(self, ok: bool) -> None:
        """See `bench.hooks.Hook`."""
        self._add_text("", "ended", "everything is measured" if ok else "not everything is measured")
        for writer in self._writers.values():
            writer.close()

    def _add_text(self, checkpoint: str, name: str, text: str) -> None:
        self._texts.add((checkpoint, name))
        writer = self._writer(checkpoint)
        writer.add_text(name, text, global_step=0)
        writer.flush()

    def _writer(self, checkpoint: str) -> Any:
        """What writes the events of a checkpoint; those of the whole run where its name is empty."""
        from torch.utils.tensorboard import SummaryWriter

        if checkpoint not in self._writers:
            folder = self._folder / file_name(checkpoint) if checkpoint else self._folder
            self._writers[checkpoint] = SummaryWriter(str(folder))
        return self._writers[checkpoint]
