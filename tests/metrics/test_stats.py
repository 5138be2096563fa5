"""Standard errors and intervals against statsmodels, exact coverage and simulation."""

import math

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.stats import (
    clustered_standard_error,
    clustered_wilson,
    normal_interval,
    ratio_standard_error,
    wilson,
)
from bench.records import Array


def recurring_images(rng: np.random.Generator, *shape: int, easy: float = 1.5, spread: float = 2.0) -> Array:
    """Zeros and ones whose last axis is conditions; images differ in how hard they are."""
    chance = 1 / (1 + np.exp(-(easy + spread * rng.standard_normal((*shape[:-1], 1)))))
    return (rng.random(shape) < chance).astype(np.float64)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 7), (1, 1), (3, 10), (499, 500), (38035, 50000)])
def test_wilson_agrees_with_statsmodels(successes: int, n: int, confidence: float) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    np.testing.assert_allclose(wilson(successes, n, confidence), expected, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 49, 1000])
def test_wilson_bounds_never_leave_the_unit_interval_or_exclude_the_proportion(n: int) -> None:
    for successes in range(n + 1):
        low, high = wilson(successes, n)
        assert 0 <= low <= successes / n <= high <= 1
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0


def test_wilson_covers_the_truth_nineteen_times_in_twenty_even_near_one() -> None:
    n = 100
    bounds = np.array([wilson(k, n) for k in range(n + 1)])
    choose = np.array([math.comb(n, k) for k in range(n + 1)], float)
    k, chances = np.arange(n + 1), np.linspace(0.5, 0.995, 200)
    pmf = choose * chances[:, None] ** k * (1 - chances[:, None]) ** (n - k)
    covered = (bounds[:, 0] <= chances[:, None]) & (chances[:, None] <= bounds[:, 1])
    coverage = (pmf * covered).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.005)
    assert coverage.min() > 0.9


def test_wilson_refuses_zero_samples() -> None:
    with pytest.raises(BenchError, match="no score from missing data"):
        wilson(0, 0)


@pytest.mark.parametrize(("successes", "n"), [(4, 3), (-1, 3), (math.nan, 3), (1, math.nan), (1, math.inf)])
def test_wilson_refuses_impossible_counts(successes: float, n: float) -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_must_be_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must lie in"):
        normal_interval(0.5, 0.1, confidence)


def test_the_clustered_standard_error_is_that_of_cluster_robust_least_squares() -> None:
    models = pytest.importorskip("statsmodels.regression.linear_model")
    values_NC = recurring_images(np.random.default_rng(0), 60, 7)
    images = np.repeat(np.arange(60), 7)
    fit = models.OLS(values_NC.ravel(), np.ones(420)).fit(cov_type="cluster", cov_kwds={"groups": images})
    assert clustered_standard_error(values_NC) == pytest.approx(fit.bse[0], rel=1e-12)
    assert clustered_standard_error(values_NC.mean(axis=1)) == pytest.approx(fit.bse[0], rel=1e-12)


def test_repeating_a_condition_adds_no_certainty() -> None:
    values_N = np.array([1.0, 0.0, 1.0, 1.0])
    repeated = np.repeat(values_N[:, None], 75, axis=1)
    assert clustered_standard_error(repeated) == pytest.approx(clustered_standard_error(values_N), rel=1e-12)


def test_a_standard_error_needs_two_images() -> None:
    for values in (np.zeros(0), np.zeros((0, 3)), np.ones((1, 3))):
        with pytest.raises(BenchError, match="at least two images"):
            clustered_standard_error(values)


def test_a_standard_error_refuses_nan() -> None:
    with pytest.raises(BenchError, match="NaN or infinite"):
        clustered_standard_error(np.array([1.0, math.nan, 0.0]))


def test_clustered_wilson_of_independent_draws_is_wilson() -> None:
    for right in range(1, 20):
        p = right / 20
        low, high = clustered_wilson(p, math.sqrt(p * (1 - p) / 19), 20)
        assert (low, high) == pytest.approx(wilson(right, 20))


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_clustered_wilson_of_images_all_alike_counts_each_once(mean: float) -> None:
    assert clustered_wilson(mean, 0.0, 40) == wilson(mean * 40, 40)
    assert clustered_wilson(mean, 1e-17, 40) == wilson(mean * 40, 40)


def test_clustered_wilson_covers_where_treating_rows_as_independent_does_not() -> None:
    rng = np.random.default_rng(1)
    truth = recurring_images(rng, 400_000, 1).mean()
    runs_RNC = recurring_images(rng, 1000, 100, 15)
    clustered = naive = 0
    for values_NC in runs_RNC:
        low, high = clustered_wilson(values_NC.mean(), clustered_standard_error(values_NC), 100)
        clustered += low <= truth <= high
        low, high = wilson(values_NC.sum(), values_NC.size)
        naive += low <= truth <= high
    assert 920 <= clustered <= 975  # 950 ± 3.6 standard deviations of 6.9
    assert naive < 700


