"""Products of the Hessian against central differences and against its rows by reverse mode."""

import pytest
import torch
from _small import NETWORKS, differences, images, network
from timm.layers import set_fused_attn
from torch import nn

from bench.errors import BenchError
from bench.landscape.blocks import blocks_of
from bench.landscape.objective import Objective
from bench.landscape.products import Job, Products

IMAGES, LABELS = images(6)
MODES = [*((name, "eval") for name in NETWORKS), ("batchnorm", "train")]


def objective(name: str, dtype=torch.float64, **options) -> Objective:
    return Objective(network(name), IMAGES.to(dtype), LABELS, dtype=dtype, **{"at_once": 3, **options})


def vector_for(objective: Objective, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(objective.weights_P), generator=generator, dtype=torch.float64).to(objective.dtype)


def row(objective: Objective, place: int):
    """A row of the Hessian, by reverse mode alone."""
    weights, total = objective.leaves(), 0
    for rows in objective.pieces:
        parts = objective.gradients_of(objective.piece(rows), weights, keep_graph=True)
        one = torch.cat([part.reshape(-1) for part in parts])[place]
        total = total + objective.flat(torch.autograd.grad(one, weights, materialize_grads=True))
    return total


def apart(found, wanted) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("name", "batchnorm"), MODES)
def test_products_are_central_differences(name, batchnorm):
    whole = objective(name, batchnorm=batchnorm)
    vector = vector_for(whole)
    assert apart(Products(whole)(vector), differences(whole, vector)) < 1e-9


@pytest.mark.parametrize(("name", "batchnorm"), MODES)
def test_products_with_units_are_rows_by_reverse_mode(name, batchnorm):
    whole = objective(name, batchnorm=batchnorm)
    products = Products(whole)
    for place in range(7, len(whole.weights_P), 150):
        wanted = row(whole, place)
        found = products(torch.zeros_like(whole.weights_P).index_fill_(0, torch.tensor(place), 1))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9 * float(wanted.norm().clamp(min=1e-3)))


@pytest.mark.parametrize(("name", "batchnorm"), MODES)
def test_fp32_rounds_products_little(name, batchnorm):
    exact, single = (objective(name, dtype, batchnorm=batchnorm) for dtype in (torch.float64, torch.float32))
    vector = vector_for(exact)
    # GroupNorm over twelve values loses more digits than the 1e-6 of the others.
    assert apart(Products(single)(vector.float()).double(), Products(exact)(vector)) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_blocks_product_is_that_of_its_part_of_the_matrix(name):
    whole = objective(name)
    products = Products(whole)
    for block in blocks_of(whole.module, whole.shapes):
        inside = torch.cat(
            [torch.full((shape.numel(),), key in block.parameters) for key, shape in whole.shapes.items()]
        )
        vector = vector_for(whole)
        wanted = products(torch.where(inside, vector, 0.0))[inside]
        torch.testing.assert_close(products(vector[inside], block), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_that_are_made_again_give_the_same_bits(name):
    whole = objective(name, torch.float32)
    vector = vector_for(whole)
    kept, again = Products(whole), Products(whole, memory=0)
    first = kept(vector)
    assert kept._kept
    assert torch.equal(kept(vector), first)
    assert torch.equal(again(vector), first)
    assert not again._kept


def test_as_many_graphs_are_kept_as_there_is_room_for():
    whole = objective("vit", at_once=1)
    one = Products(whole)
    one(vector_for(whole))
    some = Products(whole, memory=2 * one._image_bytes)
    assert torch.equal(some(vector_for(whole)), one(vector_for(whole)))
    assert (len(some._kept), len(one._kept)) == (2, 6)


def test_kept_graphs_give_way_where_memory_runs_out():
    class Hungry(nn.Module):
        room = 10**9

        def __init__(self):
            super().__init__()
            self.layer = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.Tanh(), nn.Linear(4, 10))

        def forward(self, images):
            if len(images) > Hungry.room:
                torch.empty(10**15)  # raises as torch does
            return self.layer(images)

    whole = Objective(Hungry(), IMAGES, LABELS, at_once=4)
    products = Products(whole)
    before = products(vector_for(whole))
    Hungry.room = 2
    products._kept.popitem()  # one must be made again, and has no room any more
    after = products(vector_for(whole))
    assert products._kept.keys() <= {(rows.start, rows.stop) for rows in whole.pieces}
    assert apart(after, before) < 1e-5


