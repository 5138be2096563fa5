"""The training loop: repeatable, on its own randomness, and the maker of the shipped files."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import bench.checkpoints.zoo as zoo
from bench.checkpoints.zoo import architectures
from bench.training.loop import Epoch, Trained, learning_rate, save, train
from bench.training.recipes import Recipe, load_recipes

HALF = [0.5, 0.5, 0.5]
ZOO = Path(zoo.__file__).parent


def short(name: str = "digits-vit", **changes: object) -> Recipe:
    """A recipe of the project cut to two epochs."""
    return dataclasses.replace(load_recipes()[name], **{"epochs": 2, "warmup_epochs": 1, **changes})


def toy_data(count: int = 40) -> tuple[Tensor, Tensor]:
    """Noise with a bright row at a height that tells the class."""
    draws = torch.Generator().manual_seed(0)
    labels_N = torch.randint(10, (count,), generator=draws)
    images_NCHW = torch.randint(60, (count, 3, 32, 32), generator=draws, dtype=torch.uint8)
    for image_CHW, label in zip(images_NCHW, labels_N.tolist(), strict=True):
        image_CHW[:, 1 + 3 * label : 4 + 3 * label] = 255
    return images_NCHW, labels_N


def train_toy(recipe: Recipe, **others: object) -> Trained:
    return train(recipe, getattr(architectures, recipe.architecture), *toy_data(), mean=HALF, std=HALF, **others)


def equal(one: Trained, other: Trained) -> bool:
    return one.history == other.history and all(
        torch.equal(tensor, other.state_dict[name]) for name, tensor in one.state_dict.items()
    )


@pytest.mark.parametrize("name", ["digits-vit-sam", "digits-mixer", "digits-resnet-sam"])
def test_training_twice_gives_equal_weights(name: str) -> None:
    assert equal(train_toy(short(name)), train_toy(short(name)))


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
    recipe = short("digits-resnet", epochs=5, batch_size=8, degrees=0, shift=0)
    trained = train_toy(recipe, progress=lambda epoch: losses.append(epoch.loss))
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
    recipe = short(degrees=0, shift=0, batch_size=16)
    train(recipe, Spy, images_NCHW, torch.zeros(41), mean=[0, 0, 0], std=[1, 1, 1])
    assert [len(batch) for batch in seen] == [16, 16, 9] * 2
    values = torch.cat(seen).mul(255).round().to(torch.int64).reshape(2, 41)
    assert values[0].tolist() != values[1].tolist()
    assert values.sort(dim=1).values.tolist() == [list(range(41))] * 2


def test_adversarial_training_repeats_and_is_another_training() -> None:
    attacked = train_toy(short("digits-resnet", attack_eps=8 / 255))
    assert equal(attacked, train_toy(short("digits-resnet", attack_eps=8 / 255)))
    assert not equal(attacked, train_toy(short("digits-resnet")))


def test_adversarial_training_learns_with_sam_and_flips_beside_it() -> None:
    recipe = short("digits-resnet-sam", epochs=8, batch_size=8, degrees=0, shift=0, attack_eps=8 / 255, flip=True)
    trained = train_toy(recipe)
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
    recipe = short(degrees=0, shift=0, batch_size=4, attack_eps=0.1)
    trained = train(recipe, Spy, images_NCHW, torch.zeros(8), mean=HALF, std=HALF)
    # Two epochs of two steps, and two passes a step: the attack's from noise, then the step's. White is 1 after
    # mean and std of a half, and 0.1 in pixels is 0.2.
    assert len(seen) == 8
    assert all(batch.min() >= 0.8 - 1e-5 and batch.max() <= 1 + 1e-5 for batch in seen)
    assert trained.state_dict["norm.num_batches_tracked"] == 4
    assert list(trained.state_dict) == list(Spy().state_dict())


def test_flips_mirror_images() -> None:
    assert not equal(train_toy(short("digits-resnet", flip=True)), train_toy(short("digits-resnet")))


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    recipe = short(epochs=30, warmup_epochs=10, learning_rate=0.2)
    rates = [learning_rate(recipe, done) for done in (0, 5, 10, 15, 20, 30)]
    # Half a cosine over 20 epochs: (1 + cos(π / 4)) / 2 = 0.85355 after a quarter of them.
    assert rates == pytest.approx([0, 0.1, 0.2, 0.2 * 0.85355, 0.1, 0], abs=1e-6)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    def broken() -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        nn.init.constant_(model[1].bias, float("nan"))
        return model

    with pytest.raises(ValueError, match="finite loss, it is nan in epoch 1; lower learning_rate or sam_rho"):
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


@pytest.mark.parametrize("name", load_recipes())
def test_shipped_files_fit_their_architecture_and_log_the_whole_recipe(name: str) -> None:
    recipe, path = load_recipes()[name], ZOO / f"{name}.safetensors"
    assert path.stat().st_size < 1_000_000
    getattr(architectures, recipe.architecture)().load_state_dict(load_file(path))
    log = path.with_suffix(".csv").read_text().splitlines()
    assert log[0] == "epoch,learning_rate,loss"
    assert [int(row.split(",")[0]) for row in log[1:]] == list(range(1, recipe.epochs + 1))
