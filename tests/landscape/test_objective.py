"""The objective: losses and gradients at any weights, of a module that stays as it is."""

import copy

import pytest
import torch
from _small import differences, images, network
from torch import nn

from bench.attacks.losses import loss_of
from bench.errors import BenchError, RunError, UnknownNameError
from bench.landscape.objective import LOSSES, Objective

IMAGES, LABELS = images(6)


def double(name: str, **options) -> Objective:
    return Objective(network(name), IMAGES.double(), LABELS, dtype=torch.float64, **options)


@pytest.mark.parametrize("name", ["vit", "batchnorm"])
@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_losses_are_those_of_the_module(name, loss):
    objective = double(name, loss=loss_of(loss, LOSSES), at_once=4)
    with torch.no_grad():
        logits = network(name).double()(IMAGES.double())
    expected = loss_of(loss, LOSSES)(logits, LABELS)
    torch.testing.assert_close(objective.losses(), expected, rtol=1e-12, atol=1e-12)


def test_binary_loss_asks_about_every_class():
    losses = loss_of("bce", LOSSES)(torch.zeros(2, 5), torch.tensor([0, 4]))
    torch.testing.assert_close(losses, torch.full((2,), 5 * torch.log(torch.tensor(2.0))))


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_the_gradient_is_the_slope_of_the_mean_loss(batchnorm):
    objective = double("batchnorm", batchnorm=batchnorm, at_once=3)
    vector = torch.randn(len(objective.weights_P), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def mean(step: float) -> float:
        return float(objective.losses(objective.weights_P + step * vector).mean())

    slope = (mean(1e-5) - mean(-1e-5)) / 2e-5
    assert float(objective.gradient() @ vector) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_the_module_stays_as_it_is(batchnorm):
    module = network("batchnorm").train()
    module.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    objective = Objective(module, IMAGES, LABELS, batchnorm=batchnorm)
    held = copy.deepcopy(objective.module.state_dict())
    objective.gradient()
    objective.losses()
    assert module.training
    assert not any(weight.requires_grad for weight in module.parameters())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, tensor in objective.module.state_dict().items():
        assert torch.equal(tensor, held[name])  # no running statistics gathered either


def test_batchnorm_in_training_mode_takes_the_statistics_of_its_batch():
    module = network("batchnorm").double()
    halves = []
    for rows in (slice(0, 3), slice(3, 6)):
        with torch.no_grad():
            halves.append(
                nn.functional.cross_entropy(copy.deepcopy(module).train()(IMAGES[rows].double()), LABELS[rows])
            )
    objective = double("batchnorm", batchnorm="train", at_once=3)
    torch.testing.assert_close(objective.losses().mean(), torch.stack(halves).mean())
    assert not torch.allclose(objective.losses(), double("batchnorm").losses())


def test_dropout_stays_off_in_batchnorms_training_mode():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(768), nn.Dropout(0.5), nn.Linear(768, 10))
    objective = Objective(module, IMAGES, LABELS, batchnorm="train")
    assert torch.equal(objective.losses(), objective.losses())


def test_weights_that_are_frozen_do_not_count():
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.Tanh(), nn.Linear(4, 10))
    module[1].requires_grad_(False)
    assert list(Objective(module, IMAGES, LABELS).shapes) == ["3.weight", "3.bias"]
    module.requires_grad_(False)  # as a checkpoint that was loaded
    assert len(Objective(module, IMAGES, LABELS).shapes) == 4


def test_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(10, 10, bias=False)
            self.second = nn.Linear(10, 10, bias=False)
            self.second.weight = self.first.weight

        def forward(self, images):
            return self.second(self.first(images.flatten(1)[:, :10]).tanh())

    objective = Objective(Tied(), IMAGES.double(), LABELS, dtype=torch.float64)
    assert list(objective.shapes) == ["first.weight"]
    vector = torch.ones(100, dtype=torch.float64)
    slope = objective.losses(objective.weights_P + 1e-6 * vector) - objective.losses(
        objective.weights_P - 1e-6 * vector
    )
    assert float(objective.gradient() @ vector) == pytest.approx(float(slope.mean()) / 2e-6, rel=1e-6)


