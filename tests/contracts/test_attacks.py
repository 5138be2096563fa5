"""What holds for every registered attack, in every norm and type, and for AutoAttack."""

import numpy as np
import pytest
import torch

from bench.attacks import attacks
from bench.attacks.autoattack import autoattack, square
from bench.attacks.balls import ball_of
from bench.attacks.course import Spec
from bench.attacks.engine import SLACK, Engine, Pictures
from bench.attacks.epsilon import NORMS

N, CLASSES, SIDE = 23, 6, 8
GRID = {"linf": (0.01, 0.03, 0.1), "l2": (0.2, 0.6, 2.0)}
LOSSES = ("ce", "dlr")


class Small(torch.nn.Module):
    """A smooth model of which every image has a label that it can be moved away from; it notes what it is shown."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("first", torch.randn((3 * SIDE**2, 24), generator=generator).to(dtype) / 6)
        self.register_buffer("second", torch.randn((24, CLASSES), generator=generator).to(dtype))
        self.shown = []

    def forward(self, images_NCHW):
        self.shown.append(images_NCHW.detach())
        return torch.tanh((images_NCHW - 0.5).flatten(1).to(self.first.dtype) @ self.first) @ self.second


def pictures(module, dtype=torch.float32):
    """Images from black to white, some of one colour; every fifth has a label that the model does not give."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((N, 3, SIDE, SIDE), generator=generator, dtype=torch.float64)
    images[0], images[1] = 0, 1
    images[2:6] = images[2:6].round()
    images = images.to(dtype)
    labels = module(images).argmax(1)
    labels[::5] = (labels[::5] + 1) % CLASSES
    return Pictures(rows=range(N), ids=[f"image {i}" for i in range(N)], labels_N=labels, images_NCHW=images)


def spec_of(entry, norm, loss, steps=None, restarts=1):
    return Spec(
        name=entry.name,
        norm=norm,
        loss=loss,
        grid=GRID[norm],
        steps=steps or min(entry.steps, 8),
        restarts=restarts,
        step_size=entry.step_size,
        random_start=entry.random_start,
        iterative=entry.iterative,
    )


def split(some, sizes):
    """The same images in batches of other sizes."""
    start = 0
    for size in sizes:
        rows = range(start, start + size)
        yield Pictures(
            rows=rows, ids=[some.ids[r] for r in rows], labels_N=some.labels_N[rows], images_NCHW=some.images_NCHW[rows]
        )
        start += size


@pytest.fixture(params=list(attacks), ids=lambda entry: entry.name)
def entry(request):
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_every_image_shown_is_in_range_and_within_eps(entry, norm, loss, dtype):
    module, ball = Small(dtype), ball_of(norm)
    some = pictures(module, dtype)
    module.shown.clear()
    Engine(module, spec_of(entry, norm, loss), entry.load(), width=N).run(split(some, [1] * N))
    clean, bound = some.images_NCHW, GRID[norm][-1]
    for shown in module.shown:
        assert shown.dtype == dtype
        assert 0 <= shown.min() <= shown.max() <= 1
        for image in shown:
            assert ball.size(image[None] - clean).min() <= bound + SLACK


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_images_keep_their_type_and_bounds_where_the_model_is_in_half_precision(entry, norm, precision):
    module = Small()
    some = pictures(module)
    module.shown.clear()
    with torch.autocast("cpu", dtype=precision):
        results = Engine(module, spec_of(entry, norm, "ce"), entry.load(), width=7).run([some])
    assert {shown.dtype for shown in module.shown} == {torch.float32}
    norms = [result.finding.ending.norm for result in results.values() if result.finding]
    assert norms
    assert max(norms) <= GRID[norm][-1] + SLACK


@pytest.mark.parametrize("norm", NORMS)
def test_the_change_that_fools_is_within_the_eps_that_it_is_booked_under(entry, norm):
    module = Small()
    results = Engine(module, spec_of(entry, norm, "ce"), entry.load()).run([pictures(module)])
    endings = [(r.finding.first, r.finding.ending) for r in results.values() if r.finding]
    assert {first for first, _ in endings} & {0, 1, 2}
    for first, ending in endings:
        assert ending.norm <= GRID[norm][min(first, 2)] + SLACK
        assert ending.fooled == (first < 3)


