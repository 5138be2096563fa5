"""mIoU and its kin against scikit-learn's and against a confusion matrix by loops."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score, recall_score

from bench.errors import BenchError
from bench.metrics.contract import check
from bench.metrics.paired import in_difference
from bench.metrics.segmentation import MEAN_CLASS_ACCURACY, MEAN_IOU, PIXEL_ACCURACY
from bench.records import Outcome
from bench.transfer.segmentation import counts

K, IGNORED = 5, 255


def images(n: int, seed: int = 0, right: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Masks and predictions (n, 6, 7); the last class is neither shown nor predicted, some pixels are of no class."""
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, K - 1, (n, 6, 7))
    masks[rng.random(masks.shape) < 0.1] = IGNORED
    predicted = np.where(rng.random(masks.shape) < right, masks % 4, rng.integers(0, K - 1, masks.shape))
    return masks.astype(np.uint8), predicted.astype(np.uint8)


def outcome(masks: np.ndarray, predicted: np.ndarray) -> Outcome:
    rows = [counts(says, mask, K) for says, mask in zip(predicted, masks, strict=True)]
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Outcome(ids=np.arange(len(masks)).astype(str), labels=np.zeros(len(masks), np.int64), columns=columns)


def test_scores_are_those_of_sklearn_over_all_pixels() -> None:
    masks, predicted = images(30)
    kept = masks != IGNORED
    true, says = masks[kept], predicted[kept]
    scored = [outcome(masks, predicted)]
    assert MEAN_IOU.estimate(scored).value == pytest.approx(jaccard_score(true, says, average="macro"))
    assert PIXEL_ACCURACY.estimate(scored).value == pytest.approx(accuracy_score(true, says))
    assert MEAN_CLASS_ACCURACY.estimate(scored).value == pytest.approx(recall_score(true, says, average="macro"))


def test_miou_is_that_of_a_confusion_matrix_by_loops() -> None:
    masks, predicted = images(4, seed=1)
    matrix = np.zeros((K, K))
    for mask, says in zip(masks, predicted, strict=True):
        for row in range(mask.shape[0]):
            for place in range(mask.shape[1]):
                if mask[row, place] != IGNORED:
                    matrix[mask[row, place], says[row, place]] += 1
    unions = [matrix[k].sum() + matrix[:, k].sum() - matrix[k, k] for k in range(K)]
    wanted = np.mean([matrix[k, k] / union for k, union in enumerate(unions) if union])
    assert MEAN_IOU.estimate([outcome(masks, predicted)]).value == pytest.approx(wanted)


def test_a_class_that_is_only_predicted_counts_as_missed() -> None:
    masks, predicted = images(4)
    before = MEAN_IOU.estimate([outcome(masks, predicted)]).value
    predicted[0, 0, 0], masks[0, 0, 0] = K - 1, 0
    after = MEAN_IOU.estimate([outcome(masks, predicted)]).value
    assert after == pytest.approx(before * (K - 1) / K, abs=0.01)


@pytest.mark.parametrize("metric", [MEAN_IOU, PIXEL_ACCURACY, MEAN_CLASS_ACCURACY], ids=lambda metric: metric.name)
def test_what_images_give_makes_the_score(metric) -> None:
    scored = [outcome(*images(50))]
    assert metric.parts(scored).value == pytest.approx(metric.estimate(scored).value)


@pytest.mark.parametrize("metric", [MEAN_IOU, PIXEL_ACCURACY], ids=lambda metric: metric.name)
def test_the_interval_is_as_wide_as_that_of_resampled_images(metric) -> None:
    scored = outcome(*images(600))
    rng, values = np.random.default_rng(0), []
    for _ in range(300):
        rows = rng.integers(0, scored.n, scored.n)
        drawn = {name: column[rows] for name, column in scored.columns.items()}
        values.append(metric.estimate([Outcome(ids=scored.ids, labels=scored.labels, columns=drawn)]).value)
    low, high = np.quantile(values, [0.025, 0.975])
    given = metric.estimate([scored])
    assert given.ci_high - given.ci_low == pytest.approx(high - low, rel=0.2)


def test_few_images_have_no_interval() -> None:
    assert MEAN_IOU.estimate([outcome(*images(20))]).ci_low is None


def test_two_checkpoints_compare_by_image() -> None:
    masks, predicted = images(600)
    better = np.where(np.random.default_rng(1).random(masks.shape) < 0.2, masks % 4, predicted)
    sides = [[outcome(masks, side)] for side in (predicted, better)]
    sure = in_difference(*(MEAN_IOU.parts(side) for side in sides), "mIoU")
    wanted = MEAN_IOU.estimate(sides[1]).value - MEAN_IOU.estimate(sides[0]).value
    assert sure.value == pytest.approx(wanted, abs=1e-3)
    assert sure.p() < 0.001


def test_images_without_a_pixel_of_a_class_have_no_score() -> None:
    nothing = np.full((2, 6, 7), IGNORED, np.uint8)
    with pytest.raises(BenchError, match="needs a pixel of a class"):
        MEAN_IOU.estimate([outcome(nothing, np.zeros_like(nothing))])


def test_an_outcome_of_another_measure_is_named() -> None:
    with pytest.raises(BenchError, match="mIoU needs the column 'intersection', which the measure 'segment' gives"):
        MEAN_IOU.estimate([Outcome(ids=np.array(["a"]), labels=np.zeros(1, int), columns={"correct": np.ones(1)})])


@pytest.mark.parametrize(
    ("name", "says"),
    [("intersection", "contradicts 'target' or 'predicted'"), ("predicted", "contradicts as many pixels in 'target'")],
)
def test_counts_that_contradict_each_other_are_refused(name: str, says: str) -> None:
    scored = outcome(*images(3))
    check(scored.columns, scored.labels, None)
    spoilt = {**scored.columns, name: scored.columns[name] + 9}
    with pytest.raises(ValueError, match=says):
        check(spoilt, scored.labels, None)
