"""What holds for every registered measure, and the columns of `classify` against plain NumPy."""

import importlib
import inspect

import numpy as np
import pytest
import torch

from bench.measure import measures
from bench.measure.classify import TOP, describe
from bench.records import Params


def class_of(entry) -> type:
    module, _, attribute = entry.factory.partition(":")
    return getattr(importlib.import_module(module), attribute)


def without_parameters(entry) -> bool:
    return all(p.default is not p.empty for p in inspect.signature(class_of(entry)).parameters.values())


ENTRIES = [entry for entry in measures if without_parameters(entry)]
BATCH = [entry for entry in ENTRIES if entry.interface == "batch"]
LOOPS = [entry for entry in measures if entry.interface == "checkpoint"]


class Linear(torch.nn.Module):
    """Eleven logits from the pixels."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        weight = torch.linspace(-1, 1, 11 * 27).reshape(27, 11).sin()
        return images_NCHW.flatten(1) @ weight


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((9, 3, 3, 3), generator=generator), torch.randint(0, 11, (9,), generator=generator)


@pytest.mark.parametrize("entry", BATCH, ids=lambda entry: entry.name)
def test_a_batch_measure_gives_a_row_a_sample(entry, batch):
    images, labels = batch
    rows = entry.make(Params()).rows(Linear(), images, labels)
    assert rows
    assert {name: len(column) for name, column in rows.items()} == dict.fromkeys(rows, 9)
    assert not any(column.requires_grad for column in rows.values())


@pytest.mark.parametrize("entry", BATCH, ids=lambda entry: entry.name)
def test_a_batch_measure_gives_the_same_row_in_any_batch(entry, batch):
    images, labels = batch
    together = entry.make(Params()).rows(Linear(), images, labels)
    for i in range(len(images)):
        alone = entry.make(Params()).rows(Linear(), images[i : i + 1], labels[i : i + 1])
        assert alone.keys() == together.keys()
        for name in alone:
            assert alone[name].dtype == together[name].dtype
            torch.testing.assert_close(alone[name][0], together[name][i])


@pytest.mark.parametrize("entry", list(measures), ids=lambda entry: entry.name)
def test_each_says_what_it_is(entry):
    assert entry.version >= 1
    assert entry.about


@pytest.mark.parametrize("entry", LOOPS, ids=lambda entry: entry.name)
def test_a_checkpoint_measure_takes_what_a_sweep_hands_it(entry):
    inspect.signature(class_of(entry).run).bind("self", "module", "loader", "fit", "seed", "pace")


@pytest.mark.parametrize("entry", list(measures), ids=lambda entry: entry.name)
def test_what_sets_an_entry_apart_is_a_parameter_of_its_class(entry):
    assert set(entry.given) <= set(inspect.signature(class_of(entry)).parameters)


def by_hand(logits: np.ndarray, label: int) -> dict[str, object]:
    """The row of one sample, in float64 and plain Python."""
    order = sorted(range(len(logits)), key=lambda k: (-logits[k], k))
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    return {
        "prediction": order[0],
        "correct": order[0] == label,
        "top_logits": [float(logits[k]) for k in order[:TOP]],
        "top_classes": order[:TOP],
        "log_sum_exp": float(np.log(np.exp(logits.astype(np.float64) - logits.max()).sum()) + logits.max()),
        "loss": -float(np.log(p[label])),
        "rank": order.index(label),
        "brier": float(((p - np.eye(len(p))[label]) ** 2).sum()),
    }


def cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "twelve classes": rng.normal(0, 3, (20, 12)),
        "three classes": rng.normal(0, 3, (20, 3)),
        "a thousand classes": rng.normal(0, 3, (5, 1000)),
        "ties": rng.integers(-1, 2, (40, 12)),
        "all equal": np.zeros((3, 4)),
        "a shift": 500 + rng.normal(0, 1, (5, 6)),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_columns_are_what_plain_numpy_gives(name):
    logits = cases()[name].astype(np.float32)
    labels = np.random.default_rng(3).integers(0, logits.shape[1], len(logits))
    rows = {k: v.numpy() for k, v in describe(torch.from_numpy(logits), torch.from_numpy(labels)).items()}
    for i, label in enumerate(labels):
        wanted = by_hand(logits[i], int(label))
        assert rows.keys() == wanted.keys()
        for column, value in wanted.items():
            np.testing.assert_allclose(rows[column][i], value, rtol=1e-5, atol=1e-4, err_msg=f"{column} of row {i}")


def test_equal_logits_are_ordered_by_class():
    rows = describe(torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0]]), torch.tensor([3]))
    assert rows["top_classes"].tolist() == [[1, 2, 3, 0, 4]]
    assert (rows["prediction"].item(), rows["rank"].item(), rows["correct"].item()) == (1, 2, False)
