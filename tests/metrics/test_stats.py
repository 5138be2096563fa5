"""Intervals of shares and means against exact laws, numerical integration and simulation."""

import math

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics import stats
from bench.metrics.stats import OfImages, OfSum, chance_above_zero, of_mean, share_interval
from bench.records import Array


def recurring_images(rng: np.random.Generator, n: int, conditions: int, accuracy: float, correlation: float) -> Array:
    """(n,) shares of conditions under which images are right; images differ in how hard they are."""
    normal = pytest.importorskip("scipy.stats").norm
    ease_N = math.sqrt(correlation) * rng.standard_normal(n)
    chance_N = normal.cdf((normal.ppf(accuracy) + ease_N) / math.sqrt(1 - correlation))
    return rng.binomial(conditions, chance_N) / conditions


# -- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("right", "n"), [(0, 7), (1, 1), (3, 10), (499, 500), (38035, 50000)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(right: int, n: int, confidence: float) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    expected = binomtest(right, n).proportion_ci(confidence, method="exact")
    assert share_interval(right, n, confidence) == pytest.approx(tuple(expected), abs=1e-10)
    mean = of_mean(np.arange(n) < right, 0.0, 1.0)
    assert mean.interval(confidence) == pytest.approx(tuple(expected), abs=1e-7)


def test_the_interval_of_a_share_holds_the_truth_at_least_nineteen_times_in_twenty() -> None:
    binom = pytest.importorskip("scipy.stats").binom
    truths = np.linspace(0.005, 0.995, 199)[:, None]
    for n in (20, 50, 100, 200, 500):
        k = np.arange(n + 1)
        low, high = np.array([share_interval(int(right), n) for right in k]).T
        held = (binom.pmf(k, n, truths) * ((low <= truths) & (truths <= high))).sum(axis=1)
        assert held.min() >= 0.95 - 1e-9


def test_a_share_needs_a_sample() -> None:
    with pytest.raises(BenchError, match="no score from missing data"):
        share_interval(0, 0)


