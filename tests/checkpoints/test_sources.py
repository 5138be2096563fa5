"""Checkpoints of other libraries predict what these libraries' own pipelines predict, on photographs."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models._hub import save_for_hf

from bench import api
from bench.checkpoints import naming
from bench.checkpoints.loading import load, model_digest
from bench.checkpoints.naming import checkpoint_called, checkpoints_called, names_in
from bench.datasets.spaces import IMAGENET
from bench.errors import BenchError, RunError, UnknownNameError
from bench.run.device import Model
from bench.run.sweep import _check_gradients
from tests.checkpoints.photographs import LITE0, assert_alike, ours, photographs, theirs


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(naming, "_found", {})
    torch.manual_seed(0)


def put(folder: Path, address: str, arrays: dict[str, torch.Tensor]) -> None:
    """Arrays where a checkpoint's file is looked for, as if it had been fetched."""
    place = folder / "cache/rtbench/weights/huggingface.co" / address
    place.parent.mkdir(parents=True)
    save_file({name: array.contiguous() for name, array in arrays.items()}, place)


# -- timm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "test_resnet.r160_in1k",
        "test_vit3.r160_in1k",
        "mobilenetv3_small_050.lamb_in1k",
        "resnet18.fb_swsl_ig1b_ft_in1k",
    ],
)
def test_a_tag_of_timm_predicts_what_timm_predicts(tmp_path: Path, tag: str) -> None:
    model = timm.create_model(tag, pretrained=False)
    put(tmp_path, f"timm/{tag}/model.safetensors", model.state_dict())
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    checkpoint, files = checkpoint_called(f"timm/{tag}"), photographs()
    assert checkpoint.class_space.digest == IMAGENET.digest
    assert_alike(checkpoint, files, theirs(model, transform, files))


@pytest.mark.parametrize(("mode", "ratio"), [("squash", 1.0), ("squash", 0.9), ("border", 0.9), ("center", 1.15)])
def test_a_folder_that_timm_saved_predicts_what_timm_predicts(tmp_path: Path, mode: str, ratio: float) -> None:
    model = timm.create_model("test_efficientnet", pretrained=False, num_classes=1000)
    model.pretrained_cfg |= {"crop_mode": mode, "crop_pct": ratio, "test_crop_pct": None}
    save_for_hf(model, str(tmp_path / "saved"))
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    checkpoint, files = checkpoint_called(f"timm/local-dir:{tmp_path / 'saved'}"), photographs()
    assert (checkpoint.crop_mode, checkpoint.crop_ratio) == (mode, ratio)
    assert_alike(checkpoint, files, theirs(model, transform, files))


def test_names_of_arrays_that_only_timm_converts_are_converted(tmp_path: Path) -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False)
    arrays = {f"model.{name}": array for name, array in model.state_dict().items()}
    put(tmp_path, "timm/deit_tiny_distilled_patch16_224.fb_in1k/model.safetensors", arrays)
    checkpoint = checkpoint_called("timm/deit_tiny_distilled_patch16_224")
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():  # both heads, as timm averages them
        assert torch.allclose(load(checkpoint, "cpu").model(image), model.eval()(image), atol=1e-5)


@pytest.mark.parametrize(
    ("tag", "space", "head"),
    [
        ("resnet18.tv_in1k", "imagenet-1k", None),
        ("focalnet_large_fl3.ms_in22k", "imagenet-1k", "imagenet-22k-ms"),
        ("convnext_nano.in12k", "imagenet-12k", None),
        ("vit_tiny_patch16_224.augreg_in21k", "imagenet-21k-goog", None),
        ("convnext_tiny.fb_in22k", "imagenet-22k", None),
        ("mixer_b16_224.miil_in21k", "imagenet-21k-miil", None),
    ],
)
def test_larger_heads_are_cut_to_imagenet_where_they_have_all_of_it(tag: str, space: str, head: str | None) -> None:
    checkpoint = checkpoint_called(f"timm/{tag}")
    assert checkpoint.class_space.name == space
    assert (checkpoint.head and checkpoint.head.name) == head


