"""Every path of a CUDA device, run on tensors that hold no data: shapes, types, devices, and what waits for the host.

A tensor left on the host, or a value read back, is an error as the operation runs. What is copied between host and
device must stand in a list here, with its reason.
"""

import contextlib
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from _counting import Counts, fake_cuda

from bench.attacks.autoattack import _fools, _Model, _tied
from bench.attacks.balls import ball_of
from bench.attacks.course import Spec
from bench.attacks.engine import Engine, Pictures
from bench.attacks.rules import pgd
from bench.corruptions import SEVERITIES, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.measure.classify import Classify, _describe_cut
from bench.records import Perturbation
from bench.run.device import to_unit_range
from bench.run.prepare import Preparer
from bench.training.gradients import Batch
from bench.transfer import finetune, knn, logistic, ridge
from bench.transfer.features import Extract
from bench.transfer.finetune import Means
from bench.transfer.recipes import load_recipes

NAMES = [name for names in GROUPS.values() for name in names]
BATCH = 6
IDS = [f"{i}" for i in range(BATCH)]
KEYS = rf"\({BATCH}, 2\) torch.int32 to the device"
"""The random generator's keys: 8 bytes an image, once a batch, made of the samples' ids on the host."""
CROPS = rf"\({BATCH}, 3, \d+, \d+\) torch.uint8 to the device"
"""The batch itself, once."""


@pytest.fixture(autouse=True)
def cuda():
    list(corruptions)  # what registers itself makes tensors with data
    with fake_cuda():
        yield


def counted(function):
    """What a call asks of the device once its tables lie there."""
    with Counts():
        function()
    with Counts() as counts:
        made = function()
    return made, counts


def check(counts, *allowed):
    """Each of what is allowed was copied at most once, and nothing else."""
    left = list(counts.transfers)
    for pattern in allowed:
        found = [transfer for transfer in left if re.fullmatch(pattern, transfer)]
        if found:
            left.remove(found[0])
    assert not left


class Small(torch.nn.Module):
    """Images in [0, 1] to logits, as the engine hands models over."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(900, 20)
        )

    def forward(self, images_NCHW):
        return self.model((images_NCHW - 0.5) / 0.5)


def small(training=False):
    """A model on the device."""
    with torch.device("cuda"):
        return Small().train(training).requires_grad_(training)


@pytest.fixture
def gradients(monkeypatch):
    """Gradients without torch's engine, which asks for a device: the places where they are wanted are tested."""

    def grad(outputs, inputs, **_):
        assert outputs.device == inputs.device
        return (torch.zeros_like(inputs),)

    monkeypatch.setattr(torch.autograd, "grad", grad)


def floats(n=BATCH):
    return torch.rand(n, 3, 32, 32, device="cuda")


def labels(n=BATCH, classes=20):
    return torch.randint(0, classes, (n,), device="cuda")