def test_clustered_wilson_covers_a_nearly_perfect_model_where_the_normal_interval_does_not() -> None:
    rng = np.random.default_rng(2)
    counts = rng.binomial(500, 0.99, 1000)
    shares = counts / 500
    errors = np.sqrt(shares * (1 - shares) / 499)
    wilsons = np.array([clustered_wilson(p, se, 500) for p, se in zip(shares, errors, strict=True)])
    normals = np.array([normal_interval(p, se) for p, se in zip(shares, errors, strict=True)])
    covers = [((b[:, 0] <= 0.99) & (b[:, 1] >= 0.99)).mean() for b in (wilsons, normals)]
    assert covers[0] > 0.93
    assert covers[1] < 0.9


@pytest.mark.parametrize("paired", [True, False])
def test_the_ratio_error_is_the_delta_method_on_cluster_robust_least_squares(paired: bool) -> None:
    models = pytest.importorskip("statsmodels.regression.linear_model")
    rng = np.random.default_rng(3)
    n, conditions = 80, 4
    rows_NC = recurring_images(rng, n, 1 + conditions)
    clean_N, shifted_NC = rows_NC[:, 0], rows_NC[:, 1:]
    # One dummy for the shifted rows, one for the clean ones; their clusters are shared only where paired.
    target = np.concatenate([shifted_NC.ravel(), clean_N])
    design = np.repeat(np.eye(2), [n * conditions, n], axis=0)
    clean_images = np.arange(n) + (0 if paired else n)
    groups = np.concatenate([np.repeat(np.arange(n), conditions), clean_images])
    options = {"groups": groups, "use_correction": False}
    fit = models.OLS(target, design).fit(cov_type="cluster", cov_kwds=options)
    a, b = fit.params
    gradient = np.array([1 / b, -a / b**2])
    expected = math.sqrt(gradient @ fit.cov_params() @ gradient * n / (n - 1))
    assert ratio_standard_error(shifted_NC, clean_N, paired=paired) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("paired", [True, False])
def test_the_ratio_interval_covers_the_truth(paired: bool) -> None:
    rng = np.random.default_rng(4)
    shape = (1000, 200, 5)
    clean_RNC = recurring_images(rng, *shape, easy=2.0)
    if paired:  # the shift takes away half of what was right
        shifted_RNC = clean_RNC * (rng.random(shape) < 0.5)
    else:
        shifted_RNC = recurring_images(rng, *shape, easy=2.0) * (rng.random(shape) < 0.5)
    covered = 0
    for clean, shifted in zip(clean_RNC, shifted_RNC, strict=True):
        error = ratio_standard_error(shifted, clean, paired=paired)
        low, high = normal_interval(shifted.mean() / clean.mean(), error)
        covered += low <= 0.5 <= high
    assert 920 <= covered <= 975


def test_pairing_narrows_the_ratio_of_outcomes_that_agree() -> None:
    rows = recurring_images(np.random.default_rng(5), 300, 2)
    paired = ratio_standard_error(rows[:, 1], rows[:, 0], paired=True)
    assert paired < 0.8 * ratio_standard_error(rows[:, 1], rows[:, 0], paired=False)


def test_a_ratio_refuses_a_denominator_of_zero() -> None:
    for denominator in (np.zeros(3), np.zeros(0)):
        with pytest.raises(BenchError, match="mean of zero"):
            ratio_standard_error(np.ones(3), denominator, paired=False)


def test_a_paired_ratio_refuses_different_lengths() -> None:
    with pytest.raises(ValueError, match="same images, not of 3 and 4"):
        ratio_standard_error(np.ones(3), np.ones(4), paired=True)


def test_the_normal_interval_is_that_of_scipy() -> None:
    norm = pytest.importorskip("scipy.stats").norm
    assert normal_interval(3.0, 0.5, 0.9) == pytest.approx(norm.interval(0.9, loc=3.0, scale=0.5), rel=1e-12)


@pytest.mark.parametrize(("mean", "se"), [(math.nan, 0.1), (0.5, math.nan), (0.5, -0.1), (math.inf, 0.1)])
def test_an_interval_refuses_what_is_not_an_estimate(mean: float, se: float) -> None:
    with pytest.raises(ValueError, match="finite mean and standard error"):
        normal_interval(mean, se)
    with pytest.raises(ValueError, match="finite mean and standard error"):
        clustered_wilson(mean, se, 10)
