"""Scores of attacked checkpoints, and the numbers behind warnings of a false sense of security: pure functions.

They read the columns that the attack measures store. An image that the model has wrong anyway is fooled at eps 0.
Legend: N images, E values of eps.
"""

import math
from collections.abc import Sequence

import numpy as np

from bench.errors import BenchError
from bench.metrics.by_image import Parts, mean_by_image
from bench.metrics.metric import Metric
from bench.metrics.outcomes import column, estimate, matching_rows, mean_of, share
from bench.records import Array, Estimate, Outcome

_CLOSE = 1e-6
"""Of its size: how far float32 may have rounded an eps."""
_UNSTEADY = 1e-3
"""Of the largest logit: above what other kernels round, in fp32, and below what any noise or batch statistics do."""
_CHANCE = 0.01
"""The sign test's level: below it, accuracy is taken to rise."""


def robust_accuracy(*outcomes: Outcome, eps: float) -> Estimate:
    """Share of images that the model has right and that no attack fools within eps: in [0, 1].

    Args:
        outcomes: one an attack, on the same images: an image is robust if it withstands all.
        eps: in pixels of [0, 1].

    >>> smallest = np.array([0, 0.01, 0.03, np.inf])
    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns={"smallest_eps": smallest})
    >>> robust_accuracy(outcome, eps=0.02).value
    0.5
    """
    return share(withstands(outcomes, eps))


def withstands(outcomes: Sequence[Outcome], eps: float) -> Array:
    """(N,) booleans: the images that count in `robust_accuracy`."""
    right_N: Array = _smallest(outcomes, "robust accuracy") > eps * (1 + _CLOSE)
    return right_N


def _robust_by_image(*outcomes: Outcome, eps: float) -> Parts:
    return mean_by_image(outcomes[0], withstands(outcomes, eps))


ROBUST_ACCURACY = Metric(name="robust_accuracy", function=robust_accuracy, by_image=_robust_by_image)
"""Wants `eps`, see `robust_accuracy`."""


def robust_area(*outcomes: Outcome, grid: Sequence[float]) -> Estimate:
    """Area under robust accuracy against eps, from 0 to the largest of the grid, over that eps: in [0, 1].

    Trapezoids between the clean accuracy and the values of the grid.

    >>> outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"smallest_eps": np.array([np.inf, 0.02])})
    >>> round(robust_area(outcome, grid=[0.01, 0.02]).value, 4)
    0.875
    """
    return mean_of(areas(outcomes, grid), highest=1.0)


def areas(outcomes: Sequence[Outcome], grid: Sequence[float]) -> Array:
    """(N,): each image's own part of `robust_area`, in [0, 1]."""
    smallest_N = _smallest(outcomes, "area under robust accuracy")
    points_E = np.array([0.0, *grid])
    right_NE = smallest_N[:, None] > points_E * (1 + _CLOSE)
    area_N: Array = np.trapezoid(right_NE.astype(np.float64), points_E, axis=1) / grid[-1]
    return area_N


def _area_by_image(*outcomes: Outcome, grid: Sequence[float]) -> Parts:
    return mean_by_image(outcomes[0], areas(outcomes, grid), ends=(0.0, 1.0))


ROBUST_AREA = Metric(name="robust_area", function=robust_area, by_image=_area_by_image)
"""Wants `grid`, see `robust_area`."""


def median_eps(*outcomes: Outcome, unit: float = 1.0) -> Estimate:
    """Median over images of the smallest eps of the grid that fools, in units of `unit`; 0 where the model is wrong.

    Raises:
        BenchError: more than half of the images withstand the whole grid.

    >>> smallest = np.array([0, 1 / 255, 2 / 255, 2 / 255, np.inf])
    >>> outcome = Outcome(ids=np.arange(5), labels=np.zeros(5, int), columns={"smallest_eps": smallest})
    >>> median_eps(outcome, unit=1 / 255).value
    2.0
    """
    smallest_N = _smallest(outcomes, "median eps")
    median = float(np.quantile(smallest_N, 0.5, method="inverted_cdf"))
    if math.isinf(median):
        raise BenchError("not defined: more than half of the images withstand the largest eps of the grid.")
    return estimate(median / unit, len(smallest_N))


def accuracy_after(outcome: Outcome, *, fooled_by: Sequence[str]) -> Estimate:
    """Share of images that are right after some attacks in turn: in [0, 1].

    Args:
        outcome: of the measure `autoattack`.
        fooled_by: those attacks.

    >>> columns = {"correct": np.arange(4) > 0, "fooled_by": np.array(["", "square", "", "apgd-ce"])}
    >>> outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns=columns)
    >>> accuracy_after(outcome, fooled_by=["apgd-ce"]).value
    0.5
    """
    fooled = np.isin(_column(outcome, "fooled_by", "accuracy after attacks").astype(str), list(fooled_by))
    return share(outcome.columns["correct"] & ~fooled)


