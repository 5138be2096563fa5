"""The entries of `registry.toml` whose weights lie elsewhere: right before anything is fetched."""

import pytest
import timm

from bench.checkpoints import checkpoints
from bench.checkpoints.fetch import check_address, is_address
from bench.datasets.spaces import IMAGENET
from bench.records import Checkpoint, Crop
from bench.reference import published

ENTRIES = [entry for entry in checkpoints if is_address(entry.weights)]
OF_TIMM = [entry for entry in ENTRIES if entry.weights.startswith("hf://timm/")]
PAIRED = [entry for entry in checkpoints if entry.pairs_with]
GOOGLE = [entry for entry in ENTRIES if entry.weights.startswith("https://storage.googleapis.com/")]


def by_name(entry: Checkpoint) -> str:
    return entry.name


def test_the_papers_architectures_are_there() -> None:
    assert len(ENTRIES) >= 45
    families = {"vit", "mixer", "resnet", "volo", "xcit", "convit", "cvt", "efficientnet"}
    assert {entry.family for entry in ENTRIES} == families
    assert {(entry.family, entry.sam) for entry in GOOGLE} >= {
        (f, s) for f in ("vit", "mixer") for s in ("sam", "gsam")
    }
    assert {"deit", "deit3", "volo-token-labelling"} <= {entry.recipe for entry in ENTRIES}
    # They were never published (google-research/vision_transformer#217).
    assert not [entry.name for entry in ENTRIES if entry.family == "resnet" and entry.sam != "none"]


@pytest.mark.parametrize("entry", ENTRIES, ids=by_name)
def test_it_is_of_imagenet_and_its_address_can_be_fetched(entry: Checkpoint) -> None:
    assert entry.class_space is IMAGENET
    check_address(entry.weights)
    assert entry.recipe


@pytest.mark.parametrize("entry", OF_TIMM, ids=by_name)
def test_its_values_are_timms_own(entry: Checkpoint) -> None:
    name, _, size = entry.name.partition("@")
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    assert entry.arch == name.split(".")[0]
    assert not entry.arch_args
    assert entry.weights == f"hf://{config.hf_hub_id}/model.safetensors"
    assert (config.hf_hub_id, config.hf_hub_filename, config.num_classes) == (f"timm/{name}", None, 1000)
    height, width = (config.test_input_size if size else config.input_size)[1:]
    assert entry.input_size == height == width == int(size or height)
    assert entry.crop_ratio == (config.test_crop_pct if size else config.crop_pct)
    assert config.crop_mode == "center"
    assert (entry.interpolation, entry.mean, entry.std) == (config.interpolation, config.mean, config.std)


@pytest.mark.parametrize("entry", OF_TIMM, ids=by_name)
def test_timm_published_numbers_for_its_very_crop(entry: Checkpoint) -> None:
    name = entry.name.partition("@")[0]
    assert f"timm:{name}" in entry.published
    numbers = published(f"timm:{name}")
    found = [number for number in numbers if number.crop == entry.crop]
    assert {"imagenet", "imagenet-real", "imagenet-v2", "imagenet-r", "imagenet-sketch"} <= {n.suite for n in found}
    assert len({(number.suite, number.score) for number in found}) == len(found)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.published], ids=by_name)
def test_every_published_name_has_numbers(entry: Checkpoint) -> None:
    for name in entry.published:
        assert published(name)


@pytest.mark.parametrize("entry", GOOGLE, ids=by_name)
def test_googles_files_are_fed_and_run_as_google_does(entry: Checkpoint) -> None:
    assert entry.crop == Crop(size=224, ratio=0.875, interpolation="bilinear")
    assert entry.crop.resize == 256
    assert entry.mean == entry.std == (0.5, 0.5, 0.5)
    assert entry.arch_args["act_layer"] == "gelu_tanh"
    folder, file = entry.weights.split("/")[-2:]
    assert folder == (entry.sam if entry.sam != "none" else "imagenet1k")
    letter, patch = file.removesuffix(".npz").split("_")
    assert entry.arch == {"ViT-B": f"vit_base_patch{patch}_224", "Mixer-B": f"mixer_b{patch}_224"}[letter]
    if entry.published:
        assert entry.published == (f"gsam:{letter}/{patch} [{entry.sam.upper()}]",)


@pytest.mark.parametrize("entry", PAIRED, ids=by_name)
def test_pairs_hold_both_ways_and_differ_in_sam(entry: Checkpoint) -> None:
    partner = checkpoints.get(entry.pairs_with)
    assert partner.pairs_with == entry.name
    assert "none" in (entry.sam, partner.sam)
    assert entry.sam != partner.sam
    assert (entry.family, entry.arch, entry.arch_args, entry.class_space, entry.pretraining) == (
        partner.family,
        partner.arch,
        partner.arch_args,
        partner.class_space,
        partner.pretraining,
    )
    assert (entry.crop, entry.mean, entry.std) == (partner.crop, partner.mean, partner.std)
    assert entry.pair_differs == partner.pair_differs


@pytest.mark.parametrize("entry", [entry for entry in PAIRED if entry in ENTRIES], ids=by_name)
def test_what_else_differs_in_a_pair_is_said(entry: Checkpoint) -> None:
    assert entry.recipe != checkpoints.get(entry.pairs_with).recipe
    assert "augmentation" in entry.pair_differs
