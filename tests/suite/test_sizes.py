"""Suites of crop ratios and input sizes: their conditions, what `--set` makes of them, the best, and true runs."""

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models import VisionTransformer

import bench
import bench.checkpoints.zoo as zoo
from bench import api
from bench.datasets import Library, subset
from bench.errors import BenchError
from bench.metrics.classification import best_of, best_value
from bench.records import ModelSetting, Outcome, Settings
from bench.store import Store
from bench.suite import Suite, suites
from bench.suite.sizes import RATIOS

CROP_RATIO, RESOLUTION = suites.get("digits-crop-ratio"), suites.get("digits-resolution")
LIMIT = 60


def settings_of(suite: Suite) -> list[ModelSetting]:
    """Of the suite's conditions, each once."""
    return list(dict.fromkeys(condition.model for condition in suite.conditions))


# -- conditions ------------------------------------------------------------------------------------------------------


def test_every_ratio_and_every_size_is_a_condition_of_each_data_set() -> None:
    ratios = [ModelSetting(crop_ratio=float(ratio)) for ratio in RATIOS.split("+")]
    assert settings_of(CROP_RATIO) == [ModelSetting(), *ratios]
    assert settings_of(RESOLUTION) == [ModelSetting(), *(ModelSetting(input_size=s) for s in range(16, 65, 8))]
    for suite in (CROP_RATIO, RESOLUTION):
        assert len(suite.conditions) == 3 * len(settings_of(suite))


@pytest.mark.parametrize("name", ["crop-ratio", "resolution"])
def test_the_own_setting_is_the_condition_of_the_data_sets_own_suite(name: str) -> None:
    suite = suites.get(name)
    own = [condition for condition in suite.conditions if condition.model == ModelSetting()]
    assert own == [suites.get(dataset).headline.conditions[0] for dataset in suite.sets]
    assert suite.headline.conditions == (suites.get("imagenet").headline.conditions[0],)


def test_every_point_is_a_row_of_the_long_table() -> None:
    rows = [score.columns() for score in RESOLUTION.scores if not score.column]
    assert [(row["dataset"], row["input_size"]) for row in rows] == [
        (name, size) for name in ("digits", "digits-v2", "digits-r") for size in range(16, 65, 8)
    ]


def test_sizes_of_imagenet_are_multiples_of_common_patches() -> None:
    sizes = [setting.input_size for setting in settings_of(suites.get("resolution"))[1:]]
    assert sizes == [128, 160, 192, 224, 256, 288, 320, 384, 448]


def test_it_is_cut_to_the_data_sets_that_are_here() -> None:
    suite = suites.get("crop-ratio").over(["imagenet-sketch"])
    assert (suite.name, suite.sets) == ("crop-ratio", ("imagenet-sketch",))
    assert [score.column for score in suite.board] == [
        "imagenet-sketch",
        "imagenet-sketch best",
        "imagenet-sketch best at",
    ]


# -- what --set makes of them ----------------------------------------------------------------------------------------


def test_ratios_that_are_set_reach_conditions_name_and_protocol() -> None:
    suite = CROP_RATIO.changed({"ratios": "0.8+0.9"})
    assert suite.name == "digits-crop-ratio-ratios-0.8+0.9"
    assert "crop ratio 0.8+0.9, each" in suite.protocol.name
    assert settings_of(suite)[1:] == [ModelSetting(crop_ratio=0.8), ModelSetting(crop_ratio=0.9)]
    assert suite.curve == "crop_ratio"


def test_what_is_set_stays_where_data_sets_are_missing() -> None:
    suite = RESOLUTION.changed({"sizes": "24"}).over(["digits-r"])
    assert suite.name == "digits-resolution-sizes-24"
    assert settings_of(suite) == [ModelSetting(), ModelSetting(input_size=24)]


@pytest.mark.parametrize("value", ["", "wide", "0.9+x", "0+0.5", "0.9+1.1", "-0.5", "nan", "0.9+0.8", "0.8+0.8"])
def test_ratios_that_are_not_possible_are_refused(value: str) -> None:
    with pytest.raises(BenchError) as caught:
        CROP_RATIO.changed({"ratios": value})
    assert str(caught.value) == (
        "ratios of suite 'digits-crop-ratio' must be ascending numbers above 0 and at most 1 joined by +, such as "
        f"0.8+0.9+1.0, not {value!r}."
    )


@pytest.mark.parametrize("value", ["", "large", "24+x", "0", "-8", "24.5", "32+24", "24+24"])
def test_sizes_that_are_not_possible_are_refused(value: str) -> None:
    with pytest.raises(BenchError, match=r"sizes of suite 'digits-resolution' must be .*whole numbers") as caught:
        RESOLUTION.changed({"sizes": value})
    assert f"not {value!r}" in str(caught.value)


# -- the best ----------------------------------------------------------------------------------------------------------


def right(count: int, ids: np.ndarray | None = None) -> Outcome:
    """Ten images, the first few of them right."""
    ids = np.arange(10) if ids is None else ids
    return Outcome(ids=ids, labels=np.zeros(10, int), columns={"correct": np.arange(10) < count})


