"""The test and interval of paired differences against scipy, counting and simulation."""

import math

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.by_image import DropBetweenSets, MeanOfSets, mean_by_image
from bench.metrics.paired import FEW, SMALL, holm, in_change, in_difference, linearised, paired_drop_p
from bench.metrics.stats import UNBOUNDED_FROM
from bench.records import Array, Outcome


def changes(lost: int, gained: int, n: int) -> Array:
    return np.repeat([-1.0, 1.0, 0.0], [lost, gained, n - lost - gained])


def parts(values_N: Array, **ends):
    n = len(values_N)
    return mean_by_image(Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns={}), values_N, **ends)


# -- shares of images: McNemar's exact test, and what it does not reject ------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 1), (5, 0), (3, 3), (10, 25), (25, 10), (250, 205), (0, 999), (700, 299), (20_000, 19_000)]
)
def test_of_images_right_or_wrong_p_is_mcnemars_exact_one(lost: int, gained: int) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    expected = binomtest(lost, lost + gained).pvalue
    assert in_change(changes(lost, gained, 60_000), most=1.0).p() == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_where_nothing_changed_the_interval_is_that_of_no_event_either_way() -> None:
    low, high = in_change(np.zeros(50), most=1.0).interval()
    assert high == pytest.approx(1 - 0.025 ** (1 / 50), rel=1e-6)  # Clopper & Pearson's of 0 of 50
    assert (low, in_change(np.zeros(50), most=1.0).p()) == (pytest.approx(-high), 1.0)


def test_the_interval_of_changes_leaves_0_out_where_p_says_so_and_nowhere_else() -> None:
    for lost in range(0, 16):
        for gained in range(0, 6):
            for n in (22, 300):
                sure = in_change(changes(lost, gained, n), most=1.0)
                low, high = sure.interval()
                assert (low <= 0 <= high) == (sure.p() >= 0.05), (lost, gained, n)
                assert low <= (gained - lost) / n <= high


@pytest.mark.parametrize("chances", [(0.02, 0.02), (0.05, 0.01), (0.2, 0.1), (0.0125, 0.0025)])
@pytest.mark.parametrize("n", [50, 200])
def test_the_interval_of_changes_holds_the_truth_nineteen_times_in_twenty(chances: tuple[float, float], n: int) -> None:
    truth, rng = chances[1] - chances[0], np.random.default_rng(0)
    counts, times = np.unique(rng.multinomial(n, [*chances, 1 - sum(chances)], 4000), axis=0, return_counts=True)
    held = [in_change(changes(int(c[0]), int(c[1]), n), most=1.0).p(truth) >= 0.05 for c in counts]
    assert (times @ np.array(held)) / 4000 >= 0.94


# -- other changes -------------------------------------------------------------------------------------------------


def heavy_tailed(rng: np.random.Generator, n: int) -> Array:
    """Losses of two checkpoints that are equally good: some images cost one of them much."""
    first, second = np.logaddexp(0, -4 * (1.5 + rng.standard_normal((2, n))))
    return second - first


@pytest.mark.parametrize("kind", ["losses", "means", "shares", "skewed"])
def test_interval_and_p_of_any_change_are_one_test(kind: str) -> None:
    rng, near = np.random.default_rng(7), 0
    for _ in range(40):
        change = {
            "losses": lambda: heavy_tailed(rng, 600) + 0.12,
            "means": lambda: (rng.binomial(75, 0.8, 60) - rng.binomial(75, 0.77, 60)) / 75,
            "shares": lambda: rng.choice([-1.0, 0.0, 1.0], 60, p=[0.2, 0.75, 0.05]),
            "skewed": lambda: 0.1 - rng.exponential(0.08, 90).clip(max=1.0),
        }[kind]()
        sure = in_change(change, most=math.inf if kind == "losses" else 1.0)
        low, high = sure.interval()
        assert (low <= 0 <= high) == (sure.p() >= 0.05)
        assert (sure.p(low), sure.p(high)) == (pytest.approx(0.05, rel=1e-5), pytest.approx(0.05, rel=1e-5))
        near += 0.005 < sure.p() < 0.5
    assert near > 5  # among them some that are not clear


def test_equal_checkpoints_with_heavy_tailed_losses_seldom_differ() -> None:
    rng = np.random.default_rng(8)
    p_values = np.array([in_change(heavy_tailed(rng, 600), most=math.inf).p() for _ in range(300)])
    assert (p_values < 0.05).mean() <= 0.05
    assert (p_values < 0.3).mean() > 0.1


