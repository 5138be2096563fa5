"""What wandb, MLflow and TensorBoard have of a run, read back as each of them does; `tox -e hooks` installs them."""

import json
import os
from pathlib import Path

import pytest

from bench import api
from bench.api import telling
from bench.hooks.finding import find_hooks

CHECKPOINTS = ("digits-resnet", "digits-resnet-sam")
REASON = "`tox -e hooks` installs it"
# Others' packages warn of each other's ways.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.filterwarnings("error::bench.errors.BenchWarning")]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A function that measures two checkpoints on three digits under a hook, by its name: their top-1 accuracies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(telling, "EVERY", 0.0)
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=3).settings

    def _measured(name):
        before = _variables()
        result = api.run(*api.select(["digits"], checkpoints=CHECKPOINTS), settings, log=find_hooks([name]))
        assert _variables() == before
        frame = api.table(result.boards)
        return frame[frame["score"] == "top-1"].set_index("checkpoint")["value"].to_dict()

    return _measured


def _variables():
    """What of the environment is one of theirs."""
    return {name: value for name, value in os.environ.items() if name.startswith(("WANDB_", "MLFLOW_", "TENSORBOARD_"))}


@pytest.mark.slow
def test_mlflow_has_a_run_of_the_whole_and_one_a_checkpoint(measured, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason=REASON)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///told.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "digits of mine")
    top1 = measured("mlflow")
    client = mlflow.MlflowClient("sqlite:///told.db")
    experiment = client.get_experiment_by_name("digits of mine")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"digits", *CHECKPOINTS}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    whole = runs["digits"]
    assert whole.data.params["limit"] == "3"
    assert whole.data.params["checkpoints"] == ", ".join(CHECKPOINTS)
    assert whole.data.metrics["progress/share"] == 1.0
    for name in CHECKPOINTS:
        assert runs[name].data.metrics["digits/top-1"] == pytest.approx(top1[name], abs=1e-6)
        assert runs[name].data.metrics["digits/top-1.ci_low"] <= top1[name]
        assert runs[name].data.tags["digits/protocol"] == "10-way, limit 3"
        assert runs[name].data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert "versions.torch" in runs[name].data.params
    page = client.download_artifacts(whole.info.run_id, "page.html", str(tmp_path))
    assert "digits-resnet-sam" in Path(page).read_text(encoding="utf-8")
    table = client.download_artifacts(whole.info.run_id, "leaderboards/digits.csv", str(tmp_path))
    assert Path(table).read_text(encoding="utf-8").startswith("rank,checkpoint,family,sam,top-1,")
    assert mlflow.active_run() is None


def test_tensorboard_shows_each_checkpoint_as_a_line(measured, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason=REASON)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    top1 = measured("tensorboard")
    [folder] = (tmp_path / "board").iterdir()

    def events(part):
        accumulator = EventAccumulator(str(part))
        accumulator.Reload()
        return accumulator

    def text(accumulator, tag):
        [event] = accumulator.Tensors(f"{tag}/text_summary")
        return make_ndarray(event.tensor_proto).item().decode()

    for name in CHECKPOINTS:
        told = events(folder / name)
        [event] = told.Scalars("digits/top-1")
        assert event.value == pytest.approx(top1[name], abs=1e-6)
        assert {"digits/nll", "digits/top-1.ci_low", "digits/top-1.ci_high"} <= set(told.Tags()["scalars"])
        assert text(told, "digits/protocol") == "10-way, limit 3"
    whole = events(folder)
    assert [event.value for event in whole.Scalars("progress/share")][-1] == 1.0
    assert "| limit | 3 |" in text(whole, "config")
    assert "| digits-resnet-sam |" in text(whole, "digits/leaderboard")
    assert "digits-resnet-sam" in (folder / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_wandb_has_a_group_of_runs(measured, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason=REASON)
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "DATA_DIR": str(tmp_path), "PROJECT": "mine"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    measured("wandb")
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    logs = [next(folder.glob("run-*.wandb")).read_bytes() for folder in folders]
    assert len(logs) == 3
    [whole] = [log for log in logs if b"progress/share" in log]
    children = [log for log in logs if log is not whole]
    for name in CHECKPOINTS:
        [child] = [log for log in children if f'"{name}"'.encode() in log]
        assert all(text in child for text in (b"digits/top-1", b"digits/protocol", b"10-way, limit 3", b"digits/nll"))
    assert b"versions.torch" in whole
    assert b"page.html" in whole
    [table] = [path for folder in folders for path in folder.glob("files/media/table/digits/leaderboard*.json")]
    assert {row[1] for row in json.loads(table.read_text())["data"]} == set(CHECKPOINTS)
