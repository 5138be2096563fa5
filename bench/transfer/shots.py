"""Which training samples a few-shot draw takes."""

import numpy as np

from bench import rng
from bench.errors import BenchError
from bench.records import Array


def shot_rows(ids: Array, labels: Array, shots: int, *, seed: int, draw: int) -> Array:
    """Rows of `shots` samples of each class that is there, ascending: those with the smallest random words.

    The words depend on (seed, draw, id) alone: of one draw, fewer shots are among more, and another checkpoint is
    given the same samples.

    Args:
        ids: (n,) text.
        labels: (n,) int64.
        shots: samples a class.
        seed: of the run.
        draw: which of several.

    Raises:
        BenchError: a class has fewer samples.
    """
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < shots:
        fewer = "+".join(str(count) for count in (1, 2, 5, 10, 25) if count <= counts.min())
        raise BenchError(
            f"{shots} shots need as many training samples of each class, but {int((counts < shots).sum())} of "
            f"{len(present)} classes have fewer (the smallest has {counts.min()}); --set shots={fewer} leaves "
            "these out."
        )
    keys = rng.keys(seed, f"few-shot {draw}", [str(i) for i in ids])
    words = rng.uniform(keys, (2,)).double().numpy()
    order = np.lexsort((words[:, 1], words[:, 0], labels))
    firsts = np.cumsum([0, *counts[:-1]])
    return np.sort(np.concatenate([order[first : first + shots] for first in firsts]))
