"""The measures of the landscape on small modules and the shipped checkpoints: rows an image, constants beside."""

import numpy as np
import pytest
import torch

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.errors import BenchError, RunError
from bench.landscape import ntk
from bench.landscape.objective import Objective
from bench.measure import Pace, measures
from bench.measure.landscape import Steps, untrained
from bench.records import Params
from bench.suite import suites
from tests.contracts.test_suites import InMemory, of_two_layers

PACE = Pace(batch_size=8, fixed=False, done=lambda count: None)


@pytest.fixture
def loader() -> InMemory:
    images = torch.rand((24, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return InMemory(np.array([f"image-{i}" for i in range(24)]), np.arange(24) % 4, images)


def run(name: str, loader: InMemory, module: torch.nn.Module | None = None, seed: int = 0, **params) -> dict:
    return measures.get(name).make(Params(params)).run(module or of_two_layers(), loader, {}, seed, PACE)


def test_what_images_give_of_the_largest_eigenvalue_makes_it(loader):
    rows = run("curvature", loader, probes=2)
    assert rows["along_top"].mean() == pytest.approx(rows["eigenvalues"][0, 0], rel=1e-4)
    assert (np.diff(rows["eigenvalues"][0]) <= 0).all()
    assert (rows["eigenvalues"] == rows["eigenvalues"][0]).all()


def test_curvature_does_not_depend_on_the_batch_size(loader):
    whole = run("curvature", loader, probes=2, blocks=True)
    small = measures.get("curvature").make(Params(probes=2, blocks=True))
    rows = small.run(of_two_layers(), loader, {}, 0, Pace(batch_size=5, fixed=False, done=lambda count: None))
    for name, values in whole.items():
        if values.dtype.kind == "f":
            scale = np.abs(whole["eigenvalues"]).max()
            np.testing.assert_allclose(rows[name], values, rtol=1e-3, atol=1e-4 * scale, err_msg=name)
    assert rows["eigenvalues"][0, 0] == pytest.approx(whole["eigenvalues"][0, 0], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("flatness", {"draws": 1, "batchnorm": "train"}),
        ("curvature", {"probes": 2, "batchnorm": "train"}),
        ("surface", {"points": 3, "batchnorm": "train"}),
        ("ntk", {"state": "initial", "block": 8}),
    ],
)
def test_statistics_of_batches_do_not_depend_on_the_runs_batch_size(loader, name, params):
    measure, module = measures.get(name).make(Params(params)), of_two_layers()
    paces = [Pace(batch_size=size, fixed=True, done=lambda count: None) for size in (4, 24)]
    first, second = (measure.run(module, loader, {}, 0, pace) for pace in paces)
    for column, values in first.items():
        assert np.array_equal(values, second[column], equal_nan=values.dtype.kind == "f"), column


def test_a_measure_leaves_the_module_as_it_is(loader):
    module = of_two_layers()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, params in (("curvature", {"probes": 2, "batchnorm": "train"}), ("flatness", {"draws": 1})):
        run(name, loader, module, **params)
    run("ntk", loader, module, state="initial", block=8)
    assert all(tensor.equal(before[name]) for name, tensor in module.state_dict().items())
    assert not module.training


def test_seeds_change_what_is_drawn_and_nothing_else(loader):
    first, again, other = (run("flatness", loader, seed=seed, draws=2, sigma="0.1") for seed in (0, 0, 1))
    assert (first["noise_loss"] == again["noise_loss"]).all()
    assert (first["noise_loss"] != other["noise_loss"]).any()
    assert (first["ascent_loss"] == other["ascent_loss"]).all()


def test_kernels_are_of_blocks_in_the_order_of_limits_and_leave_out_the_rest(loader):
    rows = run("ntk", loader, state="trained", block=10)
    assert sorted(np.unique(rows["ntk_block"], return_counts=True)[1]) == [4, 10, 10]
    assert np.isnan(rows["ntk_largest"][rows["ntk_block"] < 0]).all()
    labels = torch.from_numpy(loader.labels)
    objective = Objective(of_two_layers(), loader.images, labels, loss=ntk.summed_logits, dtype=torch.float64)
    of_block = np.flatnonzero(rows["ntk_block"] == 1)
    largest, smallest = ntk.extremes(ntk.kernel(objective, torch.from_numpy(of_block)))
    assert rows["ntk_largest"][of_block] == pytest.approx(largest)
    assert rows["ntk_smallest"][of_block] == pytest.approx(smallest)


def test_the_only_block_may_be_of_fewer_images(loader):
    assert set(run("ntk", loader, state="trained", block=25)["ntk_block"]) == {0}


def test_a_checkpoint_is_made_anew_with_values_of_the_seed():
    module = load(checkpoints.get("digits-resnet"), "cpu")
    first, again, other = (untrained(module, seed) for seed in (0, 0, 1))
    weight = "model.layer1.0.conv1.weight"
    assert first.state_dict()[weight].equal(again.state_dict()[weight])
    assert not first.state_dict()[weight].equal(other.state_dict()[weight])
    assert not first.state_dict()[weight].equal(module.state_dict()[weight])


def test_what_cannot_be_measured_is_a_sentence(loader):
    with pytest.raises(RunError, match="Sequential does not say how it is made, so it has no kernel at initialisation"):
        run("ntk", loader, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)), state="initial")
    with pytest.raises(RunError, match="a tangent kernel needs at least 2 images, not 1"):
        run("ntk", loader.at(np.arange(1)), state="trained")


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("curvature", {"steps": 1}, "at least 2 steps and 2 probes"),
        ("flatness", {"rho": 0}, "rho of flatness must be more than 0, not 0"),
        ("flatness", {"sigma": "0"}, "sigma must be ascending numbers above 0"),
        ("flatness", {"loss": "mse"}, "no loss 'mse'"),
        ("surface", {"points": 4}, "points of surface must be an odd number of at least 3, not 4"),
        ("surface", {"dimensions": 3}, "dimensions of surface must be 1 or 2, not 3"),
        ("ntk", {"state": "old"}, "state of ntk must be initial or trained, not 'old'"),
        ("ntk", {"state": "trained", "block": 1}, "block of ntk must be at least 2 images, not 1"),
    ],
)
def test_parameters_that_are_not_possible_are_refused(name, params, says):
    with pytest.raises(BenchError, match=says):
        measures.get(name).make(Params(params))


def test_a_line_is_the_first_axis_of_the_plane(loader):
    plane, line = (run("surface", loader, points=3, dimensions=dimensions)["surface"] for dimensions in (2, 1))
    assert (plane.reshape(24, 3, 3)[:, :, 1] == line).all()


def test_a_model_without_attention_has_rows_without_numbers(loader):
    rows = run("attention", loader)
    assert np.isnan(rows["attention_entropy"]).all()
    assert set(rows["attention_heads"]) == {""}


@pytest.mark.parametrize("name", ["curvature", "flatness", "surface", "ntk", "neurons", "norms", "attention"])
def test_what_a_measure_costs_is_known_with_its_own_parameters_and_without(name):
    conditions = [c for c in suites.get("digits-landscape").conditions if c.measure.name == name]
    for params in (Params(), *(condition.measure.params for condition in conditions)):
        assert measures.get(name).passes(params) > 0


def test_progress_is_told_in_samples_and_ends_with_all_of_them():
    told: list[int] = []
    steps = Steps(Pace(batch_size=1, fixed=False, done=told.append), 10, 4)
    for _ in range(4):
        steps.take()
    assert told == [2, 3, 2, 3]
