"""Digits, the shipped checkpoints, and a loader over tensors."""

from collections.abc import Iterator

import numpy as np
import pyautoattack
import pytest
import torch

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import Library, nested_order
from bench.measure import Batch, Pace


class TensorLoader:
    """A loader over images that are at hand; see `bench.measure.Loader`."""

    def __init__(self, ids, labels, images_NCHW, batch_size=64):
        self.ids, self.labels, self.images_NCHW, self.batch_size = np.asarray(ids), labels, images_NCHW, batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.ids), self.batch_size):
            some = slice(start, start + self.batch_size)
            labels = torch.from_numpy(self.labels[some])
            yield Batch(ids=[str(i) for i in self.ids[some]], labels_N=labels, images_NCHW=self.images_NCHW[some])

    def at(self, rows):
        return TensorLoader(self.ids[rows], self.labels[rows], self.images_NCHW[rows], self.batch_size)


@pytest.fixture(scope="session")
def loader_type():
    """The class."""
    return TensorLoader


@pytest.fixture
def pace() -> Pace:
    """That of a run nobody watches."""
    return Pace(batch_size=64, fixed=False, done=lambda count: None)


@pytest.fixture(scope="session")
def digits() -> TensorLoader:
    """All 500 test digits in the order of limits: the first n are those of `--limit n`."""
    samples = Library().open("digits", "test").samples
    order = nested_order(samples.ids)
    images_NHWC = np.stack([np.asarray(samples.read(int(index))) for index in order])
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float().div(255)
    return TensorLoader(samples.ids[order], samples.labels[order], images_NCHW)


@pytest.fixture(scope="session")
def first(digits):
    """A function that gives the first so many digits."""
    return lambda count: digits.at(np.arange(count))


class Short(pyautoattack.AutoAttack):
    """The same attacks in the same order, with a twentieth of the steps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 5
        self.apgd.n_restarts = self.fab.n_restarts = 1
        self.square.n_queries = 250


@pytest.fixture
def short_autoattack(monkeypatch):
    """AutoAttack takes few steps."""
    monkeypatch.setattr(pyautoattack, "AutoAttack", Short)


class Small(torch.nn.Module):
    """Twelve logits by a smooth function of 8 × 8 pixels."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("first", torch.randn((192, 24), generator=generator) / 6)
        self.register_buffer("second", torch.randn((24, 12), generator=generator))

    def forward(self, images_NCHW):
        return torch.tanh((images_NCHW - 0.5).flatten(1) @ self.first) @ self.second


@pytest.fixture(scope="session")
def small():
    """A model that takes no time, and eight images that it has right."""
    module = Small()
    images_NCHW = torch.rand((8, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    labels = module(images_NCHW).argmax(1).numpy()
    return module, TensorLoader(np.array([f"image {i}" for i in range(8)]), labels, images_NCHW)


@pytest.fixture(scope="session")
def shipped():
    """A function that loads a shipped checkpoint."""
    return lambda name: load(checkpoints.get(name), "cpu")
