"""Which checkpoints a command means: patterns, files of names, a registry's own; and what can't be fetched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import api
from bench.checkpoints import fetch as fetching
from bench.cli import main
from bench.progress import Silent
from bench.records import Checkpoint


def test_a_registrys_own_checkpoints_are_meant_where_none_is_named(
    bench: Callable[..., object], tmp_path: Path
) -> None:
    zoo = Path(api.__file__).parents[1] / "checkpoints" / "zoo"
    (tmp_path / "mine.toml").write_text(
        f'[my-resnet]\narch = "digits_resnet"\nweights = "{zoo / "digits-resnet.safetensors"}"\ndataset = "digits"\n'
        "input_size = 32\ncrop_ratio = 1.0\n"
        'interpolation = "bicubic"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
    )
    (tmp_path / "names.txt").write_text("digits-v*-sam\n")
    plan = bench("plan", "--suite", "digits", "--registry", "mine.toml", "--limit", "2")
    assert "1 checkpoint: my-resnet" in plan.stdout  # type: ignore[attr-defined]
    plan = bench(
        "plan", "--suite", "digits", "--registry", "mine.toml", "--checkpoint-file", "names.txt", "--limit", "2"
    )
    assert "1 checkpoint: digits-vit-sam" in plan.stdout  # type: ignore[attr-defined]
    run = bench("run", "--suite", "digits", "--checkpoint", "digits-*-sam", "--limit", "2", "--workers", "0")
    assert run.returncode == 0, run.stderr  # type: ignore[attr-defined]
    table = bench("table", "--suite", "digits", "--checkpoint", "digits-[vm]*")
    assert "digits-vit-sam" in table.stdout  # type: ignore[attr-defined]
    assert "digits-resnet-sam" not in table.stdout  # type: ignore[attr-defined]


def test_many_that_cannot_be_fetched_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_out_of_reach", {})
    tried = []

    def unreachable(request: object, timeout: float) -> None:
        tried.append(request)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    space = api.select()[1][0].class_space
    entries = [
        Checkpoint(name=f"far-{n}", class_space=space, arch="digits_vit", weights=f"https://far.example/{n}.pt")
        for n in range(9)
    ]
    settings = api.configure(store=str(tmp_path / "runs"), cache="off", workers=0, limit=2).settings
    result = api.run(api.select_suites(["digits"]), entries, settings, Silent())
    assert len(tried) == 1
    assert len(result.plan.unavailable) == 9
    [reason] = set(result.plan.unavailable.values())
    assert reason.startswith("weights are not here, and there is no way to where they lie; run again with a network")


def test_the_doctor_lists_weights_that_are_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "resnet50.a1_in1k: put the file from https://huggingface.co/timm/resnet50.a1_in1k/" in printed
