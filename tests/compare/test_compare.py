"""Two checkpoints on the same images: tests and intervals against statsmodels and known truths; what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.board.index import Index
from bench.board.leaderboard import Want, make_board
from bench.compare.differences import adjusted, differences
from bench.compare.flips import flips
from bench.compare.lines import effective_robustness, published_accuracies
from bench.compare.pairs import compare_pairs, gains
from bench.compare.sides import CannotCompareError, Side, check_alike
from bench.datasets import class_spaces
from bench.errors import BenchError
from bench.measure.cells import versions
from bench.metrics import Metric, mean_by_image, share, shift
from bench.metrics.classification import MEAN_ACCURACY, MEAN_OF_SETS, NLL, TOP1
from bench.metrics.line import fit_line
from bench.metrics.outcomes import cut
from bench.metrics.shift import MCE, RELATIVE_DROP
from bench.records import (
    Cell,
    Checkpoint,
    Condition,
    Data,
    Images,
    Measurement,
    Numerics,
    Params,
    Perturbation,
    Protocol,
)
from bench.store import Store
from bench.suite import Score, Suite, suites
from bench.suite.words import condition_scores, where
from tests.contracts.test_suites import outcomes_of

CLEAN = Condition(data=Data(dataset="digits"))
FOGS = tuple(
    Condition(data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption="fog", severity=s)))
    for s in (1, 2, 3)
)
OWN = Metric(
    name="own",
    function=lambda *outcomes: shift.mean_corruption_error(*outcomes, reference=[[0.5, 0.6, 0.7]]),
    higher_is_better=False,
)
SUITE = Suite(
    name="fogs",
    version=1,
    title="Fog",
    paper="none",
    track="digits",
    protocol=Protocol(terms=("10-way",)),
    scores=(
        Score(metric=MEAN_ACCURACY, conditions=FOGS, column="fog"),
        Score(metric=TOP1, conditions=(CLEAN,), column="clean", clean=True),
        Score(metric=NLL, conditions=(CLEAN,), column="NLL"),
        Score(metric=RELATIVE_DROP, conditions=(CLEAN, *FOGS), column="rel. drop"),
        *(Score(metric=TOP1, conditions=(fog,)) for fog in FOGS),
    ),
)
FOG, CLEAN_SCORE, LOSS, DROP = SUITE.board
SPACE = class_spaces.get("digits")
N = 300


def checkpoint(name, **about):
    return Checkpoint(name=name, class_space=SPACE, **about)


class Filled:
    """A store of made-up outcomes over the digits' ids."""

    def __init__(self, root):
        self.store = Store(root)
        self.store.prepare()

    def add(self, entry, condition, correct, *, order=None, n=None, **changes):
        n = len(correct)
        perturbed = condition.images.perturbation is not None
        cell = Cell(
            checkpoint=entry,
            condition=condition,
            model_digest=entry.name,
            fingerprints=("f",),
            n=n,
            versions=Params(images=1, measure=1, corruption=2) if perturbed else Params(images=1, measure=1),
            seed=0 if perturbed else None,
            limit=None,
            of=n,
            numerics=Numerics(),
        )
        cell = replace(cell, **changes)
        order = np.arange(n) if order is None else order
        ids, labels = np.array([f"image-{i:03d}" for i in range(n)]), np.arange(n) % 10
        correct = np.asarray(correct, bool)
        columns = {
            "correct": correct,
            "prediction": np.where(correct, labels, (labels + 1) % 10).astype(np.int32),
            "loss": np.where(correct, 0.1, 2.0) + np.arange(n) / (7 * n),
        }
        self.store.record_checkpoint(cell.model_digest, entry)
        rows = {name: values[order] for name, values in columns.items()}
        self.store.write(cell, ids[order], labels[order], rows)

    def fill(self, entry, right_NC, **how):
        """Columns: clean, then the fogs."""
        for condition, correct in zip((CLEAN, *FOGS), np.asarray(right_NC).T, strict=True):
            seedless = condition is CLEAN and "seed" in how
            self.add(entry, condition, correct, **{**how, **({"seed": None} if seedless else {})})

    def board(self, suite=SUITE, **want):
        index = Index(self.store)
        try:
            return make_board(suite, self.store, index, want=Want(**want) if want else None)
        finally:
            index.close()

    def side(self, name, board=None, **want):
        board = board or self.board(**want)
        [found] = [one for one in board.checkpoints if one.name == name]
        return Side(board=board, checkpoint=found, store=self.store)

    def sides(self, *names):
        board = self.board()
        return [self.side(name, board) for name in names]


