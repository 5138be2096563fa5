"""Metrics image by image, held against the metrics themselves, on every registered suite."""

from dataclasses import replace

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.by_image import aligned, by_image, data_sets
from bench.records import Outcome
from bench.suite import suites
from bench.suite.scores import TOP1, TOP5
from tests.contracts.test_suites import outcomes_of

WITHOUT = {
    "ece": "bins of confidences",
    "best_of": "the largest of several means",
    "best_ratio": "a setting",
    "best_size": "a setting",
    "spread": "a standard deviation of means",
    "median_eps": "a median",
    "mean_of_sets": "means over different images: `data_sets` takes it apart",
    "relative_drop": "of two sets of images, where these share none: `two_sets` takes it apart",
    "validation_accuracy": "noted of all images alike",
    "chosen_k": "noted of all images alike",
    "chosen_log10_l2": "noted of all images alike",
    "converged": "noted of all images alike",
    "best_epoch": "noted of all images alike",
}
"""The metrics that no columns' means make, and why; beside the signs of a false security."""


def taken(suite, score, outcomes):
    return [outcomes[condition] for condition in score.conditions]


@pytest.mark.parametrize("name", [suite.name for suite in suites])
def test_means_of_the_images_parts_are_the_score(name):
    suite = suites.get(name)
    outcomes = outcomes_of(suite, seed=3)
    for score in suite.scores:
        given = taken(suite, score, outcomes)
        parts = by_image(score.metric, given)
        if parts is None:
            assert score.metric.name.split("[")[0] in WITHOUT or score.metric.alarm is not None, score.metric.name
            continue
        assert len(parts.values_NC) == parts.images.n
        means_RC = parts.values_NC.mean(axis=0, keepdims=True)
        value = means_RC[0, 0] if parts.score is None else parts.score(means_RC)[0]
        assert value == pytest.approx(score.metric.function(*given).value, rel=1e-6, abs=1e-9), score.metric.name


def test_a_relative_drop_is_by_image_where_the_images_are_the_same():
    [drop] = [score for score in suites.get("digits-c").scores if score.column == "rel. drop"]
    assert by_image(drop.metric, taken(None, drop, outcomes_of(suites.get("digits-c")))) is not None


def test_a_mean_over_data_sets_is_taken_apart_into_their_metrics():
    suite = suites.get("knn")
    first, second = outcomes_of(suite, seed=1), outcomes_of(suite, seed=2)
    score = suite.headline
    found = data_sets(score.metric, taken(suite, score, first), taken(suite, score, second))
    assert len(found) == 9
    assert np.mean([m.function(*some).value for m, some, _ in found]) == pytest.approx(
        score.metric.function(*taken(suite, score, first)).value
    )
    assert data_sets(TOP1, [], []) == []


def outcome(ids, correct):
    columns = {"correct": np.asarray(correct, bool)}
    return Outcome(ids=np.array(ids), labels=np.zeros(len(ids), np.int64), columns=columns)


def test_rows_of_two_checkpoints_are_in_the_order_of_the_ids():
    first = by_image(TOP1, [outcome(["b", "a", "c"], [1, 0, 0])])
    second = by_image(TOP1, [outcome(["c", "b", "a"], [1, 0, 1])])
    values, others = aligned(first, second, "top1")
    assert (values[:, 0].tolist(), others[:, 0].tolist()) == ([0, 1, 0], [1, 0, 1])


def test_other_images_cannot_be_aligned():
    first, second = (by_image(TOP1, [outcome(ids, [1, 0])]) for ids in (["a", "b"], ["a", "c"]))
    with pytest.raises(BenchError, match="same images in every condition, but 1 are shared of 2 and 2"):
        aligned(first, second, "top1")


def test_a_score_that_is_not_defined_has_no_parts_either():
    few = replace(outcome(["a"], [1]), columns={"rank": np.zeros(1), "top_classes": np.zeros((1, 5))})
    with pytest.raises(BenchError, match="at least 6 classes"):
        by_image(TOP5, [few])