def _after_by_image(outcome: Outcome, *, fooled_by: Sequence[str]) -> Parts:
    accuracy_after(outcome, fooled_by=fooled_by)  # refuses what is not there
    fooled_N = np.isin(outcome.columns["fooled_by"].astype(str), list(fooled_by))
    return mean_by_image(outcome, outcome.columns["correct"] & ~fooled_N)


ACCURACY_AFTER = Metric(name="accuracy_after", function=accuracy_after, by_image=_after_by_image)
"""Wants `fooled_by`, see `accuracy_after`."""


# -- signs of a false sense of security --------------------------------------------------------------------------


def rising_with_eps(outcome: Outcome) -> Estimate:
    """Largest rise of accuracy from one eps to the next, each attacked afresh: a fraction; 0 if chance explains it.

    A larger ball holds the smaller: an attack that does worse there was misled (Carlini et al. 2019, section 4.2).
    Rises count where a one-sided sign test over the images that changed gives p < 0.01.

    >>> fresh = np.array([[1, 0]] * 8 + [[0, 1]])
    >>> outcome = Outcome(ids=np.arange(9), labels=np.zeros(9, int), columns={"fresh": fresh})
    >>> rising_with_eps(outcome).value == 0  # 8 of 9: p = 0.02
    True
    """
    fresh_NE = _column(outcome, "fresh", "rising with eps")
    fresh_NE = fresh_NE[(fresh_NE >= 0).all(axis=1)]
    _some(fresh_NE, "rising with eps")
    rises = [0.0]
    for before_N, after_N in zip(fresh_NE.T, fresh_NE.T[1:], strict=False):
        up, down = int((before_N > after_N).sum()), int((before_N < after_N).sum())
        if _upper_tail(up, up + down) < _CHANCE:
            rises.append((up - down) / len(fresh_NE))
    return estimate(max(rises), len(fresh_NE))


def square_beats_white_box(outcome: Outcome) -> Estimate:
    """Share of the images attacked afresh that Square fools at the largest eps, where the attack by gradients fails."""
    tried_N = _column(outcome, "fresh", "Square against white box")[:, 0] >= 0
    return _share_of(outcome, "square", tried_N)


def square_after_white_box(outcome: Outcome) -> Estimate:
    """Share of all images that only Square, the last of AutoAttack's attacks, fools."""
    return share(_column(outcome, "fooled_by", "Square after white box").astype(str) == "square")


def unbounded_withstood(outcome: Outcome) -> Estimate:
    """Share of the images attacked afresh that withstand an attack which may turn them into any picture."""
    tried_N = _column(outcome, "unbounded", "unbounded attack") >= 0
    return _share_of(outcome, "unbounded", tried_N, value=0)


def loss_not_raised(outcome: Outcome) -> Estimate:
    """Share of the images attacked afresh that withstand the largest eps while the steps do not raise the loss."""
    return _share_of(outcome, "stuck", _column(outcome, "stuck", "loss not raised") >= 0)


def not_converged(outcome: Outcome) -> Estimate:
    """Share of the images attacked afresh that withstand an eps, and are fooled there by five times the steps."""
    return _share_of(outcome, "longer", _column(outcome, "fresh", "not converged")[:, 0] >= 0)


def zero_gradients(outcome: Outcome) -> Estimate:
    """Share of the attacked images whose first gradient is zero in every value."""
    return _share_of(outcome, "flat", _column(outcome, "flat", "zero gradients") >= 0)


def unsteady_logits(outcome: Outcome) -> Estimate:
    """Share of the images attacked afresh whose logits change when they are shown again among other images.

    By more than a thousandth of the largest: the model is random, or in training mode.
    """
    changes_N = _column(outcome, "unsteady", "unsteady logits")
    return share(_some(changes_N[~np.isnan(changes_N)], "unsteady logits") > _UNSTEADY)


def autoattack_flags(outcome: Outcome) -> Estimate:
    """Share of images in a block at which AutoAttack's own checks of the model complained."""
    return share(_column(outcome, "flags", "AutoAttack's flags").astype(str) != "")


def _share_of(outcome: Outcome, name: str, tried_N: Array, value: int = 1) -> Estimate:
    return share(_some(_column(outcome, name, name)[tried_N], name) == value)


def _some(values: Array, score: str) -> Array:
    if not len(values):
        raise BenchError(f"{score}: the model has none of the images right that would be tried; nothing can be said.")
    return values


def _upper_tail(successes: int, n: int) -> float:
    """P(X >= successes) of n fair coins."""
    return float(sum(math.comb(n, k) for k in range(successes, n + 1)) / 2**n)


def _smallest(outcomes: Sequence[Outcome], score: str) -> Array:
    """(N,) smallest eps over all attacks, rows in the order of the first one's images."""
    first = outcomes[0]
    columns = [_column(o, "smallest_eps", score)[matching_rows(first, o, score)] for o in outcomes]
    return np.min(columns, axis=0)  # type: ignore[no-any-return]


def _column(outcome: Outcome, name: str, score: str) -> Array:
    return column(outcome, name, score, given_by="attacks give", advice="Score a condition whose measure is an attack.")
