"""Several trainings of a recipe on the same images: how sure their mean is, as pure functions of numbers.

The training is the unit. Trainings and images are two samples, and crossed: every training is seen on every image. A
score then varies as V = a²/T + b²/N + e²/(TN) does, with a of the trainings, b of the images and e of what is left
(Owen 2007, doi:10.1214/07-AOAS122; for seeds and examples, Sellam et al. 2022, "The MultiBERTs", arXiv 2106.16163).
The interval adds two by Pythagoras (Zou & Donner 2008, as `stats.OfSum` does): Student's t of the trainings' scores,
with T - 1 degrees of freedom, for a² and e² (of a share on the scale of log odds); and, of each image's mean over the
trainings, the interval of `bench.metrics.stats`, for b² and e². So e² is counted twice, on the safe side: taken off
one, or V as a whole with Satterthwaite's degrees of freedom, holds too rarely near 0 and 1, where trainings scatter
to one side and few images differ. `benchmarks/trainings.py` looks.
Shapes: T trainings, N images.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bench.errors import BenchError
from bench.metrics.by_image import ByImage, DropBetweenSets, MeanOfSets, Parts
from bench.metrics.paired import in_change, linearised
from bench.metrics.stats import UNBOUNDED_FROM, Confidence, Interval, OfImages, OfSum, of_mean
from bench.records import Array, digest

FEWEST = 3
"""Trainings that an interval over them needs: of two, Student's t has one degree of freedom and hardly an end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Student(Confidence):
    """Of a number that is estimated with a normal error of unknown size."""

    estimate: float
    error: float
    """Standard error of the estimate, 0 or more."""
    freedom: float
    """Degrees of freedom of the standard error."""

    @property
    def value(self) -> float:  # noqa: D102
        return self.estimate

    def p_at_least(self, number: float) -> float:  # noqa: D102
        return self._chance(self.estimate - number)

    def p_at_most(self, number: float) -> float:  # noqa: D102
        return self._chance(number - self.estimate)

    def bounds(self, tail: float) -> Interval:  # noqa: D102
        from scipy.special import stdtrit  # type: ignore[import-untyped]  # imported here: it takes a tenth of a second

        away = -float(stdtrit(self.freedom, tail)) * self.error if self.error else 0.0
        return self.estimate - away, self.estimate + away

    def _chance(self, beyond: float) -> float:
        from scipy.special import stdtr

        if not self.error:
            return 1.0 if beyond >= 0 else 0.0
        return float(stdtr(self.freedom, beyond / self.error))


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentOfShare(Student):
    """Of a share, on the scale of its log odds: near 0 and 1 shares err further to the one side (delta method)."""

    def p_at_least(self, number: float) -> float:  # noqa: D102
        return self._chance(self._beyond(number))

    def p_at_most(self, number: float) -> float:  # noqa: D102
        return self._chance(-self._beyond(number))

    def bounds(self, tail: float) -> Interval:  # noqa: D102
        from scipy.special import expit, logit

        if not 0 < self.estimate < 1:
            return self.estimate, self.estimate
        away = Student(estimate=0.0, error=self.error, freedom=self.freedom).bounds(tail)[1]
        middle, away = logit(self.estimate), away / (self.estimate * (1 - self.estimate))
        return float(expit(middle - away)), float(expit(middle + away))

    def _beyond(self, number: float) -> float:
        """How far the estimate lies above a number, as an error of the share."""
        from scipy.special import logit

        if not 0 < self.estimate < 1 or not 0 < number < 1:
            return math.inf if self.estimate > number else -math.inf if self.estimate < number else 0.0
        return float(logit(self.estimate) - logit(number)) * self.estimate * (1 - self.estimate)


