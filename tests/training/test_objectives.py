"""Objectives against other implementations and arithmetic by hand; optimisers against torch's and timm's."""

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from bench.checkpoints.zoo.architectures import resnet, vit
from bench.errors import BenchError
from bench.training.mixes import shares
from bench.training.model import Normalised
from bench.training.objectives import OBJECTIVES, bce, ce, supcon, tokens
from bench.training.optimizers import OPTIMIZERS, optimizer_of
from bench.training.recipe import Objective, ObjectiveName, Optimizer, OptimizerName

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
MIXED = 0.7 * shares(LABELS, 10) + 0.3 * shares(LABELS.flip(0), 10)


@pytest.fixture(scope="module")
def model() -> Normalised:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Normalised(vit(), [0.5] * 3, [0.5] * 3)


def test_recipes_know_the_objectives_and_optimizers_that_there_are() -> None:
    assert set(OBJECTIVES) == set(get_args(ObjectiveName))
    assert set(OPTIMIZERS) == set(get_args(OptimizerName))


def test_cross_entropy_takes_classes_and_shares(model: Normalised) -> None:
    hard = ce(model, IMAGES, LABELS, Objective())
    torch.testing.assert_close(hard, 6 * F.cross_entropy(model(IMAGES), LABELS))
    soft = ce(model, IMAGES, MIXED, Objective())
    torch.testing.assert_close(soft, 6 * SoftTargetCrossEntropy()(model(IMAGES), MIXED))
    smoothed = ce(model, IMAGES, LABELS, Objective(smoothing=0.1))
    wanted = 0.9 * hard + 0.1 * -F.log_softmax(model(IMAGES), 1).mean(1).sum()
    torch.testing.assert_close(smoothed, wanted)


@pytest.mark.parametrize(("smoothing", "threshold"), [(0.0, 0.0), (0.1, 0.2)])
def test_binary_cross_entropy_is_timms_with_binarised_targets(
    model: Normalised, smoothing: float, threshold: float
) -> None:
    theirs = BinaryCrossEntropy(smoothing=smoothing, target_threshold=threshold)
    given = Objective(name="bce", smoothing=smoothing, threshold=threshold)
    torch.testing.assert_close(bce(model, IMAGES, LABELS, given), 6 * theirs(model(IMAGES), LABELS))


def test_of_a_mixed_image_both_classes_are_there(model: Normalised) -> None:
    both = ((shares(LABELS, 10) + shares(LABELS.flip(0), 10)) > 0).float()
    wanted = F.binary_cross_entropy_with_logits(model(IMAGES), both)
    torch.testing.assert_close(bce(model, IMAGES, MIXED, Objective(name="bce")), 6 * wanted)


def test_supervised_contrast_of_four_directions_is_the_one_worked_by_hand() -> None:
    class Directions(nn.Module):
        def projected(self, images: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])

    # Temperature 1; classes 0, 0, 1, 2. Of the first the cosines are 0 (with the other of its class), 1 and -1, of the
    # second 0, 0 and 0. The others have none of their class.
    first = -math.log(1 / (1 + math.e + 1 / math.e))
    given = Objective(name="supcon", temperature=1.0)
    found = supcon(Directions(), IMAGES[:4], torch.tensor([0, 0, 1, 2]), given)
    assert found.item() == pytest.approx(first + math.log(3))


def test_supervised_contrast_is_the_plain_sum_of_the_papers_equation_2() -> None:
    class Given(nn.Module):
        def projected(self, images: Tensor) -> Tensor:
            return F.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(3)), dim=1)

    z, total = Given().projected(IMAGES), 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        alike = [j for j in others if LABELS[j] == LABELS[i]]
        below = sum(math.exp(float(z[i] @ z[j]) / 0.1) for j in others)
        total -= sum(math.log(math.exp(float(z[i] @ z[j]) / 0.1) / below) for j in alike) / len(alike)
    assert supcon(Given(), IMAGES, LABELS, Objective(name="supcon")).item() == pytest.approx(total, rel=1e-4)


def test_token_labels_add_the_weighted_loss_of_the_tokens(model: Normalised) -> None:
    logits = model.token_logits(IMAGES)
    assert logits.shape == (6, 17, 10)
    torch.testing.assert_close(logits[:, 0], model(IMAGES))
    given = Objective(name="tokens", token_weight=0.5)
    by_token = torch.stack([F.cross_entropy(logits[:, place], LABELS) for place in range(1, 17)]).mean()
    wanted = 6 * (F.cross_entropy(logits[:, 0], LABELS) + 0.5 * by_token)
    torch.testing.assert_close(tokens(model, IMAGES, LABELS, given), wanted)
    without = tokens(model, IMAGES, LABELS, Objective(name="tokens", token_weight=0.0))
    torch.testing.assert_close(without, ce(model, IMAGES, LABELS, Objective()))


def test_token_labels_want_a_module_with_tokens() -> None:
    with pytest.raises(BenchError, match="token labels want a module with tokens, and ResNet has none"):
        tokens(Normalised(resnet(), [0.5] * 3, [0.5] * 3), IMAGES, LABELS, Objective(name="tokens"))


def decays(module: nn.Module, **given: bool) -> dict[str, float]:
    optimizer = optimizer_of(module.parameters(), Optimizer(name="adamw", learning_rate=1, weight_decay=0.3, **given))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


def test_gains_and_biases_decay_only_where_the_recipe_says_so() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    matrices = {"0.weight", "3.weight"}
    every = {name for name, _ in module.named_parameters()}
    assert decays(module) == dict.fromkeys(every, 0.3)
    assert decays(module, decay_norms=False) == {name: 0.3 if name in matrices else 0.0 for name in every}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill(name: str) -> None:
    weight = nn.Parameter(torch.tensor([[3.0, -2.0]]))
    optimizer = optimizer_of([weight], Optimizer(name=name, learning_rate=0.05, weight_decay=0.0))
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    for _ in range(20):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert weight.detach().norm() < 2.9
