"""The schedule of learning rates that all our trainings share."""

import math


def warmup_cosine(peak: float, done: float, *, total: float, warmup: float) -> float:
    """Return the rate after so much of a training: a line from 0 to `peak`, then half a cosine back to 0.

    Args:
        peak: The largest rate.
        done: How much is done, in epochs or steps, from 0 to `total`.
        total: How long the training is.
        warmup: How long the rate rises, less than `total`; 0 begins at the peak.

    >>> [round(warmup_cosine(0.1, done, total=30, warmup=10), 3) for done in (0, 5, 10, 20, 30)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    if done < warmup:
        return peak * done / warmup
    left = (total - done) / (total - warmup)
    return peak * (1 - math.cos(math.pi * left)) / 2
