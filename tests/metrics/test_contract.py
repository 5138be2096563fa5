"""What columns mean: what the measures give agrees with it, and whatever contradicts itself is found."""

import numpy as np
import pytest
import torch

from bench.datasets import class_spaces
from bench.measure.classify import Classify, describe
from bench.metrics import contract

N, CLASSES = 200, 12


def described(scale: float = 3.0, classes: int = CLASSES, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, N)
    logits = rng.normal(0, scale, (N, classes)).astype(np.float32)
    logits[: N // 2, :] += 2 * scale * np.eye(classes, dtype=np.float32)[labels[: N // 2]]
    rows = describe(torch.from_numpy(logits), torch.from_numpy(labels))
    return {name: column.numpy() for name, column in rows.items()}, labels


@pytest.mark.parametrize("classes", [2, 3, 12, 1000])
@pytest.mark.parametrize("scale", [0, 1e-3, 3, 100, 1e4, 1e20])
def test_what_classify_gives_agrees_with_itself(scale, classes):
    columns, labels = described(scale, classes)
    contract.check(columns, labels, classes)


def test_so_does_what_it_gives_of_a_part_of_the_classes():
    space = class_spaces.get("imagenet-r")
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 1000, N), rng.normal(0, 3, (N, 1000)).astype(np.float32)
    rows = Classify("imagenet-r").rows(lambda _: torch.from_numpy(logits), torch.zeros(N), torch.from_numpy(labels))
    columns = {name: column.numpy() for name, column in rows.items()}
    contract.check(columns, labels, 1000)
    outside = ~np.isin(labels, space.indices)
    assert 0 < outside.sum() < N
    for name in ("loss", "brier"):
        columns[f"imagenet-r/{name}"][np.flatnonzero(~outside)[0]] = np.nan
        with pytest.raises(ValueError, match=name):
            contract.check_column(f"imagenet-r/{name}", columns, labels, 1000)


def another_class(columns, labels):
    columns["prediction"][3] = (columns["prediction"][3] + 1) % CLASSES


def swapped(name):
    def harm(columns, labels):
        columns[name] = np.roll(columns[name], 1, axis=0)

    return harm


def set_to(name, value):
    def harm(columns, labels):
        columns[name].reshape(N, -1)[5, 0] = value

    return harm


def replaced(name, make):
    def harm(columns, labels):
        columns[name] = make(columns[name])

    return harm


HARMS = {
    "right where the prediction is wrong": lambda columns, labels: np.logical_not(
        columns["correct"], out=columns["correct"]
    ),
    "another prediction": another_class,
    "a class beyond the last": set_to("prediction", 99),
    "a class before the first": set_to("prediction", -1),
    "predictions that are no whole numbers": replaced("prediction", lambda column: column + 0.5),
    "predictions that are text": replaced("prediction", lambda column: column.astype(str)),
    "half right": replaced("correct", lambda column: np.full(N, 0.5)),
    "right twice": replaced("correct", lambda column: np.full(N, 2)),
    "right, or nothing known": replaced("correct", lambda column: np.where(column, 1.0, np.nan)),
    "right in two columns": replaced("correct", lambda column: np.stack([column, column], axis=1)),
    "shifted labels": lambda columns, labels: labels.__setitem__(slice(None), np.roll(labels, 1)),
    "a loss of NaN": set_to("loss", np.nan),
    "an infinite loss": set_to("loss", np.inf),
    "a negative loss": set_to("loss", -0.5),
    "a loss too small for its rank": lambda columns, labels: columns["loss"].__setitem__(columns["rank"] > 0, 0.01),
    "NaN among the sums": set_to("log_sum_exp", np.nan),
    "a Brier score beyond 2": set_to("brier", 2.5),
    "a Brier score of NaN": set_to("brier", np.nan),
    "a rank beyond the last": set_to("rank", CLASSES),
    "a rank before the first": set_to("rank", -1),
    "an infinite logit": set_to("top_logits", np.inf),
    "logits that rise": replaced("top_logits", lambda column: column[:, ::-1].copy()),
    "a column of dates": replaced("loss", lambda column: np.full(N, np.datetime64("2020-01-01"))),
    **{f"{name} of other rows": swapped(name) for name in described()[0] if name != "log_sum_exp"},
}


@pytest.mark.parametrize("harm", HARMS)
def test_columns_that_contradict_their_names_or_each_other_are_found(harm):
    columns, labels = described()
    HARMS[harm](columns, labels)
    with pytest.raises(ValueError, match="its column '"):
        contract.check(columns, labels, CLASSES)


def test_a_column_is_held_against_others_only_where_these_are_there():
    columns, labels = described()
    for name, column in columns.items():
        contract.check({name: column}, labels, CLASSES)


def test_columns_of_a_measures_own_are_left_to_it():
    columns = {
        "pixels": np.zeros((3, 4), np.uint8),
        "note": np.array(["a", "b", ""], object),
        "depth": np.full(3, np.nan),
    }
    contract.check(columns, np.zeros(3, np.int64), 2)


def test_right_may_be_told_by_zeros_and_ones():
    columns, labels = described()
    contract.check({**columns, "correct": columns["correct"].astype(np.uint8)}, labels, CLASSES)


@pytest.mark.parametrize(
    ("ids", "labels", "wanted"),
    [
        (["a", "b", "a"], [0, 1, 0], "comes twice"),
        (["a", "b", "c"], [0, -1, 0], "no indices of classes"),
        (["a", "b", "c"], [0, 1, 2], "beyond the last of 2 classes"),
    ],
)
def test_samples_come_once_and_are_of_a_class(ids, labels, wanted):
    with pytest.raises(ValueError, match=wanted):
        contract.check_samples(np.array(ids), np.array(labels), 2)
