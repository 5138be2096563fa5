"""Measured beside published, on made-up boards: who agrees, who can't tell, and what a warning names."""

from collections.abc import Mapping
from typing import Any

import pytest

from bench.board.leaderboard import Board, Choice, ScoredRow
from bench.board.reference_check import Comparison, compare, render_comparisons
from bench.checkpoints import checkpoints
from bench.metrics.stats import share_interval
from bench.records import Checkpoint, Estimate, Precision
from bench.store import StoredCheckpoint
from bench.suite import suites

R50 = "resnet50.tv_in1k"  # published: 76.156 top-1, 92.866 top-5


def stored(name: str) -> StoredCheckpoint:
    return StoredCheckpoint(name=name, model=f"digest of {name}", family="resnet", sam="none", pairs_with="")


def estimate(percent: float, n: int) -> Estimate:
    low, high = share_interval(percent / 100 * n, n)
    return Estimate(value=percent / 100, n=n, ci_low=low, ci_high=high)


def board(suite: str, values: Mapping[tuple[str, str], Estimate], precision: Precision = "fp32") -> Board:
    """Scores by checkpoint and heading."""
    entry = suites.get(suite)
    scores = {score.column or score.metric.name: score for score in reversed(entry.scores)}
    names = dict.fromkeys(name for name, _ in values)
    return Board(
        suite=entry,
        choice=Choice(limit=None, seed=0, device="cpu", precision=precision),
        protocol=entry.protocol.name,
        rows=tuple(
            ScoredRow(checkpoint=stored(name), score=scores[heading], estimate=value)
            for (name, heading), value in values.items()
        ),
        cells={},
        costs={},
        checkpoints=tuple(map(stored, names)),
        notes=(),
    )


def one(suite: str, name: str, heading: str, percent: float, n: int, **how: Any) -> Comparison:
    (found,) = compare([board(suite, {(name, heading): estimate(percent, n)}, **how)])
    return found


# -- what is compared -------------------------------------------------------------------------------------------


def test_every_score_with_a_published_number_is_compared_and_no_other() -> None:
    scores = {
        (R50, "ECE"): estimate(3, 50_000),
        (R50, "top-5"): estimate(92.9, 50_000),
        (R50, "top-1"): estimate(76, 50_000),
    }
    found = compare([board("imagenet", scores)])
    assert [(c.checkpoint, c.suite, c.score) for c in found] == [(R50, "imagenet", "top-1"), (R50, "imagenet", "top-5")]
    assert [100 * c.published.value for c in found] == pytest.approx([76.156, 92.866])
    assert found[0].difference == pytest.approx(-0.156)


@pytest.mark.parametrize(("name", "top1"), [("resnet50.a1_in1k", 80.382), ("resnet50.a1_in1k@288", 81.24)])
def test_the_row_of_the_entrys_own_size_is_taken(name: str, top1: float) -> None:
    found = one("imagenet", name, "top-1", top1, 50_000)
    assert 100 * found.published.value == pytest.approx(top1)
    assert found.published.crop == checkpoints.get(name).crop
    assert found.verdict == "agrees"


def test_an_entry_with_another_crop_than_the_published_one_is_not_compared(scratch_registries: None) -> None:
    space = checkpoints.get(R50).class_space
    other = Checkpoint(name="mine", class_space=space, crop_ratio=1.0, published=("timm:resnet50.tv_in1k",))
    checkpoints.register(other)
    assert not compare([board("imagenet", {("mine", "top-1"): estimate(76, 50_000)})])


def test_what_the_registry_does_not_know_is_not_compared() -> None:
    assert not compare([board("imagenet", {("a-plugin-gone", "top-1"): estimate(76, 50_000)})])
    assert not compare([board("digits", {("digits-vit", "top-1"): estimate(90, 500)})])


def test_generated_imagenet_c_is_never_compared_to_stored_numbers() -> None:
    name = "vit_base_patch16_224.google_sam_in1k"
    values = {(name, "mean of 19"): estimate(56.5, 50_000)}
    assert [c.score for c in compare([board("imagenet-c", values)])] == ["mean of 19"]
    assert not compare([board("imagenet-c-generated", values)])


def test_rows_follow_the_boards_and_their_rankings() -> None:
    names = ("resnet18.tv_in1k", "resnet152.tv_in1k", "resnet34.tv_in1k")
    values = {(name, "top-1"): estimate(top1, 50_000) for name, top1 in zip(names, (69.8, 78.2, 73.3), strict=True)}
    real = {(name, "top-1"): estimate(80, 46_837) for name in names[:1]}
    found = compare([board("imagenet", values), board("imagenet-real", real)])
    assert [(c.suite, c.checkpoint.split(".")[0]) for c in found] == [
        ("imagenet", "resnet152"),
        ("imagenet", "resnet34"),
        ("imagenet", "resnet18"),
        ("imagenet-real", "resnet18"),
    ]


