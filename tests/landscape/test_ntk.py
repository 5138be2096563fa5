"""The tangent kernel against explicit Jacobians."""

import pytest
import torch
from torch import nn

from bench.landscape import ntk
from bench.landscape.objective import Objective


def module() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 5)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def objective(images: torch.Tensor) -> Objective:
    labels = torch.zeros(len(images), dtype=torch.int64)
    return Objective(module(), images, labels, loss=ntk.summed_logits, dtype=torch.float64)


def jacobian(images: torch.Tensor) -> torch.Tensor:
    """(N, P), image by image and weight by weight, with torch's own function."""
    own = module().double()
    named = {name: parameter.detach() for name, parameter in own.named_parameters()}

    def summed(*parameters):
        weights = dict(zip(named, parameters, strict=True))
        return torch.func.functional_call(own, weights, (images.double(),)).sum(1) / 5**0.5

    parts = torch.autograd.functional.jacobian(summed, tuple(named.values()))
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@pytest.mark.parametrize("most", [2**30, 400])
def test_a_kernel_is_the_product_of_jacobians(images, monkeypatch, most):
    monkeypatch.setattr(ntk, "_MOST", most)  # few gradients at a time, or all
    rows = torch.tensor([5, 0, 3])
    jacobian_NP = jacobian(images)[rows]
    torch.testing.assert_close(ntk.kernel(objective(images), rows), jacobian_NP @ jacobian_NP.T)


def test_extremes_are_those_of_its_eigenvalues(images):
    kernel = ntk.kernel(objective(images), torch.arange(7))
    largest, smallest = ntk.extremes(kernel)
    eigenvalues = torch.linalg.svdvals(jacobian(images)) ** 2
    assert largest == pytest.approx(float(eigenvalues.max()))
    assert smallest == pytest.approx(float(eigenvalues.min()))


def test_two_images_that_are_one_leave_no_smallest_eigenvalue(images):
    kernel = ntk.kernel(objective(torch.cat([images, images[:1]])), torch.arange(8))
    assert ntk.extremes(kernel)[1] == 0.0


def test_all_weights_are_in_one_share_and_in_no_other():
    sizes = [3, 10, 2, 2, 9, 1]
    shares = ntk._shares(sizes, most=5)
    assert [sizes[share] for share in shares] == [[3], [10], [2, 2], [9], [1]]
