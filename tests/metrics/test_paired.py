"""Tests and intervals of paired differences against scipy, statsmodels, published examples and simulation."""

import math
import tracemalloc

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics import paired
from bench.metrics.paired import holm, mcnemar, paired_bootstrap, paired_interval
from bench.records import Array


def outcomes(rng: np.random.Generator, n: int, conditions: int) -> Array:
    """(n, 2 * conditions) zeros and ones: two checkpoints on the same images, the second a little worse."""
    ease_N1 = 1.0 + 1.5 * rng.standard_normal((n, 1))
    chances = 1 / (1 + np.exp(-(ease_N1 - np.repeat([0.0, 0.4], conditions))))
    return (rng.random(chances.shape) < chances).astype(np.float64)


def relative_drop(means_RC: Array) -> Array:
    return 1 - means_RC[:, 1:].mean(axis=1) / means_RC[:, 0]


# -- McNemar's test -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 1), (5, 0), (3, 3), (10, 25), (25, 10), (250, 205), (499, 500), (0, 999), (700, 299)]
)
def test_mcnemar_is_the_exact_binomial_test_when_few_pairs_differ(lost: int, gained: int) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    reference = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    expected = binomtest(lost, lost + gained).pvalue
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-10, abs=0)
    assert mcnemar(lost, gained) == pytest.approx(reference([[7, lost], [gained, 9]], exact=True).pvalue, rel=1e-10)


@pytest.mark.parametrize(("lost", "gained"), [(500, 501), (450, 550), (1300, 1200), (20_000, 19_000)])
def test_mcnemar_is_the_corrected_chi_square_test_when_many_differ(lost: int, gained: int) -> None:
    reference = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    expected = reference([[7, lost], [gained, 9]], exact=False, correction=True).pvalue
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-10, abs=0)


def test_mcnemar_hardly_jumps_where_it_stops_being_exact() -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    pairs = paired.EXACT_BELOW
    for lost in range(pairs // 2 - 50, pairs // 2):  # p from 0.0017 to 1
        assert mcnemar(lost, pairs - lost) == pytest.approx(binomtest(lost, pairs).pvalue, rel=0.01)


@pytest.mark.parametrize("equal", [0, 1, 40, 2000])
def test_equal_flips_both_ways_are_no_evidence(equal: int) -> None:
    assert mcnemar(equal, equal) == 1.0


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="counted from 0, not -1 lost and 3 gained"):
        mcnemar(-1, 3)


# -- the interval of a difference of two accuracies -----------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained", "n", "expected"),
    [
        (16, 6, 161, (-0.1195, -0.0032)),  # Cavo et al. 2012, as in the tests of the R package contingencytables
        (4, 26, 48, (0.2548067, 0.6251933)),  # the example of ci.prop.ps in the R package statpsych
    ],
)
def test_the_paired_interval_is_the_published_one(
    lost: int, gained: int, n: int, expected: tuple[float, float]
) -> None:
    places = 7 if n == 48 else 4
    assert tuple(round(bound, places) for bound in paired_interval(lost, gained, n)) == expected


