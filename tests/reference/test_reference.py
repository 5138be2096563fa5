"""Published numbers: read as they stand in the files, and given to the scores that measure the same."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench.reference
from bench.datasets.groups import SIXTEEN
from bench.errors import BenchError, UnknownNameError
from bench.metrics.cues import SHAPE_BIAS
from bench.records import Crop, Outcome
from bench.reference import ALEXNET_CLEAN_ERROR, alexnet_error, published, standings
from bench.suite import suites

FOLDER = Path(bench.reference.__file__).parent
THE_15 = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]
THE_4_EXTRA = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]


def values(name: str, crop: Crop | None = None) -> dict[tuple[str, str], float]:
    return {(p.suite, p.score): p.value for p in published(name) if p.crop == crop}


def test_alexnets_errors_are_there_for_all_19_corruptions() -> None:
    for corruption in THE_15 + THE_4_EXTRA:
        errors = [alexnet_error(corruption, severity) for severity in range(1, 6)]
        assert all(0.3 < error < 1 for error in errors)
        assert errors[4] == max(errors)


def test_alexnets_errors_agree_with_the_means_printed_beside_them() -> None:
    with (FOLDER / "alexnet_imagenet_c.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "top1_error_mean_over_severities"]
    assert len(rows) == 19
    for row in rows:
        errors = [alexnet_error(row["dataset"].removeprefix("imagenet-c/"), severity) for severity in range(1, 6)]
        assert sum(errors) / 5 == pytest.approx(float(row["value"]), abs=1e-9)


def test_alexnets_clean_error_is_that_of_the_file() -> None:
    with (FOLDER / "alexnet_imagenet_c.csv").open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["dataset"] == "imagenet"]
    assert float(row["value"]) == ALEXNET_CLEAN_ERROR == 0.4348


@pytest.mark.parametrize(("corruption", "severity"), [("fog", 0), ("fog", 6), ("smog", 1)])
def test_an_error_that_was_not_published_is_not_made_up(corruption: str, severity: int) -> None:
    message = (
        f"no AlexNet error was published for '{corruption}' at severity {severity}; there are severities 1 to 5 of"
    )
    with pytest.raises(BenchError, match=message):
        alexnet_error(corruption, severity)


def test_timms_numbers_go_to_the_scores_that_measure_the_same() -> None:
    assert values("timm:resnet50.tv_in1k", Crop(size=224, ratio=0.875, interpolation="bilinear")) == {
        ("imagenet", "top-1"): 0.76156,
        ("imagenet", "top-5"): 0.92866,
        ("imagenet-real", "top-1"): 0.82969,
        ("imagenet-v2", "matched-frequency"): 0.6319,
        ("imagenet-r", "top-1 of 200"): 0.36157,
        ("imagenet-sketch", "top-1"): 0.24064,
    }


def test_sizes_of_one_name_are_told_apart_by_their_crops() -> None:
    small = values("timm:resnet50.a1_in1k", Crop(size=224, ratio=0.95, interpolation="bicubic"))
    large = values("timm:resnet50.a1_in1k", Crop(size=288, ratio=1.0, interpolation="bicubic"))
    assert (small["imagenet", "top-1"], large["imagenet", "top-1"]) == (0.80382, 0.8124)
    assert small.keys() == large.keys()
    assert not values("timm:resnet50.a1_in1k", Crop(size=224, ratio=1.0, interpolation="bicubic"))


def test_a_crop_larger_than_the_image_is_left_out() -> None:
    assert not published("timm:volo_d4_448.sail_in1k")
    assert published("timm:volo_d4_224.sail_in1k")


def test_the_sam_papers_numbers_are_named_for_what_they_are() -> None:
    assert values("gsam:ViT-B/16 [SAM]") == {
        ("imagenet", "top-1"): 0.799,
        ("imagenet-real", "top-1"): 0.852,
        ("imagenet-v2", "matched-frequency"): 0.675,
        ("imagenet-r", "top-1 of 1000"): 0.264,
        ("imagenet-c", "mean of 19"): 0.565,
    }
    assert all("arXiv 2203.08065" in number.source for number in published("gsam:ViT-B/16 [SAM]"))


def test_robustbenchs_5000_images_are_said() -> None:
    (number,) = published("robustbench:Standard_R50")
    assert (number.suite, number.score, number.value, number.images) == ("imagenet-c", "mean of 15", 0.3948, 5_000)


@pytest.mark.parametrize("name", ["timm:resnet50.tv_in1k", "gsam:Mixer-B/16 [GSAM]", "robustbench:Standard_R50"])
def test_every_number_belongs_to_a_registered_score(name: str) -> None:
    for number in published(name):
        headings = [score.column or score.metric.name for score in suites.get(number.suite).scores]
        assert headings.count(number.score) == 1, (number.suite, number.score)


def test_every_row_of_the_files_can_be_read() -> None:
    for table, file in bench.reference._FILES.items():
        with (FOLDER / file).open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        assert all(math.isfinite(float(row["value"])) and row["source"] for row in rows)
        for checkpoint in {row["checkpoint"] for row in rows}:
            for number in published(f"{table}:{checkpoint}"):
                assert 0 < number.value < 1
                assert number.suite != "imagenet-c-generated"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tim:resnet50.tv_in1k", "no table of published numbers 'tim'. Did you mean 'timm'"),
        ("resnet50.tv_in1k", "no table of published numbers 'resnet50.tv_in1k'"),
        ("timm:resnet50.tv_in2k", "no checkpoint in the published numbers of timm 'resnet50.tv_in2k'. Did you mean"),
    ],
)
def test_an_unknown_name_is_an_error(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        published(name)


def test_it_is_read_without_pandas() -> None:
    code = (
        "import sys; from bench.reference import alexnet_error, published; alexnet_error('fog', 1)\n"
        "published('timm:resnet50.tv_in1k'); assert not {'pandas', 'torch', 'timm'} & sys.modules.keys()"
    )
    ran = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- who stands beside a leaderboard ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "shape", "texture", "percent"),
    [
        ("ResNet-50", 162, 572, 22.07),
        ("AlexNet", 182, 537, 25.31),
        ("VGG-16", 84, 828, 9.21),
        ("person 4", 727, 64, 91.91),
    ],
)
def test_published_shape_biases_are_those_of_our_scoring_code(who, shape, texture, percent):
    """Of as many decisions for either cue as the observer's trials have, and the others for neither."""
    decided = np.repeat([0, 1, 2], [shape, texture, 1_200 - shape - texture])
    columns = {"prediction": decided, "correct": decided == 0}
    ids = np.array([f"{number}" for number in range(1_200)])
    outcome = Outcome(ids=ids, labels=np.zeros(1_200, int), columns=columns)
    [one] = [one for one in standings("cue-conflict") if one.who == who]
    bias = SHAPE_BIAS.given(texture_of=lambda _: 1).estimate([outcome]).value
    assert round(100 * bias, 2) == percent
    assert one.scores["shape bias"] == pytest.approx(bias, abs=1e-9)
    assert one.scores["shape or texture"] == pytest.approx((shape + texture) / 1_200, abs=1e-9)


