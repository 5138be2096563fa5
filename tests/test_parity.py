"""What the engine gives on photographs is what timm's own evaluation gives: crops to the byte, and predictions."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

from bench import api
from bench.checkpoints import checkpoints
from bench.checkpoints.toml_file import read_registry
from bench.datasets import Library, class_spaces
from bench.datasets.crops import CropSource
from bench.metrics.classification import TOP1
from bench.records import Checkpoint, Condition, Crop, Data, Params, Protocol
from bench.store import Store
from bench.suite import Score, Suite

IMAGENET = "imagenet-1k"
RECIPES = {  # those that must be right whatever the registry holds
    (224, 0.9, "bicubic"), (224, 0.875, "bicubic"), (224, 0.875, "bilinear"), (224, 0.95, "bicubic"),
    (224, 0.96, "bicubic"), (224, 0.965, "bilinear"), (224, 1.0, "bicubic"), (288, 1.0, "bicubic"),
    (384, 1.0, "bicubic"), (448, 1.0, "bicubic"),
}  # fmt: skip
REGISTERED = {(c.input_size, c.crop_ratio, c.interpolation) for c in checkpoints if c.class_space.name == IMAGENET}

ARCHITECTURES = {  # shallow where timm lets them be: depth adds nothing to what is compared
    "vit_small_patch16_224": {"depth": 4},
    "mixer_s16_224": {},
    "resnet18": {},
    "deit3_small_patch16_384": {"depth": 3},
}
PHOTOGRAPHS, BATCH = 40, 16
DISTINCT = 20  # predictions over them: fewer would show little
TOLERANCE = 1e-4  # of a logit; they are of order 1


@pytest.fixture(scope="module")
def photographs():
    """Class folders with a photograph or more each."""
    place = os.environ.get("RTBENCH_TEST_DATA")
    if not place:
        pytest.skip("RTBENCH_TEST_DATA names no folder of real data")
    return Path(place) / "imagenet-sample"


@pytest.fixture(scope="module")
def few(photographs, tmp_path_factory):
    """Class folders with `PHOTOGRAPHS` of them, by links."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in sorted(photographs.glob("*/*"))[::2][:PHOTOGRAPHS]:
        (folder / path.parent.name).mkdir(exist_ok=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    return folder


def opened(folder):
    return Library({"imagenet": folder}).open("imagenet", "test").samples


def picture(folder, sample_id):
    return Image.open(folder / sample_id).convert("RGB")


def timm_crop(image, crop):
    transform = create_transform(
        (3, crop.size, crop.size), crop_pct=crop.ratio, interpolation=crop.interpolation, use_prefetcher=True
    )
    return transform(image).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("size", "ratio", "interpolation"), sorted(RECIPES | REGISTERED))
def test_crops_are_timms(photographs, size, ratio, interpolation):
    samples, crop = opened(photographs), Crop(size=size, ratio=ratio, interpolation=interpolation)
    source = CropSource(samples, crop)
    for index, sample_id in enumerate(samples.ids):
        assert np.array_equal(source.get(index), timm_crop(picture(photographs, sample_id), crop)), sample_id


def timm_batches(module, folder):
    """The photographs in the order of their ids, as timm's transform for the module gives them."""
    transform = create_transform(**resolve_data_config(model=module), is_training=False)
    ids = opened(folder).ids
    for start in range(0, len(ids), BATCH):
        yield torch.stack([transform(picture(folder, sample_id)) for sample_id in ids[start : start + BATCH]])


def spread_head(module, features):
    """Give the classifier random directions among those in which the photographs' features differ, all alike.

    The features of an untrained module hardly differ from picture to picture: as it is, it predicts one class.
    """
    mean = features.mean(dim=0)
    _, scales, directions = torch.linalg.svd(features - mean, full_matrices=False)
    kept = scales > scales[0] / 100  # smaller ones are rounding errors made large
    head = module.get_classifier()
    mixture = torch.randn(len(head.weight), int(kept.sum()))
    head.weight.copy_(mixture @ (directions[kept] / scales[kept, None]))
    head.bias.copy_(-head.weight @ mean)


@torch.inference_mode()
def made(arch, folder, weights):
    """A registry entry for random weights, well-spread on the photographs, and timm's logits of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = timm.create_model(arch, pretrained=False, **ARCHITECTURES[arch]).eval()
        features = [module.forward_features(batch) for batch in timm_batches(module, folder)]
        spread_head(module, torch.cat([module.forward_head(batch, pre_logits=True) for batch in features]))
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, weights)
    config = resolve_data_config(model=module)
    entry = Checkpoint(
        name=f"random-{arch}",
        class_space=class_spaces.get(IMAGENET),
        arch=arch,
        arch_args=Params(ARCHITECTURES[arch]),
        weights=str(weights),
        input_size=config["input_size"][1],
        crop_ratio=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )
    return entry, torch.cat([module.forward_head(batch) for batch in features])


def outcome_of(entry, folder, scratch):
    """The one stored outcome of the checkpoint on the photographs."""
    condition = Condition(data=Data(dataset="imagenet"))
    suite = Suite(
        name="parity", version=1, title="", paper="", track="none", protocol=Protocol(terms=()),
        scores=(Score(metric=TOP1, conditions=(condition,), column="top-1"),),
    )  # fmt: skip
    settings = api.configure(
        store=scratch / "store", cache=scratch / "crops", data={"imagenet": folder}, device="cpu", batch_size=BATCH,
        workers=0,
    ).settings  # fmt: skip
    result = api.run([suite], [entry], settings)
    assert result.ok, (result.failures, result.plan.unavailable)
    (cell,) = result.plan.cells
    return Store(settings.store).read(cell.key)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_logits_and_predictions_are_timms(few, tmp_path, arch):
    entry, logits = made(arch, few, tmp_path / "weights.safetensors")
    outcome = outcome_of(entry, few, tmp_path)
    assert outcome.ids.tolist() == opened(few).ids.tolist()
    columns = {name: torch.from_numpy(np.array(column)) for name, column in outcome.columns.items()}
    predictions = logits.argmax(dim=1)
    assert len(predictions.unique()) >= DISTINCT
    assert torch.equal(columns["prediction"].long(), predictions)
    classes = columns["top_classes"].long()
    assert torch.allclose(columns["top_logits"], logits.gather(1, classes), rtol=0, atol=TOLERANCE)
    assert torch.allclose(columns["top_logits"], logits.topk(classes.shape[1]).values, rtol=0, atol=TOLERANCE)
    assert torch.allclose(columns["log_sum_exp"], logits.logsumexp(dim=1), rtol=0, atol=TOLERANCE)


@pytest.mark.slow  # a second more than others may take
@torch.inference_mode()
def test_an_entry_of_architecture_and_weights_alone_predicts_as_timm_does(few, photographs, tmp_path, monkeypatch):
    weights = photographs.parent / "weights" / "tf_efficientnet_lite0.safetensors"
    if not weights.is_file():
        pytest.skip(f"RTBENCH_TEST_DATA holds no {weights.name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "mine.toml").write_text(
        f'[mine]\narch = "tf_efficientnet_lite0"\nweights = "{weights}"\nclasses = "{IMAGENET}"\n'
    )
    [entry] = read_registry(tmp_path / "mine.toml", class_spaces.get)
    module = timm.create_model("tf_efficientnet_lite0", checkpoint_path=str(weights)).eval()
    logits = torch.cat([module(batch) for batch in timm_batches(module, few)])
    outcome = outcome_of(entry, few, tmp_path)
    assert np.array_equal(outcome.columns["prediction"], logits.argmax(dim=1).numpy())
    assert outcome.columns["correct"].mean() > 0.6  # photographs of what it has learnt
