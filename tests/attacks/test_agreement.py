"""The same images are fooled as by foolbox's PGD from the same starts, and as by pyautoattack called directly."""

import warnings

import eagerpy
import numpy as np
import pyautoattack
import pytest
import torch

from bench.attacks.balls import ball_of
from bench.attacks.epsilon import parse_grid
from bench.datasets import nested_order
from bench.measure.attacked import Attacked
from bench.measure.autoattacked import AutoAttacked
from bench.rng import Draws, keys

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it takes a function of SciPy's from an old place
    import foolbox

GRIDS = {"linf": "4/255+16/255", "l2": "0.5+1"}
DIFFERENT = 0.005
"""Share of images that may be judged differently."""


def foolbox_from(ids, norm, images_NCHW, steps):
    """Foolbox's PGD, at our starts."""

    class FromOurStarts({"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]):
        def get_random_start(self, x0, epsilon):
            draws = Draws(keys(0, f"attack/pgd/ce/{norm}/{epsilon:.9g}/0", ids))
            return x0 + eagerpy.astensor(epsilon * ball_of(norm).random(draws, images_NCHW.shape[1:]))

    return FromOurStarts(rel_stepsize=2.5 / steps, steps=steps)


# All six checkpoints and CIFAR-10: benchmarks/attacks.py.
@pytest.mark.parametrize(("count", "steps"), [(10, 5), pytest.param(40, 20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "norm"),
    [("digits-resnet", "linf"), ("digits-resnet", "l2"), ("digits-vit-sam", "linf"), ("digits-mixer", "l2")],
)
@pytest.mark.usefixtures("_few_signs")
def test_pgd_fools_the_images_that_foolbox_fools(name, norm, count, steps, shipped, first, pace):
    loader, module = first(count), shipped(name)
    grid = parse_grid(GRIDS[norm], norm).values
    ours = Attacked("pgd", norm=norm, grid=GRIDS[norm], steps=steps)
    ours_NE = ours.run(module, loader, {}, 0, pace)["smallest_eps"][:, None] <= np.array(grid, dtype=np.float32)
    attack = foolbox_from([str(i) for i in loader.ids], norm, loader.images_NCHW, steps)
    model = foolbox.PyTorchModel(module, bounds=(0, 1))
    _, _, theirs_EN = attack(model, loader.images_NCHW, torch.from_numpy(loader.labels), epsilons=list(grid))
    assert 0 < ours_NE.mean() < 1
    assert (ours_NE != theirs_EN.numpy().T).mean() <= DIFFERENT


def test_fgsm_is_foolbox_s(shipped, first, pace):
    loader, module = first(100), shipped("digits-resnet")
    grid = parse_grid(GRIDS["linf"], "linf").values
    model = foolbox.PyTorchModel(module, bounds=(0, 1))
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    _, _, theirs_EN = attack(model, loader.images_NCHW, torch.from_numpy(loader.labels), epsilons=list(grid))
    smallest = Attacked("fgsm", norm="linf", grid=GRIDS["linf"]).run(module, loader, {}, 0, pace)["smallest_eps"]
    # Ours counts what fooled at a smaller eps, as foolbox's does not.
    theirs = np.logical_or.accumulate(theirs_EN.numpy().T, axis=1)
    assert ((smallest[:, None] <= np.array(grid, dtype=np.float32)) == theirs).all()


@pytest.fixture
def _few_signs(monkeypatch):
    """Signs of false security take longer than what is compared here."""
    monkeypatch.setattr("bench.measure.signs.AFRESH", 3)
    monkeypatch.setattr("bench.measure.signs.QUERIES", 20)


@pytest.mark.parametrize("steps", ["few", pytest.param("all", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("norm", "eps"), [("linf", "2/255"), ("l2", "0.07")])
@pytest.mark.usefixtures("_few_signs")
def test_autoattack_is_pyautoattack_called_directly(norm, eps, steps, small, pace, request):
    if steps == "few":
        request.getfixturevalue("short_autoattack")
    module, loader = small
    columns = AutoAttacked(norm=norm, eps=eps, block=5).run(module, loader, {}, 5, pace)
    robust = np.isinf(columns["smallest_eps"])
    order = nested_order(loader.ids)
    for some in (order[:5], order[5:]):
        images, labels = loader.images_NCHW[some].contiguous(), torch.from_numpy(loader.labels[some])
        with torch.random.fork_rng():
            direct = pyautoattack.AutoAttack(module, norm={"linf": "Linf", "l2": "L2"}[norm], eps=ours(eps), seed=5)
            perturbed, predicted = direct.run_standard_evaluation(images, labels, batch_size=5)
        assert ((predicted == labels).numpy() == robust[some]).all()
        changes = ball_of(norm).size(perturbed - images).numpy()
        np.testing.assert_allclose(columns["change"][some], changes, atol=1e-6)
    assert robust.any()
    assert columns["fooled_by"].astype(bool).any()


def ours(eps):
    above, _, below = eps.partition("/")
    return float(above) / float(below or 1)