@dataclass(frozen=True, kw_only=True, slots=True)
class OfTrainings(Confidence):
    """Of a mean over trainings and images: each bound is as far away as those of both are together, by Pythagoras."""

    trainings: Student
    images: OfSum
    """Of the same mean."""
    ends: Interval
    """Lowest and highest that the mean can be; may be infinite."""

    @property
    def value(self) -> float:  # noqa: D102
        return self.trainings.value

    def p_at_least(self, number: float) -> float:  # noqa: D102
        return _tail_of(lambda tail: self.bounds(tail)[1] - number, self.value - number)

    def p_at_most(self, number: float) -> float:  # noqa: D102
        return _tail_of(lambda tail: number - self.bounds(tail)[0], number - self.value)

    def bounds(self, tail: float) -> Interval:  # noqa: D102
        down, up = zip(*(_away(part, tail) for part in (self.trainings, self.images)), strict=True)
        return max(self.ends[0], self.value - math.hypot(*down)), min(self.ends[1], self.value + math.hypot(*up))


def _away(part: Confidence, tail: float) -> tuple[float, float]:
    """How far the bounds of a part are from its value."""
    low, high = part.bounds(tail)
    return part.value - low, high - part.value


def _tail_of(room: Callable[[float], float], at_half: float) -> float:
    """The tail at which a bound has no room left to a number, by bisection: `OfSum` has no tails as long as t.

    Args:
        room: given the tail.
        at_half: the room at the estimate itself; p is 1 where there is some.
    """
    if at_half >= 0:
        return 1.0
    low, high = math.log(_LEAST), math.log(0.5)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if room(math.exp(middle)) > 0 else (low, middle)
    return math.exp(high)


_LEAST = 1e-12
"""Of p: less is not told apart."""
_HALVINGS = 18
"""Of the logarithms that p may have: p is then right to a ten-thousandth of itself."""


# -- what images give --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the images of one set give of a score, to first order."""

    values_N: Array
    """In the order of their ids."""
    ends: Interval
    """Lowest and highest that one can be; may be infinite."""


GivenBySet: TypeAlias = Mapping[str, Given]
"""Digest of a set's ids to what its images give: the score is the sum of the sets' means."""


def given_by_set(parts: ByImage | None, score: str) -> GivenBySet:
    """What each image gives of a score, as numbers whose means add up to it.

    Args:
        parts: what the images give of it.
        score: its name, for messages.

    Raises:
        BenchError: no means over images make the score, or it is not defined near them.
    """
    match parts:
        case Parts():
            return _of_set(parts, parts.score)
        case MeanOfSets():
            return combined([(1 / len(parts.sets), given_by_set(each, score)) for each in parts.sets])
        case DropBetweenSets():
            clean, kept = parts.clean.value, parts.shifted.value
            return combined(
                [
                    (1.0, _of_set(parts.clean, lambda means_RC: kept / clean - kept / means_RC[:, 0])),
                    (1.0, _of_set(parts.shifted, lambda means_RC: 1 - means_RC[:, 0] / clean)),
                ]
            )
    raise BenchError(f"{score} is made by no means over images")


def _of_set(parts: Parts, score: Callable[[Array], Array] | None) -> GivenBySet:
    order = np.argsort(parts.images.ids)
    values_NC, ends = parts.values_NC[order], parts.ends
    values_N = values_NC[:, 0]
    if score is not None:
        values_N, most = linearised(values_NC, score, ends)
        ends = (-most, most)
    return {digest(parts.images.ids[order].tolist()): Given(values_N=values_N, ends=ends)}


def combined(terms: Iterable[tuple[float, GivenBySet]]) -> GivenBySet:
    """The weighted sum of what the same images give, set by set.

    Args:
        terms: weight, and what images give.
    """
    sums: dict[str, Given] = {}
    for weight, sets in terms:
        for images, given in sets.items():
            low, high = sorted(weight * end for end in given.ends)
            before = sums.get(images, Given(values_N=np.zeros(len(given.values_N)), ends=(0.0, 0.0)))
            sums[images] = Given(
                values_N=before.values_N + weight * given.values_N, ends=(before.ends[0] + low, before.ends[1] + high)
            )
    return sums


def mean_of(trainings: Sequence[GivenBySet]) -> GivenBySet:
    """What each image gives of the mean over trainings.

    Raises:
        BenchError: the trainings did not see the same images.
    """
    if any(sets.keys() != trainings[0].keys() for sets in trainings):
        raise BenchError("the trainings did not see the same images")
    return combined([(1 / len(trainings), sets) for sets in trainings])


