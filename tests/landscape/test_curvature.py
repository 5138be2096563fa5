"""Eigenvalues, trace and density against the whole Hessian of small networks."""

import functools

import pytest
import torch
from _small import NETWORKS, dense, images, network
from torch import nn

from bench.errors import BenchError
from bench.landscape import Curvature, carried_by
from bench.landscape.density import Density

IMAGES, LABELS = images(10)


def small(network: int = 0, scale: float = 1.0) -> nn.Module:
    """225 weights, others for each number of a network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network)
        pool = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
        module = nn.Sequential(pool, nn.Linear(12, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 5), nn.GELU())
        module.append(nn.Linear(5, 10))
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(scale).add_(0.1 * torch.randn_like(weight))
    return module


@functools.cache
def exact(network: int = 0, scale: float = 1.0):
    """The whole Hessian of `small`, and its eigenvalues, rising."""
    objective = curvature_of(network, scale, torch.float64).objective
    matrix = dense(objective)
    return matrix, torch.linalg.eigvalsh(matrix)


def curvature_of(network: int = 0, scale: float = 1.0, dtype=torch.float32, **options) -> Curvature:
    return Curvature(small(network, scale), IMAGES.to(dtype), LABELS, dtype=dtype, **options)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_eigenvalues_are_those_of_the_whole_matrix(dtype, within):
    _, values = exact()
    found = curvature_of(dtype=dtype).eigenvalues(largest=5, smallest=3, tolerance=1e-5)
    scale = float(values.abs().max())
    torch.testing.assert_close(found.largest_K, values.flip(0)[:5], rtol=0, atol=within * scale)
    torch.testing.assert_close(found.smallest_K, values[:3], rtol=0, atol=within * scale)
    assert found.products < 50


@pytest.mark.parametrize("name", ["vit", "mixer"])
def test_the_largest_is_known_within_twelve_products(name):
    curvature = Curvature(network(name), IMAGES, LABELS)
    found = curvature.eigenvalues(largest=1, smallest=0, tolerance=0, most=12)
    settled = curvature.eigenvalues(largest=1, smallest=0, tolerance=0, most=30)
    assert found.products == 12
    assert float(found.largest_K[0]) == pytest.approx(float(settled.largest_K[0]), rel=1e-5)


def covered(case: int) -> bool:
    """Whether every Ritz value of a random network has an eigenvalue within its bound."""
    scale = 0.3 + (case * 0.37) % 4
    _, values = exact(case, scale)
    curvature = curvature_of(case, scale, seed=case)
    found = curvature.eigenvalues(largest=1, smallest=0, tolerance=0, most=5 + case % 10)
    ritz = found.krylov.ritz()
    nearest = (ritz.values_S[:, None] - values).abs().amin(dim=1)
    return bool((nearest <= ritz.bounds_S).all())


def test_bounds_hold_the_error():
    assert all(covered(case) for case in range(12))


@pytest.mark.slow
def test_bounds_hold_the_error_of_200_networks():
    assert all(covered(case) for case in range(200))


def test_fp32_shows_no_copies_of_the_largest():
    _, values = exact()
    found = curvature_of().eigenvalues(largest=8, smallest=0, tolerance=0, most=60)
    torch.testing.assert_close(found.largest_K, values.flip(0)[:8], rtol=0, atol=1e-5 * float(values[-1]))
    basis = found.krylov.basis_SP.double()
    assert float((basis @ basis.T - torch.eye(60)).abs().max()) < 1e-5


def test_vectors_are_eigenvectors():
    matrix, _ = exact()
    found = curvature_of(dtype=torch.float64).eigenvalues(largest=2, tolerance=1e-8)
    vectors = found.vectors(2)
    torch.testing.assert_close(vectors @ matrix, found.largest_K[:, None] * vectors, rtol=0, atol=1e-6)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_a_whole_basis_gives_every_eigenvalue():
    module = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, 10, bias=False))
    curvature = Curvature(module, IMAGES.double(), LABELS, dtype=torch.float64)
    values = torch.linalg.eigvalsh(dense(curvature.objective))
    found = curvature.eigenvalues(largest=20, smallest=10, tolerance=0, most=100)
    assert found.products == 30
    torch.testing.assert_close(torch.cat([found.smallest_K, found.largest_K.flip(0)]), values, atol=1e-12, rtol=0)
    trace = curvature.trace(found, probes=2)
    assert trace.value == pytest.approx(float(values.sum()))
    assert trace.standard_error < 1e-12


def test_a_flat_loss_has_no_curvature():
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    curvature = Curvature(module, IMAGES, LABELS, loss=lambda logits, labels: logits[:, 0])
    found = curvature.eigenvalues()
    assert not found.largest_K.any()
    assert not found.largest_bounds_K.any()
    assert curvature.trace(found, probes=2).value == 0
    assert float(curvature.density(found, starts=1, steps=2).shares_M.sum()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["vit", "batchnorm"])
def test_batches_of_another_size_change_next_to_nothing(name):
    found = []
    for at_once in (3, 10):
        curvature = Curvature(network(name), IMAGES, LABELS, at_once=at_once)
        ends = curvature.eigenvalues(largest=1)
        trace = curvature.trace(ends, probes=4)
        found.append([float(ends.largest_K[0]), float(ends.smallest_K[0]), trace.value])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_same_comes_twice_and_another_seed_gives_other_probes():
    curvatures = [curvature_of(seed=seed) for seed in (0, 0, 1)]
    first, again, other = (one.trace(one.eigenvalues(), probes=3).value for one in curvatures)
    assert first == again
    assert first != other


def honest(seeds: range) -> float:
    """The share of traces that lie within 95% intervals of the true one; t with 9 degrees of freedom."""
    _, values = exact()
    wanted, within = float(values.sum()), 0
    for seed in seeds:
        curvature = curvature_of(seed=seed, at_once=10)
        trace = curvature.trace(curvature.eigenvalues(largest=1, tolerance=0, most=6), probes=10)
        within += abs(trace.value - wanted) <= 2.262 * trace.standard_error
    return within / len(seeds)


def test_the_traces_standard_error_is_honest():
    assert honest(range(30)) >= 0.8  # of 95%: less than one chance in a thousand


@pytest.mark.slow
def test_the_traces_standard_error_is_honest_over_200_seeds():
    assert 0.9 <= honest(range(200)) <= 0.98


def distance(density: Density, values) -> float:
    """Wasserstein distance to the true spectrum, over mean |λ|."""
    points = torch.cat([values, density.values_M])
    order = points.argsort()
    shares = torch.cat([torch.full_like(values, 1 / len(values)), -density.shares_M])[order].cumsum(0)
    return float((shares[:-1].abs() * points[order].diff()).sum() / values.abs().mean())


def test_the_density_is_near_the_spectrum():
    _, values = exact()
    curvature = curvature_of()
    density = curvature.density(curvature.eigenvalues(), starts=5, steps=12)
    assert distance(density, values) < 0.3
    assert float(density.shares_M.sum()) == pytest.approx(1)
    assert float(density.values_M @ density.shares_M) == pytest.approx(float(values.mean()), rel=0.3)


def test_a_log_axis_shows_the_density_a_decade():
    density = Density(
        values_M=torch.tensor([-0.1, 1e-9, 10.0]).double(), shares_M=torch.tensor([0.2, 0.3, 0.5]).double()
    )
    shown = density.on_log_axis(smallest=1e-3, largest=1e3, points=601)
    decade = 6 / 600
    assert float(shown.positive_M.sum()) * decade == pytest.approx(0.5, rel=1e-3)
    assert float(shown.negative_M.sum()) * decade == pytest.approx(0.2, rel=1e-3)
    assert float(shown.size_M[shown.positive_M.argmax()]) == pytest.approx(10)
    assert float(shown.size_M[shown.negative_M.argmax()]) == pytest.approx(0.1)


def blocks_of_matrix(curvature, matrix) -> dict:
    """Each block of the Hessian by its name."""
    found, start = {}, 0
    for block in curvature.blocks:
        size = sum(curvature.objective.shapes[name].numel() for name in block.parameters)
        found[block.name] = matrix[start : start + size, start : start + size]
        start += size
    assert start == len(matrix)
    return found


def test_blocks_are_those_of_the_whole_matrix():
    matrix, _ = exact()
    curvature = curvature_of(dtype=torch.float64)
    parts = blocks_of_matrix(curvature, matrix)
    found = curvature.block_eigenvalues(largest=2, tolerance=1e-6)
    assert list(found) == list(parts)
    for name, part in parts.items():
        values = torch.linalg.eigvalsh(part)
        scale = float(values.abs().max())
        torch.testing.assert_close(found[name].largest_K, values.flip(0)[:2], rtol=0, atol=1e-6 * scale)
        torch.testing.assert_close(found[name].smallest_K[0], values[0], rtol=0, atol=1e-6 * scale)


def test_traces_of_blocks_add_up_to_the_whole_and_know_how_sure_they_are():
    matrix, _ = exact()
    within = total = 0
    for seed in range(20):
        curvature = curvature_of(seed=seed, dtype=torch.float64)
        trace = curvature.trace(curvature.eigenvalues(largest=1, tolerance=0, most=6), probes=10)
        assert sum(part.value for part in trace.blocks.values()) == pytest.approx(trace.value)
        for name, part in blocks_of_matrix(curvature, matrix).items():
            found = trace.blocks[name]
            within += abs(found.value - float(part.trace())) <= 2.262 * found.standard_error
            total += 1
    assert within / total >= 0.88  # of 95%


def test_traces_of_blocks_are_exact_where_the_basis_is_whole():
    module = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 10))
    curvature = Curvature(module, IMAGES.double(), LABELS, dtype=torch.float64)
    matrix = dense(curvature.objective)
    trace = curvature.trace(curvature.eigenvalues(largest=66, smallest=0, tolerance=0, most=100), probes=2)
    for name, part in blocks_of_matrix(curvature, matrix).items():
        assert trace.blocks[name].value == pytest.approx(float(part.trace()), abs=1e-10)
        assert trace.blocks[name].standard_error < 1e-10


@pytest.mark.parametrize("name", NETWORKS)
def test_images_share_the_largest_eigenvalue(name):
    curvature = Curvature(network(name), IMAGES.double(), LABELS, dtype=torch.float64, at_once=4)
    found = curvature.eigenvalues(largest=1, smallest=0, tolerance=1e-6)
    by_image = curvature.by_image(found.vectors(1)[0])
    assert by_image.shape == (10,)
    assert float(by_image.mean()) == pytest.approx(float(found.largest_K[0]), rel=1e-6)
    assert 1 <= carried_by(by_image) <= 10


def test_few_images_may_carry_it():
    assert carried_by(torch.tensor([0.0, 9.0, 0.5, 0.5])) == 1
    assert carried_by(torch.tensor([1.0] * 10)) == 9
    assert carried_by(torch.tensor([5.0, 5.0, -1.0, 1.0]), share=1.0) == 2


def test_vectors_of_another_size_are_refused():
    with pytest.raises(BenchError, match="must have 225 numbers"):
        curvature_of().product(torch.ones(3))


def test_a_trace_needs_two_probes():
    curvature = curvature_of()
    with pytest.raises(BenchError, match="at least 2 probes"):
        curvature.trace(curvature.eigenvalues(), probes=1)
