"""Scores of attacked checkpoints and the numbers behind warnings: by hand, and against independent code."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench.errors import BenchError
from bench.metrics import robustness, stats
from bench.records import Outcome
from bench.suite.attacked import FLAGS, SIGNS, SQUARE_LAST

INF = math.inf


def outcome(ids=None, **columns) -> Outcome:
    """Lists or arrays of columns, all of the same images."""
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    n = len(next(iter(arrays.values())))
    ids = [f"image-{i}" for i in range(n)] if ids is None else ids
    return Outcome(ids=np.array(ids), labels=np.zeros(n, np.int64), columns=arrays)


def smallest(values, ids=None) -> Outcome:
    return outcome(ids, smallest_eps=np.array(values, np.float32))


# -- robust accuracy, its area and the median eps ----------------------------------------------------------------


def test_robust_accuracy_is_the_share_that_needs_more_than_eps():
    one = smallest([0, 1 / 255, 2 / 255, 4 / 255, INF])
    assert [robustness.robust_accuracy(one, eps=eps / 255).value for eps in (0.5, 1, 2, 4)] == [0.8, 0.6, 0.4, 0.2]


def test_robust_accuracy_has_the_interval_of_a_share():
    estimate = robustness.robust_accuracy(smallest([0, INF, INF, 0.1]), eps=0.05)
    assert (estimate.ci_low, estimate.ci_high, estimate.n) == (*stats.share_interval(3, 4), 4)


@pytest.mark.parametrize("k", [0.5, 1, 2, 3, 4, 5, 7, 8, 16, 31])
def test_an_eps_that_was_stored_in_float32_is_the_eps_that_is_asked_for(k):
    assert robustness.robust_accuracy(smallest([k / 255]), eps=k / 255).value == 0
    assert robustness.robust_area(smallest([k / 255]), grid=[k / 255]).value == 0.5


def test_an_image_is_robust_only_if_it_withstands_every_attack():
    several = [smallest([INF, INF, 0.1, 0]), smallest([INF, 0.2, INF, 0])]
    assert robustness.robust_accuracy(*several, eps=0.15).value == 0.5
    assert robustness.robust_accuracy(*several, eps=0.2).value == 0.25


def test_attacks_are_matched_by_the_images_ids():
    one, other = smallest([INF, 0.1, 0.1], ["a", "b", "c"]), smallest([0.1, INF, 0.1], ["b", "a", "c"])
    assert robustness.robust_accuracy(one, other, eps=0.5).value == pytest.approx(1 / 3)
    assert robustness.median_eps(one, other).value == pytest.approx(0.1)


@pytest.mark.parametrize(
    "score",
    [
        lambda *outcomes: robustness.robust_accuracy(*outcomes, eps=0.5),
        lambda *outcomes: robustness.robust_area(*outcomes, grid=[0.5]),
        robustness.median_eps,
    ],
)
def test_attacks_on_other_images_are_not_put_together(score):
    with pytest.raises(BenchError, match="same images"):
        score(smallest([0.1, 0.1], ["a", "b"]), smallest([0.1, 0.1], ["a", "c"]))


def test_the_area_is_that_of_trapezoids_from_the_clean_accuracy_on():
    # Right at 0: 3 of 4; at 0.1: 2 of 4; at 0.3: 1 of 4.
    estimate = robustness.robust_area(smallest([0, 0.1, 0.3, INF]), grid=[0.1, 0.3])
    assert estimate.value == pytest.approx((0.1 * (3 + 2) / 8 + 0.2 * (2 + 1) / 8) / 0.3)


def test_the_area_takes_the_smallest_eps_over_all_attacks():
    both = robustness.robust_area(smallest([INF, 0.1]), smallest([0.2, INF]), grid=[0.1, 0.2])
    assert both == robustness.robust_area(smallest([0.2, 0.1]), grid=[0.1, 0.2])


def test_the_area_is_1_where_all_withstand_and_0_where_all_are_wrong():
    assert robustness.robust_area(smallest([INF] * 3), grid=[0.1, 0.2]).value == 1
    assert robustness.robust_area(smallest([0] * 3), grid=[0.1, 0.2]).value == 0


def test_the_interval_of_an_area_is_over_images_and_stays_within_0_and_1():
    estimate = robustness.robust_area(smallest([0] + [INF] * 9), grid=[0.1])
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx(stats.share_interval(9, 10), abs=1e-6)
    none = robustness.robust_area(smallest([0] * 20), grid=[0.1])
    assert none.ci_low == 0 < 0.1 < none.ci_high < 0.2  # of 20 images


@pytest.mark.parametrize(
    ("values", "median"), [([0, 0, 0.1], 0), ([0.1, 0.2, INF], 0.2), ([0.1, 0.2, INF, INF], 0.2), ([0.4], 0.4)]
)
def test_the_median_is_a_value_of_the_grid(values, median):
    estimate = robustness.median_eps(smallest(values))
    assert (estimate.value, estimate.n) == (pytest.approx(median), len(values))
    assert estimate.ci_low is None


def test_a_median_is_told_in_its_unit():
    assert robustness.median_eps(smallest([2 / 255] * 3), unit=1 / 255).value == pytest.approx(2)


def test_there_is_no_median_where_more_than_half_withstand():
    with pytest.raises(BenchError, match="not defined: more than half of the images withstand"):
        robustness.median_eps(smallest([0.1, INF, INF]))


# -- AutoAttack --------------------------------------------------------------------------------------------------


def test_accuracy_after_attacks_counts_what_those_have_fooled():
    one = outcome(correct=[True, True, True, True, False], fooled_by=["apgd-ce", "apgd-t", "square", "", ""])
    after = [["apgd-ce"], ["apgd-ce", "apgd-t"], ["apgd-ce", "apgd-t", "fab-t"], ["apgd-ce", "apgd-t", "square"]]
    assert [robustness.accuracy_after(one, fooled_by=names).value for names in after] == [0.6, 0.4, 0.4, 0.2]


def test_square_after_white_box_is_of_all_images():
    one = outcome(fooled_by=["apgd-ce", "square", "", "square", ""])
    estimate = robustness.square_after_white_box(one)
    assert (estimate.value, estimate.n) == (0.4, 5)


# -- signs of a false sense of security --------------------------------------------------------------------------

TRIED = 50  # images, of 60
ALARMS = {sign.name: sign.alarm for sign in (*SIGNS, SQUARE_LAST, FLAGS)}


def column(shown: int, sign: int, other: int) -> np.ndarray:
    """60 rows: `shown` have the sign, the others that were tried have not, and 10 were not tried."""
    return np.array([sign] * shown + [other] * (TRIED - shown) + [-1] * (60 - TRIED), dtype=np.int8)


def fresh(*columns: np.ndarray) -> np.ndarray:
    return np.stack(columns, axis=1)


def unsteady(shown):
    return outcome(unsteady=np.where(np.arange(60) < TRIED, np.where(np.arange(60) < shown, 2e-3, 9e-4), np.nan))


def falling(shown):
    """Of those that withstood the larger eps, `shown` fell to the smaller; none the other way."""
    return outcome(fresh=fresh(column(shown, 1, 0), column(shown, 0, 0)))


# How many images show a sign, to an outcome.
SHOWING = {
    "unsteady_logits": unsteady,
    "zero_gradients": lambda shown: outcome(flat=column(shown, 1, 0)),
    "loss_not_raised": lambda shown: outcome(stuck=column(shown, 1, 0)),
    "not_converged": lambda shown: outcome(fresh=fresh(column(0, 1, 0)), longer=column(shown, 1, 0)),
    "unbounded_withstood": lambda shown: outcome(unbounded=column(shown, 0, 1)),
    "rising_with_eps": falling,
    "square_beats_white_box": lambda shown: outcome(fresh=fresh(column(0, 1, 0)), square=column(shown, 1, 0)),
    "square_after_white_box": lambda shown: outcome(fooled_by=["square"] * shown + ["apgd-t"] * (1000 - shown)),
    "autoattack_flags": lambda shown: outcome(flags=["randomised"] * shown + [""] * (TRIED - shown)),
}
# The most images that may show a sign in silence: of 50, but of 1,000 for Square after white box.
SILENT = {
    "unsteady_logits": 0,
    "zero_gradients": 0,
    "loss_not_raised": 2,
    "not_converged": 7,
    "unbounded_withstood": 0,
    "rising_with_eps": 6,  # the chance of 6 heads in 6 is 0.016, of 7 in 7 0.008
    "square_beats_white_box": 1,
    "square_after_white_box": 2,
    "autoattack_flags": 0,
}


def test_every_sign_is_tested_here():
    assert SHOWING.keys() == SILENT.keys() == ALARMS.keys()


@pytest.mark.parametrize("name", SHOWING)
def test_a_sign_warns_above_its_threshold_and_not_at_it(name):
    score, most = getattr(robustness, name), SILENT[name]
    assert score(SHOWING[name](most)).value <= ALARMS[name].above
    assert score(SHOWING[name](most + 1)).value > ALARMS[name].above


@pytest.mark.parametrize("name", [name for name in SHOWING if name != "square_after_white_box"])
def test_a_sign_is_a_share_of_the_images_that_were_tried(name):
    estimate = getattr(robustness, name)(SHOWING[name](20))
    assert (estimate.value, estimate.n) == (pytest.approx(20 / TRIED), TRIED)


def test_images_that_fell_to_the_attack_itself_count_as_no_sign():
    """They need neither more steps nor Square, but were tried."""
    fell = np.array([1] * 40 + [0] * 10, dtype=np.int8)
    tried = np.array([-1] * 40 + [1] * 5 + [0] * 5, dtype=np.int8)
    one = outcome(fresh=fresh(fell), longer=tried, square=tried)
    assert robustness.not_converged(one).value == robustness.square_beats_white_box(one).value == 0.1


def test_logits_count_as_unsteady_above_a_thousandth():
    assert robustness.unsteady_logits(outcome(unsteady=[0.99e-3, 1.01e-3, np.nan, 0])).value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("down", "up"), [(7, 0), (8, 0), (9, 1), (8, 1), (14, 3), (13, 3), (20, 7), (19, 7), (0, 9)])
def test_accuracy_rises_where_the_sign_test_says_that_it_is_no_chance(down, up):
    """`down` images fell to the smaller eps alone, `up` to the larger alone."""
    columns = np.array([[1, 0]] * down + [[0, 1]] * up + [[0, 0], [1, 1]] * 10, dtype=np.int8)
    value = robustness.rising_with_eps(outcome(fresh=columns)).value
    p = scipy_stats.binomtest(down, down + up, alternative="greater").pvalue
    assert value == (pytest.approx((down - up) / len(columns)) if p < 0.01 else 0)


def test_the_sign_tests_tail_is_scipys():
    for n in range(1, 51):
        for successes in range(n + 1):
            wanted = scipy_stats.binomtest(successes, n, alternative="greater").pvalue
            assert robustness._upper_tail(successes, n) == pytest.approx(wanted, rel=1e-9)


def test_the_largest_rise_between_neighbours_counts():
    rises = np.array([[0, 1, 0, 0]] * 12 + [[0, 1, 1, 0]] * 10 + [[0] * 4] * 18, dtype=np.int8)
    assert robustness.rising_with_eps(outcome(fresh=rises)).value == 12 / 40


def test_accuracy_that_falls_with_eps_does_not_rise():
    honest = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]] * 10, dtype=np.int8)
    assert robustness.rising_with_eps(outcome(fresh=honest)).value == 0


# -- errors ------------------------------------------------------------------------------------------------------

SCORES = {
    "robust_accuracy": lambda one: robustness.robust_accuracy(one, eps=0.1),
    "robust_area": lambda one: robustness.robust_area(one, grid=[0.1]),
    "median_eps": robustness.median_eps,
    "accuracy_after": lambda one: robustness.accuracy_after(one, fooled_by=["square"]),
    **{name: getattr(robustness, name) for name in SHOWING},
}


@pytest.mark.parametrize("name", SCORES)
def test_an_outcome_of_no_attack_is_refused_with_what_it_has(name):
    with pytest.raises(BenchError, match=r"needs the column '\w+', which attacks give; .* only \[correct, loss\]"):
        SCORES[name](outcome(correct=[True], loss=[0.1]))


@pytest.mark.parametrize("name", SCORES)
def test_no_score_comes_of_no_samples(name):
    with pytest.raises(BenchError, match="at least one sample, not 0"):
        SCORES[name](outcome(smallest_eps=[]))


NOTHING_TRIED = outcome(
    unsteady=[np.nan, np.nan],
    fresh=np.full((2, 3), -1),
    **{name: [-1, -1] for name in ("flat", "stuck", "longer", "unbounded", "square")},
)


@pytest.mark.parametrize(
    "name", [name for name in SHOWING if name not in ("square_after_white_box", "autoattack_flags")]
)
def test_a_sign_of_images_of_which_none_was_tried_is_not_defined(name):
    with pytest.raises(BenchError, match="none of the images right that would be tried; nothing can be said"):
        SCORES[name](NOTHING_TRIED)
