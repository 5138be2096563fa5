"""`--log wandb`: a run of Weights & Biases for the whole, and one a checkpoint in its group, so that they are compared.

Where to is as its own variables say: WANDB_PROJECT, WANDB_MODE, WANDB_DIR. A run that a script has open is left alone.
"""

import os
import secrets
from typing import TYPE_CHECKING, Any

from bench.hooks import LoggedScore, RunConfig
from bench.text import some

if TYPE_CHECKING:
    import pandas as pd

_PROJECT = "rtbench"


class WandbHook:
    """See `bench.hooks.Hook`."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb
        self._children: dict[str, Any] = {}

    def started(self, config: RunConfig) -> None:
        """See `bench.hooks.Hook`."""
        self._config = config.flat
        self._group = os.environ.get("WANDB_RUN_GROUP") or f"bench-{secrets.token_hex(4)}"
        self._run = self._new_run(some(config.suites), "bench run", self._config)

    def progress(self, done: int, total: int) -> None:
        """See `bench.hooks.Hook`."""
        self._run.log({"progress/images": done, "progress/share": done / total})

    def score(self, score: LoggedScore) -> None:
        """See `bench.hooks.Hook`."""
        run = self._child(score.checkpoint)
        run.config.update({f"{score.suite}/protocol": score.protocol}, allow_val_change=True)
        run.log(score.numbers)

    def table(self, suite: str, frame: "pd.DataFrame") -> None:
        """See `bench.hooks.Hook`."""
        rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
        self._run.log({f"{suite}/leaderboard": self._wandb.Table(columns=list(frame.columns), data=rows)})

    def page(self, html: str) -> None:
        """See `bench.hooks.Hook`."""
        artifact = self._wandb.Artifact(f"page-{self._run.id}", type="page")
        with artifact.new_file("page.html", encoding="utf-8") as file:
            file.write(html)
        self._run.log_artifact(artifact)

    def ended(self, ok: bool) -> None:
        """See `bench.hooks.Hook`."""
        for run in (*self._children.values(), self._run):
            run.finish(exit_code=0 if ok else 1)

    def _child(self, checkpoint: str) -> Any:
        if checkpoint not in self._children:
            config = {name: value for name, value in self._config.items() if name != "checkpoints"}
            self._children[checkpoint] = self._new_run(checkpoint, "checkpoint", {"checkpoint": checkpoint, **config})
        return self._children[checkpoint]

    def _new_run(self, name: str, kind: str, config: dict[str, Any]) -> Any:
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            group=self._group,
            name=name,
            job_type=kind,
            config=config,
            reinit="create_new",
            # What is printed stays where it is printed; of many checkpoints, each would print twenty lines.
            settings=self._wandb.Settings(console="off", silent=kind == "checkpoint"),
        )