def test_the_best_is_the_largest_accuracy_and_its_lower_bound_allows_for_the_choice() -> None:
    outcomes = [right(3), right(8), right(5)]
    best = best_of(*outcomes)
    assert (best.value, best.n) == (0.8, 10)
    alone = best_of(outcomes[1])
    assert best.ci_low is not None
    assert alone.ci_low is not None
    assert best.ci_low < alone.ci_low
    assert best.ci_high == alone.ci_high
    assert best_value(*outcomes, values=[16, 24, 32]).value == 24


def test_of_several_that_are_best_the_smallest_value_counts() -> None:
    at = best_value(right(3), right(8), right(8), values=[0.8, 0.9, 1.0])
    assert (at.value, at.ci_low, at.ci_high) == (0.9, None, None)


def test_the_best_is_not_taken_over_other_images() -> None:
    others = right(8, np.arange(5, 15))
    with pytest.raises(BenchError, match="the best accuracy needs the same images in every condition"):
        best_of(right(3), others)
    with pytest.raises(BenchError, match="the best accuracy needs the same images in every condition"):
        best_value(right(3), others, values=[0.8, 0.9])


# -- measured ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"store": str(tmp_path / "runs"), "cache": "off", "workers": 0, "device": "cpu", "limit": LIMIT}
    return api.configure(**flags).settings


def accuracies(suite: Suite, checkpoint: str, settings: Settings, column: str) -> dict[float, float]:
    """Top-1 on `digits` by the setting, from a run."""
    chosen, entries = [suite.over(["digits"])], api.select(["digits"], checkpoints=[checkpoint])[1]
    assert api.run(chosen, entries, settings).ok
    frame = api.table(api.boards(chosen, Store(settings.store)))
    rows = frame[(frame.metric == "top1") & frame[column].notna()]
    return dict(zip(rows[column].astype(float), rows.value.astype(float), strict=True))


def pictures(side: int) -> tuple[list[Image.Image], np.ndarray]:
    """The test's digits, resized by Pillow, and their labels."""
    samples = Library({}).open("digits", "test").samples
    rows = subset(samples.ids, LIMIT)
    with np.load(Path(bench.__file__).parent / "datasets" / "embedded" / "digits.npz") as file:
        whole = file[next(name for name in file.files if file[name].ndim >= 3)][rows]
    resized = [Image.fromarray(image).convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for image in whole]
    return resized, samples.labels[rows]


def top1(model: torch.nn.Module, images: list[Image.Image], labels: np.ndarray) -> float:
    """Of images as Pillow has them, scaled to [-1, 1] as the shipped checkpoints take them."""
    batch = torch.tensor(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        return float((model.eval()(batch).argmax(1).numpy() == labels).mean())


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(Path(zoo.__file__).parent / f"{name}.safetensors")


def test_accuracy_at_a_ratio_is_that_of_pillows_crop(settings: Settings) -> None:
    found = accuracies(CROP_RATIO.changed({"ratios": "0.7+0.9"}), "digits-resnet", settings, "crop_ratio")
    model = timm.create_model("digits_resnet")
    model.load_state_dict(weights("digits-resnet"))
    for ratio in (0.7, 0.9):
        images, labels = pictures(math.floor(32 / ratio))
        corner = round((images[0].width - 32) / 2)
        crops = [image.crop((corner, corner, corner + 32, corner + 32)) for image in images]
        assert found[ratio] == pytest.approx(top1(model, crops, labels), abs=1e-6)


def test_accuracy_at_a_size_is_that_of_a_model_with_interpolated_positions(settings: Settings) -> None:
    found = accuracies(RESOLUTION.changed({"sizes": "24+40"}), "digits-vit", settings, "input_size")
    for size in (24, 40):
        model = VisionTransformer(
            img_size=size, patch_size=8, embed_dim=64, depth=4, num_heads=4, mlp_ratio=3, num_classes=10
        )
        arrays = weights("digits-vit")
        arrays["pos_embed"] = resample_abs_pos_embed(arrays["pos_embed"], [size // 8, size // 8])
        model.load_state_dict(arrays)
        assert found[size] == pytest.approx(top1(model, *pictures(size)), abs=1e-6)


def test_the_own_setting_of_the_shipped_is_a_point_of_the_grid(settings: Settings) -> None:
    suite, entries = CROP_RATIO.changed({"ratios": "1.0"}), api.select(["digits"], checkpoints=["digits-vit"])[1]
    assert api.run([suite], entries, settings).ok
    frame = api.table(api.boards([suite], Store(settings.store)))
    top1 = frame[frame.metric == "top1"]
    assert top1.groupby("dataset").value.nunique().tolist() == [1, 1, 1]


def test_an_architecture_of_one_size_keeps_the_scores_at_its_own(settings: Settings) -> None:
    suite = RESOLUTION.changed({"sizes": "24+32"}).over(["digits", "digits-r"])
    result = api.run([suite], api.select(["digits"], checkpoints=["digits-mixer"])[1], settings)
    assert not result.ok
    assert len(result.failures) == 2
    assert len({failure.message for failure in result.failures}) == 1
    [board] = result.boards
    assert board.complete
    assert [row.score.column for row in board.rows] == ["digits", "digits-r", "", ""]
    assert {row.score.columns()["input_size"] for row in board.rows} == {None, 32}
