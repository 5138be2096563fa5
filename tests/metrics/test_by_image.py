"""Metrics image by image, held against the metrics themselves, on every registered suite."""

from dataclasses import replace

import numpy as np
import pytest

from bench.errors import AbsentError, BenchError
from bench.metrics import Metric, mean_by_image
from bench.metrics.by_image import DropBetweenSets, MeanOfSets, Parts, aligned
from bench.metrics.classification import TOP1, TOP5
from bench.records import Estimate, Outcome
from bench.suite import suites
from tests.contracts.test_suites import outcomes_of

WITHOUT = {
    "ece": "bins of confidences",
    "best_of": "the largest of several means",
    "best_ratio": "a setting",
    "best_size": "a setting",
    "spread": "a standard deviation of means",
    "median_eps": "a median",
    "validation_accuracy": "noted of all images alike",
    "chosen_k": "noted of all images alike",
    "chosen_log10_l2": "noted of all images alike",
    "converged": "noted of all images alike",
    "best_epoch": "noted of all images alike",
    "carrying": "a count",
    "lambda_max_error": "a standard deviation",
    "ntk_condition": "a median over blocks",
    **dict.fromkeys(("eigenvalue", "smallest_eigenvalue", "block_lambda_max"), "of all images together"),
    **dict.fromkeys(("trace", "trace_error", "block_trace"), "of all images together"),
    **dict.fromkeys(("never_active", "weight_norm"), "of all images together"),
}
"""The metrics that no columns' means make, and why; beside the signs of a false security."""


def taken(suite, score, outcomes):
    return [outcomes[condition] for condition in score.conditions]


@pytest.mark.parametrize("name", [suite.name for suite in suites])
def test_what_images_give_makes_the_score(name):
    suite = suites.get(name)
    try:
        (suite.requires or list)()
    except AbsentError as error:
        pytest.skip(str(error))
    outcomes = outcomes_of(suite, seed=3)
    for score in suite.scores:
        given = taken(suite, score, outcomes)
        parts = score.metric.parts(given)
        if parts is None:
            assert score.metric.name.split("[")[0] in WITHOUT or score.metric.alarm is not None, score.metric.name
            continue
        for some in sets_of(parts):
            assert len(some.values_NC) == some.images.n
        assert parts.value == pytest.approx(score.metric.function(*given).value, rel=1e-6, abs=1e-9), score.metric.name


def sets_of(parts):
    """The parts of each set of images that a score is made of."""
    match parts:
        case Parts():
            return [parts]
        case MeanOfSets():
            return [some for inner in parts.sets for some in sets_of(inner)]
        case DropBetweenSets():
            return [parts.clean, parts.shifted]
    raise AssertionError(parts)


def test_a_relative_drop_is_of_one_set_where_the_images_are_the_same_and_else_of_two():
    for suite, kind in (("digits-c", Parts), ("imagenet-r", DropBetweenSets)):
        [drop] = [score for score in suites.get(suite).scores if score.column == "rel. drop"]
        assert isinstance(drop.metric.parts(taken(None, drop, outcomes_of(suites.get(suite)))), kind)


def test_a_mean_over_data_sets_is_of_as_many_sets():
    suite = suites.get("knn")
    parts = suite.headline.metric.parts(taken(suite, suite.headline, outcomes_of(suite, seed=1)))
    assert len(parts.sets) == 9


def test_what_images_give_keeps_to_the_arguments_and_the_part_that_a_metric_is_given():
    def over(outcome, *, at):
        return Estimate(value=float((outcome.columns["x"] > at).mean()), n=outcome.n)

    metric = Metric(name="over", function=over, by_image=lambda one, *, at: mean_by_image(one, one.columns["x"] > at))
    cut = metric.given(at=0.5).within("half")
    columns = {"half/x": np.array([0.2, 0.7, 0.9, 0.1]), "half/rank": np.array([0, 0, 0, -1])}
    outcome = Outcome(ids=np.array(list("abcd")), labels=np.zeros(4, np.int64), columns=columns)
    assert cut.name == "over[half]"
    assert cut.function(outcome).value == cut.parts([outcome]).value == pytest.approx(2 / 3)


def outcome(ids, correct):
    columns = {"correct": np.asarray(correct, bool)}
    return Outcome(ids=np.array(ids), labels=np.zeros(len(ids), np.int64), columns=columns)


def test_rows_of_two_checkpoints_are_in_the_order_of_the_ids():
    first = TOP1.parts([outcome(["b", "a", "c"], [1, 0, 0])])
    second = TOP1.parts([outcome(["c", "b", "a"], [1, 0, 1])])
    values, others = aligned(first, second, "top1")
    assert (values[:, 0].tolist(), others[:, 0].tolist()) == ([0, 1, 0], [1, 0, 1])


def test_other_images_cannot_be_aligned():
    first, second = (TOP1.parts([outcome(ids, [1, 0])]) for ids in (["a", "b"], ["a", "c"]))
    with pytest.raises(BenchError, match="same images in every condition, but 1 are shared of 2 and 2"):
        aligned(first, second, "top1")


def test_a_score_that_is_not_defined_has_no_parts_either():
    few = replace(outcome(["a"], [1]), columns={"rank": np.zeros(1), "top_classes": np.zeros((1, 5))})
    with pytest.raises(BenchError, match="at least 6 classes"):
        TOP5.parts([few])
