"""The logit-linear fit and effective robustness against scipy, statsmodels and simulation."""

import math

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.line import LogitLine, _t_quantile, fit_line
from bench.records import Array

CLIP = 1 / (2 * 10_000)


def models(n: int, seed: int = 0, spread: float = 0.2) -> tuple[Array, Array]:
    """Clean and shifted accuracies of n models near the line logit(shifted) = -0.7 + 0.9 logit(clean)."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(-0.5, 2.5, n)
    return 1 / (1 + np.exp(-clean)), 1 / (1 + np.exp(-(-0.7 + 0.9 * clean + spread * rng.standard_normal(n))))


def logit(accuracy: Array) -> Array:
    return np.log(accuracy / (1 - accuracy))


@pytest.mark.parametrize("n", [3, 4, 50])
def test_the_fit_is_that_of_scipy(n: int) -> None:
    linregress = pytest.importorskip("scipy.stats").linregress
    clean, shifted = models(n)
    line, expected = fit_line(clean, shifted, clip=CLIP), linregress(logit(clean), logit(shifted))
    assert line.slope == pytest.approx(expected.slope, rel=1e-10)
    assert line.intercept == pytest.approx(expected.intercept, rel=1e-10)
    assert line.slope_se == pytest.approx(expected.stderr, rel=1e-8)
    assert line.r_squared == pytest.approx(expected.rvalue**2, rel=1e-10)
    assert line.n == n


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [3, 4, 30])
def test_the_band_and_the_slopes_interval_are_those_of_least_squares(n: int, confidence: float) -> None:
    api = pytest.importorskip("statsmodels.api")
    clean, shifted = models(n, seed=1)
    asked = np.array([0.05, 0.4, 0.76, 0.99])
    fit = api.OLS(logit(shifted), api.add_constant(logit(clean))).fit()
    frame = fit.get_prediction(api.add_constant(logit(asked))).summary_frame(alpha=1 - confidence)
    line = fit_line(clean, shifted, clip=CLIP)
    low, high = line.band(asked, confidence)
    np.testing.assert_allclose(logit(line.expected(asked)), frame["mean"], rtol=1e-9)
    np.testing.assert_allclose(low, 1 / (1 + np.exp(-frame["obs_ci_lower"])), rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(high, 1 / (1 + np.exp(-frame["obs_ci_upper"])), rtol=1e-8, atol=1e-15)
    assert line.slope_interval(confidence) == pytest.approx(tuple(fit.conf_int(1 - confidence)[1]), rel=1e-8)
    assert line.residual_se == pytest.approx(math.sqrt(fit.mse_resid), rel=1e-8)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 28, 999, 1000])
@pytest.mark.parametrize("confidence", [0.01, 0.5, 0.9, 0.95, 0.999])
def test_the_quantile_is_that_of_students_law(df: int, confidence: float) -> None:
    student = pytest.importorskip("scipy.stats").t
    assert _t_quantile(confidence, df) == pytest.approx(student.ppf(0.5 + confidence / 2, df), rel=1e-10)


def test_models_on_the_line_have_no_effective_robustness_and_those_above_it_some() -> None:
    clean, shifted = models(20, spread=0.0)
    line = fit_line(clean, shifted, clip=CLIP)
    np.testing.assert_allclose(line.effective_robustness(clean, shifted), 0, atol=1e-12)
    np.testing.assert_allclose(line.effective_robustness(clean, shifted + 0.03), 0.03, atol=1e-12)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((0.9, -0.7, 1.0))


def test_the_band_holds_nineteen_of_twenty_further_models() -> None:
    inside = []
    for seed in range(400):
        low, high = fit_line(*models(10, seed=seed), clip=CLIP).band(models(1, seed=1000 + seed)[0])
        further = models(1, seed=1000 + seed)[1]
        inside.append(bool(low[0] <= further[0] <= high[0]))
    assert 363 <= sum(inside) <= 395  # 380 ± 3.9 standard deviations of 4.4


def test_the_band_is_narrowest_in_the_middle_of_the_models() -> None:
    line = fit_line(*models(8), clip=CLIP)
    middle = 1 / (1 + math.exp(-line.clean_mean))
    low, high = line.band([0.2, middle, 0.99])
    widths = logit(high) - logit(low)
    assert widths[1] < widths[0]
    assert widths[1] < widths[2]


def test_accuracies_of_zero_and_one_count_as_half_an_image_away() -> None:
    clipped = fit_line([0.0, 0.5, 1.0], [0.0, 0.3, 1.0], clip=0.01)
    assert clipped == fit_line([0.01, 0.5, 0.99], [0.01, 0.3, 0.99], clip=0.01)
    assert clipped.expected([0.0, 1.0]).tolist() == clipped.expected([0.01, 0.99]).tolist()


def test_shifted_accuracies_that_do_not_vary_are_explained_by_nothing() -> None:
    line = fit_line([0.2, 0.5, 0.8], [0.1, 0.1, 0.1], clip=CLIP)
    assert line.r_squared == 0.0
    assert line.slope == pytest.approx(0.0, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_band_far_outside_the_models_stays_a_fraction_without_a_warning() -> None:
    low, high = fit_line([0.5, 0.501, 0.502], [0.2, 0.7, 0.1], clip=CLIP).band([0.0, 1.0])
    assert low.tolist() == [0.0, 0.0]
    assert high.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("clean", "different"), [([], 0), ([0.5], 1), ([0.5, 0.6], 2), ([0.5, 0.6, 0.6, 0.5], 2), ([0.0, 1e-9, 0.6], 2)]
)
def test_a_line_needs_three_different_clean_accuracies(clean: list[float], different: int) -> None:
    with pytest.raises(BenchError, match=f"three models of different clean accuracy, not {different}: take more"):
        fit_line(clean, [0.3] * len(clean), clip=CLIP)


def test_a_line_refuses_different_lengths() -> None:
    with pytest.raises(ValueError, match="two accuracies a model, not 3 clean and 2 shifted"):
        fit_line([0.1, 0.2, 0.3], [0.1, 0.2], clip=CLIP)


@pytest.mark.parametrize("value", [math.nan, -0.1, 76.1])
def test_a_line_refuses_what_is_not_a_fraction(value: float) -> None:
    with pytest.raises(ValueError, match=r"fractions in \[0, 1\], not \["):
        fit_line([0.1, 0.2, value], [0.1, 0.2, 0.3], clip=CLIP)


@pytest.mark.parametrize("clip", [0.0, 0.5, math.nan])
def test_a_clip_must_leave_room(clip: float) -> None:
    with pytest.raises(ValueError, match=r"clip must lie in \(0, 1/2\)"):
        fit_line([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], clip=clip)


def test_a_bands_confidence_must_be_a_fraction() -> None:
    line: LogitLine = fit_line([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], clip=CLIP)
    with pytest.raises(ValueError, match="confidence must lie in"):
        line.slope_interval(95.0)
