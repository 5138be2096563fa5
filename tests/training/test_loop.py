"""The training loop: repeatable, on its own randomness, and the maker of the shipped files."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import bench.checkpoints.zoo as zoo
from bench.checkpoints import checkpoints
from bench.checkpoints.zoo import architectures
from bench.training.augment import flip, rotate_and_shift
from bench.training.core import DivergedError
from bench.training.loop import Epoch, Trained, save, train
from bench.training.recipe import Recipe
from bench.training.recipes import load_recipes, recipe
from bench.training.schedule import warmup_cosine
from tests.training.toys import toy_data

HALF = [0.5, 0.5, 0.5]
ZOO = Path(zoo.__file__).parent


def short(name: str = "digits-vit", **changes: object) -> Recipe:
    """A recipe of the project cut to two epochs."""
    seed = changes.pop("seed", 0)
    return dataclasses.replace(recipe(name, {"epochs": 2, "warmup_epochs": 1, **changes}), seed=seed)


def train_toy(given: Recipe, **others: object) -> Trained:
    return train(given, getattr(architectures, given.architecture), *toy_data(), mean=HALF, std=HALF, **others)


def equal(one: Trained, other: Trained) -> bool:
    return one.history == other.history and all(
        torch.equal(tensor, other.state_dict[name]) for name, tensor in one.state_dict.items()
    )


@pytest.mark.parametrize("name", ["digits-vit-sam", "digits-mixer", "digits-resnet-sam"])
def test_training_twice_gives_equal_weights(name: str) -> None:
    assert equal(train_toy(short(name)), train_toy(short(name)))


@pytest.mark.parametrize("name", ["digits-vit-sam", "digits-resnet", "cifar10-resnet-adversarial"])
def test_a_training_is_that_of_a_plain_loop_bit_for_bit(name: str) -> None:
    """The loop of version 0.1.0, which made the shipped weights."""
    given = short(name, batch_size=16)
    stage = given.stages[0]
    images_NCHW, labels_N = toy_data()
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = getattr(architectures, given.architecture)().train()
    weights, decay = list(model.parameters()), stage.optimizer.weight_decay
    optimizer = (
        torch.optim.AdamW(weights, weight_decay=decay)
        if stage.optimizer.name == "adamw"
        else torch.optim.SGD(weights, momentum=0.9, nesterov=True, weight_decay=decay)
    )

    def loss_at(shown_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        return F.cross_entropy(model((shown_BCHW - 0.5) / 0.5), labels_B)

    for epoch in range(2):
        chosen = torch.split(torch.randperm(40, generator=draws), 16)
        for place, rows_B in enumerate(chosen):
            shown_BCHW, labels_B = images_NCHW[rows_B] / 255, labels_N[rows_B]
            degrees, shift = stage.augment.degrees, stage.augment.shift
            shown_BCHW = rotate_and_shift(shown_BCHW, degrees=degrees, shift=shift, generator=draws)
            if "flip" in stage.augment.names:
                shown_BCHW = flip(shown_BCHW, draws)
            rate = warmup_cosine(stage.optimizer.learning_rate, epoch + (place + 0.5) / 3, total=2, warmup=1)
            optimizer.param_groups[0]["lr"] = rate
            buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
            if eps := stage.attack.eps:
                noise_BCHW = torch.rand(shown_BCHW.shape, generator=draws) * 2 - 1
                start_BCHW = (shown_BCHW + eps * noise_BCHW).clamp(0, 1).requires_grad_()
                (slope_BCHW,) = torch.autograd.grad(loss_at(start_BCHW, labels_B), start_BCHW)
                moved_BCHW = start_BCHW.detach() + 1.25 * eps * slope_BCHW.sign()
                shown_BCHW = moved_BCHW.clamp(shown_BCHW - eps, shown_BCHW + eps).clamp(0, 1)
                for buffer, copy in buffers:
                    buffer.copy_(copy)
            optimizer.zero_grad()
            loss_at(shown_BCHW, labels_B).backward()
            if rho := stage.ascent.rho:
                length = torch.stack([p.grad.norm() for p in weights]).norm()
                before = [p.detach().clone() for p in weights]
                with torch.no_grad():
                    for p in weights:
                        p.add_(p.grad * (rho / (length + 1e-12)))
                optimizer.zero_grad()
                loss_at(shown_BCHW, labels_B).backward()
                with torch.no_grad():
                    for p, copy in zip(weights, before, strict=True):
                        p.copy_(copy)
            nn.utils.clip_grad_norm_(weights, stage.clip_norm)
            optimizer.step()
    found = train_toy(given).state_dict
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_another_seed_gives_other_weights() -> None:
    assert not equal(train_toy(short()), train_toy(short(seed=1)))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        first = train_toy(short())
        torch.default_generator.manual_seed(2)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        second = train_toy(short())
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert np.random.get_state()[1].tolist() == states[2]
    assert equal(first, second)


def test_training_learns() -> None:
    losses = []
    given = short("digits-resnet", epochs=5, batch_size=8, degrees=0, shift=0)
    trained = train_toy(given, progress=lambda epoch: losses.append(epoch.loss))
    assert [epoch.number for epoch in trained.history] == list(range(1, 6))
    assert [epoch.loss for epoch in trained.history] == losses
    assert losses[-1] < 0.8 * losses[0]


def test_every_image_is_seen_once_an_epoch() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 10)

        def forward(self, images_BCHW: Tensor) -> Tensor:
            seen.append(images_BCHW[:, 0, 0, 0])
            return self.head(images_BCHW.mean(dim=(1, 2, 3), keepdim=True)[:, :, 0, 0])

    images_NCHW = torch.arange(41, dtype=torch.uint8)[:, None, None, None].expand(41, 3, 32, 32)
    given = short(degrees=0, shift=0, batch_size=16)
    train(given, Spy, images_NCHW, torch.zeros(41), mean=[0, 0, 0], std=[1, 1, 1])
    assert [len(batch) for batch in seen] == [16, 16, 9] * 2
    values = torch.cat(seen).mul(255).round().to(torch.int64).reshape(2, 41)
    assert values[0].tolist() != values[1].tolist()
    assert values.sort(dim=1).values.tolist() == [list(range(41))] * 2


def test_adversarial_training_repeats_and_is_another_training() -> None:
    attacked = train_toy(short("digits-resnet", attack_eps=8 / 255))
    assert equal(attacked, train_toy(short("digits-resnet", attack_eps=8 / 255)))
    assert not equal(attacked, train_toy(short("digits-resnet")))


def test_adversarial_training_learns_with_sam_and_flips_beside_it() -> None:
    given = short("digits-resnet-sam", epochs=8, batch_size=8, attack_eps=8 / 255, augment=["flip"])
    trained = train_toy(given)
    assert trained.history[-1].loss < 0.8 * trained.history[0].loss


def test_an_attack_is_on_the_model_as_it_is_and_on_normalised_pixels() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.head = nn.Linear(3, 10)

        def forward(self, images_BCHW: Tensor) -> Tensor:
            seen.append(images_BCHW.detach())
            return self.head(self.norm(images_BCHW).square().mean(dim=(2, 3)))

    images_NCHW = torch.full((8, 3, 32, 32), 255, dtype=torch.uint8)
    given = short(degrees=0, shift=0, batch_size=4, attack_eps=0.1)
    trained = train(given, Spy, images_NCHW, torch.zeros(8), mean=HALF, std=HALF)
    # Two epochs of two steps, and two passes a step: the attack's from noise, then the step's. White is 1 after
    # mean and std of a half, and 0.1 in pixels is 0.2.
    assert len(seen) == 8
    assert all(batch.min() >= 0.8 - 1e-5 and batch.max() <= 1 + 1e-5 for batch in seen)
    assert trained.state_dict["norm.num_batches_tracked"] == 4
    assert list(trained.state_dict) == list(Spy().state_dict())


def test_flips_mirror_images() -> None:
    assert not equal(
        train_toy(short("digits-resnet", augment=["rotate_shift", "flip"])), train_toy(short("digits-resnet"))
    )


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    given = short("digits-resnet", epochs=6, warmup_epochs=2, learning_rate=0.2, batch_size=40)
    rates = [epoch.learning_rate for epoch in train_toy(given).history]
    # One step an epoch, which counts at its middle. Half a cosine over 4 epochs: (1 + cos(π / 8)) / 2 = 0.96194 after
    # an eighth of them.
    assert rates == pytest.approx([0.05, 0.15, 0.2 * 0.96194, 0.2 * 0.69134, 0.2 * 0.30866, 0.2 * 0.03806], abs=1e-5)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    def broken() -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        nn.init.constant_(model[1].bias, float("nan"))
        return model

    with pytest.raises(DivergedError, match=r"loss of digits-vit.* is nan in epoch 1, .*; lower learning_rate\."):
        train(short(), broken, *toy_data(), mean=HALF, std=HALF)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 3, 8, 8), torch.zeros(4), r"uint8 images .*they are torch.float32 .*not normalised"),
        (torch.zeros(4, 3, 8, 6, dtype=torch.uint8), torch.zeros(4), r"of shape \(4, 3, 8, 6\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(3), r"there are 4 images .*shape \(3,\)"),
        (
            torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
            torch.zeros(0),
            "at least one image, there are 0 images",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(short(), architectures.vit, images, labels, mean=HALF, std=HALF)


def test_saving_gives_weights_back_and_the_same_bytes_again(tmp_path: Path) -> None:
    trained = Trained(
        state_dict={"b": torch.ones(3), "a": torch.arange(4)},
        history=(Epoch(number=1, learning_rate=1e-3, loss=2.302587),),
    )
    for name in ("one", "two"):
        save(trained, tmp_path / f"{name}.safetensors")
    loaded = load_file(tmp_path / "one.safetensors")
    assert loaded.keys() == trained.state_dict.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in trained.state_dict.items())
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert (tmp_path / "one.csv").read_text() == "epoch,learning_rate,loss\n1,1.0000e-03,2.30259\n"


@pytest.mark.parametrize("name", [name for name in load_recipes() if name in checkpoints])
def test_shipped_files_fit_their_architecture_and_log_the_whole_recipe(name: str) -> None:
    given, path = load_recipes()[name], ZOO / f"{name}.safetensors"
    assert path.stat().st_size < 1_000_000
    getattr(architectures, given.architecture)().load_state_dict(load_file(path))
    log = path.with_suffix(".csv").read_text().splitlines()
    assert log[0] == "epoch,learning_rate,loss"
    assert [int(row.split(",")[0]) for row in log[1:]] == list(
        range(1, sum(stage.epochs for stage in given.stages) + 1)
    )
