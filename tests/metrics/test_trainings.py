"""Intervals over trainings against exact laws and simulation, and what images give of every kind of score."""

import math

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.by_image import DropBetweenSets, MeanOfSets, Parts, mean_by_image
from bench.metrics.trainings import (
    Student,
    StudentOfShare,
    between_trainings,
    combined,
    given_by_set,
    mean_of,
    over_trainings,
    sign_test,
    spread,
    with_images,
)
from bench.records import Array, Outcome


def images(n: int, first: int = 0) -> Outcome:
    ids = np.arange(first, first + n)
    return Outcome(ids=ids, labels=ids, columns={})


def drawn(trainings: int, n: int, accuracy: float, sd: float, rng: np.random.Generator) -> Array:
    """(T, N) booleans: images are as easy in every training, and trainings differ in how good they are."""
    normal = pytest.importorskip("scipy.stats").norm
    of_image_N, of_training_T = rng.standard_normal(n), rng.standard_normal(trainings)
    own_TN = rng.standard_normal((trainings, n))
    spread = sd / normal.pdf(normal.ppf(accuracy))
    level_T1 = (normal.ppf(accuracy) * math.sqrt(1 + spread**2) + spread * of_training_T)[:, None]
    return level_T1 + math.sqrt(0.6) * of_image_N + math.sqrt(0.4) * own_TN > 0


# -- t -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [[0.5, 0.6, 0.8], [-0.1, 0.0, 0.3, 0.1, 0.2]])
def test_the_mean_of_scores_has_students_interval_and_p(scores: list[float]) -> None:
    scipy = pytest.importorskip("scipy.stats")
    found, expected = over_trainings(scores), scipy.ttest_1samp(scores, 0.05)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p(0.05) == pytest.approx(expected.pvalue)
    assert found.p_at_least(0.05) + found.p_at_most(0.05) == pytest.approx(1)


def test_two_samples_of_trainings_have_welchs_interval_and_p() -> None:
    before, after = [0.5, 0.55, 0.7], [0.9, 0.6, 0.75, 0.8]
    expected = pytest.importorskip("scipy.stats").ttest_ind(after, before, equal_var=False)
    found = between_trainings(before, after)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p() == pytest.approx(expected.pvalue)


def test_equal_scores_leave_nothing_open() -> None:
    for found in (over_trainings([0.5] * 3), between_trainings([0.5] * 3, [0.5] * 4)):
        assert found.interval() == (found.value, found.value)
        assert (found.p(found.value), found.p(found.value + 0.1)) == (1.0, 0.0)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_trainings_have_no_interval(count: int) -> None:
    with pytest.raises(BenchError, match=f"at least 3 of them, not {count}"):
        over_trainings([0.5] * count)
    with pytest.raises(BenchError, match=f"at least 3 of them, not {count}"):
        between_trainings([0.5] * 5, [0.5] * count)
    assert (spread([0.5] * count) is None) == (count == 1)


def test_a_share_errs_further_away_from_its_end_and_never_beyond() -> None:
    share = StudentOfShare(estimate=0.97, error=0.015, freedom=2)
    low, high = share.interval()
    assert 0 < low < high < 1
    assert 0.97 - low > high - 0.97
    assert share.p_at_most(low) == pytest.approx(0.025)
    assert share.p_at_least(high) == pytest.approx(0.025)
    assert (share.p(0.97), share.p(1.0), share.p(0.0)) == (1.0, 0.0, 0.0)
    middle, wide = StudentOfShare(estimate=0.5, error=1e-4, freedom=4), Student(estimate=0.5, error=1e-4, freedom=4)
    assert middle.interval() == pytest.approx(wide.interval(), abs=1e-6)
    assert StudentOfShare(estimate=1.0, error=0.0, freedom=2).interval() == (1.0, 1.0)


@pytest.mark.parametrize(("better", "worse"), [(14, 1), (3, 0), (5, 5), (0, 2), (0, 0)])
def test_the_sign_test_is_exact(better: int, worse: int) -> None:
    n = better + worse
    expected = pytest.importorskip("scipy.stats").binomtest(better, n).pvalue if n else 1.0
    assert sign_test(better, worse) == pytest.approx(expected)


# -- images --------------------------------------------------------------------------------------------------------


def test_what_images_give_adds_up_to_any_score() -> None:
    rng = np.random.default_rng(0)
    first, second = (mean_by_image(images(n, start), rng.random(n) < 0.7) for n, start in ((50, 0), (80, 100)))
    ratio = Parts(
        images=images(60), values_NC=rng.random((60, 2)), ends=(0.0, 1.0), score=lambda m: 1 - m[:, 1] / m[:, 0]
    )
    nested = MeanOfSets(sets=(first, MeanOfSets(sets=(second, second))))
    for parts in (first, ratio, nested, DropBetweenSets(clean=first, shifted=second)):
        sets = given_by_set(parts, "score")
        assert sum(given.values_N.mean() for given in sets.values()) == pytest.approx(parts.value)
        assert all(given.ends[0] <= given.values_N.min() for given in sets.values())
        assert all(given.ends[1] >= given.values_N.max() for given in sets.values())
    assert len(given_by_set(nested, "score")) == 2