def test_every_tag_of_timm_is_found_or_refused_in_one_sentence() -> None:
    refused = []
    for tag in timm.list_models(pretrained=True)[::9]:
        try:
            assert checkpoint_called(f"timm/{tag}").weights.startswith(("hf://", "https://"))
        except BenchError as error:
            refused.append(str(error))
    assert refused
    assert all("has no classifier" in text or "takes 3 channels" in text for text in refused), refused


def test_another_size_is_asked_for_by_name(tmp_path: Path) -> None:
    plain, tested, other = (checkpoint_called(f"timm/resnet50.a1_in1k{at}") for at in ("", "@288", "@256"))
    assert [(c.input_size, c.crop_ratio) for c in (plain, tested, other)] == [(224, 0.95), (288, 1.0), (256, 0.95)]
    assert checkpoint_called("digits-resnet@48").input_size == 48


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet50.tv2_in1", "no checkpoint of timm 'resnet50.tv2_in1'. Did you mean 'resnet50.tv2_in1k'"),
        ("timm/vit_small_patch14_dinov2.lvd142m", "has no classifier, only features"),
        ("timm/local-dir:nowhere", "wants a folder with config.json and model.safetensors"),
        ("torchvision/resnet18.V9", "no weights of torchvision's resnet18 'V9'. Known: DEFAULT, IMAGENET1K_V1"),
        ("torchvision/raft_large", "no classifier of torchvision 'raft_large'"),
        ("torchvision/vgg16.IMAGENET1K_FEATURES", "is no classifier of pictures"),
        ("./nowhere.onnx", "there is no file ./nowhere.onnx"),
        ("digits-resnot", r"Did you mean 'digits-resnet'.*Beside these: .*timm/TAG"),
    ],
)
def test_a_name_that_is_none_is_refused_in_one_sentence(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        checkpoint_called(name)


# -- torchvision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18.IMAGENET1K_V1", "mobilenet_v3_small", "densenet121.IMAGENET1K_V1"])
def test_a_model_of_torchvision_predicts_what_torchvision_predicts(tmp_path: Path, name: str) -> None:
    from torchvision import models

    model, checkpoint = models.get_model(name.split(".")[0]), checkpoint_called(f"torchvision/{name}")
    arrays = model.state_dict()
    if name.startswith("densenet"):  # whose files have names of before
        arrays = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): a for key, a in arrays.items()}
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save(arrays, folder / checkpoint.weights.rpartition("/")[2])
    transform = models.get_model_weights(name.split(".")[0]).DEFAULT.transforms()
    files = photographs()
    assert_alike(checkpoint, files, theirs(model, transform, files))


def test_every_classifier_of_torchvision_is_of_imagenet() -> None:
    found = checkpoints_called(["torchvision/*"])
    assert len(found) > 100
    assert {one.class_space.digest for one in found} == {IMAGENET.digest}
    assert not any(one.head for one in found)


# -- transformers -------------------------------------------------------------------------------------------------


def saved(folder: Path, kind: str, processor: Any, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    small: dict[str, Any] = {
        "ViT": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        "ConvNext": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]},
        "DeiT": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    }[kind]
    ending = "WithTeacher" if kind == "DeiT" else ""
    config = getattr(transformers, f"{kind}Config")(**small, **options)
    model = getattr(transformers, f"{kind}ForImageClassification{ending}")(config).eval()
    model.save_pretrained(folder)
    getattr(transformers, f"{kind}ImageProcessor")(**processor).save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "processor"),
    [
        ("ViT", {}),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.9}),
        ("DeiT", {}),
    ],
)
def test_a_folder_of_transformers_predicts_what_transformers_predicts(
    tmp_path: Path, kind: str, processor: dict[str, Any]
) -> None:
    model = saved(tmp_path / "saved", kind, processor, num_labels=1000)
    from transformers import AutoImageProcessor

    made, files = AutoImageProcessor.from_pretrained(tmp_path / "saved"), photographs()
    checkpoint = checkpoint_called(f"transformers/{tmp_path / 'saved'}")
    wanted = theirs(
        model, lambda picture: made(images=picture, return_tensors="pt")["pixel_values"][0], files, lambda o: o.logits
    )
    assert_alike(checkpoint, files, wanted)


