"""What an entry leaves out is as timm validates the architecture, and is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

from bench import api
from bench.checkpoints import timm_config
from bench.checkpoints.loading import load
from bench.checkpoints.toml_file import read_registry
from bench.datasets.spaces import DIGITS
from bench.images.crop import crop_image
from bench.records import Checkpoint
from bench.run.device import to_unit_range

ARCHITECTURES = (
    "resnet18", "resnet18.tv_in1k", "resnet18.fb_swsl_ig1b_ft_in1k", "vit_tiny_patch16_224", "test_vit", "test_resnet",
    "tf_efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto", "regnetx_002", "deit_tiny_patch16_224",
    "test_efficientnet", "edgenext_xx_small",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def read(folder: Path, arch: str, more: str = "") -> Checkpoint:
    path = folder / "mine.toml"
    path.write_text(f'[mine]\narch = "{arch}"\nweights = "w.safetensors"\ndataset = "digits"\n{more}')
    return read_registry(path, lambda name: DIGITS)[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_pixels_and_logits_are_those_of_timms_validation(tmp_path: Path, arch: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(arch, pretrained=False, num_classes=10).eval()
    save_file({name: array.contiguous() for name, array in model.state_dict().items()}, tmp_path / "w.safetensors")
    entry = read(tmp_path, arch)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((500, 400), Image.Resampling.BICUBIC)

    config = resolve_data_config(model=model, use_test_size=True)
    theirs = create_transform(**config)(picture)
    crop = torch.from_numpy(crop_image(np.asarray(picture), entry.crop)).permute(2, 0, 1)[None]
    assert torch.equal(create_transform(**config, normalize=False)(picture), crop[0])
    with torch.inference_mode():
        logits = load(entry, "cpu")(to_unit_range(crop, "cpu"))
        assert torch.allclose(logits, model(theirs[None]), atol=1e-4)


def test_what_is_left_out_is_taken_and_said(tmp_path: Path) -> None:
    entry = read(tmp_path, "resnet50", "mean = [0.5, 0.5, 0.5]\n")
    assert (entry.input_size, entry.crop_ratio, entry.mean) == (288, 1.0, (0.5, 0.5, 0.5))
    assert entry.assumed == (
        "as timm has them for resnet50.a1_in1k: input_size 288, crop_ratio 1.0, interpolation bicubic, "
        "std 0.229 0.224 0.225"
    )


def test_the_size_of_training_has_the_ratio_of_training(tmp_path: Path) -> None:
    assert read(tmp_path, "resnet50", "input_size = 224\n").crop_ratio == 0.95
    assert read(tmp_path, "resnet50", "input_size = 256\n").crop_ratio == 1.0


def test_where_nothing_is_left_out_timm_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_config, "_ask", lambda arch: pytest.fail("asked"))
    whole = 'input_size = 32\ncrop_ratio = 1\ninterpolation = "bicubic"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
    assert read(tmp_path, "resnet50", whole).assumed == ""


@pytest.mark.parametrize("arch", ["digits_vit", "no_such_architecture", "resnet50.no_such_tag"])
def test_what_timm_has_not_has_the_defaults_and_says_so(tmp_path: Path, arch: str) -> None:
    entry = read(tmp_path, arch, "input_size = 32\n")
    assert (entry.crop_ratio, entry.interpolation, entry.mean) == (0.875, "bicubic", (0.485, 0.456, 0.406))
    assert entry.assumed.startswith(f"timm has none for {arch}, the defaults: crop_ratio 0.875, interpolation bicubic")


@pytest.mark.parametrize(
    ("arch", "ratio", "mode"),
    [("eva02_base_patch14_448", 1.0, "squash"), ("volo_d5_512", 1.15, "center"), ("resnet50", 1.0, "center")],
)
def test_the_crop_mode_is_timms_unless_the_entry_gives_a_ratio(
    tmp_path: Path, arch: str, ratio: float, mode: str
) -> None:
    entry = read(tmp_path, arch)
    assert (entry.crop_ratio, entry.crop_mode) == (ratio, mode)
    assert (f"crop_mode {mode}" in entry.assumed) == (mode != "center")
    assert read(tmp_path, arch, "crop_ratio = 1.0\n").crop_mode == "center"
    assert read(tmp_path, arch, 'crop_mode = "border"\n').crop_mode == "border"


def test_timm_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(tmp_path, "resnet50")
    monkeypatch.setattr(timm_config, "_ask", lambda arch: pytest.fail("asked again"))
    assert read(tmp_path, "resnet50") == first


def test_what_a_plugin_taught_timm_is_asked_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm.models.model_entrypoint("resnet50"), "__module__", "bench_lights.models")
    first = read(tmp_path, "resnet50")
    assert not (tmp_path / "cache" / "rtbench" / "timm").exists()
    assert read(tmp_path, "resnet50") == first


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"resnet50": {"name": 3}}', '{"resnet50": 3}', "\x00"])
def test_a_damaged_answer_is_asked_for_anew(tmp_path: Path, kept: str) -> None:
    first = read(tmp_path, "resnet50")
    [place] = (tmp_path / "cache" / "rtbench" / "timm").iterdir()
    place.write_text(kept)
    assert read(tmp_path, "resnet50") == first
    assert "resnet50" in json.loads(place.read_text())


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the place of the folder")
    assert read(tmp_path, "resnet50").input_size == 288


@pytest.mark.usefixtures("scratch_registries")
def test_plans_and_listings_say_what_was_assumed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[mine]\narch = "digits_vit"\nweights = "w"\ndataset = "digits"\ninput_size = 32\n'
    )
    [entry] = api.register_file(tmp_path / "mine.toml")
    rows = {row["name"]: row["left out of the entry"] for row in api.listing("checkpoints")}
    assert rows["mine"] == entry.assumed
    assert rows["digits-vit"] == ""
    settings = api.configure(store=tmp_path / "store", cache="off", limit=3).settings
    assert f"mine: {entry.assumed}" in api.plan(api.select_suites(["digits"]), [entry], settings).notes
