"""Ascents against arithmetic by hand, other implementations, and each other."""

from collections.abc import Callable, MutableMapping
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.ascents import ASCENTS, Step
from bench.training.recipe import Ascent, AscentName
from tests.training.toys import network


class Quadratic(nn.Module):
    """L(w) = (w₀² + 2 w₁²) / 2 at w = (3, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_2 = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))

    def loss(self) -> Tensor:
        return (self.weight_2.square() * torch.tensor([1.0, 2.0])).sum() / 2


def loss_of(model: nn.Module, seed: int = 0) -> Callable[[], Tensor]:
    """The cross-entropy of one fixed random batch."""
    draws = torch.Generator().manual_seed(seed)
    images_NCHW = torch.randn(16, 3, 8, 8, generator=draws)
    labels_N = torch.randint(5, (16,), generator=draws)
    return lambda: F.cross_entropy(model(images_NCHW), labels_N)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def ascend(
    name: str,
    model: nn.Module,
    loss_of: Callable[[], Tensor],
    *,
    rate_share: float = 1.0,
    number: int = 0,
    memory: MutableMapping[str, Tensor] | None = None,
    **numbers: float,
) -> Tensor:
    """Leave an ascent's gradient in a model, as one process without micro-batches computes it."""

    def here() -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        return loss.detach()

    def again() -> Tensor:
        before = [buffer.clone() for buffer in model.buffers()]
        try:
            return here()
        finally:
            for buffer, copy in zip(model.buffers(), before, strict=True):
                buffer.copy_(copy)

    step = Step(
        parameters=dict(model.named_parameters()),
        only=here,
        first=here,
        last=again,
        shared=dict,
        ascent=Ascent(name=name, **numbers),
        rate_share=rate_share,
        number=number,
        memory={} if memory is None else memory,
    )
    return ASCENTS[name](step)


CLIMBING = {
    "sam": {"rho": 0.5},
    "gsam": {"rho": 0.5, "rho_min": 0.5, "alpha": 0.4},
    "asam": {"rho": 0.5},
    "looksam": {"rho": 0.5, "alpha": 0.7, "every": 2},
}


def quadratic(name: str, **others: object) -> list[float]:
    """The gradient that an ascent leaves at (3, 2)."""
    model = Quadratic()
    assert ascend(name, model, model.loss, **others).item() == 8.5
    assert model.weight_2.tolist() == [3.0, 2.0]
    return model.weight_2.grad.tolist()


def test_recipes_know_the_ascents_that_there_are() -> None:
    assert set(ASCENTS) == set(get_args(AscentName)) == {*CLIMBING, "none"}


# -- worked by hand: at w = (3, 2), L = (9 + 2 * 4) / 2 = 8.5 and g = (3, 2 * 2), so |g| = 5 --------------------------


def test_none_is_the_plain_gradient() -> None:
    assert quadratic("none") == [3, 4]


def test_sam_of_a_quadratic() -> None:
    # The worst point is w + 0.5 (3, 4) / 5 = (3.3, 2.4), and the gradient there (3.3, 2 * 2.4).
    assert quadratic("sam", rho=0.5) == pytest.approx([3.3, 4.8])


def test_gsam_of_a_quadratic() -> None:
    # Halfway of the rates rho is 0.2 + 0.5 (0.8 - 0.2) = 0.5, so SAM's gradient is s = (3.3, 4.8). With g s = 29.1 and
    # s s = 33.93, what of g is orthogonal to s is (3, 4) - 0.8576481 (3.3, 4.8) = (0.1697613, -0.1167109).
    numbers = {"rho": 0.8, "rho_min": 0.2, "alpha": 0.4, "rate_share": 0.5}
    assert quadratic("gsam", **numbers) == pytest.approx([3.3 - 0.4 * 0.1697613, 4.8 + 0.4 * 0.1167109])


def test_asam_of_a_quadratic() -> None:
    # T = (3, 2) and T g = (9, 8), of length 145 ** 0.5 = 12.0415946. The worst point is 0.5 T T g / 12.0415946 away,
    # (27, 16) / 24.0831892 = (1.1211140, 0.6643638), and the gradient grows by (1, 2) times that.
    assert quadratic("asam", rho=0.5) == pytest.approx([4.1211140, 4 + 2 * 0.6643638])


