"""`--log mlflow`: a run of MLflow for the whole, and nested in it one a checkpoint, so that its table compares them.

Where to is as MLflow's own variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME. The run that a script has active
is left alone.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from bench.hooks import LoggedScore, RunConfig
from bench.text import some

if TYPE_CHECKING:
    import pandas as pd

_EXPERIMENT = "rtbench"
_LONGEST = 500
"""Characters of a parameter; older servers take no more. The whole of it is in config.json."""


class MlflowHook:
    """See `bench.hooks.Hook`."""

    def __init__(self) -> None:
        from mlflow import MlflowClient

        self._make_client = MlflowClient
        self._children: dict[str, str] = {}

    def started(self, config: RunConfig) -> None:
        """See `bench.hooks.Hook`."""
        from mlflow.entities import Param

        self._client = self._make_client()
        self._experiment = self._experiment_id()
        self._run = self._new_run(some(config.suites))
        self._params = [Param(name, str(value)[:_LONGEST]) for name, value in config.flat.items()]
        self._client.log_batch(self._run, params=self._params)
        self._client.log_dict(self._run, config.flat, "config.json")

    def progress(self, done: int, total: int) -> None:
        """See `bench.hooks.Hook`."""
        self._client.log_metric(self._run, "progress/share", done / total, step=done)

    def score(self, score: LoggedScore) -> None:
        """See `bench.hooks.Hook`."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._child(score.checkpoint),
            metrics=[Metric(name, value, now, 0) for name, value in score.numbers.items()],
            tags=[RunTag(f"{score.suite}/protocol", score.protocol)],
        )

    def table(self, suite: str, frame: "pd.DataFrame") -> None:
        """See `bench.hooks.Hook`."""
        self._client.log_text(self._run, frame.to_csv(index=False), f"leaderboards/{suite}.csv")

    def page(self, html: str) -> None:
        """See `bench.hooks.Hook`."""
        self._client.log_text(self._run, html, "page.html")

    def ended(self, ok: bool) -> None:
        """See `bench.hooks.Hook`."""
        for run in (*self._children.values(), self._run):
            self._client.set_terminated(run, "FINISHED" if ok else "FAILED")

    def _experiment_id(self) -> str:
        if known := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return known
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _child(self, checkpoint: str) -> str:
        if checkpoint not in self._children:
            run = self._new_run(checkpoint, {"mlflow.parentRunId": self._run})
            self._children[checkpoint] = run
            # A child's row in MLflow's table is read without its parent's.
            self._client.log_batch(run, params=[param for param in self._params if param.key != "checkpoints"])
        return self._children[checkpoint]

    def _new_run(self, name: str, tags: dict[str, Any] | None = None) -> str:
        return str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)