@pytest.mark.parametrize("n", [1, 2, 12, 600])
def test_the_paired_interval_holds_the_difference_and_stays_in_range(n: int) -> None:
    for lost in range(0, n + 1, max(1, n // 12)):
        for gained in range(0, n - lost + 1, max(1, n // 12)):
            for confidence in (0.01, 0.95):
                low, high = paired_interval(lost, gained, n, confidence)
                assert -1 <= low <= (gained - lost) / n <= high <= 1
                mirrored = paired_interval(gained, lost, n, confidence)
                assert mirrored == pytest.approx((-high, -low), abs=1e-15)


@pytest.mark.parametrize("chances", [(0.02, 0.02), (0.05, 0.01), (0.2, 0.1), (0.0125, 0.0025)])
def test_the_paired_interval_covers_the_truth_nineteen_times_in_twenty(chances: tuple[float, float]) -> None:
    n, truth = 200, chances[1] - chances[0]
    counts = np.random.default_rng(0).multinomial(n, [*chances, 1 - sum(chances)], 4000)
    bounds = np.array([paired_interval(int(lost), int(gained), n) for lost, gained, _ in counts])
    assert 0.94 <= ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean() <= 0.995  # more where few differ


def test_pairing_sees_a_drop_that_two_separate_intervals_cannot() -> None:
    low, high = paired_interval(lost=25, gained=5, n=2000)
    assert high < 0
    assert high - low < 0.3 * 2 * 1.96 * math.sqrt(2 * 0.75 * 0.25 / 2000)


def test_a_paired_interval_needs_images() -> None:
    with pytest.raises(BenchError, match="at least one image that both saw"):
        paired_interval(0, 0, 0)


@pytest.mark.parametrize(("lost", "gained"), [(-1, 2), (2, -1), (3, 2)])
def test_a_paired_interval_refuses_impossible_counts(lost: int, gained: int) -> None:
    with pytest.raises(ValueError, match="no discordant pairs of 4 images"):
        paired_interval(lost, gained, 4)


# -- the paired bootstrap -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 400])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_interval_is_the_one_that_scipy_makes_of_the_same_resamples(n: int, confidence: float) -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(n)
    values_NC = outcomes(rng, n, 2) + 0.1 * rng.random((n, 4))  # without ties, some of which rounding hides from scipy
    bounds = paired_bootstrap(values_NC, relative_drop, seed=3, key="x", repeats=999, confidence=confidence)
    means_RC = np.concatenate(list(paired._resampled(values_NC, 3, "x", 999)))

    def statistic(*columns: Array, axis: int = -1) -> Array:
        means = [column.mean(axis=axis) for column in columns]
        return 1 - sum(means[1:]) / 3 / means[0]

    drawn = scipy_stats._resampling.BootstrapResult(None, relative_drop(means_RC), None)
    expected = scipy_stats.bootstrap(
        tuple(values_NC.T),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=0,
        bootstrap_result=drawn,
        confidence_level=confidence,
        method="BCa",
    ).confidence_interval
    assert bounds == pytest.approx(tuple(expected), rel=1e-9)


def test_resamples_spread_as_the_clustered_standard_error_says() -> None:
    values_NC = outcomes(np.random.default_rng(1), 500, 6)
    weights = np.repeat([-1 / 6, 1 / 6], 6)
    differences_N = values_NC @ weights
    means_RC = np.concatenate(list(paired._resampled(differences_N[:, None], 0, "spread", 8000)))
    assert means_RC.mean() == pytest.approx(differences_N.mean(), abs=4 * differences_N.std() / math.sqrt(500 * 8000))
    assert means_RC.std() == pytest.approx(differences_N.std() / math.sqrt(500), rel=0.04)


def test_weights_and_the_function_that_they_stand_for_give_one_interval() -> None:
    values_NC = outcomes(np.random.default_rng(2), 300, 3)
    weights = np.array([0.5, 0.3, 0.2, -0.5, -0.3, -0.2])
    by_weights = paired_bootstrap(values_NC, weights, seed=0, key="mce")
    by_function = paired_bootstrap(values_NC, lambda means_RC: means_RC @ weights, seed=0, key="mce")
    assert by_weights == pytest.approx(by_function, abs=1e-12)


def test_the_bootstrap_covers_the_truth_where_images_recur() -> None:
    truth = relative_drop(outcomes(np.random.default_rng(3), 500_000, 2).mean(axis=0, keepdims=True))[0]
    covered = 0
    for run in range(500):
        bounds = paired_bootstrap(
            outcomes(np.random.default_rng([4, run]), 150, 2), relative_drop, seed=run, key="coverage", repeats=500
        )
        covered += bounds is not None and bounds[0] <= truth <= bounds[1]
    assert 455 <= covered <= 490  # 475 less 4 and plus 3 standard deviations of 4.9


def test_the_bootstrap_of_paired_proportions_agrees_with_their_own_interval() -> None:
    differences = np.repeat([-1.0, 1.0, 0.0], [180, 120, 4700])[:, None]
    bounds = paired_bootstrap(differences, [1.0], seed=0, key="agrees", repeats=20_000)
    assert bounds == pytest.approx(paired_interval(180, 120, 5000), abs=0.0003)  # a tenth of the standard error


def test_a_bootstrap_repeats_itself_to_the_last_bit_and_other_keys_draw_anew() -> None:
    values_NC = outcomes(np.random.default_rng(5), 200, 2)
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    first, again = (paired_bootstrap(values_NC, relative_drop, seed=1, key="a") for _ in range(2))
    others = [paired_bootstrap(values_NC, relative_drop, seed=s, key=k) for s, k in [(1, "b"), (2, "a")]]
    assert first == again
    assert len({first, *others}) == 3
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


def test_resamples_are_those_drawn_when_this_was_written() -> None:
    values_NC = np.arange(5.0)[:, None]
    means = np.concatenate(list(paired._resampled(values_NC, 0, "golden", 4)))
    assert (means[:, 0] * 5).tolist() == [8.0, 11.0, 13.0, 11.0]


def test_how_resamples_are_cut_into_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values_NC = outcomes(np.random.default_rng(6), 101, 2)
    whole = paired_bootstrap(values_NC, relative_drop, seed=0, key="blocks", repeats=150)
    monkeypatch.setattr(paired, "_TILE", 700)
    assert paired_bootstrap(values_NC, relative_drop, seed=0, key="blocks", repeats=150) == whole


def test_sums_are_exact_in_any_order() -> None:
    rng = np.random.default_rng(7)
    values_NC = paired._summable(rng.standard_normal((1001, 1)) * 1e3)
    for _ in range(5):
        shuffled = rng.permutation(values_NC[:, 0])
        assert shuffled.sum() == np.cumsum(shuffled)[-1] == math.fsum(shuffled)
    ones = (rng.random((50, 3)) < 0.5).astype(np.float64)
    assert (paired._summable(ones) == ones).all()


def test_every_row_is_drawn_equally_often() -> None:
    words = np.random.PCG64(0)
    counts = sum(np.bincount(paired._rows(words, 7), minlength=7) for _ in range(10_000))
    chisquare = pytest.importorskip("scipy.stats").chisquare
    assert chisquare(counts).pvalue > 0.001


def test_checkpoints_that_agree_on_every_image_have_no_bootstrap_interval() -> None:
    correct_NC = outcomes(np.random.default_rng(8), 50, 3)[:, :3]
    twice_NC = np.concatenate([correct_NC, correct_NC], axis=1)
    weights = np.array([0.7, 0.2, 0.1])
    assert paired_bootstrap(twice_NC, np.concatenate([weights, -weights]), seed=0, key="same") is None
    assert paired_bootstrap(twice_NC, lambda means: means[:, 0] / means[:, 3], seed=0, key="same") is None


def test_a_bootstrap_of_a_whole_data_set_is_bounded_in_memory() -> None:
    correct_NC = np.random.default_rng(9).random((50_000, 30)) < 0.6
    tracemalloc.start()
    paired_bootstrap(correct_NC, relative_drop, seed=0, key="memory", repeats=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 120e6


@pytest.mark.parametrize("n", [0, 1])
def test_a_bootstrap_needs_two_images(n: int) -> None:
    with pytest.raises(BenchError, match=f"at least two images, not {n}: measure more"):
        paired_bootstrap(np.ones((n, 2)), relative_drop, seed=0, key="few")


@pytest.mark.parametrize("statistic", [[0.0, 1.0], relative_drop])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bootstrap_refuses_values_that_are_not_finite(statistic: object, value: float) -> None:
    with pytest.raises(BenchError, match="NaN or infinite: mend them"):
        paired_bootstrap(np.array([[1.0, 0.0], [value, 1.0]]), statistic, seed=0, key="nan")  # type: ignore[arg-type]


def test_a_bootstrap_refuses_a_score_that_some_resamples_lack() -> None:
    values_NC = np.zeros((6, 2))
    values_NC[0] = 1.0
    with pytest.raises(BenchError, match=r"not defined in \d+ of 2006 resamples of its images: it needs more images"):
        paired_bootstrap(values_NC, relative_drop, seed=0, key="ratio")


def test_a_bootstrap_refuses_weights_for_other_columns() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_bootstrap(np.ones((4, 3)), [1.0, 2.0], seed=0, key="weights")


# -- many tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 15, 200])
def test_holm_agrees_with_statsmodels(m: int) -> None:
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p_values = np.random.default_rng(m).random(m) ** 4
    p_values[m // 2 :] = p_values[m // 2 :].round(2)  # ties, zeros
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-14)


def test_holm_of_no_tests_is_empty() -> None:
    assert holm([]).tolist() == []


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_holm_refuses_what_is_not_a_probability(value: float) -> None:
    with pytest.raises(ValueError, match=r"p-values lie in \[0, 1\], not \["):
        holm([0.5, value])