def test_turning_a_change_round_turns_the_interval() -> None:
    change = np.random.default_rng(9).normal(0.01, 0.1, 80).clip(-1, 1)
    low, high = in_change(change, most=1.0).interval()
    assert in_change(-change, most=1.0).interval() == pytest.approx((-high, -low), rel=1e-9)


def test_where_few_images_changed_another_may_change_as_much_as_one_can() -> None:
    few, some = (np.repeat([-0.02, 0.0], [count, 100 - count]) for count in (FEW - 1, FEW))
    assert in_change(few, most=1.0).interval()[1] > 0.02
    assert in_change(some, most=1.0).interval()[1] < 0
    assert in_change(few, most=1.0, changed=FEW).interval()[1] < 0


def test_of_few_images_another_may_change_by_all_that_it_can_however_many_did() -> None:
    # Losses all change a little, and one in fifty by much: 20 without such a one say nothing of it.
    few, some = (np.full(n, 0.01) for n in (SMALL - 1, SMALL))
    low, _ = in_change(few, most=2.0).interval()
    assert low < 0
    assert in_change(some, most=2.0).interval()[0] > 0


def test_rounding_is_no_change() -> None:
    assert in_change(np.array([1e-17, -2e-16, 0.0] * 10), most=1.0).p() == 1.0


def test_values_without_an_end_need_many_images_and_some_that_changed() -> None:
    enough = np.random.default_rng(10).standard_normal(UNBOUNDED_FROM)
    assert in_change(enough, most=math.inf).p() > 0
    with pytest.raises(BenchError, match="values without an end need at least 500 images for an interval, not 499"):
        in_change(enough[1:], most=math.inf)
    with pytest.raises(BenchError, match="at least 10 images that changed, not 3"):
        in_change(np.repeat([1.0, 0.0], [3, UNBOUNDED_FROM]), most=math.inf)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_change_must_be_finite(value: float) -> None:
    with pytest.raises(BenchError, match="some are NaN or infinite: mend them"):
        in_change(np.array([0.0, value]), most=1.0)


def test_a_change_needs_images() -> None:
    with pytest.raises(BenchError, match="at least one image that both saw, not 0"):
        in_change(np.zeros(0), most=1.0)


# -- scores that are no means, and of several sets ----------------------------------------------------------------


def relative_drop(means_RC: Array) -> Array:
    return 1 - means_RC[:, 1] / means_RC[:, 0]


def test_a_score_is_linearised_as_the_delta_method_does() -> None:
    values_N2 = (np.random.default_rng(11).random((200, 2)) < [0.9, 0.6]).astype(float)
    clean, shifted = values_N2.mean(axis=0)
    found_N, most = linearised(values_N2, relative_drop, (0.0, 1.0))
    expected_N = 1 - shifted / clean - (values_N2[:, 1] - shifted / clean * values_N2[:, 0]) / clean
    assert found_N == pytest.approx(expected_N, abs=1e-6)
    assert found_N.mean() == pytest.approx(1 - shifted / clean)
    assert most == pytest.approx(
        max(abs(expected_N.min()), abs(expected_N.max())), rel=1e-6
    )  # all four kinds are there


def test_a_score_that_is_not_defined_near_the_means_is_refused() -> None:
    with pytest.raises(BenchError, match="not defined near the means of these images"):
        linearised(np.zeros((5, 2)), lambda means_RC: np.log(means_RC[:, 0]), (0.0, 1.0))


def test_independent_sets_of_images_add_up_and_their_test_and_interval_are_one() -> None:
    rng = np.random.default_rng(12)
    sides = [MeanOfSets(sets=tuple(parts(rng.random(200) < p) for _ in range(3))) for p in (0.7, 0.62)]
    sure = in_difference(*sides, "mean")
    low, high = sure.interval()
    assert sure.value == pytest.approx(sides[1].value - sides[0].value)
    assert (sure.p(low), sure.p(high)) == (pytest.approx(0.05, rel=1e-5), pytest.approx(0.05, rel=1e-5))
    alone = [
        np.subtract(*in_difference(*both, "one").interval()[::-1])
        for both in zip(*(s.sets for s in sides), strict=True)
    ]
    assert high - low == pytest.approx(math.hypot(*alone) / 3, rel=0.02)


