"""Arms and contrasts, by hand."""

import math

import pytest
from scipy import stats

from bench.study.analysis import Column, Trained, arm_rows, contrast_rows
from bench.study.design import parse_study
from bench.study.tables import arm_records, contrast_records, sections, trial_records

ACCURACY = Column(suite="digits", heading="top-1", unit="fraction", higher_is_better=True)
LOSS = Column(suite="digits", heading="NLL", unit="nats", higher_is_better=False)
TEXT = """
title = "By hand"
draws = {draws}
seeds = {seeds}
compare = ["optimizer"]
[suite.digits]
scores = ["top-1", "NLL"]
[factor.family.mixer]
recipe = "digits-mixer"
[factor.family.resnet]
recipe = "digits-resnet"
[factor.optimizer.adamw]
set = {{ optimizer = "adamw" }}
{range}
[factor.optimizer.sgd]
set = {{ optimizer = "sgd" }}
{range}
"""
RANGE = "draw = { learning_rate = [1e-4, 1e-2] }"
DIVERGED = None


def study(accuracies, draws=1, seeds=1):
    """A study and its trainings, given accuracies arm by arm (draws outside, seeds inside), 1 - loss."""
    design = parse_study("hand", TEXT.format(draws=draws, seeds=seeds, range=RANGE if draws > 1 else ""))
    trained = [
        Trained(
            trial=trial,
            checkpoint=f"{trial.recipe.name}-{trial.seed}",
            diverged="" if value is not DIVERGED else "its loss is nan",
            scores={} if value is DIVERGED else {ACCURACY: value, LOSS: 1 - value},
        )
        for trial, value in zip(design.trials(), [v for arm in accuracies for v in arm], strict=True)
    ]
    return design, trained


def test_the_best_the_median_and_how_many_come_near():
    accuracies = [[0.9, 0.87, 0.5, DIVERGED], [0.8, 0.8, 0.8, 0.71], [0.1, DIVERGED, DIVERGED, 0.2], [0.3] * 4]
    first, second, third, _ = [row for row in arm_rows(*study(accuracies, draws=4)) if row.column == ACCURACY]
    assert (first.best, first.median, first.diverged) == (0.9, pytest.approx(0.685), 1)
    assert first.mean == pytest.approx((0.9 + 0.87 + 0.5) / 3)
    assert first.near_own == (0.5, 0.5)
    assert (second.near_own, second.near_joint) == ((0.75, 1.0), (0.0, 0.75))
    assert third.median is None
    assert first.ci_low is None  # drawn settings are a sample of nothing


def test_lower_may_be_better():
    accuracies = [[0.9, 0.8, DIVERGED]] * 4
    row = next(row for row in arm_rows(*study(accuracies, draws=3)) if row.column == LOSS)
    assert (row.best, row.median) == (pytest.approx(0.1), pytest.approx(0.2))
    assert row.near_own == ()


def test_seeds_have_an_interval_from_three_on():
    accuracies = [[0.9, 0.92, 0.97], [0.8, DIVERGED, 0.9], [0.5] * 3, [0.1, 0.2, 0.3]]
    first, second, *_ = [row for row in arm_rows(*study(accuracies, seeds=3)) if row.column == ACCURACY]
    low, high = stats.t.interval(0.95, 2, 0.93, stats.sem([0.9, 0.92, 0.97]))
    assert (first.ci_low, first.ci_high) == (pytest.approx(low), pytest.approx(high))
    assert second.ci_low is None


def test_levels_are_held_against_each_other_setting_by_setting():
    accuracies = [[0.5, 0.6, 0.7, DIVERGED], [0.6, 0.6, DIVERGED, DIVERGED], [0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.6, 0.8]]
    together, mixer, resnet = [r for r in contrast_rows(*study(accuracies, draws=4)) if r.column == ACCURACY]
    assert (mixer.before, mixer.after, mixer.among) == ("adamw", "sgd", {"family": "mixer"})
    assert (mixer.better, mixer.worse, mixer.equal) == (1, 1, 2)  # of two that diverged, neither is better
    assert mixer.changes == (pytest.approx(0.1), 0.0)
    assert mixer.ci_low is None
    assert mixer.change_of_best == pytest.approx(-0.1)
    assert mixer.change_of_median is None
    assert (resnet.better, resnet.worse) == (4, 0)
    assert resnet.p == pytest.approx(stats.binomtest(4, 4).pvalue)
    found = stats.ttest_rel([0.2, 0.4, 0.6, 0.8], [0.1, 0.2, 0.3, 0.4]).confidence_interval()
    assert (resnet.ci_low, resnet.ci_high) == (pytest.approx(found.low), pytest.approx(found.high))
    assert (together.among, together.better, together.worse, together.equal) == ({}, 5, 1, 2)


def test_a_lower_loss_is_better():
    accuracies = [[0.5, 0.6], [0.6, 0.7], [0.1, 0.2], [0.2, 0.4]]
    rows = [row for row in contrast_rows(*study(accuracies, seeds=2)) if row.column == LOSS]
    assert all(row.worse == 0 and row.mean < 0 for row in rows)


def test_tables_say_what_is_not_known():
    accuracies = [[0.9, DIVERGED], [DIVERGED, DIVERGED], [0.5, 0.6], [0.5, 0.6]]
    design, trained = study(accuracies, draws=2)
    arms, contrasts = list(arm_rows(design, trained)), list(contrast_rows(design, trained))
    table = sections(design, arms, contrasts)[0]
    assert table.rows[1][:7] == ["mixer", "sgd", "2", "2", "–", "–", "–"]
    assert [record["diverged"] for record in trial_records(trained)][:3] == [None, "its loss is nan", "its loss is nan"]
    assert all(not isinstance(v, float) or math.isfinite(v) for r in arm_records(arms) for v in r.values())
    assert {record["among"] for record in contrast_records(contrasts)} == {"", "family=mixer", "family=resnet"}
