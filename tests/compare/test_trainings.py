"""Recipes over their trainings: grouping by seed, intervals beside independent computations, pairs by seed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.compare.by_seed import BY_SEED, TWO_SAMPLES, compare_by_seed
from bench.compare.tables import to_text
from bench.compare.training_tables import TOO_FEW, recipe_records, recipe_sections, seed_records, seed_sections
from bench.compare.trainings import OVER_BOTH, OVER_TRAININGS, by_recipe, recipes_of, several
from bench.errors import BenchError
from bench.metrics.classification import MEAN_ACCURACY
from bench.metrics.shift import MCE
from bench.records import Checkpoint
from bench.store import StoredCheckpoint
from bench.suite import Score
from tests.compare.test_compare import CLEAN, FOGS, SPACE, SUITE, Filled

SEEDS = range(5)
N = 200


@pytest.fixture
def filled(tmp_path):
    return Filled(tmp_path / "runs")


def entry(seed, sam="none", **about):
    about = {"recipe": "mine", "family": "vit", "arch": "digits_vit", **about}
    return Checkpoint(name=f"{about['recipe']}-{sam}-{seed}", class_space=SPACE, seed=seed, sam=sam, **about)


def right(seed, gain=0.0, kind=0):
    """(N, 4): clean and three fogs; an image is as easy in every training, and each training as good as its seed."""
    ease_N1 = np.random.default_rng(0).normal(1.2, 1.5, (N, 1))
    training = 0.3 * np.random.default_rng([seed, 1]).normal()
    noise_N4 = np.random.default_rng([seed, 2, kind]).normal(0, 0.7, (N, 4))
    return ease_N1 + gain + training - np.array([0, 0.3, 0.6, 1.0]) + noise_N4 > 0


def train(filled, seeds, sam="none", gain=0.0, **about):
    """Trainings of a recipe; what is right by seed, (T, N, 4)."""
    tables = [right(seed, gain, kind=len(sam)) for seed in seeds]
    for seed, table in zip(seeds, tables, strict=True):
        filled.fill(entry(seed, sam, **about), table)
    return np.array(tables)


def crossed_variance(values_TN):
    """Of the mean of crossed random effects, by loops over the table of the analysis of variance (Searle 1971)."""
    trainings, images = values_TN.shape
    grand = sum(values_TN[t, i] for t in range(trainings) for i in range(images)) / (trainings * images)
    by_training = [sum(values_TN[t]) / images for t in range(trainings)]
    by_image = [sum(values_TN[:, i]) / trainings for i in range(images)]
    of_trainings = images * sum((mean - grand) ** 2 for mean in by_training) / (trainings - 1)
    of_images = trainings * sum((mean - grand) ** 2 for mean in by_image) / (images - 1)
    rest = sum(
        (values_TN[t, i] - by_training[t] - by_image[i] + grand) ** 2 for t in range(trainings) for i in range(images)
    ) / ((trainings - 1) * (images - 1))
    return (of_trainings + of_images - rest) / (trainings * images), of_trainings / images, rest


# -- what is a recipe ---------------------------------------------------------------------------------------------


def stored(name, seed, recipe="mine", **about):
    about = {"family": "vit", "sam": "none", "pairs_with": "", "model": name * 8, **about}
    return StoredCheckpoint(name=name, recipe=recipe, seed=seed, **about)


@pytest.mark.parametrize(
    "about",
    [{"recipe": "other"}, {"sam": "sam"}, {"family": "mixer"}, {"setup": "wider"}, {"pretraining": "in21k"}],
)
def test_trainings_that_differ_in_more_than_their_seed_are_two_recipes(about):
    others = [stored("c", 0, **about), stored("d", 1, **about)]
    recipes, notes = recipes_of([stored("b", 1), stored("a", 0), *others])
    assert [{one.name for one in recipe.trainings} for recipe in recipes if recipe.trainings[0].name == "a"] == [
        {"a", "b"}
    ]
    assert sorted(len(recipe.trainings) for recipe in recipes) == [2, 2]
    assert len({(recipe.name, recipe.family, recipe.sam) for recipe in recipes}) == 2
    assert notes == []


def test_a_checkpoint_without_a_seed_or_a_recipe_stands_alone():
    recipes, notes = recipes_of([stored("a", 0), stored("b", None), stored("c", None), stored("d", 0, recipe="")])
    assert sorted(recipe.name for recipe in recipes) == ["b", "c", "d", "mine"]
    assert notes == [
        "2 checkpoints of recipe mine stand alone, as the seeds of their trainings are not known; their registry "
        "entries may say them (seed = N)."
    ]


def test_one_training_under_two_names_counts_once():
    copies = [stored("a", 0), stored("again", 0), stored("copy", 1, model="a" * 8), stored("z", 2)]
    [recipe], notes = recipes_of(copies)
    assert [one.name for one in recipe.trainings] == ["a", "z"]
    assert notes == [
        "again is left out of recipe mine: it has seed 0 of a.",
        "copy is left out of recipe mine: it has the weights of a.",
    ]


# -- by recipe ----------------------------------------------------------------------------------------------------


def test_a_recipe_has_mean_spread_and_an_interval_over_trainings_and_images(filled):
    tables = train(filled, SEEDS)
    found = by_recipe([filled.board()], filled.store)
    by_score = {row.score.column: row for row in found.rows}
    fog_TN = tables[:, :, 1:].mean(axis=2)
    row = by_score["fog"]
    assert row.values == pytest.approx(fog_TN.mean(axis=1))
    assert row.value == pytest.approx(fog_TN.mean())
    assert row.spread == pytest.approx(np.std(fog_TN.mean(axis=1), ddof=1))
    assert row.over == by_score["rel. drop"].over == OVER_BOTH
    # Beside the variance of crossed effects, and the same with what is left of both counted twice.
    student = pytest.importorskip("scipy.stats").t.ppf(0.975, len(SEEDS) - 1)
    variance, of_trainings, rest = crossed_variance(fog_TN)
    images = variance - of_trainings / len(SEEDS) + rest / (len(SEEDS) * N)
    half = math.sqrt(student**2 * of_trainings / len(SEEDS) + 1.96**2 * images)
    assert (row.ci_high - row.ci_low) / 2 == pytest.approx(half, rel=0.03)
    assert half > 1.96 * math.sqrt(variance)


def test_values_that_no_image_varies_have_students_interval(filled):
    for seed, correct in enumerate((100, 120, 140)):
        filled.fill(entry(seed), np.arange(N)[:, None] % N < np.full(4, correct))
    rows = by_recipe([filled.board(replace(SUITE, scores=(ALONE,)))], filled.store).rows
    [row] = rows
    low, high = pytest.importorskip("scipy.stats").t.interval(0.95, 2, 0.6, 0.1 / math.sqrt(3))
    assert (row.ci_low, row.ci_high, row.over) == (pytest.approx(low), pytest.approx(high), OVER_TRAININGS)


ALONE = Score(metric=replace(MEAN_ACCURACY, by_image=None), conditions=FOGS, column="alone")


def test_a_score_that_no_image_gives_is_over_trainings_alone_and_says_so(filled):
    train(filled, SEEDS)
    board = filled.board(replace(SUITE, scores=(*SUITE.scores[:2], ALONE)))
    found = by_recipe([board], filled.store)
    text = to_text(recipe_sections([board], found, every=True), "text")
    assert "Over trainings alone, for these images, is the interval of alone: mean_accuracy is made by no" in text
    assert [row.over for row in found.rows] == [OVER_BOTH, OVER_BOTH, OVER_TRAININGS]


def test_an_mce_is_nested_in_images_too(filled):
    tables = train(filled, SEEDS)
    score = Score(metric=MCE.given(reference=[[0.3, 0.4, 0.5]]), conditions=FOGS, column="mCE")
    [row] = by_recipe([filled.board(replace(SUITE, scores=(score,)))], filled.store).rows
    assert row.over == OVER_BOTH
    assert row.value == pytest.approx((1 - tables[:, :, 1:]).mean(axis=(0, 1)).sum() / 1.2)
    assert row.ci_low < row.value < row.ci_high


@pytest.mark.parametrize("count", [1, 2])
def test_of_fewer_than_three_trainings_there_is_no_interval_and_it_says_so(filled, count):
    train(filled, range(count))
    board = filled.board()
    assert several([board]) == (count > 1)
    found = by_recipe([board], filled.store)
    assert {(row.ci_low, row.ci_high, row.over) for row in found.rows} == {(None, None, "")}
    assert (found.rows[0].spread is None) == (count == 1)
    assert TOO_FEW in to_text(recipe_sections([board], found), "text")


def test_a_training_that_lacks_cells_is_named(filled):
    train(filled, SEEDS)
    filled.add(entry(7), CLEAN, right(7)[:, 0])
    found = by_recipe([filled.board()], filled.store)
    assert found.notes == ["fogs, mine: 1 of 6 trainings lack cells (mine-none-7); `bench run` measures them."]
    assert {row.score.column: len(row.values) for row in found.rows}["fog"] == 5
    assert {row.score.column: len(row.values) for row in found.rows}["clean"] == 6


def test_files_have_a_row_a_recipe_and_score(filled):
    train(filled, SEEDS)
    train(filled, range(2), "sam")
    records = recipe_records(by_recipe([filled.board()], filled.store))
    assert [(row["recipe"], row["sam"], row["score"], row["trainings"], row["seeds"]) for row in records[:2]] == [
        ("mine", "none", "fog", 5, "0+1+2+3+4"),
        ("mine", "sam", "fog", 2, "0+1"),
    ]
    assert [row["interval_over"] for row in records[:2]] == [OVER_BOTH, None]


# -- by seed ------------------------------------------------------------------------------------------------------


@pytest.fixture
def paired(filled):
    return filled, train(filled, SEEDS), train(filled, SEEDS, "sam", gain=0.4)


def test_recipes_are_paired_by_seed(paired):
    filled, before, after = paired
    [row] = compare_by_seed([filled.board()], filled.store).rows
    changes = after[:, :, 1:].mean(axis=(1, 2)) - before[:, :, 1:].mean(axis=(1, 2))
    assert row.changes == pytest.approx(changes)
    assert (row.value, row.spread) == pytest.approx((changes.mean(), changes.std(ddof=1)))
    assert row.over == OVER_BOTH
    scipy = pytest.importorskip("scipy.stats")
    by_training = scipy.ttest_1samp(changes, 0.0)
    low, high = by_training.confidence_interval()
    assert row.ci_low < low < high < row.ci_high  # of other images too
    assert by_training.pvalue < row.p < 1
    assert (row.ci_low > 0) == (row.p < 0.05)
    assert (row.better, row.worse) == ((changes > 0).sum(), (changes < 0).sum())
    assert row.p_sign == pytest.approx(scipy.binomtest(row.better, row.better + row.worse).pvalue)


def test_what_seeds_share_cancels(paired):
    filled, before, after = paired
    board = filled.board(replace(SUITE, scores=(ALONE,)))
    [row] = compare_by_seed([board], filled.store).rows
    scipy = pytest.importorskip("scipy.stats")
    sides = [side[:, :, 1:].mean(axis=(1, 2)) for side in (after, before)]
    assert row.p == pytest.approx(scipy.ttest_rel(*sides).pvalue, rel=1e-4)
    low, high = scipy.ttest_rel(*sides).confidence_interval()
    assert (row.ci_low, row.ci_high) == pytest.approx((low, high))
    assert row.over == OVER_TRAININGS


def test_seeds_that_are_not_shared_are_two_samples(filled):
    before, after = train(filled, range(4)), train(filled, range(10, 15), "sam", gain=0.4)
    board = filled.board(replace(SUITE, scores=(ALONE,)))
    found = compare_by_seed([board], filled.store)
    [row] = found.rows
    assert (row.changes, row.p_sign, row.spread) == ([], None, None)
    welch = pytest.importorskip("scipy.stats").ttest_ind(
        *(side[:, :, 1:].mean(axis=(1, 2)) for side in (after, before)), equal_var=False
    )
    assert row.p == pytest.approx(welch.pvalue, rel=1e-4)
    assert (row.ci_low, row.ci_high) == pytest.approx(tuple(welch.confidence_interval()))
    assert "compared as two samples of trainings, by Welch's t" in to_text(seed_sections([board], found), "text")
    [record] = seed_records(found)
    assert (record["test"], record["seed"], record["trainings_after"]) == (TWO_SAMPLES, None, 5)
    [nested] = compare_by_seed([filled.board()], filled.store).rows
    assert (nested.over, nested.pair.paired) == (OVER_BOTH, False)


def test_a_seed_without_a_partner_is_named(filled):
    train(filled, range(4))
    train(filled, range(1, 6), "sam", gain=0.4)
    found = compare_by_seed([filled.board()], filled.store)
    assert found.rows[0].pair.paired
    assert [after.seed for after in found.rows[0].pair.after_trainings] == [1, 2, 3]
    assert found.notes == ["mine-none-0, mine-sam-4, mine-sam-5: without a partner of the same seed, and left out."]


@pytest.mark.parametrize("count", [1, 2])
def test_of_fewer_than_three_pairs_there_is_no_interval_and_it_says_so(filled, count):
    train(filled, range(count))
    train(filled, range(count), "gsam", gain=0.4)
    board = filled.board()
    found = compare_by_seed([board], filled.store)
    [row] = found.rows
    assert (row.ci_low, row.p, row.over, len(row.changes)) == (None, None, "", count)
    assert TOO_FEW in to_text(seed_sections([board], found), "text")


def test_recipes_of_other_names_are_paired_where_their_checkpoints_name_each_other(filled):
    for seed in range(3):
        partner = entry(seed)
        filled.fill(partner, right(seed))
        sam = replace(entry(seed, "gsam", recipe="longer"), pairs_with=partner.name, pair_differs="epochs")
        filled.fill(sam, right(seed, 0.4, kind=4))
    board = filled.board()
    found = compare_by_seed([board], filled.store)
    [row] = found.rows
    assert (row.pair.before.name, row.pair.after.name, len(row.changes)) == ("mine", "longer", 3)
    assert "longer differs from mine in more than SAM: epochs." in to_text(seed_sections([board], found), "text")


def test_checkpoints_without_seeds_are_pairs_of_one(filled):
    plain = Checkpoint(name="a", class_space=SPACE, family="vit", pairs_with="b")
    filled.fill(plain, right(0))
    filled.fill(replace(plain, name="b", sam="sam", pairs_with="a"), right(1))
    [row] = compare_by_seed([filled.board()], filled.store).rows
    assert (len(row.changes), row.ci_low) == (1, None)


def test_where_lower_is_better_a_fall_is_a_win(paired):
    filled, *_ = paired
    score = Score(metric=MCE.given(reference=[[0.3, 0.4, 0.5]]), conditions=FOGS, column="mCE")
    [row] = compare_by_seed([filled.board(replace(SUITE, scores=(score,)))], filled.store).rows
    assert row.value < 0
    assert row.better == sum(change < 0 for change in row.changes) > row.worse


def test_a_side_that_lacks_cells_is_left_out_and_named(paired):
    filled, *_ = paired
    filled.fill(entry(9), right(9))
    filled.add(entry(9, "sam"), CLEAN, right(9)[:, 0])
    found = compare_by_seed([filled.board()], filled.store)
    assert len(found.rows[0].changes) == 5
    assert "fogs: mine-sam-9 is left out, as it lacks cells." in found.notes


def test_no_pair_of_recipes_is_one_sentence(filled):
    train(filled, SEEDS)
    with pytest.raises(BenchError, match="no pair of recipes of family 'vit' that differs in SAM is stored for fogs"):
        compare_by_seed([filled.board()], filled.store, "vit")


def test_files_have_a_row_a_seed_and_one_of_their_mean(paired):
    filled, *_ = paired
    records = seed_records(compare_by_seed([filled.board()], filled.store))
    assert [record["seed"] for record in records] == [0, 1, 2, 3, 4, None]
    mean = records[-1]
    assert mean["difference"] == pytest.approx(np.mean([record["difference"] for record in records[:-1]]), abs=1e-6)
    assert (mean["test"], mean["interval_over"], mean["better"]) == (BY_SEED, OVER_BOTH, 5)


def test_p_is_adjusted_over_all_rows(paired):
    filled, *_ = paired
    light = replace(SUITE, name="light", scores=(Score(metric=MEAN_ACCURACY, conditions=FOGS[:1], column="top-1"),))
    rows = compare_by_seed([filled.board(), filled.board(light)], filled.store).rows
    assert min(row.p_adjusted for row in rows) == pytest.approx(2 * min(row.p for row in rows))