def test_the_difference_of_drops_between_sets_is_that_of_their_values() -> None:
    rng = np.random.default_rng(13)
    sides = [
        DropBetweenSets(clean=parts(rng.random(300) < 0.9), shifted=parts(rng.random(200) < p)) for p in (0.7, 0.6)
    ]
    sure = in_difference(*sides, "drop")
    assert sure.value == pytest.approx(sides[1].value - sides[0].value)
    low, high = sure.interval()
    assert (low <= 0 <= high) == (sure.p() >= 0.05)
    assert in_difference(sides[0], sides[0], "drop").p() == 1.0


def test_what_images_do_not_make_has_no_test() -> None:
    with pytest.raises(BenchError, match="ece is made by no means over images"):
        in_difference(None, None, "ece")


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


@pytest.mark.parametrize("seed", range(6))
def test_a_mean_over_sets_is_as_sure_by_its_p_as_by_its_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    images = Outcome(ids=np.arange(n), labels=np.arange(n), columns={})
    sides = [
        MeanOfSets(sets=tuple(mean_by_image(images, rng.random(n) < share, ends=(0.0, 1.0)) for share in (0.95, right)))
        for right in (0.8, 0.74 - 0.02 * seed)
    ]
    sure = in_difference(*sides, "mean")
    for tail in (0.3, 0.025, 1e-4):
        low, high = sure.bounds(tail)
        assert sure.p_at_least(high) == pytest.approx(tail, rel=1e-3)
        assert sure.p_at_most(low) == pytest.approx(tail, rel=1e-3)
    low, high = sure.interval()
    assert (low <= 0 <= high) == (sure.p() >= 0.05)


# -- whether a drop is beyond a tolerance ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained", "n", "tolerance"),
    [(10, 2, 60, 0.05), (5, 0, 40, 0.0), (3, 9, 50, 0.02), (0, 0, 30, 0.1), (25, 5, 100, 0.1), (30, 0, 30, 0.2)],
)
def test_a_drop_is_tested_by_the_chance_of_every_pair_of_counts(
    lost: int, gained: int, n: int, tolerance: float
) -> None:
    stats = pytest.importorskip("scipy.stats")
    optimize = pytest.importorskip("scipy.optimize")

    def surprise(q: float) -> float:
        chances = np.array([q + tolerance, q, 1 - 2 * q - tolerance])
        counts = np.array([lost, gained, n - lost - gained])
        seen = counts > 0
        return -float(counts[seen] @ np.log(np.maximum(chances[seen], 1e-300)))

    q = optimize.minimize_scalar(surprise, bounds=(0, (1 - tolerance) / 2), method="bounded").x
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    rows = np.stack([b, c, n - b - c], axis=-1)[(b + c <= n) & (b - c >= lost - gained)]
    expected = stats.multinomial(n, [q + tolerance, q, 1 - 2 * q - tolerance]).pmf(rows).sum()
    assert paired_drop_p(lost, gained, n, tolerance) == pytest.approx(expected, abs=2e-4)  # as q is found


@pytest.mark.parametrize("tolerance", [0.0, 0.003, 0.02])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_a_true_drop_of_the_tolerance_is_called_larger_at_most_as_often_as_alpha_says(
    tolerance: float, alpha: float
) -> None:
    stats, n, most = pytest.importorskip("scipy.stats"), 200, 40
    rejected = np.array([[paired_drop_p(b, c, n, tolerance) <= alpha for c in range(most)] for b in range(most)])
    b, c = np.meshgrid(np.arange(most), np.arange(most), indexing="ij")
    for q in (0.0, 0.001, 0.003, 0.01, 0.03, 0.06):
        chances = [q + tolerance, q, 1 - 2 * q - tolerance]
        law = stats.multinomial(n, chances).pmf(np.stack([b, c, n - b - c], axis=-1))
        assert law[rejected].sum() <= alpha
    assert law[rejected].sum() > alpha / 3  # and it is no test that never rejects


def test_many_images_and_no_drop_at_all_are_tested_too() -> None:
    assert paired_drop_p(900, 700, 50_000, 0.003) == pytest.approx(0.108, abs=1e-3)
    assert paired_drop_p(0, 0, 1, 0.003) == pytest.approx(1.0)
    assert paired_drop_p(0, 500, 500, 0.003) == pytest.approx(1.0)
    assert 0 <= paired_drop_p(500, 0, 500, 0.003) < 1e-12


@pytest.mark.parametrize("counts", [(-1, 0, 5, 0.0), (4, 3, 5, 0.0), (1, 1, 5, -0.1), (1, 1, 5, 1.0)])
def test_a_test_of_impossible_counts_is_refused(counts: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match="no test of"):
        paired_drop_p(*counts)
