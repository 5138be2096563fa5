"""Scores against scikit-learn, statsmodels and formulas written out, all from the same logits."""

import csv
import math
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch

from bench.datasets.imagenet import real_labels_of
from bench.errors import BenchError, RunError
from bench.measure.classify import describe
from bench.metrics import classification, shift, stats
from bench.records import Array, Estimate, Outcome
from bench.suite.scores import MCE_CORRUPTIONS

EVERY = [
    classification.top1,
    classification.top5,
    classification.mean_per_class_accuracy,
    classification.nll,
    classification.brier,
    classification.ece,
    classification.mean_accuracy,
]
"""The scores of one outcome."""


def softmax(logits_NK: Array) -> Array:
    exp_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    probabilities_NK: Array = exp_NK / exp_NK.sum(axis=1, keepdims=True)
    return probabilities_NK


def classified(logits_NK: Array, labels: Array) -> Outcome:
    """What the measure `classify` stores for these logits."""
    n, k = logits_NK.shape
    order = np.argsort(-logits_NK, axis=1, kind="stable")
    probabilities = softmax(logits_NK.astype(np.float64))
    top = order[:, : min(10, k)]
    return Outcome(
        ids=np.array([f"image-{i:05d}" for i in range(n)]),
        labels=labels,
        columns={
            "prediction": order[:, 0],
            "correct": order[:, 0] == labels,
            "top_logits": np.take_along_axis(logits_NK, top, axis=1).astype(np.float32),
            "top_classes": top,
            "log_sum_exp": np.logaddexp.reduce(logits_NK, axis=1).astype(np.float32),
            "loss": -np.log(probabilities[np.arange(n), labels]).astype(np.float32),
            "rank": np.argmax(order == labels[:, None], axis=1),
            "brier": ((probabilities - np.eye(k)[labels]) ** 2).sum(axis=1).astype(np.float32),
        },
    )