# -- how sure it is ----------------------------------------------------------------------------------------------------


def spread(scores_T: Sequence[float]) -> float | None:
    """Standard deviation between trainings; None of a single one."""
    return float(np.std(scores_T, ddof=1)) if len(scores_T) > 1 else None


def over_trainings(scores_T: Sequence[float]) -> Student:
    """The confidence in the mean over trainings, of which these are a sample, on the images that were shown.

    Args:
        scores_T: (T,) a score a training, or a difference a seed.

    Raises:
        BenchError: fewer than `FEWEST`.
    """
    _check(len(scores_T))
    error = float(np.std(scores_T, ddof=1)) / math.sqrt(len(scores_T))
    return Student(estimate=float(np.mean(scores_T)), error=error, freedom=len(scores_T) - 1)


def between_trainings(before_T: Sequence[float], after_T: Sequence[float]) -> Student:
    """The confidence in the difference of the means over two samples of trainings (Welch 1947).

    Args:
        before_T: a score a training.
        after_T: those of the other recipe, which may be more or fewer.

    Raises:
        BenchError: fewer than `FEWEST` on a side.
    """
    _check(min(len(before_T), len(after_T)))
    parts = [float(np.var(scores, ddof=1)) / len(scores) for scores in (before_T, after_T)]
    squares = sum(part**2 / (len(scores) - 1) for part, scores in zip(parts, (before_T, after_T), strict=True))
    return Student(
        estimate=float(np.mean(after_T) - np.mean(before_T)),
        error=math.sqrt(sum(parts)),
        freedom=sum(parts) ** 2 / squares if squares else len(before_T) + len(after_T) - 2,
    )


def _check(trainings: int) -> None:
    if trainings < FEWEST:
        raise BenchError(f"an interval over trainings needs at least {FEWEST} of them, not {trainings}")


def with_images(trainings: Student, images: GivenBySet, *, change: bool) -> OfTrainings:
    """The confidence in a mean over trainings and over images, of which both are samples.

    Args:
        trainings: what the trainings say on these images.
        images: what each image gives of the mean over trainings.
        change: whether they give a difference, in which most images give nothing.

    Raises:
        BenchError: too few images for values without an end.
    """
    of_image = _in_change if change else _in_mean
    parts = list(map(of_image, images.values()))
    ends = sum(given.ends[0] for given in images.values()), sum(given.ends[1] for given in images.values())
    if not change and np.allclose(ends, (0.0, 1.0)):
        ends = 0.0, 1.0
        trainings = StudentOfShare(estimate=trainings.value, error=trainings.error, freedom=trainings.freedom)
    return OfTrainings(trainings=trainings, images=OfSum(parts=parts, weights=[1.0] * len(parts)), ends=ends)


def _in_change(given: Given) -> OfImages:
    return in_change(given.values_N, most=max(-given.ends[0], given.ends[1]))


def _in_mean(given: Given) -> OfImages:
    """As `bench.metrics.outcomes.mean_of`: values without an end need many images."""
    values_N, (low, high) = given.values_N, given.ends
    if not (math.isfinite(low) and math.isfinite(high)) and len(values_N) < UNBOUNDED_FROM:
        raise BenchError(f"values without an end need at least {UNBOUNDED_FROM} images, not {len(values_N)}")
    lowest = low if math.isfinite(low) else float(values_N.min())
    highest = high if math.isfinite(high) else float(values_N.max())
    return of_mean(values_N, lowest, highest)


def sign_test(better: int, worse: int) -> float:
    """The exact two-sided p-value, in [0, 1], that one side is as often better as the other; ties are left out.

    Args:
        better: pairs in which the second is better.
        worse: pairs in which it is worse.

    >>> sign_test(5, 0), sign_test(14, 1) < 0.001, sign_test(0, 0)
    (0.0625, True, 1.0)
    """
    n = better + worse
    beyond = sum(math.comb(n, k) for k in range(max(better, worse), n + 1))
    return float(min(1.0, 2 * beyond / 2**n))
