"""Published numbers: read as they stand in the files, and given to the scores that measure the same."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest

import bench.reference
from bench.errors import BenchError, UnknownNameError
from bench.records import Crop
from bench.reference import ALEXNET_CLEAN_ERROR, alexnet_error, published
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