def test_classes_of_transformers_are_told_by_their_names(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    lines = (Path(timm.__file__).parent / "data/_info/imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines)
    words = ["background", *(lemmas[wnid] for wnid in IMAGENET.classes)]
    for labels, space, head in (
        (words[1:], "imagenet-1k", None),
        (words, "imagenet-1k", "imagenet-1k with background"),
        (["cat", "dog"], "transformers/", None),
        (list("0123456789"), "digits", None),
    ):
        folder = tmp_path / str(len(labels))
        names = dict(enumerate(labels))
        saved(folder, "ViT", {}, id2label=names, label2id={label: index for index, label in names.items()})
        checkpoint = checkpoint_called(f"transformers/{folder}")
        assert checkpoint.class_space.name.startswith(space)
        assert (checkpoint.head is None) == (head is None)
        assert not checkpoint.assumed
        with torch.inference_mode():
            module = load(checkpoint, "cpu")
            image = torch.rand(1, 3, 224, 224)
            assert module(image).shape[1] == len(checkpoint.class_space.classes)
            if head:
                assert torch.equal(module(image), module.model((image - module.mean) / module.std)[:, 1:])


def test_a_model_of_transformers_that_was_not_trained_to_classify_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "ViT", {}, num_labels=1000)
    name = f"transformers/{tmp_path}"
    arrays = load_file(tmp_path / "model.safetensors")
    save_file({key: array for key, array in arrays.items() if "classifier" not in key}, tmp_path / "model.safetensors")
    with pytest.raises(BenchError, match="lacks classifier.bias, classifier.weight, so its classifier was never"):
        load(checkpoint_called(name), "cpu")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["ViTModel"]}))
    with pytest.raises(BenchError, match="is a ViTModel, which is no image classifier of transformers"):
        naming._found_by_source(name)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(BenchError, match=r"lacks preprocessor_config\.json; save the model and its image processor"):
        naming._found_by_source(name)
    with pytest.raises(BenchError, match="is neither OWNER/NAME on the hub nor a folder that is here"):
        checkpoint_called("transformers/./nowhere")


# -- open_clip ----------------------------------------------------------------------------------------------------


