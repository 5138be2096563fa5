"""Sharpness-aware minimisation against arithmetic by hand and another implementation."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.sam import sam_gradient


class Quadratic(nn.Module):
    """L(w) = (w₀² + 2 w₁²) / 2 at w = (3, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.w_2 = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))

    def loss(self) -> Tensor:
        return (self.w_2.square() * torch.tensor([1.0, 2.0])).sum() / 2


def network() -> nn.Module:
    """A small convolutional network with batch norm and weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)
        ).train()


def loss_of(model: nn.Module, seed: int = 0) -> Callable[[], Tensor]:
    """The cross-entropy of one fixed random batch."""
    draws = torch.Generator().manual_seed(seed)
    images_NCHW = torch.randn(16, 3, 8, 8, generator=draws)
    labels_N = torch.randint(5, (16,), generator=draws)
    return lambda: F.cross_entropy(model(images_NCHW), labels_N)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_gradient_of_a_quadratic_is_the_one_worked_by_hand() -> None:
    # At w = (3, 2): L = (9 + 2 * 4) / 2 = 8.5 and g = (3, 2 * 2), so |g| = 5. With rho = 0.5 the worst point
    # is w + 0.5 (3, 4) / 5 = (3.3, 2.4), and the gradient there (3.3, 2 * 2.4).
    model = Quadratic()
    loss = sam_gradient(model, model.loss, rho=0.5)
    assert loss.item() == 8.5
    assert not loss.requires_grad
    assert model.w_2.tolist() == [3.0, 2.0]
    torch.testing.assert_close(model.w_2.grad, torch.tensor([3.3, 4.8], dtype=torch.float64))


def test_rho_zero_gives_the_plain_gradient_in_one_pass() -> None:
    model, calls = Quadratic(), []
    sam_gradient(model, lambda: calls.append(1) or model.loss(), rho=0)
    assert model.w_2.grad.tolist() == [3.0, 4.0]
    assert len(calls) == 1


def test_small_rho_tends_to_the_plain_gradient() -> None:
    model = network()
    sam_gradient(model, loss_of(model), rho=0)
    plain = gradients(model)
    sam_gradient(model, loss_of(model), rho=1e-6)
    torch.testing.assert_close(gradients(model), plain, rtol=1e-3, atol=1e-5)


def test_steps_equal_those_of_another_implementation() -> None:
    reference = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is the other implementation")
    ours, theirs = network(), network()
    our_sgd = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    their_sam = reference.SAM(theirs.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9)
    for seed in range(5):
        sam_gradient(ours, loss_of(ours, seed), rho=0.2)
        our_sgd.step()
        for step in (
            lambda: their_sam.first_step(zero_grad=True),
            lambda: their_sam.second_step(zero_grad=True),
        ):
            loss_of(theirs, seed)().backward()
            step()
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-5, atol=1e-6)


def test_weights_come_back_bit_for_bit() -> None:
    model = network()
    before = copies(model)
    sam_gradient(model, loss_of(model), rho=0.3)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_batch_norm_sees_the_batch_once_at_the_weights_that_are_kept() -> None:
    plain, sharp = network(), network()
    loss_of(plain)()
    sam_gradient(sharp, loss_of(sharp), rho=0.3)
    assert sharp[1].num_batches_tracked == 1
    for ours, wanted in zip(sharp.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, wanted)


def test_parameters_without_gradient_are_left_alone() -> None:
    # One is frozen, one is trained but not used by this loss; neither may move or count in the norm.
    model = Quadratic()
    model.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    model.unused = nn.Parameter(torch.ones(3))
    sam_gradient(model, model.loss, rho=0.5)
    assert model.frozen.grad is None
    assert model.unused.grad is None
    assert torch.equal(model.frozen, torch.ones(3))
    assert torch.equal(model.unused, torch.ones(3))
    torch.testing.assert_close(model.w_2.grad, torch.tensor([3.3, 4.8], dtype=torch.float64))


def test_old_gradients_are_discarded() -> None:
    model = Quadratic()
    model.w_2.grad = torch.full((2,), 100.0, dtype=torch.float64)
    sam_gradient(model, model.loss, rho=0)
    assert model.w_2.grad.tolist() == [3.0, 4.0]


def test_zero_gradient_divides_nothing_by_zero() -> None:
    model = Quadratic()
    nn.init.zeros_(model.w_2)
    sam_gradient(model, model.loss, rho=0.5)
    assert model.w_2.grad.tolist() == [0.0, 0.0]


def test_weights_come_back_when_the_second_pass_fails() -> None:
    model, losses = Quadratic(), []

    def fails_at_the_worst_point() -> Tensor:
        losses.append(model.loss())
        if len(losses) == 2:
            raise MemoryError
        return losses[-1]

    with pytest.raises(MemoryError):
        sam_gradient(model, fails_at_the_worst_point, rho=0.5)
    assert model.w_2.tolist() == [3.0, 2.0]


def test_negative_rho_is_refused() -> None:
    model = Quadratic()
    with pytest.raises(ValueError, match=r"at least 0, it is -0\.1; 0 trains without SAM"):
        sam_gradient(model, model.loss, rho=-0.1)
