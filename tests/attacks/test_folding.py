"""What attacks climb is the model, but for rounding; what cannot be folded surely is left as it is."""

import pytest
import torch
from torch import nn

from bench.attacks.folding import folded

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Masked(torch.autograd.Function):
    """The identity, whose gradient is cut off."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0


class Net(nn.Module):
    def __init__(self, way="plain"):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.first, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        if self.way == "branches" and x.mean() > 0.5:
            x = x * 1.01
        self.given = self.first(x)
        x = self.norm(self.given)
        if self.way == "twice":
            x = self.norm(x)
        if self.way == "masked":
            x = Masked.apply(x)
        if self.way == "beside":
            x = x + self.given.mean()
        return self.head(x.relu().mean((2, 3)))


def gradient(module):
    images = IMAGES.clone().requires_grad_()
    logits = module(images)
    return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), images)[0]


@pytest.mark.parametrize("way", ["plain", "branches", "masked"])
def test_logits_and_gradients_are_the_modules_without_its_batchnorms(way):
    module = Net(way).eval()
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    quick = folded(module, IMAGES)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    for one, other in zip(gradient(quick), gradient(module), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())


def test_where_more_than_the_batchnorm_sees_what_the_convolution_gives_nothing_is_folded():
    module = Net("beside").eval()
    assert folded(module, IMAGES) is module


def test_a_batchnorm_that_is_called_twice_stays():
    module = Net("twice").eval()
    assert any(isinstance(part, nn.BatchNorm2d) for part in folded(module, IMAGES).modules())
    for one, other in zip(gradient(folded(module, IMAGES)), gradient(module), strict=True):
        assert torch.equal(one, other)


def test_in_training_mode_and_without_a_batchnorm_nothing_is_folded():
    assert folded(module := Net().train(), IMAGES) is module
    assert folded(module := nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval(), IMAGES) is module