@pytest.mark.parametrize("norm", NORMS)
def test_batches_of_any_size_and_order_give_the_same(entry, norm):
    module = Small()
    some = pictures(module)
    whole = Engine(module, spec_of(entry, norm, "ce"), entry.load(), afresh=some.ids[3:9], width=N).run([some])
    for width, sizes in ((1, [N]), (4, [5, 5, 5, 5, 3]), (9, [1] * N)):
        other = Engine(module, spec_of(entry, norm, "ce"), entry.load(), afresh=some.ids[3:9], width=width)
        found = other.run(split(some, sizes))
        assert found.keys() == whole.keys()
        for row, result in whole.items():
            assert (result.finding is None) == (found[row].finding is None)
            if result.finding:
                assert found[row].finding.first == result.finding.first
                assert found[row].finding.fresh == result.finding.fresh
                assert found[row].finding.steps == result.finding.steps


def test_the_seed_decides_the_random_starts(entry):
    module = Small()
    some = pictures(module)

    def losses(seed):
        results = Engine(module, spec_of(entry, "linf", "ce"), entry.load(), seed=seed).run([some])
        return [result.finding.ending.loss for result in results.values() if result.finding]

    assert losses(0) == losses(0)
    assert (losses(0) == losses(1)) is not entry.random_start


def test_it_raises_the_loss(entry):
    module = Small()
    results = Engine(module, spec_of(entry, "linf", "ce"), entry.load()).run([pictures(module)])
    attacked = [result for result in results.values() if result.finding]
    assert all(result.finding.ending.loss > result.loss for result in attacked)


def test_images_that_are_wrong_anyway_are_left_alone(entry):
    module = Small()
    some = pictures(module)
    results = Engine(module, spec_of(entry, "linf", "ce"), entry.load()).run([some])
    wrong = [row for row in range(N) if row % 5 == 0]
    assert [row for row in range(N) if results[row].finding is None] == wrong
    assert not any(results[row].correct for row in wrong)


def global_states():
    return torch.random.get_rng_state(), np.random.get_state()[1].copy()


def test_global_random_state_is_neither_used_nor_changed(entry):
    module = Small()
    before = global_states()
    Engine(module, spec_of(entry, "linf", "ce"), entry.load(), afresh=["image 4"]).run([pictures(module)])
    assert all(np.array_equal(a, b) for a, b in zip(before, global_states(), strict=True))


# -- AutoAttack ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks():
    """What AutoAttack makes of a few images in each norm, under two states of torch's generator."""
    module = Small()
    some = pictures(module)
    found = {}
    for norm in NORMS:
        for state in (0, 1):
            with torch.random.fork_rng():
                torch.manual_seed(state)
                before = global_states()
                result = autoattack(
                    module, some.images_NCHW[:6], some.labels_N[:6], norm=norm, eps=GRID[norm][2], seed=3
                )
                assert all(np.array_equal(a, b) for a, b in zip(before, global_states(), strict=True))
            found[norm, state] = result
    return some, found


@pytest.mark.parametrize("norm", NORMS)
def test_autoattack_keeps_its_bounds_and_depends_on_the_seed_alone(blocks, norm):
    some, found = blocks
    first, second = found[norm, 0], found[norm, 1]
    assert first.fooled_by == second.fooled_by
    assert torch.equal(first.perturbed_NCHW, second.perturbed_NCHW)
    assert any(first.fooled_by)
    change = first.perturbed_NCHW - some.images_NCHW[:6]
    assert ball_of(norm).size(change).max() <= GRID[norm][2] + SLACK
    assert 0 <= first.perturbed_NCHW.min() <= first.perturbed_NCHW.max() <= 1
    fooled = torch.tensor([bool(by) for by in first.fooled_by])
    assert (Small()(first.perturbed_NCHW).argmax(1) != some.labels_N[:6])[fooled].all()
    assert first.fooled_by[0] == first.fooled_by[5] == ""  # wrong anyway


@pytest.mark.parametrize("norm", NORMS)
def test_square_keeps_its_bounds_and_leaves_the_generators_alone(norm):
    module = Small()
    some = pictures(module)
    right = torch.tensor([row for row in range(N) if row % 5])
    before = global_states()
    fools = [
        square(module, some.images_NCHW[right], some.labels_N[right], norm=norm, eps=eps, queries=60, seed=0).sum()
        for eps in GRID[norm]
    ]
    assert all(np.array_equal(a, b) for a, b in zip(before, global_states(), strict=True))
    assert 0 <= fools[0] <= fools[-1] <= len(right)
    assert fools[-1] > 0
