"""What attacks climb is the model, but for rounding; what cannot be folded surely is left as it is."""

import pytest
import torch
from torch import nn

from bench.attacks.folding import folded

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Masked(torch.autograd.Function):
    """The identity, whose gradient is cut off: torch.fx sees the function alone."""

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
        x = self.norm(self.first(x))
        if self.way == "masked":
            x = Masked.apply(x)
        return self.head(x.relu().mean((2, 3)))


def gradient(module):
    images = IMAGES.clone().requires_grad_()
    logits = module(images)
    return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), images)[0]


def test_logits_and_gradients_are_the_modules_without_its_batchnorms():
    module = Net().eval()
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    quick = folded(module, IMAGES)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    for one, other in zip(gradient(quick), gradient(module), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("way", ["branches", "masked"])
def test_what_cannot_be_traced_or_has_a_gradient_of_its_own_is_left(way):
    module = Net(way).eval()
    assert folded(module, IMAGES) is module


def test_in_training_mode_and_without_a_batchnorm_nothing_is_folded():
    assert folded(module := Net().train(), IMAGES) is module
    assert folded(module := nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval(), IMAGES) is module