def test_a_notebooks_settings_decide_nothing():
    expected = Objective(network("vit"), IMAGES, LABELS).gradient()
    with torch.inference_mode():
        module, pictures = network("vit"), IMAGES.clone()
        assert torch.equal(Objective(module, pictures, LABELS).gradient(), expected)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Objective(network("vit"), IMAGES, LABELS).gradient(), expected)


class Hungry(nn.Module):
    """A module that has room for few images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.layer, self.room = nn.Linear(768, 10), room

    def forward(self, images):
        if len(images) > self.room:
            torch.empty(10**15)  # raises as torch does
        return self.layer(images.flatten(1))


def test_pieces_shrink_where_memory_runs_out():
    objective = Objective(Hungry(2), IMAGES, LABELS, at_once=6)
    assert len(objective.losses()) == 6
    assert [rows.stop - rows.start for rows in objective.pieces] == [2, 2, 2] or len(objective.pieces) == 6


def test_pieces_whose_statistics_count_do_not_shrink():
    module = nn.Sequential(nn.BatchNorm2d(3), Hungry(2))
    with pytest.raises(RunError, match="out of memory with 6 images, whose statistics BatchNorm takes"):
        Objective(module, IMAGES, LABELS, batchnorm="train", at_once=6).losses()


PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))


class Shapeless(nn.Linear):
    def forward(self, images):
        return [super().forward(images.flatten(1))]


class Detached(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)).detach()


@pytest.mark.parametrize(
    ("module", "pictures", "labels", "options", "says"),
    [
        (PLAIN, IMAGES[:0], LABELS[:0], {}, "over no images"),
        (PLAIN, (255 * IMAGES).byte(), LABELS, {}, "floating numbers as the module takes them, not torch.uint8"),
        (PLAIN, IMAGES, LABELS[:3], {}, "6 whole numbers"),
        (PLAIN, IMAGES, LABELS.float(), {}, "of torch.float32"),
        (PLAIN, IMAGES, LABELS - 1, {}, "from -1"),
        (PLAIN, IMAGES, LABELS + 10, {}, "label 15 is none of the 10"),
        (PLAIN, IMAGES, LABELS, {"batchnorm": "off"}, "eval or train, not 'off'"),
        (network("batchnorm"), IMAGES[:1], LABELS[:1], {"batchnorm": "train"}, "at least 2 images"),
        (nn.Flatten(), IMAGES, LABELS, {}, "no weights that a gradient"),
        (Shapeless(768, 10), IMAGES, LABELS, {}, "not a list"),
        (Detached(768, 10), IMAGES, LABELS, {}, "its loss does not depend on its weights"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(module, pictures, labels, options, says):
    with pytest.raises(BenchError, match=says):
        Objective(module, pictures, labels, **options).gradient()


def test_integer_weights_have_no_gradient():
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    module.weight = nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
    with pytest.raises(BenchError, match="weight of Sequential are not floating"):
        Objective(module.requires_grad_(False), IMAGES, LABELS)


def test_losses_that_are_not_finite_stop_it():
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    with torch.no_grad():
        module[1].bias[0] = torch.nan
    with pytest.raises(RunError, match="6 of 6 images is NaN"):
        Objective(module, IMAGES, LABELS).losses()


def test_there_is_no_other_loss():
    with pytest.raises(UnknownNameError, match="loss 'mse'"):
        loss_of("mse", LOSSES)


def test_differences_and_products_are_of_the_same_matrix():
    objective = double("mixer")
    first, second = torch.eye(len(objective.weights_P), dtype=torch.float64)[[0, -1]]
    assert float(first @ differences(objective, second)) == pytest.approx(float(second @ differences(objective, first)))
