"""Pictures that are read as they are shown: neither readers nor an interruption change a training."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.checkpoints.zoo.architectures import vit
from bench.errors import BenchError
from bench.training import loop, unfinished
from bench.training.loop import Trained, train
from bench.training.pictures import Pictures
from bench.training.recipe import Augment, Recipe, Stage
from bench.training.recipes import recipe
from bench.training.sources import Streamed


class Stripes:
    """Pictures of various sizes, whose colour tells the class."""

    def __call__(self, row: int) -> np.ndarray:
        draws = np.random.default_rng(row)
        height, width = draws.integers(34, 60, 2)
        picture_HWC = draws.integers(0, 90, (height, width, 3), dtype=np.uint8)
        picture_HWC[..., row % 3] += 120
        return picture_HWC


PICTURES = Pictures(
    ids=np.array([f"stripe {row}" for row in range(30)]),
    labels=np.arange(30) % 3,
    picture=Stripes(),
    size=32,
    interpolation="bicubic",
)


def given(**changes: Any) -> Recipe:
    short = {"epochs": 3, "warmup_epochs": 1, "batch_size": 12, "micro_batch": 0, "precision": "fp32", "size": 32}
    return recipe("imagenet-vit-s16-sam", {**short, "learning_rate": 2e-3, **changes})


def trained(of: Recipe, **others: Any) -> Trained:
    return train(of, vit, PICTURES, mean=[0.5] * 3, std=[0.5] * 3, **others)


def assert_same(one: Trained, other: Trained) -> None:
    assert one.history == other.history
    assert all(torch.equal(tensor, other.state_dict[name]) for name, tensor in one.state_dict.items())


@pytest.fixture(scope="module")
def straight() -> Trained:
    return trained(given())


def test_it_learns(straight: Trained) -> None:
    assert straight.history[-1].loss < 0.8 * straight.history[0].loss


def test_readers_change_nothing(straight: Trained) -> None:
    assert_same(trained(given(), readers=2), straight)


class Stopped(Exception):
    """Of a test, in the middle of a training."""


@pytest.mark.parametrize("augment", ["inception_crop+flip", "inception_crop+flip+three_augment+mixup"])
def test_stopped_within_an_epoch_it_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: str
) -> None:
    monkeypatch.setattr(unfinished, "_SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "_SHARE", 1.0)  # every step
    state, of = tmp_path / "state.pt", given(augment=augment, attack_eps=0.01)

    def stop(self: Any, share: float) -> None:
        if self.core.step == 4:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "done", stop)
        with pytest.raises(Stopped):
            trained(of, state=state)
    assert_same(trained(of, state=state), trained(of))


@pytest.mark.parametrize(
    "stage",
    [
        dataclasses.replace(given().stages[0], repeats=2),
        dataclasses.replace(given().stages[0], augment=Augment(names=("flip",))),
    ],
)
def test_without_a_crop_or_with_repeats_they_are_refused(stage: Stage) -> None:
    with pytest.raises(BenchError, match="want augment inception_crop, and repeats of 1"):
        Streamed(PICTURES, 0, 0).cut(stage, 0)