def test_asam_adds_eta_to_weights_and_leaves_biases_unscaled() -> None:
    class WithBias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
            self.bias = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

        def loss(self) -> Tensor:
            return (self.weight.square() + 2 * self.bias.square()).sum() / 2

    model = WithBias()
    ascend("asam", model, model.loss, rho=0.5, eta=1.0)
    # g = (3, 4), T = (3 + 1, 1), T g = (12, 4) of length 160 ** 0.5; T T g = (48, 4).
    assert model.weight.grad.item() == pytest.approx(3 + 0.5 * 48 / 160**0.5)
    assert model.bias.grad.item() == pytest.approx(4 + 2 * 0.5 * 4 / 160**0.5)


def test_looksam_of_a_quadratic() -> None:
    # SAM's gradient (3.3, 4.8) first; of it, (3.3, 4.8) - 29.1 / 25 (3, 4) = (-0.192, 0.144) is orthogonal to g, of
    # length 0.24. The next step adds 0.7 * 5 / 0.24 of it: (3, 4) + 0.7 (-4, 3).
    memory: dict[str, Tensor] = {}
    assert quadratic("looksam", **CLIMBING["looksam"], memory=memory) == pytest.approx([3.3, 4.8])
    assert memory["weight_2"].tolist() == pytest.approx([-0.192, 0.144])
    for number, wanted in [(1, [0.2, 6.1]), (2, [3.3, 4.8]), (3, [0.2, 6.1])]:
        found = quadratic("looksam", **CLIMBING["looksam"], number=number, memory=memory)
        assert found == pytest.approx(wanted), number


# -- what they reduce to ---------------------------------------------------------------------------------------------


def after(name: str, **others: object) -> list[Tensor]:
    model = network()
    for number in range(3):
        ascend(name, model, loss_of(model, number), number=number, **others)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.1 * parameter.grad)
    return [*model.parameters(), *model.buffers()]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("gsam", {"rho": 0.2, "rho_min": 0.2, "rate_share": 0.3}), ("sam", {"rho": 0.2})),
        (("gsam", {"rho": 0.2, "rho_min": 0.1, "rate_share": 0.0}), ("sam", {"rho": 0.1})),
        (("looksam", {"rho": 0.2, "alpha": 0.7, "every": 1}), ("sam", {"rho": 0.2})),
        *[((name, {}), ("none", {})) for name in ("sam", "gsam", "asam")],
    ],
)
def test_an_ascent_reduces_to_another_bit_for_bit(one: tuple, other: tuple) -> None:
    for ours, theirs in zip(after(one[0], **one[1]), after(other[0], **other[1]), strict=True):
        assert torch.equal(ours, theirs)


def test_looksam_without_length_takes_plain_steps_in_between() -> None:
    memory: dict[str, Tensor] = {}
    given = {"rho": 0.5, "alpha": 0.0, "every": 2, "memory": memory}
    assert quadratic("looksam", **given) == pytest.approx([3.3, 4.8])
    assert quadratic("looksam", **given, number=1) == [3, 4]


# -- other implementations -------------------------------------------------------------------------------------------


def steps_of(theirs: nn.Module, first: Callable[[], None], second: Callable[[], None]) -> None:
    for seed in range(5):
        for step in (first, second):
            loss_of(theirs, seed)().backward()
            step()


def our_steps(name: str, **numbers: float) -> nn.Module:
    ours = network()
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    for seed in range(5):
        ascend(name, ours, loss_of(ours, seed), **numbers)
        sgd.step()
    return ours


REASON = "pytorch_optimizer is the other implementation"


def test_steps_of_sam_equal_those_of_another_implementation() -> None:
    reference = pytest.importorskip("pytorch_optimizer", reason=REASON)
    theirs = network()
    sam = reference.SAM(theirs.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9)
    steps_of(theirs, lambda: sam.first_step(zero_grad=True), lambda: sam.second_step(zero_grad=True))
    torch.testing.assert_close(
        list(our_steps("sam", rho=0.2).parameters()), list(theirs.parameters()), rtol=1e-5, atol=1e-6
    )


