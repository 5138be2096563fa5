import itertools

import numpy as np
import pytest

from bench.board.index import _describe
from bench.errors import BenchError
from bench.metrics import attributes, by_image, classification
from bench.metrics.attributes import ERROR_RATIO, WORST_GROUP, Attribute, Grouping, among, values_of
from bench.records import Outcome


def attribute(values, name="factor", digest=""):
    """Of images "0", "1", … the values given; "" for none, None for one that nothing is known of."""
    found = tuple(sorted({v for v in values if v}))
    written = {str(i): value for i, value in enumerate(values)}
    return Attribute(name=name, values=found, value_of=written.get, source="a list", digest=digest)


def outcome(right, labels=None):
    right = np.array(right, dtype=bool)
    labels = np.zeros(len(right), int) if labels is None else np.array(labels)
    columns = {"correct": right, "prediction": np.where(right, labels, labels + 1), "loss": np.where(right, 0.1, 3.0)}
    return Outcome(ids=np.array([str(i) for i in range(len(right))]), labels=labels, columns=columns)


def test_any_metric_is_taken_over_the_images_of_one_value():
    of = attribute(["pose", "pose", "style", "", "pose"])
    one = outcome([1, 0, 1, 1, 1])
    for metric, value in ((classification.TOP1, 2 / 3), (classification.NLL, (0.1 + 3 + 0.1) / 3)):
        inside = among(metric, of, "pose")
        estimate = inside.estimate([one])
        assert (estimate.value, estimate.n) == (pytest.approx(value), 3)
        assert inside.parts([one]).value == pytest.approx(value)
        assert inside.name == f"{metric.name}[factor=pose]"


def test_an_image_that_nothing_is_known_of_gives_no_score():
    of = attribute(["pose", None])
    for metric in (among(classification.TOP1, of, "pose"), ERROR_RATIO.given(attribute=of, value="pose")):
        with pytest.raises(BenchError, match="'1' has none in a list: keep the files' own names"):
            metric.estimate([outcome([1, 0])])


def test_a_value_that_no_image_here_has_gives_no_score():
    of = attribute(["pose", "style"])
    first = Outcome(ids=np.array(["0"]), labels=np.zeros(1, int), columns={"correct": np.array([False])})
    for metric in (among(classification.TOP1, of, "style"), ERROR_RATIO.given(attribute=of, value="style")):
        with pytest.raises(BenchError, match="none of these is"):
            metric.estimate([first])


def test_kept_scores_go_by_what_the_attributes_were_read_from():
    def key(digest):
        of = attribute(["pose"], digest=digest)
        return _describe(among(classification.TOP1, of, "pose").function), _describe(
            WORST_GROUP.given(grouping=Grouping(attributes=(of,), by_label=True)).function
        )

    assert key("a") == key("a")  # though functions are others each time
    assert not set(key("a")) & set(key("b"))


def test_the_error_ratio_is_that_of_two_shares():
    rng = np.random.default_rng(0)
    names = rng.choice(["pose", "style", ""], 500).tolist()
    right, of = rng.random(500) < 0.7, attribute(names)
    inside = np.array(names) == "style"
    metric = ERROR_RATIO.given(attribute=of, value="style")
    estimate = metric.estimate([outcome(right)])
    assert estimate.value == pytest.approx((~right[inside]).mean() / (~right).mean(), rel=1e-12)
    assert metric.parts([outcome(right)]).value == pytest.approx(estimate.value, rel=1e-12)
    assert 0 < estimate.ci_low < estimate.value < estimate.ci_high


def test_a_factor_without_errors_still_has_room_above():
    of = attribute(["style"] * 40 + ["pose"] * 400)
    estimate = ERROR_RATIO.given(attribute=of, value="style").estimate([outcome([1] * 40 + [1, 0] * 200)])
    assert (estimate.value, estimate.ci_low) == (0, 0)
    assert 0.1 < estimate.ci_high < 0.4  # of 40 images without an error, 0.088 may be wrong; of all, 0.45 are


def test_intervals_of_an_error_ratio_of_few_images_hold():
    rng, held, truth = np.random.default_rng(1), 0, 0.6 / (0.6 * 0.05 + 0.25 * 0.95)
    names = np.array(["style"] * 40 + ["pose"] * 760)
    of = attribute(names.tolist())
    for _ in range(150):
        right = rng.random(800) > np.where(names == "style", 0.6, 0.25)
        estimate = ERROR_RATIO.given(attribute=of, value="style").estimate([outcome(right)])
        held += estimate.ci_low <= truth <= estimate.ci_high
    assert held / 150 > 0.92


def test_a_ratio_to_no_errors_is_none():
    with pytest.raises(BenchError, match="every image is right"):
        ERROR_RATIO.given(attribute=attribute(["pose"]), value="pose").estimate([outcome([1])])


def test_the_worst_group_is_the_smallest_accuracy_of_all_combinations():
    rng = np.random.default_rng(2)
    places, labels = rng.choice(["land", "sea"], 300), rng.integers(0, 2, 300)
    right = rng.random(300) < np.where((places == "land") == (labels == 0), 0.9, 0.6)
    metric = WORST_GROUP.given(grouping=Grouping(attributes=(attribute(places.tolist(), "place"),), by_label=True))
    groups = itertools.product(("land", "sea"), (0, 1))
    of_each = [right[(places == place) & (labels == label)].mean() for place, label in groups]
    estimate = metric.estimate([outcome(right, labels)])
    assert (estimate.value, estimate.n) == (pytest.approx(min(of_each)), 300)
    assert metric.parts([outcome(right, labels)]).value == pytest.approx(min(of_each))
    assert estimate.ci_low < 0.6 < estimate.ci_high


def test_without_classes_and_without_values_groups_are_those_of_the_attributes_alone():
    of = attribute(["land", "land", "sea", ""], "place")
    metric = WORST_GROUP.given(grouping=Grouping(attributes=(of,), by_label=False))
    assert metric.estimate([outcome([1, 0, 1, 0], [0, 1, 0, 1])]).value == 0.5
    assert metric.estimate([outcome([1, 0, 1, 0])]).n == 3


def test_intervals_of_the_worst_group_hold_where_groups_are_alike():
    rng, held = np.random.default_rng(3), 0
    of = attribute(["a"] * 50 + ["b"] * 100 + ["c"] * 200)
    metric = WORST_GROUP.given(grouping=Grouping(attributes=(of,), by_label=False))
    for _ in range(150):
        estimate = metric.estimate([outcome(rng.random(350) < 0.8)])
        held += estimate.ci_low <= 0.8 <= estimate.ci_high
    assert held / 150 > 0.94


def test_attributes_of_two_checkpoints_are_compared_on_the_same_images():
    of = attribute(["land", "sea"] * 50, "place")
    metric = WORST_GROUP.given(grouping=Grouping(attributes=(of,), by_label=False))
    first, second = (metric.parts([outcome(np.arange(100) % k != 0)]) for k in (2, 3))
    ours, theirs = by_image.aligned(first, second, "worst group")
    assert ours.shape == theirs.shape == (100, 4)


def test_a_value_of_each_image_has_its_place():
    of = attribute(["b", "a", "", "b"])
    assert values_of(outcome([1, 1, 1, 1]), of, "a score").tolist() == [1, 0, -1, 1]
    assert attributes.NONE == ""