def test_a_model_of_open_clip_predicts_what_open_clip_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    monkeypatch.setattr(open_clip, "OPENAI_IMAGENET_TEMPLATES", open_clip.OPENAI_IMAGENET_TEMPLATES[:1])
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    torch.save(model.eval().state_dict(), tmp_path / "tiny.pt")
    checkpoint, files = checkpoint_called(f"open_clip/tiny-clip/{tmp_path / 'tiny.pt'}"), photographs()
    head = open_clip.build_zero_shot_classifier(
        model, open_clip.get_tokenizer("tiny-clip"), open_clip.IMAGENET_CLASSNAMES, open_clip.OPENAI_IMAGENET_TEMPLATES
    )

    class Zero(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return model.logit_scale.exp() * (model.encode_image(images, normalize=True) @ head)

    assert_alike(checkpoint, files, theirs(Zero(), transform, files))
    assert checkpoint.how.startswith("zero-shot with 1 templates")
    monkeypatch.setattr(open_clip, "build_zero_shot_classifier", lambda *_: pytest.fail("computed again"))
    load(checkpoint, "cpu")
    before = model_digest(checkpoint)
    monkeypatch.setattr(open_clip, "OPENAI_IMAGENET_TEMPLATES", [lambda name: f"no {name}"])
    assert model_digest(naming._found_by_source(checkpoint.name)) != before
    with pytest.raises(UnknownNameError, match="no weights of open_clip's tiny-clip, and no file, 'nowhere'"):
        checkpoint_called("open_clip/tiny-clip/nowhere")


# -- ONNX ---------------------------------------------------------------------------------------------------------


def exported(folder: Path) -> Any:
    """Efficientnet-Lite0 with its real weights as an ONNX file, and an entry beside it."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    if not LITE0.is_file():
        pytest.skip("the weights of EfficientNet-Lite0 are not on this machine")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(load_file(LITE0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter that needs no more packages
        torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), str(folder / "lite0.onnx"), dynamo=False)
    fed = 'input_size = 224\ncrop_ratio = 0.875\ninterpolation = "bicubic"\n'
    fed += "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    (folder / "lite0.toml").write_text(f'[lite0]\nweights = "lite0.onnx"\nclasses = "imagenet-1k"\n{fed}')
    return model


def test_an_onnx_file_predicts_what_its_model_predicts(tmp_path: Path) -> None:
    model, files = exported(tmp_path), photographs()
    checkpoint = checkpoint_called(str(tmp_path / "lite0.onnx"))
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    assert_alike(checkpoint, files, theirs(model, transform, files))
    (tmp_path / "lite0.toml").unlink()
    with pytest.raises(
        BenchError, match=r"does not say how images are made for it; write .*lite0\.toml with \[lite0\]"
    ):
        naming._found_by_source(str(tmp_path / "lite0.onnx"))


@pytest.mark.slow
def test_all_photographs_are_predicted_as_timm_predicts_them(tmp_path: Path) -> None:
    if not LITE0.is_file():
        pytest.skip("the weights of EfficientNet-Lite0 are not on this machine")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(load_file(LITE0))
    put(tmp_path, "timm/tf_efficientnet_lite0.in1k/model.safetensors", model.state_dict())
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    checkpoint, files = checkpoint_called("timm/tf_efficientnet_lite0.in1k"), photographs(None)
    assert_alike(checkpoint, files, theirs(model, transform, files))


# -- patterns and files -------------------------------------------------------------------------------------------


def test_patterns_and_files_name_several(tmp_path: Path) -> None:
    assert [one.name for one in checkpoints_called(["digits-*-sam", "digits-vit-sam"])] == [
        "digits-mixer-sam",
        "digits-resnet-sam",
        "digits-vit-sam",
    ]
    sam = [one.name for one in checkpoints_called(["timm/vit_*sam*_in1k"])]
    assert "timm/vit_base_patch16_224.sam_in1k" in sam
    (tmp_path / "names.txt").write_text("# ours\ndigits-vit  # plain\n\ntimm/resnet18.tv_in1k\n")
    assert names_in(tmp_path / "names.txt") == ["digits-vit", "timm/resnet18.tv_in1k"]
    with pytest.raises(BenchError, match="no checkpoint like 'digits-z"):
        checkpoints_called(["digits-z*"])
    with pytest.raises(BenchError, match="timm has no checkpoint like"):
        checkpoints_called(["timm/nothing*"])
    with pytest.raises(BenchError, match=r"--checkpoint-file .* can't be read \(No such file"):
        names_in(tmp_path / "nowhere.txt")
    (tmp_path / "names.txt").write_text("# nothing\n")
    with pytest.raises(BenchError, match="names no checkpoint"):
        names_in(tmp_path / "names.txt")


def test_logits_are_of_the_photographs(tmp_path: Path) -> None:
    """What the tests above compare is no constant."""
    files = photographs(4)
    model = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    put(tmp_path, "timm/test_resnet.r160_in1k/model.safetensors", model.state_dict())
    logits = ours(checkpoint_called("timm/test_resnet.r160_in1k"), files)
    assert np.abs(logits[0] - logits[1]).max() > 0


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("transformers/owner/name", "transformers", "transformers"),
        ("open_clip/ViT-B-32/openai", "open_clip", "open_clip"),
    ],
)
def test_a_library_that_is_not_installed_is_said_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BenchError, match=rf"needs {module}, which is not installed: pip install 'rtbench\[{extra}\]'"):
        checkpoint_called(name)


def test_what_is_run_forward_only_is_not_attacked(tmp_path: Path) -> None:
    class Forward(torch.nn.Module):
        forward_only = True

    class Loaded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Forward()

    settings = api.configure(store=str(tmp_path / "runs"), cache="off", workers=0, limit=2).settings
    planned = api.plan(*api.select(["digits-pgd"], checkpoints=["digits-vit"]), settings)
    cells = {cell.condition.measure.name: cell for cell in planned.cells}
    _check_gradients(cells["pgd"], Model(load(checkpoint_called("digits-vit"), "cpu"), size=32, chunk=1))
    with pytest.raises(
        RunError, match="pgd needs the gradients of a model or its parts, and digits-vit is run forward"
    ):
        _check_gradients(cells["pgd"], Model(Loaded(), size=32, chunk=1))