@pytest.mark.parametrize(("name", "batchnorm"), [mode for mode in MODES if mode[1] == "eval"])
def test_batches_of_another_size_change_next_to_nothing(name, batchnorm):
    found = []
    for at_once in (1, 2, 5, 64):
        whole = objective(name, torch.float32, batchnorm=batchnorm, at_once=at_once)
        found.append(Products(whole)(vector_for(whole)))
    assert max(apart(other, found[0]) for other in found[1:]) < 1e-5


@pytest.mark.parametrize(("name", "batchnorm"), MODES)
def test_each_images_curvature_is_the_second_difference_of_its_loss(name, batchnorm):
    whole = objective(name, batchnorm=batchnorm)
    vector = vector_for(whole)
    vector /= vector.norm()

    def losses(step: float):
        return whole.losses(whole.weights_P + step * vector)

    step = 1e-3  # longer ones cross the kinks of max-pooling
    near, far = losses(step) + losses(-step), losses(2 * step) + losses(-2 * step)
    wanted = (16 * near - far - 30 * losses(0.0)) / (12 * step**2)
    products = Products(whole)
    found = products.by_image(vector)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert float(found.mean()) == pytest.approx(float(vector @ products(vector)), rel=1e-10)


def test_several_jobs_are_done_at_once():
    whole = objective("mixer")
    products = Products(whole)
    block = blocks_of(whole.module, whole.shapes)[2]
    size = sum(whole.shapes[name].numel() for name in block.parameters)
    first, second = vector_for(whole), torch.ones(size, dtype=torch.float64)
    found = Products(whole, memory=0).all([Job(first), Job(second, block)])
    assert torch.equal(found[0], products(first))
    assert torch.equal(found[1], products(second, block))
    assert products.taken == pytest.approx(1 + size / len(first))


def test_fused_attention_is_differentiated_as_products_of_matrices():
    set_fused_attn(True)
    module = network("vit")
    assert any(getattr(part, "fused_attn", False) for part in module.modules())
    whole = Objective(module, IMAGES.double(), LABELS, dtype=torch.float64)
    vector = vector_for(whole)
    assert apart(Products(whole)(vector), differences(whole, vector)) < 1e-9


def test_what_is_linear_does_not_curve():
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    whole = Objective(module, IMAGES, LABELS, loss=lambda logits, labels: logits.gather(1, labels[:, None])[:, 0])
    assert not Products(whole)(vector_for(whole)).any()
    assert not Products(whole).by_image(vector_for(whole)).any()


class Once(torch.autograd.Function):
    """A step whose derivative has none."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


class Onced(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(768, 4), nn.Linear(4, 10)

    def forward(self, images):
        return self.second(Once.apply(self.first(images.flatten(1)).tanh()))


class Bagged(nn.Module):
    """Adds rows of a table; torch has no second derivative of that."""

    def __init__(self):
        super().__init__()
        self.rows = nn.EmbeddingBag(4, 10, mode="sum")

    def forward(self, images):
        return self.rows(torch.arange(len(images))[:, None] % 4)


@pytest.mark.parametrize("module", [Onced(), Bagged()])
def test_a_step_without_second_derivative_is_one_sentence(module):
    whole = Objective(module, IMAGES, LABELS)
    says = f"{type(module).__name__} has no curvature that can be measured, as a step of it cannot be differentiated"
    with pytest.raises(BenchError, match=says):
        Products(whole)(vector_for(whole))
    with pytest.raises(BenchError, match=says):
        Products(whole).by_image(vector_for(whole))