def crops(size, device="cuda"):
    return torch.empty(BATCH, size, size, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", NAMES)
def test_corruptions_keep_to_the_device(name, size):
    severity = SEVERITIES[(NAMES.index(name) + size // 32) % 5]
    made, counts = counted(lambda: corrupt(corruptions.get(name), crops(size), severity, seed=0, ids=IDS))
    assert (made.shape, made.dtype, made.device.type) == ((BATCH, 3, size, size), torch.uint8, "cuda")
    check(counts, KEYS)


@pytest.mark.parametrize("name", ["gaussian_noise", "spatter", "zoom_blur"])
def test_corruptions_without_triton_keep_to_the_device_too(name, monkeypatch):
    monkeypatch.setattr("bench.machine.triton_op._works", lambda device: False)
    made, counts = counted(lambda: corrupt(corruptions.get(name), crops(32), 5, seed=0, ids=IDS))
    assert (made.dtype, made.device.type) == (torch.uint8, "cuda")
    check(counts, KEYS)


def test_jpeg_and_sizes_keep_to_the_device():
    made, counts = counted(lambda: resize(round_trip(crops(224), 85), 160))
    assert (made.shape, made.device.type) == ((BATCH, 3, 160, 160), "cuda")
    check(counts)


def test_a_batch_is_prepared_on_the_device():
    preparer = Preparer("cuda", seed=0)
    perturbation = Perturbation(corruption="fog", severity=3, jpeg_quality=85)
    made, counts = counted(lambda: preparer(crops(224, "cpu"), perturbation, ids=IDS, sizes=[224, 160]))
    assert {size: images.device.type for size, images in made.items()} == {160: "cuda", 224: "cuda"}
    check(counts, KEYS, CROPS)


# -- measures -------------------------------------------------------------------------------------------------


def test_classify_reads_one_number_back():
    module, measure = small(), Classify()
    made, counts = counted(lambda: measure.rows(module, to_unit_range(crops(32), "cuda"), labels()))
    assert {column.device.type for column in made.values()} == {"cuda"}
    check(counts, "a value of torch.int64 to the host")  # how many logits are not finite, before their rows are taken


def test_classify_cut_to_some_classes_keeps_to_the_device():
    _, counts = counted(lambda: _describe_cut(torch.rand(BATCH, 20, device="cuda"), labels(), (3, 5, 7)))
    check(counts, r"\(3,\) torch.int64 to the device")  # the classes, once a batch


def test_features_read_one_number_back():
    class Model(torch.nn.Module):
        forward_features = staticmethod(lambda images_NCHW: images_NCHW[:, :, ::8, ::8])
        forward_head = staticmethod(lambda features, pre_logits: features.mean((2, 3)))

    module = torch.nn.Module()
    module.model, module.mean, module.std = Model(), torch.zeros(3, 1, 1, device="cuda"), torch.ones((), device="cuda")
    made, counts = counted(lambda: Extract("pre_logits").rows(module, floats(), labels()))
    assert made["features"].device.type == "cuda"
    check(counts, "a value of torch.int64 to the host")  # how many features are not finite


# -- attacks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_read_back_what_their_courses_go_by(norm, loss, gradients, monkeypatch):
    # Copies of a fake module crash torch; what is folded, once a cell, is tested on the CPU.
    monkeypatch.setattr("bench.attacks.engine.folded", lambda module, images_NCHW: module)
    spec = Spec(name="pgd", norm=norm, loss=loss, grid=(0.1,), steps=3, restarts=1, step_size=2.5, random_start=True,
                iterative=True)  # fmt: skip
    module, rows = small(), range(BATCH)

    def attack():
        pictures = Pictures(rows=rows, ids=IDS, labels_N=labels(), images_NCHW=floats())
        return Engine(module, spec, pgd, width=BATCH).run([pictures])

    with Counts(truth=True) as counts:  # all is finite, and within its ball
        found = attack()
    assert set(found) == set(rows)
    steps = spec.steps
    to_the_host = [transfer for transfer in counts.transfers if transfer.endswith("to the host")]
    # A step: the gradients' size, who is fooled, the loss, whether all is finite. Around them: what is shown plainly.
    assert len(to_the_host) <= 4 * steps + 20
    assert all(len(re.findall(r"\d+", transfer)) < 4 for transfer in to_the_host), "images were read back"


def test_autoattack_s_model_and_judgement_keep_to_the_device(gradients):
    model, images_NCHW, labels_N = _Model(small()), floats(), labels()

    def judge():
        shown_NCHW = images_NCHW.detach().requires_grad_()
        torch.autograd.grad(model(shown_NCHW).sum(), shown_NCHW)
        fools_N, logits_NK = _fools(model, images_NCHW, images_NCHW, labels_N, ball_of("l2"), 0.5)
        return fools_N, _tied(logits_NK)

    made, counts = counted(judge)
    assert {tensor.device.type for tensor in made} == {"cuda"}
    check(counts)


# -- transfer -------------------------------------------------------------------------------------------------


def bank(n, seed=0):
    return torch.rand(n, 16, device="cuda"), labels(n, 4)


def test_neighbours_keep_to_the_device():
    features_ND, labels_N = bank(50)

    def vote():
        cosines_MJ, rows_MJ = knn.neighbours(features_ND, features_ND[:9], 5)
        return knn.predictions(cosines_MJ, labels_N[rows_MJ], 4, [1, 5])

    made, counts = counted(vote)
    assert {predicted.device.type for predicted in made.values()} == {"cuda"}
    check(counts)


@pytest.mark.parametrize("n", [9, 50])  # fewer samples than features, and more
def test_ridge_keeps_to_the_device(n):
    features_ND, labels_N = bank(n)
    made, counts = counted(lambda: ridge.fit(features_ND, labels_N, 4).scores(features_ND))
    assert made.device.type == "cuda"
    check(counts)


def test_logistic_regression_reads_back_who_is_through():
    features_ND, labels_N = bank(50)
    features_ND, l2_L = features_ND.double(), torch.ones(3, device="cuda", dtype=torch.float64)
    objective = logistic._Objective(features_ND, labels_N, 4, l2_L)
    with Counts():
        problem = logistic._Lbfgs(objective, torch.arange(3, device="cuda"), 1e-4)
        problem.step()
    with Counts() as counts:
        problem.step()
    # Whether any is through, and of which the length of a step is known: at most one for each pair of the history.
    check(counts, *["a value of torch.bool to the host"] * (1 + 2 * len(problem.history)))


def test_a_step_of_fine_tuning_in_half_precision_reads_back_its_loss_and_the_scaler_s_word(monkeypatch):
    monkeypatch.setattr(finetune, "own_randomness", lambda seed, device: contextlib.nullcontext())
    monkeypatch.setattr("bench.training.gradients.seed_by", lambda *of: None)  # there is no device to be seeded
    monkeypatch.setattr(finetune, "with_new_head", lambda module, classes: module)
    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: fill(tuning.module.parameters()))
    recipe = replace(next(iter(load_recipes().values())), batch_size=BATCH, steps=10)
    images = np.arange(3 * BATCH)  # three steps an epoch: at its end all are shown
    pictures = finetune.Pictures(
        ids=images.astype(str), labels=images, picture=lambda row: None, size=32, interpolation="bilinear"
    )
    means = Means(batch_size=BATCH, fixed=True, workers=0, state=None, note=print, done=lambda share: None)

    def fill(parameters):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

    labels = torch.zeros(BATCH, dtype=torch.int64)
    made = itertools.repeat(Batch(images_BCHW=crops(32, "cpu"), targets_B=labels, count=BATCH))
    with torch.autocast("cuda", torch.float16, cache_enabled=False):
        tuning = finetune._Tuning(
            small(training=True), pictures, [], np.array([]), recipe, 20, 0, means, torch.device("cuda")
        )
        assert tuning.gradients.scaler.is_enabled()
        with Counts():
            tuning.core._take_step(made)
        with Counts() as counts:
            tuning.core._take_step(made)
    check(
        counts,
        CROPS,
        rf"\({BATCH},\) torch.int64 to the device",  # the labels
        "a value of torch.float32 to the host",  # the loss, which must be finite
        "a value of torch.float32 to the host",  # whether a gradient was not, so that the scaler leaves the step out
    )