def test_steps_of_asam_equal_those_of_another_implementation() -> None:
    reference = pytest.importorskip("pytorch_optimizer", reason=REASON)
    # It scales biases as well, so there are none.
    theirs, ours = (nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False)) for _ in "ab")
    ours.load_state_dict(theirs.state_dict())
    inputs, labels = torch.randn(16, 6, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3
    asam = reference.SAM(theirs.parameters(), torch.optim.SGD, rho=0.5, adaptive=True, lr=0.1)
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1)
    for _ in range(5):
        for step in (asam.first_step, asam.second_step):
            F.cross_entropy(theirs(inputs), labels).backward()
            step(zero_grad=True)
        ascend("asam", ours, lambda: F.cross_entropy(ours(inputs), labels), rho=0.5)
        sgd.step()
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-5, atol=1e-6)


def test_steps_of_gsam_equal_those_of_another_implementation() -> None:
    reference = pytest.importorskip("pytorch_optimizer", reason=REASON)
    theirs = network()
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    constant = reference.ProportionScheduler(
        torch.optim.lr_scheduler.ConstantLR(sgd, 1.0), max_lr=0.1, min_lr=0.1, max_value=0.2, min_value=0.2
    )
    gsam = reference.GSAM(theirs.parameters(), sgd, theirs, constant, alpha=0.4)

    def climb() -> None:
        gsam.perturb_weights(0.2)
        theirs.zero_grad()

    def step() -> None:
        gsam.gradient_decompose(0.4)
        gsam.un_perturb()
        sgd.step()
        theirs.zero_grad()

    steps_of(theirs, climb, step)
    ours = our_steps("gsam", rho=0.2, rho_min=0.2, alpha=0.4)
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-5, atol=1e-6)


# -- what all of them keep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIMBING)
def test_weights_come_back_bit_for_bit(name: str) -> None:
    model = network()
    before = copies(model)
    ascend(name, model, loss_of(model), **CLIMBING[name])
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", CLIMBING)
def test_batch_norm_sees_the_batch_once_at_the_weights_that_are_kept(name: str) -> None:
    plain, sharp = network(), network()
    loss_of(plain)()
    ascend(name, sharp, loss_of(sharp), **CLIMBING[name])
    assert sharp[1].num_batches_tracked == 1
    for ours, wanted in zip(sharp.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, wanted)


@pytest.mark.parametrize("name", CLIMBING)
def test_parameters_without_gradient_are_left_alone(name: str) -> None:
    # One is frozen, one is trained but not used by this loss; neither may move or count in a norm.
    model, alone = Quadratic(), Quadratic()
    model.frozen_weight = nn.Parameter(torch.ones(3), requires_grad=False)
    model.unused_weight = nn.Parameter(torch.ones(3))
    for number, memory in enumerate([{}] * 2):
        for each in (model, alone):
            ascend(name, each, each.loss, **CLIMBING[name], number=number, memory=memory)
    assert model.frozen_weight.grad is None
    assert model.unused_weight.grad is None
    assert torch.equal(model.frozen_weight, torch.ones(3))
    assert torch.equal(model.unused_weight, torch.ones(3))
    assert torch.equal(model.weight_2.grad, alone.weight_2.grad)


@pytest.mark.parametrize("name", CLIMBING)
def test_a_zero_gradient_divides_nothing_by_zero(name: str) -> None:
    model = Quadratic()
    nn.init.zeros_(model.weight_2)
    for number, memory in enumerate([{}] * 2):
        ascend(name, model, model.loss, **CLIMBING[name], number=number, memory=memory)
        assert model.weight_2.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", CLIMBING)
def test_weights_come_back_when_the_second_pass_fails(name: str) -> None:
    model, losses = Quadratic(), []

    def fails_at_the_worst_point() -> Tensor:
        losses.append(model.loss())
        if len(losses) == 2:
            raise MemoryError
        return losses[-1]

    with pytest.raises(MemoryError):
        ascend(name, model, fails_at_the_worst_point, **CLIMBING[name])
    assert model.weight_2.tolist() == [3.0, 2.0]
