"""Losses at weights that are moved, against copies of the module whose weights are moved by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.errors import BenchError, RunError
from bench.landscape.batchnorm import take_anew
from bench.landscape.directions import filter_scaled, gaussian
from bench.landscape.flatness import ascent_losses, group_ascent_losses, noise_losses
from bench.landscape.objective import Objective
from bench.landscape.surface import axis, line_losses, path_losses, plane_losses


class Small(nn.Module):
    """A convolution, BatchNorm, a smooth activation and a head; its statistics are of other images."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.GELU(), nn.Flatten())
            self.head = nn.Linear(width * 4, 3)
            self.body[1].running_mean.normal_()
            self.body[1].running_var.uniform_(0.5, 2)
            nn.init.normal_(self.body[1].weight)
        self.eval().requires_grad_(False)

    def forward(self, images):
        return self.head(self.body(images))


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(10, 3, 4, 4, generator=generator), torch.randint(0, 3, (10,), generator=generator)


@pytest.fixture
def objective(data) -> Objective:
    return Objective(Small(), *data, at_once=4)


def moved(module: nn.Module, direction: torch.Tensor) -> nn.Module:
    """A copy whose parameters lie further along a direction."""
    copied = copy.deepcopy(module)
    start = nn.utils.parameters_to_vector(copied.parameters())
    nn.utils.vector_to_parameters(start + direction, copied.parameters())
    return copied


def losses(module: nn.Module, data) -> torch.Tensor:
    with torch.no_grad():
        return F.cross_entropy(module(data[0]), data[1], reduction="none")


# -- directions -------------------------------------------------------------------------------------------------------


def test_directions_go_by_seed_name_and_weight_alone(data):
    first, other = Objective(Small(0), *data), Objective(Small(1), *data)
    assert gaussian(first, 3, "noise").equal(gaussian(other, 3, "noise"))
    assert not gaussian(first, 3, "noise").equal(gaussian(first, 4, "noise"))
    assert not gaussian(first, 3, "noise").equal(gaussian(first, 3, "surface"))


def test_directions_are_of_the_standard_normal_law(data):
    draws = gaussian(Objective(Small(width=400), *data), 0, "noise")
    assert draws.mean().abs() < 0.05
    assert draws.std() == pytest.approx(1, abs=0.05)


def test_each_filter_of_a_direction_is_as_long_as_that_of_the_weights(objective):
    scaled = objective.split(filter_scaled(objective, gaussian(objective, 0, "noise")))
    weights = objective.split(objective.weights_P)
    for part, weight in zip(scaled, weights, strict=True):
        if weight.ndim < 2:
            assert not part.any()
            continue
        for row, filter_ in zip(part, weight, strict=True):
            torch.testing.assert_close(row.norm(), filter_.norm())


# -- flatness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
def test_noise_is_the_mean_over_copies_with_noisy_weights(objective, data, scaled):
    noises = [gaussian(objective, 5, f"noise {draw}") for draw in range(3)]
    noises = [filter_scaled(objective, noise) for noise in noises] if scaled else noises
    wanted = torch.stack([losses(moved(Small(), 0.1 * noise), data) for noise in noises]).double().mean(0)
    found = noise_losses(objective, 0.1, scaled=scaled, draws=3, seed=5)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, losses(Small(), data).double(), atol=1e-3)


def gradient(module: nn.Module, data) -> torch.Tensor:
    copied = copy.deepcopy(module).requires_grad_(True)
    F.cross_entropy(copied(data[0]), data[1]).backward()
    return nn.utils.parameters_to_vector([parameter.grad for parameter in copied.parameters()])


def test_the_ascent_is_a_step_along_the_gradient(objective, data):
    step = gradient(Small(), data)
    wanted = losses(moved(Small(), 0.3 * step / step.norm()), data)
    found = ascent_losses(objective, 0.3)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert found.mean() > objective.losses().mean() + 0.01


def test_groups_ascend_by_their_own_gradients(objective, data):
    groups = [torch.tensor([0, 2, 9]), torch.tensor([1, 3, 4, 5, 6, 7, 8])]
    found = group_ascent_losses(objective, 0.3, groups)
    for rows in groups:
        of_group = data[0][rows], data[1][rows]
        step = gradient(Small(), of_group)
        torch.testing.assert_close(found[rows], losses(moved(Small(), 0.3 * step / step.norm()), of_group))
    assert found.mean() > ascent_losses(objective, 0.3).mean()


def test_a_module_without_a_way_up_says_so(data):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, images):
            return (0 * self.weight).expand(len(images), 3)

    with pytest.raises(RunError, match="length of 0, so there is no way up"):
        ascent_losses(Objective(Constant(), *data), 0.1)


# -- surfaces ---------------------------------------------------------------------------------------------------------


def test_an_axis_has_the_weights_in_its_middle():
    assert axis(1.0, 5) == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_a_plane_is_spanned_by_two_directions_and_its_middle_column_is_the_line(objective, data):
    ts = axis(0.4, 3)
    down, right = (filter_scaled(objective, gaussian(objective, 2, f"surface {i}")) for i in range(2))
    plane = plane_losses(objective, ts, seed=2).view(10, 3, 3)
    for i, s in enumerate(ts):
        for j, t in enumerate(ts):
            torch.testing.assert_close(plane[:, i, j], losses(moved(Small(), s * down + t * right), data))
    assert plane[:, 1, 1].equal(objective.losses())
    assert plane[:, :, 1].equal(line_losses(objective, ts, seed=2))


def test_the_way_between_two_ends_in_each(data):
    first, second = (Objective(Small(seed), *data, at_once=4) for seed in (0, 1))
    path = path_losses(first, second, [0.0, 0.5, 1.0], anew=False)
    torch.testing.assert_close(path[:, 0], losses(Small(0), data))
    torch.testing.assert_close(path[:, 2], losses(Small(1), data))
    middle, one, other = Small(0), Small(0).state_dict(), Small(1).state_dict()
    middle.load_state_dict({k: (one[k] + other[k]) / 2 if one[k].is_floating_point() else one[k] for k in one})
    torch.testing.assert_close(path[:, 1], losses(middle, data))
    torch.testing.assert_close(first.losses(), losses(Small(0), data))  # its statistics were put back


def test_statistics_are_taken_anew_as_a_plain_mean_over_pieces(data):
    first, second = (Objective(Small(seed), *data, at_once=5) for seed in (0, 1))
    path = path_losses(first, second, [1.0], anew=True)
    module = Small(1)
    norm = module.body[1]
    features = module.body[0](data[0])
    pieces = [features[:5], features[5:]]
    norm.running_mean.copy_(torch.stack([p.mean((0, 2, 3)) for p in pieces]).mean(0))
    norm.running_var.copy_(torch.stack([p.var((0, 2, 3)) for p in pieces]).mean(0))
    torch.testing.assert_close(path[:, 0], losses(module, data))
    assert first.module.body[1].training is False
    assert first.module.body[1].momentum == norm.momentum


def test_nothing_is_taken_anew_where_there_is_no_batchnorm(data):
    objective = Objective(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), *data)
    before = objective.losses()
    take_anew(objective)
    assert objective.losses().equal(before)


def test_there_is_no_way_between_two_architectures(data):
    with pytest.raises(BenchError, match="no straight way from Small to Small: their weights differ in shape"):
        path_losses(Objective(Small(), *data), Objective(Small(width=5), *data), [0.5], anew=False)