def sample(n: int = 400, k: int = 12, seed: int = 0) -> tuple[Array, Array]:
    """Logits of a middling, overconfident model, and uneven labels."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.2, n) - 1, k - 1)
    return 2.5 * rng.standard_normal((n, k)) + 4.0 * np.eye(k)[labels], labels


def right(*correct: int, ids: list[str] | None = None, labels: list[int] | None = None) -> Outcome:
    n = len(correct)
    return Outcome(
        ids=np.array(ids if ids else [f"image-{i}" for i in range(n)], dtype=str),
        labels=np.array(labels if labels else [0] * n, dtype=np.int64),
        columns={"correct": np.array(correct, dtype=bool)},
    )


def interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.ci_low is not None
    assert estimate.ci_high is not None
    return estimate.ci_low, estimate.ci_high


def reordered(outcome: Outcome, rows: Array) -> Outcome:
    columns = {name: column[rows] for name, column in outcome.columns.items()}
    return Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns=columns)


# Values, against independent references.


@pytest.mark.parametrize(("score", "k"), [(classification.top1, 1), (classification.top5, 5)])
def test_top_k_accuracy_agrees_with_sklearn_and_statsmodels(score: Callable[..., Estimate], k: int) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    logits_NK, labels = sample()
    estimate = score(classified(logits_NK, labels))
    expected = reference.top_k_accuracy_score(labels, logits_NK, k=k, labels=np.arange(12))
    assert estimate.value == expected
    assert estimate.n == 400
    expected_interval = proportion.proportion_confint(round(expected * 400), 400, method="beta")
    assert interval(estimate) == pytest.approx(expected_interval, abs=1e-12)


def test_mean_per_class_accuracy_is_the_balanced_accuracy_of_sklearn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    logits_NK, labels = sample()
    expected = reference.balanced_accuracy_score(labels, logits_NK.argmax(axis=1))
    assert classification.mean_per_class_accuracy(classified(logits_NK, labels)).value == pytest.approx(expected)


def test_nll_is_the_log_loss_of_sklearn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    logits_NK, labels = sample()
    expected = reference.log_loss(labels, softmax(logits_NK), labels=np.arange(12))
    assert classification.nll(classified(logits_NK, labels)).value == pytest.approx(expected, rel=1e-6)


def test_brier_is_the_unhalved_multi_class_score_of_sklearn() -> None:
    pytest.importorskip("sklearn", "1.7")  # the first with several classes
    reference = pytest.importorskip("sklearn.metrics")
    logits_NK, labels = sample()
    expected = reference.brier_score_loss(labels, softmax(logits_NK), labels=np.arange(12), scale_by_half=False)
    assert classification.brier(classified(logits_NK, labels)).value == pytest.approx(expected, rel=1e-6)


def ece_written_out(logits_NK: Array, labels: Array, bins: int) -> float:
    probabilities = softmax(logits_NK)
    confidence, prediction = probabilities.max(axis=1), probabilities.argmax(axis=1)
    error = 0.0
    for low, high in ((b / bins, (b + 1) / bins) for b in range(bins)):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs((prediction[inside] == labels[inside]).mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return error


def test_ece_is_its_definition_written_out() -> None:
    logits_NK, labels = sample(n=60)  # few, so that bins lie on both sides of the diagonal
    estimate = classification.ece(classified(logits_NK, labels))
    assert estimate.value == pytest.approx(ece_written_out(logits_NK, labels, 15), rel=1e-5)
    assert estimate.value != pytest.approx(ece_written_out(logits_NK, labels, 14), rel=1e-3)
    assert (estimate.ci_low, estimate.ci_high) == (None, None)


def test_ece_keeps_a_confidence_that_float32_puts_above_one_in_the_last_bin() -> None:
    top_logits = np.array([[30.000002], [30.000002], [29.96], [29.96]], np.float32)
    columns = {"correct": np.array([True, False, True, True]), "top_logits": top_logits}
    columns["log_sum_exp"] = np.full(4, 30, np.float32)
    outcome = Outcome(ids=np.arange(4), labels=np.zeros(4, int), columns=columns)
    mean_confidence = (1 + math.exp(-0.04)) / 2
    assert classification.ece(outcome).value == pytest.approx(mean_confidence - 0.75, abs=1e-5)


@pytest.mark.parametrize("score", EVERY)
def test_a_score_is_a_plain_number_inside_its_interval(score: Callable[..., Estimate]) -> None:
    estimate = score(classified(*sample()))
    assert type(estimate.value) is float
    assert type(estimate.n) is int
    if estimate.ci_low is not None:
        low, high = interval(estimate)
        assert type(low) is type(high) is float
        assert low < estimate.value < high


@pytest.mark.parametrize("score", EVERY)
def test_a_score_ignores_the_order_of_the_samples(score: Callable[..., Estimate]) -> None:
    outcome = classified(*sample())
    shuffled = reordered(outcome, np.random.default_rng(1).permutation(outcome.n))
    assert score(shuffled).value == pytest.approx(score(outcome).value, rel=1e-12)


# Intervals.


def test_mean_per_class_interval_holds_the_truth_of_uneven_classes() -> None:
    rng, truth, held = np.random.default_rng(0), 0.75, 0
    labels = np.repeat([0, 1, 2], [80, 30, 6])
    for _ in range(200):
        correct = rng.random(116) < np.array([0.9, 0.75, 0.6])[labels]
        low, high = interval(classification.mean_per_class_accuracy(right(*correct, labels=labels.tolist())))
        held += low <= truth <= high
    assert held >= 186


def test_mean_per_class_interval_of_even_classes_is_that_of_the_accuracy() -> None:
    outcome = right(*[1] * 30 + [0] * 10, *[1] * 20 + [0] * 20, labels=[0] * 40 + [1] * 40)
    expected = interval(classification.top1(outcome))
    assert interval(classification.mean_per_class_accuracy(outcome)) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_score_is_not_certain() -> None:
    perfect = right(*[1] * 50, labels=[0, 1] * 25)
    expected = stats.share_interval(50, 50)
    for score in (classification.top1, classification.mean_per_class_accuracy, classification.mean_accuracy):
        assert interval(score(perfect)) == pytest.approx(expected, abs=1e-6)
    assert interval(classification.mean_accuracy(perfect, perfect, perfect)) == pytest.approx(expected, abs=1e-6)


def test_the_best_of_several_has_a_lower_bound_that_knows_of_the_choice() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        low, high = interval(classification.best_of(*(right(*(rng.random(60) < 0.8)) for _ in range(7))))
        held += low <= 0.8 <= high
    assert held >= 186
    one = right(1, 1, 0, 1)
    assert classification.best_of(one) == classification.top1(one)


def losses(name: str, *values: float) -> Outcome:
    n = len(values)
    return Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns={name: np.array(values, np.float32)})


def test_intervals_end_where_the_score_does() -> None:
    low, high = interval(classification.brier(losses("brier", 0, 0, 2.0)))
    assert 0 <= low < 2 / 3 < high < 2.0


def test_a_loss_without_an_end_has_an_interval_of_many_images_alone() -> None:
    many = np.random.default_rng(2).exponential(size=500)
    low, high = interval(classification.nll(losses("loss", *many)))
    assert 0 < low < many.mean() < high
    assert classification.nll(losses("loss", *many[1:])).ci_low is None
    assert classification.nll(losses("loss", *np.full(500, 0.25))).ci_low is None  # nothing varies


def test_one_image_gives_a_value_that_is_anything_but_sure() -> None:
    outcome = classified(*sample(n=1))
    assert classification.nll(outcome).ci_low is None
    low, high = interval(classification.mean_accuracy(outcome))
    assert high - low > 0.9


# Several conditions.


def test_mean_accuracy_of_one_condition_is_top1() -> None:
    outcome = classified(*sample())
    mean, single = classification.mean_accuracy(outcome), classification.top1(outcome)
    assert (mean.value, mean.n) == (single.value, single.n)
    assert interval(mean) == pytest.approx(interval(single))


def test_mean_accuracy_has_the_cluster_robust_error_of_statsmodels() -> None:
    models = pytest.importorskip("statsmodels.regression.linear_model")
    outcomes = [classified(*sample(n=300, seed=seed)) for seed in (0, 1, 2)]
    outcomes = [
        Outcome(ids=o.ids, labels=outcomes[0].labels, columns={"correct": o.columns["correct"]}) for o in outcomes
    ]
    rows = np.concatenate([o.columns["correct"] for o in outcomes]).astype(float)
    images = np.tile(np.arange(300), 3)
    fit = models.OLS(rows, np.ones(900)).fit(cov_type="cluster", cov_kwds={"groups": images})
    estimate = classification.mean_accuracy(*outcomes)
    assert estimate.value == pytest.approx(fit.params[0])
    assert estimate.n == 300
    # The reference's interval is the normal one, which is near ours here.
    assert interval(estimate) == pytest.approx(fit.conf_int()[0], abs=0.004)


def test_mean_accuracy_matches_images_by_id_in_any_order() -> None:
    labels = [0, 1, 2, 3, 4, 5]
    first, second = right(1, 1, 0, 0, 1, 0, labels=labels), right(1, 0, 0, 0, 1, 1, labels=labels)
    shuffled = reordered(second, np.array([3, 1, 5, 0, 2, 4]))
    assert classification.mean_accuracy(first, shuffled) == classification.mean_accuracy(first, second)
    assert shift.relative_drop(first, shuffled) == shift.relative_drop(first, second)
    # By position instead, the pairs and with them the interval would be others.
    by_position = Outcome(ids=first.ids, labels=first.labels, columns=shuffled.columns)
    assert classification.mean_accuracy(first, by_position) != classification.mean_accuracy(first, second)


def test_repeating_a_condition_changes_nothing() -> None:
    outcome = right(1, 1, 0, 1, 0, 1)
    assert classification.mean_accuracy(outcome, outcome) == classification.mean_accuracy(outcome)


def test_relative_drop_pairs_the_same_images() -> None:
    clean, foggy, snowy = right(1, 1, 1, 1, 0), right(1, 1, 0, 0, 0), right(1, 0, 0, 0, 0)
    estimate = shift.relative_drop(clean, foggy, snowy)
    assert estimate.value == pytest.approx((0.8 - (0.4 + 0.2) / 2) / 0.8)
    assert estimate.n == 5
    low, high = interval(estimate)
    assert low < estimate.value < high <= 1


def test_relative_drop_of_the_same_images_is_surer_than_of_others() -> None:
    rng = np.random.default_rng(3)
    clean = rng.random(400) < 0.8
    shifted = right(*(clean & (rng.random(400) < 0.9)))
    others = Outcome(ids=np.array([f"v2-{i}" for i in range(400)]), labels=shifted.labels, columns=shifted.columns)
    same, other = (interval(shift.relative_drop(right(*clean), outcome)) for outcome in (shifted, others))
    assert np.subtract(*same[::-1]) < 0.6 * np.subtract(*other[::-1])


@pytest.mark.parametrize("same", [True, False])
def test_the_interval_of_a_relative_drop_holds_the_truth(same: bool) -> None:
    rng, held = np.random.default_rng(4), 0
    for _ in range(200):
        clean = rng.random(50) < 0.9
        shifted = right(*((clean if same else rng.random(50) < 0.9) & (rng.random(50) < 0.9)))
        ids = shifted.ids if same else np.array([f"v2-{i}" for i in range(50)])
        low, high = interval(
            shift.relative_drop(right(*clean), Outcome(ids=ids, labels=shifted.labels, columns=shifted.columns))
        )
        held += low <= 0.1 <= high
    assert held >= 186


def test_relative_drop_takes_different_images_as_independent_samples() -> None:
    clean = right(1, 1, 1, 0)
    shifted = right(1, 0, 0, ids=["v2-0", "v2-1", "v2-2"])
    estimate = shift.relative_drop(clean, shifted)
    assert estimate.value == pytest.approx(1 - (1 / 3) / 0.75)
    assert estimate.n == 7
    low, high = interval(estimate)
    assert low < -1  # of so few
    assert estimate.value < high <= 1.0


def test_relative_drop_is_negative_where_the_shift_helps() -> None:
    assert shift.relative_drop(right(1, 0, 0), right(1, 1, 0)).value == -1.0


@pytest.mark.parametrize("shifted", [(0, 0, 0), (1, 1, 0)])
def test_relative_drop_of_three_images_is_anything_but_sure(shifted: tuple[int, ...]) -> None:
    low, high = interval(shift.relative_drop(right(1, 1, 0), right(*shifted)))
    assert high - low > 0.5


# What must not become a number.


@pytest.mark.parametrize("score", EVERY)
def test_no_score_of_zero_samples(score: Callable[..., Estimate]) -> None:
    empty = reordered(classified(*sample()), np.zeros(0, int))
    with pytest.raises(BenchError, match="no score from missing data"):
        score(empty)


@pytest.mark.parametrize("clean", [True, False])
def test_no_relative_drop_of_zero_samples(clean: bool) -> None:
    pair = (right(), right(1, 0)) if clean else (right(1, 0), right())
    with pytest.raises(BenchError, match="no score from missing data"):
        shift.relative_drop(*pair)


def test_no_score_of_zero_conditions() -> None:
    with pytest.raises(BenchError, match="mean accuracy needs at least one condition"):
        classification.mean_accuracy()
    with pytest.raises(BenchError, match="relative drop needs at least one condition"):
        shift.relative_drop(right(1, 0))


@pytest.mark.parametrize("score", EVERY)
def test_a_missing_column_is_named_with_the_measure_that_gives_it(score: Callable[..., Estimate]) -> None:
    outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"features": np.zeros((2, 3))})
    with pytest.raises(BenchError, match=r"column '\w+', which the measure 'classify' gives.*\[features\]"):
        score(outcome)


@pytest.mark.parametrize("score", EVERY)
def test_nan_logits_give_an_error_and_no_score(score: Callable[..., Estimate]) -> None:
    outcome = classified(*sample())
    outcome.columns["log_sum_exp"][7] = np.nan
    with pytest.raises(RunError, match=r"1 in the column 'log_sum_exp' are NaN"):
        score(outcome)


@pytest.mark.parametrize(
    ("score", "name"),
    [(classification.nll, "loss"), (classification.brier, "brier"), (classification.ece, "top_logits")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_in_a_column_are_errors(score: Callable[..., Estimate], name: str, value: float) -> None:
    outcome = classified(*sample())
    outcome.columns[name][:2] = value
    with pytest.raises(RunError, match=f"in the column '{name}' are NaN or infinite: look at"):
        score(outcome)


def test_top5_of_five_classes_is_an_error() -> None:
    with pytest.raises(BenchError, match="at least 6 classes, not 5"):
        classification.top5(classified(*sample(k=5)))
    assert 0 < classification.top5(classified(*sample(k=6))).value < 1


@pytest.mark.parametrize("several", [classification.mean_accuracy, shift.relative_drop])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"ids": ["image-0", "image-1", "else"]}, "2 are shared of 3 and 3"),
        ({"ids": ["image-0", "image-1", "image-1"]}, "2 are shared of 3 and 3"),
        ({"labels": [0, 1, 0]}, "one label an image"),
    ],
)
def test_other_images_or_labels_are_errors(
    several: Callable[..., Estimate], other: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        several(right(1, 1, 0), right(1, 0, 0, **other))


@pytest.mark.parametrize("several", [classification.mean_accuracy, shift.relative_drop])
def test_a_limit_on_one_condition_alone_is_an_error(several: Callable[..., Estimate]) -> None:
    with pytest.raises(BenchError, match="2 are shared of 3 and 2: use one limit"):
        several(right(1, 1, 0), right(1, 0))
    with pytest.raises(BenchError, match="2 are shared of 2 and 3: use one limit"):
        several(right(1, 1), right(1, 0, 0))


def test_shifted_outcomes_of_different_images_are_an_error() -> None:
    shifted = right(1, 0, ids=["a", "b"]), right(1, 0, ids=["b", "c"])
    with pytest.raises(BenchError, match="relative drop needs the same images in every condition"):
        shift.relative_drop(right(1, 1), *shifted)


def test_an_image_that_comes_twice_is_an_error() -> None:
    twice = right(1, 0, 1, ids=["a", "b", "a"])
    with pytest.raises(BenchError, match="an id comes twice"):
        classification.mean_accuracy(twice, twice)


@pytest.mark.parametrize("shifted_ids", [None, ["a", "b"]])
def test_relative_drop_from_nothing_is_an_error(shifted_ids: list[str] | None) -> None:
    with pytest.raises(BenchError, match="clean accuracy of 0"):
        shift.relative_drop(right(0, 0), right(1, 0, ids=shifted_ids))


# -- the ImageNet family --------------------------------------------------------------------------------------


def test_top1_and_top5_are_timms():
    from timm.utils import AverageMeter, accuracy

    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(700, 1000, generator=generator)
    labels = torch.randint(0, 1000, (700,), generator=generator)
    logits[torch.arange(700), labels] += 3
    meters = AverageMeter(), AverageMeter()
    for start in range(0, 700, 64):  # timm's validate.py averages over batches; the last is smaller
        batch = slice(start, start + 64)
        for meter, value in zip(meters, accuracy(logits[batch], labels[batch], topk=(1, 5)), strict=True):
            meter.update(value.item(), len(labels[batch]))
    columns = {name: column.numpy() for name, column in describe(logits, labels).items()}
    outcome = Outcome(ids=np.arange(700), labels=labels.numpy(), columns=columns)
    assert 100 * classification.top1(outcome).value == pytest.approx(meters[0].avg, abs=1e-4)
    assert 100 * classification.top5(outcome).value == pytest.approx(meters[1].avg, abs=1e-4)
    assert 10 < meters[0].avg < meters[1].avg < 90


def test_accuracy_on_reassessed_labels_is_timms():
    from timm.data import RealLabelsImagenet

    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3000, 1000, generator=generator)
    for row, name in enumerate(names[:3000]):  # half of them right by some label
        sets = real_labels_of(name)
        if sets and row % 2:
            logits[row, sets[-1]] += 9
    timms = RealLabelsImagenet(names)
    timms.add_result(logits)
    ids = np.array([f"n00000000/{name}" for name in names[:3000]])
    outcome = Outcome(ids=ids, labels=np.zeros(3000, int), columns={"prediction": logits.argmax(1).numpy()})
    found = classification.accuracy_in_sets(outcome, real_labels_of)
    assert 100 * found.value == pytest.approx(timms.get_accuracy(k=1))
    assert found.n == len(timms.is_correct[1]) < 3000
    assert 0.4 < found.value < 0.6


def test_mce_is_robustbenchs_from_its_own_numbers():
    """Standard_R50 with the AlexNet that RobustBench measured on its 5,000 images: 76.38."""
    rows = list(csv.DictReader((files("bench.reference") / "robustbench.csv").read_text().splitlines()))
    n = 5_000

    def accuracies(checkpoint):
        found = {r["dataset"]: float(r["value"]) for r in rows if r["checkpoint"] == checkpoint}
        return [[found[f"imagenet-c.{name}.{severity}"] for severity in range(1, 6)] for name in MCE_CORRUPTIONS]

    def outcome(accuracy):
        correct = np.arange(n) < round(accuracy * n)
        return Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns={"correct": correct})

    alexnet = [[1 - accuracy for accuracy in severities] for severities in accuracies("AlexNet")]
    outcomes = [outcome(accuracy) for severities in accuracies("Standard_R50") for accuracy in severities]
    published = next(
        float(row["value"]) for row in rows if (row["checkpoint"], row["metric"]) == ("Standard_R50", "corruptions_mce")
    )
    assert published == 76.38
    assert 100 * shift.mean_corruption_error(*outcomes, reference=alexnet).value == pytest.approx(published, abs=0.01)


def test_mce_of_alexnet_is_one_and_its_interval_is_the_bootstraps():
    rng = np.random.default_rng(5)
    n, reference = 400, [[0.5, 0.7], [0.6, 0.9]]
    wrong = rng.random((n, 4)) < np.ravel(reference)
    outcomes = [Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns={"correct": ~column}) for column in wrong.T]
    found = shift.mean_corruption_error(*outcomes, reference=reference)
    picks = rng.integers(0, n, (4000, n))
    errors = wrong[picks].mean(axis=1).reshape(4000, 2, 2)
    draws = (errors.sum(2) / np.sum(reference, axis=1)).mean(axis=1)
    assert found.value == pytest.approx((wrong.mean(0).reshape(2, 2).sum(1) / np.sum(reference, axis=1)).mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=0.006)


def test_relative_mce_has_its_value_and_interval_from_paired_images():
    rng = np.random.default_rng(6)
    n, reference, clean_reference = 400, [[0.6, 0.8]], 0.4
    clean = rng.random(n) < 0.3
    wrong = clean[:, None] | (rng.random((n, 2)) < [0.3, 0.5])  # what was wrong stays wrong
    outcomes = [
        Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns={"correct": ~column}) for column in (clean, *wrong.T)
    ]
    found = shift.relative_mean_corruption_error(*outcomes, reference=reference, reference_clean=clean_reference)
    assert found.value == pytest.approx((wrong.mean(0).sum() - 2 * clean.mean()) / (1.4 - 0.8))
    picks = rng.integers(0, n, (4000, n))
    draws = (wrong[picks].mean(1).sum(1) - 2 * clean[picks].mean(1)) / 0.6
    low, high = np.quantile(draws, [0.025, 0.975])  # of so few images one more counts
    assert low - 0.03 < found.ci_low < low < high < found.ci_high < high + 0.03


def test_reference_errors_must_fit_the_conditions():
    outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns={"correct": np.ones(2, bool)})
    with pytest.raises(BenchError, match="mCE has reference errors for 2 conditions, but 1 were given"):
        shift.mean_corruption_error(outcome, reference=[[0.5, 0.5]])


def test_a_part_without_an_image_has_no_score():
    columns = {"r/rank": np.array([-1, -1]), "r/correct": np.zeros(2, bool)}
    outcome = Outcome(ids=np.arange(2), labels=np.zeros(2, int), columns=columns)
    with pytest.raises(BenchError, match="top1 within 'r' needs an image of one of its classes, but none"):
        classification.TOP1.within("r").function(outcome)


def test_labels_that_nobody_has_give_no_score():
    outcome = Outcome(ids=np.array(["a"]), labels=np.zeros(1, int), columns={"prediction": np.zeros(1, int)})
    with pytest.raises(BenchError, match="needs an image with a label, but none of these has one"):
        classification.accuracy_in_sets(outcome, {"a": ()}.get)
