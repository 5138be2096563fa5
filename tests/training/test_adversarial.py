"""The attack of adversarial training, against arithmetic by hand and its promises."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.adversarial import noise, perturb
from bench.training.recipe import Attack
from tests.training.toys import network

EPS = 8 / 255
STEP = 1.25  # in multiples of EPS


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> tuple[Tensor, Tensor]:
    """Sixteen images in [0, 1], black and white pixels among them, and labels."""
    images_NCHW = (torch.rand(16, 3, 8, 8, generator=generator(1)) * 1.4 - 0.2).clamp(0, 1)
    return images_NCHW, torch.randint(5, (16,), generator=generator(2))


def under_attack(
    model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, eps: float, draws: torch.Generator, steps: int = 1
) -> Tensor:
    def loss_of(shown_NCHW: Tensor, targets_N: Tensor) -> Tensor:
        return F.cross_entropy(model(shown_NCHW), targets_N, reduction="sum")

    start_NCHW = noise(images_NCHW, draws)
    return perturb(model, loss_of, images_NCHW, labels_N, start_NCHW, Attack(eps=eps, steps=steps, step=STEP))


@pytest.mark.parametrize("steps", [1, 3])
def test_pixels_stay_within_eps_and_in_range(steps: int) -> None:
    images_NCHW, labels_N = batch()
    moved_NCHW = under_attack(network(), images_NCHW, labels_N, EPS, generator(), steps)
    assert moved_NCHW.shape == images_NCHW.shape
    assert not moved_NCHW.requires_grad
    assert (moved_NCHW - images_NCHW).abs().max() <= EPS + 1e-7
    assert moved_NCHW.min() >= 0
    assert moved_NCHW.max() <= 1


def test_the_step_is_the_one_worked_by_hand() -> None:
    class Brightness(nn.Module):
        """Logits 0 and the mean of the pixels: the loss of class 0 rises with every pixel, that of class 1 falls."""

        def forward(self, images_NCHW: Tensor) -> Tensor:
            means_N = images_NCHW.mean(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(means_N), means_N], dim=1)

    images_NCHW = torch.full((2, 3, 4, 4), 0.5)
    noise_NCHW = torch.rand(images_NCHW.shape, generator=generator(7)) * 2 - 1
    moved_NCHW = under_attack(Brightness(), images_NCHW, torch.tensor([0, 1]), 0.1, generator(7))
    up_CHW = 0.5 + (0.1 * noise_NCHW[0] + STEP * 0.1).clamp(max=0.1)
    down_CHW = 0.5 + (0.1 * noise_NCHW[1] - STEP * 0.1).clamp(min=-0.1)
    torch.testing.assert_close(moved_NCHW, torch.stack([up_CHW, down_CHW]))


def test_the_loss_rises_beyond_what_noise_of_that_size_does() -> None:
    model, (images_NCHW, labels_N) = network(), batch()
    moved_NCHW = under_attack(model, images_NCHW, labels_N, EPS, generator())
    signs_NCHW = torch.rand(images_NCHW.shape, generator=generator()).sub(0.5).sign()
    noisy_NCHW = (images_NCHW + EPS * signs_NCHW).clamp(0, 1)
    clean, noisy, attacked = (F.cross_entropy(model(x), labels_N) for x in (images_NCHW, noisy_NCHW, moved_NCHW))
    assert attacked > clean + 0.05
    assert attacked > noisy + 0.05


def test_more_steps_raise_the_loss_further() -> None:
    model, (images_NCHW, labels_N) = network(), batch()
    moved = (under_attack(model, images_NCHW, labels_N, EPS, generator(), steps) for steps in (1, 5))
    one, five = (F.cross_entropy(model(moved_NCHW), labels_N) for moved_NCHW in moved)
    assert five > one


def test_the_generator_alone_decides() -> None:
    first, again, other = (under_attack(network(), *batch(), EPS, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_state_is_neither_used_nor_changed() -> None:
    with torch.random.fork_rng(devices=[]):
        results = []
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(under_attack(network(), *batch(), EPS, generator()))
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)


def test_the_model_and_the_images_are_left_as_they_were() -> None:
    model, (images_NCHW, labels_N) = network(), batch()
    F.cross_entropy(model(images_NCHW), labels_N).backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    kept_NCHW = images_NCHW.clone()
    under_attack(model, images_NCHW, labels_N, EPS, generator())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(images_NCHW, kept_NCHW)
    assert not images_NCHW.requires_grad


def test_the_gradient_is_with_the_statistics_of_the_batch() -> None:
    model, (images_NCHW, labels_N) = network(), batch()
    usual_NCHW = under_attack(model, images_NCHW, labels_N, EPS, generator())
    model[1].running_mean.fill_(50.0)
    assert torch.equal(under_attack(model, images_NCHW, labels_N, EPS, generator()), usual_NCHW)


def test_running_statistics_come_back_when_the_attack_fails() -> None:
    model, (images_NCHW, labels_N) = network(), batch()
    with pytest.raises(IndexError):
        under_attack(model, images_NCHW, labels_N + 5, EPS, generator())
    assert model[1].num_batches_tracked == 0