def test_every_observer_of_the_trials_stands_with_our_scores():
    """From the trials themselves, where $RTBENCH_TEST_REFERENCE names the folder that has them."""
    folder = os.environ.get("RTBENCH_TEST_REFERENCE")
    if not folder:
        pytest.skip("RTBENCH_TEST_REFERENCE names no folder with cue_conflict_trials.csv")
    trials = pd.read_csv(Path(folder) / "cue_conflict_trials.csv", keep_default_na=False)
    places = {name: place for place, name in enumerate(SIXTEEN.space.classes)}
    stand = {one.source.partition("raw-data, ")[2].partition(":")[0]: one for one in standings("cue-conflict")}
    assert len(stand) == trials.observer.nunique() == 26
    for observer, rows in trials.groupby("observer"):
        labels = rows["shape"].map(places).to_numpy()
        predictions = rows.response.map(places).fillna(16).to_numpy(dtype=int)  # a person may have answered nothing
        columns = {"prediction": predictions, "correct": predictions == labels}
        outcome = Outcome(ids=rows.image.to_numpy(dtype=str), labels=labels, columns=columns)
        for score in suites.get("cue-conflict").board:
            value = score.metric.estimate([outcome]).value
            assert stand[observer].scores[score.column] == pytest.approx(value, abs=1e-9), (observer, score.column)


@pytest.mark.parametrize("name", ["cue-conflict", "imagenet-x"])
def test_those_who_stand_beside_a_leaderboard_have_scores_of_its_headings(name):
    headings = {score.column for score in suites.get(name).board}
    for one in standings(name):
        assert one.scores.keys() <= headings
        assert one.source


def test_suites_without_such_have_none():
    assert standings("imagenet") == ()