# -- verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [76.156, 76.06, 76.25])
def test_on_all_images_it_agrees_within_a_tenth_of_a_point(percent: float) -> None:
    found = one("imagenet", R50, "top-1", percent, 50_000)
    assert (found.verdict, found.half, found.causes) == ("agrees", 0, "")


@pytest.mark.parametrize("percent", [76.05, 76.27])
def test_on_all_images_more_than_that_is_a_warning(percent: float) -> None:
    found = one("imagenet", R50, "top-1", percent, 50_000)
    assert found.verdict == "WARNING"
    assert "another crop ratio, interpolation, or mean and std" in found.causes


def test_on_fewer_images_the_sampling_error_is_allowed_for() -> None:
    assert one("imagenet", R50, "top-1", 75.6, 40_000).verdict == "WARNING"
    found = one("imagenet", R50, "top-1", 75.8, 40_000)
    assert (found.verdict, found.half) == ("agrees", pytest.approx(0.42, abs=0.01))


def test_a_hundred_images_cannot_tell() -> None:
    found = one("imagenet", R50, "top-1", 70, 100)
    assert found.verdict == "can't tell"
    assert found.half == pytest.approx(9.37, abs=0.02)
    assert "n = 100: ±9.4, can't tell" in render_comparisons([found])


def test_a_hundred_images_can_tell_what_is_wholly_wrong() -> None:
    found = one("imagenet", R50, "top-1", 0, 100)
    assert found.verdict == "WARNING"
    assert found.causes.startswith("labels by the position of a folder or file")


def test_a_number_published_for_fewer_images_is_as_uncertain() -> None:
    found = one("imagenet-c", R50, "mean of 15", 39.2, 50_000)  # 39.48 on RobustBench's 5,000
    assert (found.verdict, found.half) == ("can't tell", pytest.approx(1.35, abs=0.02))


def test_as_many_images_as_in_a_published_sample_are_not_the_same_ones() -> None:
    found = one("imagenet-c", R50, "mean of 15", 39.2, 5_000)
    assert found.verdict == "can't tell"


def test_an_estimate_without_an_interval_is_given_one() -> None:
    (found,) = compare([board("imagenet", {(R50, "top-1"): Estimate(value=0.7, n=100)})])
    assert found.half == pytest.approx(9.37, abs=0.02)


@pytest.mark.parametrize(
    ("suite", "heading", "percent", "n", "cause"),
    [
        ("imagenet-v2", "matched-frequency", 1.0, 10_000, "labels by the position of a folder or file"),
        ("imagenet-real", "top-1", 40.0, 46_837, "labels by position for a part of the images, another mean and std"),
        ("imagenet-r", "top-1 of 200", 22.2, 30_000, "logits cut to other classes"),
        ("imagenet-sketch", "top-1", 23.0, 50_889, "another version of the weights under this name"),
    ],
)
def test_a_warning_names_what_usually_makes_such_a_difference(
    suite: str, heading: str, percent: float, n: int, cause: str
) -> None:
    assert cause in one(suite, R50, heading, percent, n).causes


def test_a_warning_names_resizing_twice_precision_and_an_unsaid_crop() -> None:
    sam = "vit_base_patch16_224.google_sam_in1k"
    found = one("imagenet-c", sam, "mean of 19", 54.0, 50_000, precision="bf16")
    assert "the stored images resized a second time" in found.causes
    assert "bf16 precision" in found.causes
    assert "another library's resize, as the source does not say how" in found.causes


# -- text -------------------------------------------------------------------------------------------------------


def test_the_table_says_who_published_and_warns_below() -> None:
    name = "vit_base_patch16_224.google_sam_in1k"
    scores = {(name, "top-1 of 200"): estimate(40, 30_000), (name, "top-1 of 1000"): estimate(20.0, 30_000)}
    text = render_comparisons(compare([board("imagenet-r", scores)]))
    assert text.splitlines()[0].split() == (
        ["checkpoint", "suite", "score", "measured", "n", "published", "difference", "verdict", "source"]
    )
    assert "26.4" in text
    assert "-6.4" in text
    assert "GSAM paper arXiv 2203.08065 Table 1" in text
    assert f"WARNING: {name}, imagenet-r, top-1 of 1000: -6.4 points; likely logits cut to other classes;" in text
    assert "imagenet-r, top-1 of 1000: the paper does not say so, but the numbers look uncut." in text
    assert "of 200" not in text


def test_nothing_to_compare_is_said() -> None:
    assert render_comparisons([]) == "No score of these suites and checkpoints was published."
