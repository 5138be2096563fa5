"""What each image gives of a score: the columns whose means make it, to compare two checkpoints on the same images.

Shapes: N images, C columns, R resamples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bench.metrics.outcomes import matching_rows
from bench.records import Array, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What each image of one set gives of a score."""

    images: Outcome
    """The images, in the order of the rows."""
    values_NC: Array
    """Its columns' means make the score."""
    ends: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest that a value of these columns can be, where they have ends: what the interval of a difference
    of few images goes by."""
    score: Callable[[Array], Array] | None = None
    """From (R, C) means to (R,) scores; None where the score is the only column's mean."""

    @property
    def value(self) -> float:
        """The score that they make; NaN or infinite where it is not defined."""
        means_RC = self.values_NC.mean(axis=0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(means_RC[0, 0] if self.score is None else self.score(means_RC)[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanOfSets:
    """A score that is the mean of scores of several sets, which share no image."""

    sets: tuple["ByImage | None", ...]
    """What the images of each give; None where they give nothing."""

    @property
    def value(self) -> float:
        """The score that they make; NaN where the images of a set give nothing."""
        return float(np.mean([np.nan if parts is None else parts.value for parts in self.sets]))


@dataclass(frozen=True, kw_only=True, slots=True)
class DropBetweenSets:
    """A score that is the share of one set's mean that another set, which shares no image with it, lacks."""

    clean: Parts
    shifted: Parts

    @property
    def value(self) -> float:
        """The score that they make; NaN where the clean mean is 0."""
        clean = self.clean.value
        return 1 - self.shifted.value / clean if clean else math.nan


ByImage: TypeAlias = Parts | MeanOfSets | DropBetweenSets
ByImageFunction: TypeAlias = Callable[..., "ByImage | None"]
"""Takes what the metric's function takes; None where the images of these outcomes give nothing that makes the score."""


def mean_by_image(images: Outcome, values_N: Any, *, ends: tuple[float, float] | None = None) -> Parts:
    """Parts of a score that is the mean of one value an image.

    Args:
        images: the images, in the order of the values.
        values_N: (N,) numbers or booleans.
        ends: lowest and highest that a value can be; none unless given, and 0 and 1 of zeros and ones.
    """
    values_NC = np.asarray(values_N, np.float64)[:, None]
    if ends is None:
        ends = (0.0, 1.0) if np.isin(values_NC, (0.0, 1.0)).all() else (-math.inf, math.inf)
    return Parts(images=images, values_NC=values_NC, ends=ends)


def aligned(first: Parts, other: Parts, score: str) -> tuple[Array, Array]:
    """The values of two checkpoints' parts, rows in the order of the ids: what resampling draws by.

    Args:
        first: those of one checkpoint.
        other: those of the other.
        score: its name, for messages.

    Raises:
        BenchError: they are not of the same images.
    """
    order = np.argsort(first.images.ids)
    rows = matching_rows(first.images, other.images, score)
    return first.values_NC[order], other.values_NC[rows][order]
