"""The validation split: taken from the training split where a data set's authors give none, fixed for ever."""

from collections.abc import Sequence

import numpy as np

from bench.datasets import nested_order
from bench.errors import BenchError
from bench.records import Array
from bench.text import some

VALIDATION_SHARE = 0.1
"""Of each class's training samples."""


def validation_rows(ids: Array, labels: Array) -> Array:
    """Rows of a training split that are held out to choose by, ascending.

    Of each class, the tenth (rounded up) whose ids have the smallest SHA-256; of a class with one sample, none. The
    choice depends on ids and labels alone.

    Args:
        ids: (n,) text, unique.
        labels: (n,) int64.

    Returns:
        (m,) int64; none where every class has one sample alone.

    >>> ids = np.array([f"train/{row}" for row in range(30)])
    >>> rows = validation_rows(ids, np.arange(30) % 3)
    >>> np.bincount(rows % 3).tolist()
    [1, 1, 1]
    """
    order = nested_order(ids)
    sorted_labels = labels[order]
    # A stable sort by class keeps the order of the hashes within each.
    by_class = order[np.argsort(sorted_labels, kind="stable")]
    classes = np.split(by_class, np.cumsum(np.unique(sorted_labels, return_counts=True)[1])[:-1])
    held = [rows[: int(np.ceil(VALIDATION_SHARE * len(rows))) if len(rows) > 1 else 0] for rows in classes]
    return np.sort(np.concatenate(held)).astype(np.int64)


def check_held_out(count: int) -> None:
    """Make sure that there is something to choose by.

    Raises:
        BenchError: `count`, of validation samples, is 0.
    """
    if count == 0:
        raise BenchError(
            "a tenth of each class's training samples is held out to choose by, and every class has one sample alone; "
            "obtain the whole training split, or raise train_limit where it was set."
        )


def check_labels(fit: Sequence[Array], test: Array, classes: Sequence[str], subject: str) -> None:
    """Make sure that a data set can be learnt.

    Args:
        fit: labels of each split to learn from.
        test: labels of the samples to predict.
        classes: their names.
        subject: the data set, for messages.

    Raises:
        BenchError: there is one class only, or the test split has a class that nothing can be learnt of.
    """
    seen = np.unique(np.concatenate(list(fit)))
    if len(seen) < 2:
        raise BenchError(
            f"the training split of {subject} has the class {classes[int(seen[0])]!r} alone; there is nothing to tell "
            "apart: give a copy with at least two classes."
        )
    unseen = np.setdiff1d(test, seen)
    if len(unseen):
        named = some(repr(classes[int(label)]) for label in unseen)
        raise BenchError(
            f"{len(unseen)} classes of the test split of {subject} ({named}) have no training sample; obtain the "
            "whole training split (or raise train_limit where it was set), or leave their test images out."
        )