def test_a_drop_between_sets_moves_with_both_of_them() -> None:
    """Each part is the slope of the score along its set's mean, by differences."""
    clean, shifted = mean_by_image(images(50), np.arange(50) < 40), mean_by_image(images(50, 100), np.arange(50) < 20)
    of_clean, of_shifted = given_by_set(DropBetweenSets(clean=clean, shifted=shifted), "score").values()
    assert np.ptp(of_clean.values_N) == pytest.approx(0.4 / 0.8**2, rel=1e-4)
    assert np.ptp(of_shifted.values_N) == pytest.approx(1 / 0.8, rel=1e-4)


def test_the_order_of_images_means_nothing_and_other_images_are_refused() -> None:
    values = np.random.default_rng(0).random(20)
    turned = Outcome(ids=np.arange(20)[::-1], labels=np.zeros(20), columns={})
    one, same = (given_by_set(mean_by_image(*each), "s") for each in ((images(20), values), (turned, values[::-1])))
    [change] = combined([(1.0, one), (-1.0, same)]).values()
    assert not change.values_N.any()
    with pytest.raises(BenchError, match="did not see the same images"):
        mean_of([one, given_by_set(mean_by_image(images(20, 5), values), "s")])
    with pytest.raises(BenchError, match="score is made by no means over images"):
        given_by_set(None, "score")


def test_losses_without_an_end_need_many_images() -> None:
    rng = np.random.default_rng(0)
    for n, fits in ((499, False), (500, True)):
        sets = given_by_set(mean_by_image(images(n), rng.exponential(size=n), ends=(0.0, math.inf)), "nll")
        if fits:
            assert with_images(over_trainings([0.9, 1.0, 1.1]), sets, change=False).interval()[0] < 1
        else:
            with pytest.raises(BenchError, match="need at least 500 images, not 499"):
                with_images(over_trainings([0.9, 1.0, 1.1]), sets, change=False)


# -- both ----------------------------------------------------------------------------------------------------------


def nested(right_TN: Array, *, change: bool = False):
    sets = mean_of([given_by_set(mean_by_image(images(len(row)), row, ends=(-1, 1)), "s") for row in right_TN])
    return with_images(over_trainings(right_TN.mean(axis=1)), sets, change=change)


def test_interval_and_p_are_of_one_test() -> None:
    rng = np.random.default_rng(1)
    change_TN = drawn(5, 100, 0.6, 0.03, rng).astype(float) - drawn(5, 100, 0.5, 0.03, rng)
    sure = nested(change_TN, change=True)
    assert sure.value == pytest.approx(change_TN.mean())
    for tail in (0.2, 1e-3):
        low, high = sure.bounds(tail)
        assert (sure.p_at_most(low), sure.p_at_least(high)) == pytest.approx((tail, tail), rel=1e-3)
    assert sure.p(sure.value) == 1.0
    assert sure.p(0.9) < 1e-3


def test_trainings_and_images_each_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    right_TN = drawn(4, 300, 0.7, 0.02, rng)
    trainings = over_trainings(right_TN.mean(axis=1))
    sets = mean_of([given_by_set(mean_by_image(images(300), row), "s") for row in right_TN])
    sure = with_images(trainings, sets, change=False)
    (low, high), (t_low, t_high), (i_low, i_high) = sure.interval(), trainings.interval(), sure.images.interval()
    assert low < min(t_low, i_low) <= max(t_high, i_high) < high
    assert high - low < (t_high - t_low) + (i_high - i_low)


@pytest.mark.parametrize(("trainings", "n", "accuracy", "sd"), [(3, 100, 0.98, 0.01), (5, 100, 0.7, 0.03)])
def test_the_interval_holds_the_truth_about_nineteen_times_in_twenty(
    trainings: int, n: int, accuracy: float, sd: float
) -> None:
    rng, held, repeats = np.random.default_rng(3), 0, 80
    for _ in range(repeats):
        right_TN = drawn(trainings, n, accuracy, sd, rng)
        sets = mean_of([given_by_set(mean_by_image(images(n), row), "s") for row in right_TN])
        low, high = with_images(over_trainings(right_TN.mean(axis=1)), sets, change=False).interval()
        held += low <= accuracy <= high
        assert 0 <= low <= high <= 1
    assert held >= 0.93 * repeats


def test_images_alone_hold_it_too_rarely_where_trainings_differ() -> None:
    """What an interval over the images of all trainings together, or of one, cannot know."""
    rng, held = np.random.default_rng(4), [0, 0]
    for _ in range(40):
        right_TN = drawn(5, 2000, 0.7, 0.03, rng)
        sets = mean_of([given_by_set(mean_by_image(images(2000), row), "s") for row in right_TN])
        sure = with_images(over_trainings(right_TN.mean(axis=1)), sets, change=False)
        for place, (low, high) in enumerate((sure.interval(), sure.images.interval())):
            held[place] += low <= 0.7 <= high
    assert held[0] >= 37
    assert held[1] <= 30