@pytest.mark.parametrize(("right", "n"), [(4, 3), (-1, 3), (math.nan, 3), (1, math.nan), (1, math.inf)])
def test_a_share_refuses_impossible_counts(right: float, n: float) -> None:
    with pytest.raises(ValueError, match="a share is of 0 to n"):
        share_interval(right, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_must_be_a_fraction(confidence: float) -> None:
    for interval in (of_mean(np.array([0.0, 1.0]), 0.0, 1.0).interval, lambda c: share_interval(1, 2, c)):
        with pytest.raises(ValueError, match="confidence must lie in"):
            interval(confidence)


# -- means ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("accuracy", [0.02, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("n", [20, 50, 200])
def test_means_over_many_conditions_hold_the_truth(n: int, accuracy: float, correlation: float) -> None:
    rng, held = np.random.default_rng([n, int(100 * accuracy)]), 0
    for _ in range(200):
        held += of_mean(recurring_images(rng, n, 75, accuracy, correlation), 0.0, 1.0).p(accuracy) >= 0.05
    assert held >= 0.93 * 200 - 4  # 1.2 standard deviations


def test_the_interval_of_a_mean_is_hardly_wider_than_the_normal_one_where_that_holds() -> None:
    values = recurring_images(np.random.default_rng(1), 500, 75, 0.6, 0.5)
    low, high = of_mean(values, 0.0, 1.0).interval()
    normal = 2 * 1.959964 * values.std(ddof=1) / math.sqrt(500)
    assert normal < high - low < 1.05 * normal


def test_repeating_a_condition_adds_no_certainty_and_averaging_others_does() -> None:
    rng = np.random.default_rng(2)
    right_NC = rng.random((200, 75)) < 0.7
    one, repeated = right_NC[:, 0], np.repeat(right_NC[:, :1], 75, axis=1).mean(axis=1)
    assert of_mean(repeated, 0.0, 1.0).interval() == pytest.approx(of_mean(one, 0.0, 1.0).interval())
    wide, narrow = (np.subtract(*of_mean(x, 0.0, 1.0).interval()[::-1]) for x in (one, right_NC.mean(axis=1)))
    assert narrow < wide / 4


@pytest.mark.parametrize("n", [1, 2, 3, 40, 3000])
def test_an_interval_holds_its_mean_and_stays_in_the_range(n: int) -> None:
    rng = np.random.default_rng(n)
    for values in (np.zeros(n), np.ones(n), np.full(n, 0.3), rng.random(n), rng.random(n) ** 9, rng.random(n) < 0.5):
        low, high = of_mean(values, 0.0, 1.0).interval()
        assert 0 <= low <= values.mean() + 1e-12
        assert values.mean() - 1e-12 <= high <= 1
        assert low < high


def test_the_numbers_of_an_interval_are_those_that_its_test_does_not_reject() -> None:
    values = np.random.default_rng(3).random(70) ** 3
    mean = of_mean(values, 0.0, 1.0)
    for confidence in (0.5, 0.95, 0.999):
        bounds = mean.interval(confidence)
        assert [mean.p(bound) for bound in bounds] == pytest.approx([1 - confidence] * 2, rel=1e-6)
        assert mean.p(bounds[0] - 1e-3) < 1 - confidence < mean.p(bounds[0] + 1e-3)


def test_a_mean_moves_and_stretches_with_its_values() -> None:
    values = np.random.default_rng(4).random(30)
    bounds = np.array(of_mean(values, 0.0, 1.0).interval())
    assert of_mean(5 - 3 * values, 2.0, 5.0).interval() == pytest.approx(tuple(5 - 3 * bounds[::-1]))


def test_many_values_are_judged_as_fewer_are(monkeypatch: pytest.MonkeyPatch) -> None:
    mean = of_mean(np.random.default_rng(5).random(1500) ** 2, 0.0, 1.0)
    quick = mean.interval()
    monkeypatch.setattr(stats, "MANY", 10_000)
    assert quick == pytest.approx(mean.interval(), abs=1e-6)


def test_a_ratio_of_means_holds_the_truth() -> None:
    rng, held = np.random.default_rng(6), 0
    for _ in range(300):
        clean = rng.random(40) < 0.9
        ratio = OfImages(
            numerators_U=clean * (rng.random(40) < 0.95) * 1.0,
            denominators_U=clean * 1.0,
            counts_U=np.ones(40),
            highest=(1.0, 0.0),
            lowest=(0.0, 1.0),
        )
        held += ratio.p(0.95) >= 0.05
    assert held >= 279


# -- sums of independent numbers -----------------------------------------------------------------------------------


def test_a_sum_is_as_sure_as_its_parts_together() -> None:
    rng = np.random.default_rng(7)
    first, second = of_mean(rng.random(400) < 0.6, 0, 1), of_mean(rng.random(300) < 0.5, 0, 1)
    both = OfSum(parts=[first, second], weights=[1.0, -2.0])
    low, high = both.interval()
    (a, b), (c, d) = first.interval(), second.interval()
    assert both.value == pytest.approx(first.value - 2 * second.value)
    assert low == pytest.approx(both.value - math.hypot(first.value - a, 2 * (d - second.value)))
    assert high == pytest.approx(both.value + math.hypot(b - first.value, 2 * (second.value - c)))
    assert [both.p(low), both.p(high), both.p(both.value)] == pytest.approx([0.05, 0.05, 1.0], rel=1e-5)


# -- the chance behind all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [0.9, 0.5, 0.025, 1e-3, 1e-10, 1e-50])
@pytest.mark.parametrize(("k", "n"), [(0, 2), (0, 20), (3, 20), (19, 20), (190, 200), (0, 50_000), (49_900, 50_000)])
def test_the_chance_is_that_of_the_beta_law(k: int, n: int, tail: float) -> None:
    t = pytest.importorskip("scipy.stats").beta.isf(tail, k + 1, n - k)
    assert chance_above_zero(np.array([1 - t, -t]), np.array([k + 1.0, n - k])) == pytest.approx(tail, rel=1e-4)


def test_the_chance_is_what_drawing_weights_gives() -> None:
    rng = np.random.default_rng(8)
    for _ in range(5):
        values_U, counts_U = rng.standard_normal(6) ** 3 - 0.2, rng.integers(1, 30, 6).astype(float)
        drawn = (rng.gamma(counts_U, size=(40_000, 6)) @ values_U > 0).mean()
        assert chance_above_zero(values_U, counts_U) == pytest.approx(drawn, abs=0.011)


def test_a_sum_of_one_sign_has_no_chance_or_no_other() -> None:
    ones = np.ones(2)
    assert chance_above_zero(np.array([-1.0, 0.0]), ones) == 0.0
    assert chance_above_zero(np.array([1.0, 0.0]), ones) == 1.0


def test_a_chance_of_next_to_nothing_is_none_below_it() -> None:
    assert stats._lugannani_rice(32.0, 1e5) == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_the_chance_knows_no_scale(scale: float) -> None:
    for values_U in (np.array([1.0, -1.0]), np.linspace(-1.1, 1, 2 * stats.MANY)):
        counts_U = np.linspace(7.0, 16.0, len(values_U))
        assert chance_above_zero(scale * values_U, counts_U) == pytest.approx(chance_above_zero(values_U, counts_U))


@pytest.mark.parametrize("values", [(1e10, -1e150), (-1e10, 1e150), (1e-300, -1e300), (1e-320, -1.0, 1e-10)])
def test_the_chance_of_numbers_that_are_worlds_apart_has_an_end(values: tuple[float, ...]) -> None:
    chance = chance_above_zero(np.array(values), np.array([7.0, 1.0, 2.0])[: len(values)])
    assert chance == pytest.approx(float(max(values) > -min(values)), abs=1e-6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_the_chance_of_what_is_no_number_is_refused(wrong: float) -> None:
    ones = np.ones(3)
    with pytest.raises(ValueError, match="NaN or infinite"):
        chance_above_zero(np.array([1.0, -1.0, wrong]), ones)
    with pytest.raises(ValueError, match="NaN or infinite"):
        chance_above_zero(np.array([1.0, -1.0, 0.5]), wrong * ones)
    sure = of_mean(np.array([0.0, 1.0, 0.5, wrong]), 0.0, 1.0)
    for asked in (sure.p, sure.interval):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="NaN or infinite"):
            asked()