@pytest.fixture
def filled(tmp_path):
    return Filled(tmp_path / "runs")


def right(seed, worse=0.0, n=N):
    """(n, 4): clean and three fogs; images are easy or hard for all checkpoints of a seed."""
    ease_N1 = np.random.default_rng(0).normal(1.5, 1.5, (n, 1))
    chances = 1 / (1 + np.exp(-(ease_N1 - np.array([0, 0.4, 0.8, 1.2]) - worse)))
    return np.random.default_rng(seed).random((n, 4)) < chances


ONE, TWO = checkpoint("one"), checkpoint("two")


@pytest.fixture
def both(filled):
    filled.fill(ONE, right(1))
    filled.fill(TWO, right(2, worse=0.7))
    return filled


# -- differences ----------------------------------------------------------------------------------------------


def test_an_accuracy_is_tested_by_mcnemar(both):
    mcnemar = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    [found] = differences(*both.sides("one", "two"), [CLEAN_SCORE])
    first, second = right(1)[:, 0], right(2, worse=0.7)[:, 0]
    assert (found.lost, found.gained) == ((first & ~second).sum(), (~first & second).sum())
    table = [[(first & second).sum(), found.lost], [found.gained, (~first & ~second).sum()]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert found.how == "McNemar"
    assert found.ci_low < found.value < found.ci_high
    assert found.value == pytest.approx(second.mean() - first.mean())
    assert found.worse == -found.value


def test_a_mean_over_conditions_is_clustered_by_image(both):
    linear = pytest.importorskip("statsmodels.api")
    scipy_stats = pytest.importorskip("scipy.stats")
    [found] = differences(*both.sides("one", "two"), [FOG])
    change_NC = right(2, worse=0.7)[:, 1:].astype(float) - right(1)[:, 1:]
    groups = np.repeat(np.arange(N), 3)
    fit = linear.OLS(change_NC.ravel(), np.ones(3 * N)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert found.value == pytest.approx(fit.params[0])
    z, by_normal_law = scipy_stats.norm.isf([found.p / 2, float(fit.pvalues[0]) / 2])
    assert 0.85 * by_normal_law < z < by_normal_law
    low, high = fit.conf_int()[0]
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=0.4 * fit.bse[0])
    assert found.how == "by image"
    assert (found.lost, found.gained) == (None, None)


@pytest.mark.parametrize(
    ("runs", "least", "most"),
    [(14, 12, 3), pytest.param(40, 34, 6, marks=pytest.mark.slow)],  # expected: 95% of the runs, and 5%
)
def test_intervals_hold_the_truth_and_equal_checkpoints_seldom_differ(tmp_path, runs, least, most):
    true = 1 / (1 + np.exp(-(np.random.default_rng(0).normal(1.5, 1.5, (N, 1)) - np.array([0.4, 0.8, 1.2]))))
    worse = 1 / (1 + np.exp(-(np.random.default_rng(0).normal(1.5, 1.5, (N, 1)) - np.array([0.4, 0.8, 1.2]) - 0.5)))
    truth = (worse - true).mean()
    held = alarms = 0
    for run in range(runs):
        filled = Filled(tmp_path / str(run))
        filled.fill(ONE, right(3 * run + 10))
        filled.fill(TWO, right(3 * run + 11, worse=0.5))
        filled.fill(checkpoint("like-one"), right(3 * run + 12))
        one, two, like = filled.sides("one", "two", "like-one")
        [found] = differences(one, two, [FOG])
        held += found.ci_low <= truth <= found.ci_high
        [same] = differences(one, like, [FOG])
        alarms += same.p < 0.05
    assert held >= least
    assert alarms <= most


def test_mce_goes_by_clusters_as_mean_accuracy_does(both):
    score = Score(metric=MCE.given(reference=[[0.5, 0.5, 0.5]]), conditions=FOGS, column="mCE")
    mce, mean = differences(*both.sides("one", "two"), [score, FOG])
    assert mce.value == pytest.approx(-2 * mean.value)  # errors over a reference of a half
    assert mce.p == pytest.approx(mean.p)
    assert mce.worse == mce.value > 0
    assert mce.ci_low < mce.value < mce.ci_high


def test_a_metric_without_what_images_give_has_a_difference_and_no_interval_and_says_so(both):
    [found] = differences(*both.sides("one", "two"), [Score(metric=OWN, conditions=FOGS, column="own")])
    assert (found.ci_low, found.p, found.how) == (None, None, "")
    assert found.untested == "own is made by no means over images"
    assert found.value > 0


def test_a_metric_of_the_users_own_is_compared_as_ours_by_what_its_images_give(both):
    def accuracy(outcome):
        return share(outcome.columns["correct"])

    own = Metric(name="own", function=accuracy, by_image=lambda one: mean_by_image(one, one.columns["correct"]))
    [mine] = differences(*both.sides("one", "two"), [Score(metric=own, conditions=FOGS[:1], column="own")])
    [ours] = differences(*both.sides("one", "two"), [Score(metric=TOP1, conditions=FOGS[:1], column="ours")])
    assert (mine.ci_low, mine.ci_high, mine.p, mine.how) == (ours.ci_low, ours.ci_high, ours.p, "McNemar")


def test_a_checkpoint_against_itself_differs_in_nothing(both):
    for found in by_test(differences(*both.sides("one", "one"), SUITE.scores)):
        assert (found.value, found.p) == (0, 1.0), where(found.score)


def by_test(rows):
    """Those that have a test; the made-up images are too few for losses, which have no upper end."""
    for row in rows:
        assert row.p is not None or f"at least 500 images for an interval, not {N}" in row.untested
    return [row for row in rows if row.p is not None]


def test_turning_a_comparison_round_turns_its_signs(both):
    forth = by_test(differences(*both.sides("one", "two"), SUITE.board))
    back = by_test(differences(*both.sides("two", "one"), SUITE.board))
    for one, other in zip(forth, back, strict=True):
        assert (one.value, one.p) == pytest.approx((-other.value, other.p))
        assert (one.ci_low, one.ci_high) == pytest.approx((-other.ci_high, -other.ci_low), abs=0.01)


def test_the_order_of_the_images_does_not_matter(both, tmp_path):
    shuffled = Filled(tmp_path / "shuffled")
    for entry, rows in ((ONE, right(1)), (TWO, right(2, worse=0.7))):
        shuffled.fill(entry, rows, order=np.random.default_rng(5).permutation(N))
    for one, other in zip(
        by_test(differences(*both.sides("one", "two"), SUITE.board)),
        by_test(differences(shuffled.side("one"), shuffled.side("two"), SUITE.board)),
        strict=True,
    ):
        assert (one.ci_low, one.ci_high, one.p) == pytest.approx((other.ci_low, other.ci_high, other.p), rel=1e-9)


def test_a_change_of_every_image_alike_is_no_chance(filled):
    clean = np.ones((N, 1), bool)
    filled.fill(ONE, np.concatenate([clean, np.ones((N, 3), bool)], axis=1))
    filled.fill(TWO, np.concatenate([clean, np.tile([True, True, False], (N, 1))], axis=1))
    [found] = differences(*filled.sides("one", "two"), [FOG])
    assert found.value == pytest.approx(-1 / 3)
    assert found.p < 1e-50


def test_three_images_lost_are_not_significant(filled):
    few = np.ones((N, 4), bool)
    few[:3, 1:] = [False, False, True]
    filled.fill(ONE, np.ones((N, 4), bool))
    filled.fill(TWO, few)
    fog, clean = differences(*filled.sides("one", "two"), [FOG, CLEAN_SCORE])
    assert fog.p > 0.1
    assert fog.ci_low < fog.value < 0 < fog.ci_high
    assert (clean.lost, clean.gained, clean.p) == (0, 0, 1.0)


def test_two_images_say_next_to_nothing_of_a_ratio(filled):
    filled.fill(ONE, [[1, 1, 0, 0], [1, 0, 0, 0]])
    filled.fill(TWO, [[1, 0, 0, 0], [0, 1, 1, 0]])
    [found] = differences(*filled.sides("one", "two"), [DROP])
    assert found.ci_low < -1 < 1 < found.ci_high
    assert found.p > 0.5


def test_a_score_that_is_undefined_on_a_side_is_left_out(filled):
    filled.fill(ONE, right(1))
    filled.fill(TWO, np.zeros((N, 4), bool))
    assert [found.score for found in differences(*filled.sides("one", "two"), [DROP, FOG])] == [FOG]


def test_interval_and_p_of_every_score_are_one_test(both):
    for found in by_test(differences(*both.sides("one", "two"), SUITE.scores)):
        assert (found.ci_low <= 0 <= found.ci_high) == (found.p >= 0.05), where(found.score)
        assert found.confidence.p(found.ci_low) == pytest.approx(0.05, rel=1e-4)


def test_a_mean_over_data_sets_adds_up_their_variances(filled, tmp_path):
    sets = (CLEAN, Condition(data=Data(dataset="digits-v2")))
    mean = MEAN_OF_SETS.given(groups=((TOP1, 1), (TOP1, 1)))
    single = [Score(metric=TOP1, conditions=(condition,), column=condition.data.dataset) for condition in sets]
    suite = replace(SUITE, scores=(Score(metric=mean, conditions=sets, column="mean"), *single))
    for entry, seed in ((ONE, 1), (TWO, 2)):
        for i, condition in enumerate(sets):
            filled.add(entry, condition, right(seed, worse=seed - 1)[:, i])
    board = filled.board(suite)
    both, first, second = differences(filled.side("one", board), filled.side("two", board), suite.scores)
    assert both.how == "by data set"
    assert both.value == pytest.approx((first.value + second.value) / 2)
    widths = [one.ci_high - one.ci_low for one in (first, second)]
    assert both.ci_high - both.ci_low == pytest.approx(math.hypot(*widths) / 2, rel=0.01)
    assert (both.p < 0.05) == (not both.ci_low <= 0 <= both.ci_high)


def test_a_relative_drop_between_different_images_is_paired_within_each_set(tmp_path):
    made = {name: outcomes_of(suites.get("imagenet-r"), seed) for name, seed in (("one", 1), ("two", 5))}
    filled = Filled(tmp_path)
    for name, outcomes in made.items():
        store_made(filled, checkpoint(name), outcomes)
    board = filled.board(suites.get("imagenet-r"))
    [drop] = [score for score in board.suite.board if score.column == "rel. drop"]
    [found] = differences(filled.side("one", board), filled.side("two", board), [drop])
    inside = {name: [cut(outcomes[c], "imagenet-r", "") for c in drop.conditions] for name, outcomes in made.items()}
    rng, values = np.random.default_rng(0), []
    for _ in range(4000):
        rows = [rng.integers(0, outcome.n, outcome.n) for outcome in inside["one"]]
        clean, shifted = (
            np.array([inside[name][i].columns["correct"][rows[i]].mean() for name in ("one", "two")]) for i in (0, 1)
        )
        values.append(np.diff(1 - shifted / clean)[0])
    assert found.how == "by data set"
    assert found.ci_high - found.ci_low == pytest.approx(
        2 * 1.96 * np.std(values), rel=0.15
    )  # it errs to the wide side
    assert found.ci_low < found.value < found.ci_high
    [same] = differences(filled.side("one", board), filled.side("one", board), [drop])
    assert (same.value, same.p) == (0, 1.0)


def store_made(filled, entry, outcomes):
    """Store made-up outcomes of a registered suite."""
    for condition, outcome in outcomes.items():
        cell = Cell(
            checkpoint=entry,
            condition=condition,
            model_digest=entry.name,
            fingerprints=("f",),
            n=outcome.n,
            versions=versions(condition),
            seed=None,
            limit=None,
            of=outcome.n,
            numerics=Numerics(),
        )
        filled.store.write(cell, outcome.ids.astype(str), outcome.labels, outcome.columns)
    filled.store.record_checkpoint(entry.name, entry)


def test_p_is_adjusted_for_all_rows_that_have_one(both):
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    rows = differences(*both.sides("one", "two"), SUITE.scores)
    rows = [*rows[:2], replace(rows[0], p=None), *rows[2:]]
    found = adjusted(rows)
    known = [row.p for row in rows if row.p is not None]
    expected = multipletests(known, method="holm")[1]
    assert [row.p_adjusted for row in found if row.p is not None] == pytest.approx(expected.tolist())
    assert found[2].p_adjusted is None


# -- what cannot be compared ----------------------------------------------------------------------------------


def test_a_missing_cell_cannot_be_compared(both):
    both.add(checkpoint("half"), CLEAN, right(3)[:, 0])
    with pytest.raises(
        CannotCompareError, match="half lacks 3 of 3 cells of fogs, fog, in .*`bench run` measures them"
    ):
        differences(*both.sides("one", "half"), [FOG])


def test_another_limit_cannot_be_compared(both, tmp_path):
    other = Filled(tmp_path / "other")
    other.fill(TWO, right(2)[:100], limit=100, of=N)
    with pytest.raises(
        CannotCompareError, match="two ways: one with all samples, the other with limit 100; measure both"
    ):
        differences(both.side("one"), other.side("two"), [FOG])


def test_another_seed_cannot_be_compared(both, tmp_path):
    other = Filled(tmp_path / "other")
    other.fill(TWO, right(2), seed=3)
    with pytest.raises(CannotCompareError, match="the other with seed 3"):
        check_alike(both.side("one"), other.side("two"))


def test_other_contents_of_the_data_cannot_be_compared(both, tmp_path):
    other = Filled(tmp_path / "other")
    other.fill(TWO, right(2), fingerprints=("g",))
    with pytest.raises(CannotCompareError, match="digits has other contents for one in .* than for two in .*one copy"):
        check_alike(both.side("one"), other.side("two"))


def test_other_images_under_one_fingerprint_cannot_be_compared(both, tmp_path):
    other = Filled(tmp_path / "other")
    other.fill(TWO, right(2)[: N - 1])
    with pytest.raises(CannotCompareError, match="fogs: the two did not see the same images"):
        differences(both.side("one"), other.side("two"), [FOG])
    with pytest.raises(CannotCompareError, match="fogs: the two did not see the same images"):
        flips(both.side("one"), other.side("two"), 3)


def test_another_suite_or_version_cannot_be_compared(both):
    other = both.side("two", both.board(replace(SUITE, version=2)))
    with pytest.raises(CannotCompareError, match="fogs v1 and two on fogs v2; compare them on one suite"):
        check_alike(both.side("one"), other)


# -- conditions and flipped images ----------------------------------------------------------------------------


def test_conditions_outside_the_leaderboard_are_named():
    assert [where(score) for score in condition_scores(SUITE)] == ["fog 1", "fog 2", "fog 3"]
    setting = Condition(
        data=Data(dataset="digits", split="train"), measure=Measurement(name="pgd", params=Params(eps="1"))
    )
    assert where(Score(metric=TOP1, conditions=(setting,))) == "digits train pgd 1"


def test_the_images_lost_under_most_conditions_come_first(filled):
    first, second = np.ones((N, 4), bool), np.ones((N, 4), bool)
    second[7, 1:] = False
    second[5, 1:3] = False
    second[9, 2:] = False
    first[9, 1] = False  # gained once
    filled.fill(ONE, first)
    filled.fill(TWO, second)
    found = flips(*filled.sides("one", "two"), 5)
    assert [(flip.id, flip.lost, flip.gained, flip.conditions) for flip in found] == [
        ("image-007", 3, 0, 4),
        ("image-005", 2, 0, 4),
        ("image-009", 2, 1, 4),
    ]
    assert (found[0].label, found[0].before, found[0].after, found[0].where) == ("7", "7", "8", "fog 1")
    assert flips(*filled.sides("one", "one"), 5) == []


# -- pairs ----------------------------------------------------------------------------------------------------


def trained(name, family, sam, partner, **about):
    return checkpoint(name, family=family, sam=sam, pairs_with=partner, **about)


@pytest.fixture
def paired(filled):
    for i, family in enumerate(("resnet", "vit")):
        plain = trained(family, family, "none", f"{family}-sam")
        sam = trained(f"{family}-sam", family, "sam", family, pair_differs="epochs" if family == "vit" else "")
        filled.fill(plain, right(20 + i, worse=0.5))
        better = right(30 + i, worse=-0.3 * i + 0.5)
        filled.fill(sam, better)
    return filled


def test_every_pair_is_compared_from_the_side_without_sam(paired):
    compared = compare_pairs([paired.board()], paired.store)
    assert [(pair.before.name, pair.after.name, pair.differs) for pair, _ in compared.rows] == [
        ("resnet", "resnet-sam", ""),
        ("vit", "vit-sam", "epochs"),
    ]
    for pair, row in compared.rows:
        assert [replace(row, p_adjusted=None)] == differences(*paired.sides(pair.before.name, pair.after.name), [FOG])
    assert compared.overall == []  # of one suite


def test_the_mean_over_suites_is_of_their_accuracies_and_p_is_adjusted_over_all_rows(paired):
    light = replace(SUITE, name="light", scores=(Score(metric=TOP1, conditions=FOGS[:1], column="top-1"), CLEAN_SCORE))
    boards = [paired.board(), paired.board(light)]
    compared = compare_pairs(boards, paired.store, "vit")
    fog, other = [row for _, row in compared.rows]
    [overall] = compared.overall
    assert overall.value == pytest.approx((fog.value + other.value) / 2)
    assert overall.suites == 2
    assert min(fog.p_adjusted, other.p_adjusted, overall.p_adjusted) == pytest.approx(
        min(1, 3 * min(fog.p, other.p, overall.p))
    )


def test_a_half_measured_pair_is_left_out_and_named(paired):
    paired.fill(trained("mixer", "mixer", "none", "mixer-sam"), right(40))
    paired.add(trained("mixer-sam", "mixer", "sam", "mixer"), CLEAN, right(41)[:, 0])
    compared = compare_pairs([paired.board()], paired.store)
    assert len(compared.rows) == 2
    assert "mixer-sam lacks 3 of 3 cells" in compared.notes[0]
    assert [one.family for one in gains([paired.board()], paired.store)] == ["resnet", "vit"]


def test_no_pair_is_one_sentence(both):
    with pytest.raises(BenchError, match="no pair of family 'vit' that differs in SAM is stored whole for fogs"):
        compare_pairs([both.board()], both.store, "vit")


def test_gains_are_paired_by_image(paired):
    resnet, vit = gains([paired.board()], paired.store)
    assert (resnet.family, resnet.pairs, resnet.clean_beyond) == ("resnet", 1, None)
    before, after = right(21, worse=0.5).astype(float), right(31, worse=0.2).astype(float)
    change = after - before
    assert vit.clean.value == pytest.approx(change[:, 0].mean())
    assert vit.shifted.value == pytest.approx(change[:, 1:].mean())
    assert vit.more.value == pytest.approx(vit.shifted.value - vit.clean.value)
    assert vit.shifted_beyond.value == pytest.approx(vit.shifted.value - resnet.shifted.value)
    se = np.std(change[:, 1:].mean(axis=1), ddof=1) / math.sqrt(N)
    assert (vit.shifted.ci_low, vit.shifted.ci_high) == pytest.approx(
        (vit.shifted.value - 1.96 * se, vit.shifted.value + 1.96 * se), abs=0.3 * se
    )


def test_the_accuracies_of_a_suite_are_told_from_its_clean_one():
    assert (SUITE.accuracy, SUITE.clean) == (FOG, CLEAN_SCORE)
    assert suites.get("imagenet-c").accuracy.column == "mean of 19"
    assert suites.get("imagenet-r").clean.column == "clean, same 200"
    assert suites.get("imagenet").clean is None


# -- accuracy on the line -------------------------------------------------------------------------------------


def test_the_line_goes_through_the_checkpoints_of_the_table(filled):
    tables = [right(50 + i, worse=0.5 * i) for i in range(4)]
    for i, rows in enumerate(tables):
        filled.fill(checkpoint(f"model-{i}"), rows)
    [lined] = effective_robustness(filled.board(), filled.store)
    clean, fog = [rows[:, 0].mean() for rows in tables], [rows[:, 1:].mean() for rows in tables]
    line = fit_line(clean, fog, clip=1 / (2 * N))
    assert lined.fit.line.slope == pytest.approx(line.slope)
    assert lined.fit.name == "the 4 checkpoints of this table"
    expected = dict(zip((f"model-{i}" for i in range(4)), line.effective_robustness(clean, fog), strict=True))
    assert {p.checkpoint.name: p.effective_robustness for p in lined.points} == pytest.approx(expected)
    robust = [point.effective_robustness for point in lined.points]
    assert robust == sorted(robust, reverse=True)


def test_two_checkpoints_are_no_line(both):
    with pytest.raises(BenchError, match="at least three checkpoints of different clean accuracy, and 2 are stored"):
        effective_robustness(both.board(), both.store)


def test_a_suite_without_a_clean_accuracy_has_no_line(both):
    with pytest.raises(BenchError, match="clean accuracy beside a shifted one, which suite 'fogs' lacks"):
        effective_robustness(both.board(replace(SUITE, scores=(FOG,))), both.store)


@pytest.mark.parametrize(
    ("suite", "score"),
    [("imagenet-r", "top-1 of 200"), ("imagenet-sketch", "top-1"), ("imagenet-v2", "matched-frequency")],
)
def test_published_accuracies_lie_near_a_line(suite, score):
    found = published_accuracies(suite, score)
    assert len(found) >= 40
    line = fit_line([each.clean.value for each in found], [each.shifted.value for each in found], clip=1e-4)
    assert line.r_squared > 0.5
    assert line.slope > 0.5


def test_a_table_of_imagenet_stands_beside_the_line_through_published_accuracies(filled):
    suite = suites.get("imagenet-r")
    made = outcomes_of(suite, seed=4)
    store_made(filled, ONE, made)
    [lined] = effective_robustness(filled.board(suite), filled.store)
    assert lined.fit.name == "43 published models of the registry (timm, GSAM)"
    assert (lined.clean, lined.shifted) == ("clean imagenet", "top-1 of 200")
    clean = made[suite.clean.conditions[0]]
    assert lined.points[0].clean.value == clean.columns["correct"].mean()  # of all 1000 classes, as published


def test_of_digits_nothing_is_published():
    assert published_accuracies("digits-c", "mean of 15") == []
