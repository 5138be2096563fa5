"""A model in memory is measured as it is, found again by what it is, and given back as it was."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

import bench
import bench.records
from bench import api
from bench.api import evaluate
from bench.checkpoints.in_memory import identity_of
from bench.checkpoints.loading import load
from bench.checkpoints.pipelines import fields_of
from bench.errors import BenchError, RunError
from bench.progress import Silent

NORMAL = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PIPELINE = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize(*NORMAL)])


@pytest.fixture
def model() -> nn.Module:
    """The ResNet that ships, as somebody has it who trains it."""
    [entry] = api.select(checkpoints=["digits-resnet"])[1]
    inner = load(entry, "cpu").model
    assert isinstance(inner, nn.Module)
    return inner.train().requires_grad_(True)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """`evaluate` on a few digits."""

    def _run(model: Any, transform: Any = PIPELINE, suites: Any = ("digits",), **settings: Any) -> Any:
        flags = {"store": str(tmp_path / "runs"), "cache": "off", "workers": 0, "limit": 20, "progress": Silent()}
        return evaluate(model, suites, transform=transform, **{**flags, **settings})

    return _run


def test_it_is_scored_as_the_checkpoint_is(model: nn.Module, run: Callable[..., Any], tmp_path: Path) -> None:
    table = run(model, name="mine")
    settings = api.configure(store=str(tmp_path / "runs"), cache="off", workers=0, limit=20, device="cpu").settings
    shipped = api.table(api.run(*api.select(["digits"], checkpoints=["digits-resnet"]), settings).boards)
    assert set(table.checkpoint) == {"mine"}
    assert table.value.tolist() == shipped.value.tolist()
    assert set(table.protocol) == {f"{shipped.protocol[0]}, in memory"}
    assert bench.evaluate is evaluate


def test_it_is_given_back_as_it_was(model: nn.Module, run: Callable[..., Any]) -> None:
    next(model.children()).eval()
    frozen = next(model.parameters()).requires_grad_(False)
    last = list(model.parameters())[-1]
    last.grad = torch.ones_like(last)
    modes = [part.training for part in model.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with torch.no_grad():
        run(model)
        assert not torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
    assert not frozen.requires_grad
    assert last.grad is not None
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state


def test_it_is_measured_once_and_again_when_it_changed(
    model: nn.Module, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(model)
    with monkeypatch.context() as patch:
        patch.setattr("bench.run.local.execute", lambda *_: pytest.fail("measured again"))
        assert run(model).equals(first)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert run(model).value[0] < first.value[0]


def test_a_function_is_known_by_the_models_that_it_uses(model: nn.Module, run: Callable[..., Any]) -> None:
    def plain(images: torch.Tensor) -> Any:
        return {"logits": model(images)}

    def made(other: nn.Module) -> Callable[[torch.Tensor], Any]:
        return lambda images: (other(images), "more")

    assert run(plain).value[0] == run(made(model)).value[0]
    before = identity_of(plain), identity_of(made(model)), identity_of(model)
    assert before == (identity_of(plain), identity_of(made(model)), identity_of(model))
    with torch.no_grad():
        next(model.parameters()).add_(1)
    after = identity_of(plain), identity_of(made(model)), identity_of(model)
    assert not set(before) & set(after)


class Scaled(nn.Module):
    """A model whose settings are no parameters."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Linear(3, 10)
        self.act: Callable[[torch.Tensor], torch.Tensor] = torch.relu

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.act(images.mean((2, 3)))) * self.scale
        return scores


def test_settings_that_are_no_parameters_belong_to_the_identity() -> None:
    one, two, hooked = Scaled(1.0), Scaled(2.0), Scaled(1.0)
    for other in (two, hooked):
        other.load_state_dict(one.state_dict())
    assert identity_of(hooked) == identity_of(one) != identity_of(two)
    hooked.register_forward_hook(lambda module, arguments, output: output + 1)
    assert identity_of(hooked) != identity_of(one)
    assert identity_of(nn.DataParallel(one)) == identity_of(one)
    one.eval()
    assert identity_of(nn.DataParallel(one)) == identity_of(one)


@pytest.mark.slow
def test_it_is_attacked_as_it_is(model: nn.Module, run: Callable[..., Any]) -> None:
    assert run(model, suites=["digits-pgd"], limit=3).value.notna().any()
    assert model.training


def test_other_precisions_stay_what_they_are(model: nn.Module, run: Callable[..., Any]) -> None:
    table = run(model.double(), name="double")
    assert table.value[0] > 0.5
    assert next(model.parameters()).dtype == torch.float64


def test_a_default_device_of_the_caller_is_the_models_alone(model: nn.Module, run: Callable[..., Any]) -> None:
    seen = []
    hook = model.register_forward_hook(lambda *_: seen.append(torch.empty(0).device.type))
    before = run(model, name="before").value[0]
    torch.set_default_device("meta")
    try:
        assert run(model, name="after", limit=21).value[0] > before - 0.1
        assert torch.empty(0).device.type == "meta"
    finally:
        torch.set_default_device("cpu")
        hook.remove()
    assert set(seen) == {"cpu", "meta"}


@pytest.mark.parametrize(
    "method", [method for method in ("fork", "spawn") if method in multiprocessing.get_all_start_methods()]
)
def test_processes_need_not_be_given_the_model(
    model: nn.Module, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("bench.machine.processes.start_method", lambda: method)
    seen = 0

    def local(picture: Image.Image) -> Any:  # which can't be pickled either
        nonlocal seen
        seen += 1
        return np.asarray(picture.resize((32, 32))).transpose(2, 0, 1) / 127.5 - 1

    table = run(model, transform=local, workers=2 if method == "fork" else 1, limit=5)
    assert table.value.notna().any()
    assert (seen > 10) == (method == "spawn")  # beside those of trying it out


# -- transforms ---------------------------------------------------------------------------------------------------

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
END = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]


@pytest.mark.parametrize(
    ("pipeline", "recipe"),
    [
        (transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *END]), (224, 256, "center")),
        (transforms.Compose([transforms.Resize(232), transforms.CenterCrop([224, 224]), *END]), (224, 232, "center")),
        (transforms.Compose([transforms.Resize((96, 96)), *END]), (96, 96, "squash")),
        (
            transforms.Compose(
                [
                    transforms.Resize(64),
                    transforms.CenterCrop(64),
                    transforms.PILToTensor(),
                    transforms.ConvertImageDtype(torch.float),
                    transforms.Normalize(MEAN, STD),
                ]
            ),
            (64, 64, "center"),
        ),
        (
            v2.Compose(
                [
                    v2.Resize(256),
                    v2.CenterCrop(224),
                    v2.ToImage(),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(MEAN, STD),
                ]
            ),
            (224, 256, "center"),
        ),
    ],
)
def test_pipelines_of_torchvision_are_crop_recipes(pipeline: Any, recipe: tuple[int, int, str]) -> None:
    fields = fields_of(pipeline, "pipeline")
    crop = bench.records.Checkpoint(name="x", class_space=api.select()[1][0].class_space, **fields).crop
    assert (crop.size, crop.resize, crop.mode) == recipe
    assert (fields["mean"], fields["std"]) == (MEAN, STD)
    assert "transform" not in fields


def _flipped(picture: Image.Image) -> Any:
    return PIPELINE(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.mark.parametrize(
    "pipeline",
    [
        transforms.Compose([transforms.ToTensor(), transforms.Resize((32, 32)), transforms.Normalize(MEAN, STD)]),
        v2.Compose([v2.Resize((32, 32), interpolation=v2.InterpolationMode.LANCZOS), *END]),
        transforms.Compose([transforms.Resize((32, 32)), transforms.Grayscale(3), *END]),
        _flipped,
        lambda picture: np.asarray(picture.resize((32, 32)), np.float32).transpose(2, 0, 1)[None] / 255,
    ],
    ids=["tensors", "lanczos", "grey", "function", "array"],
)
def test_any_other_callable_is_run_as_it_is(pipeline: Any, tmp_path: Path) -> None:
    from bench.datasets.crops import CropSource
    from bench.run.device import to_unit_range
    from tests.checkpoints.photographs import Files

    fields = fields_of(pipeline, "pipeline")
    assert fields["transform"]
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    coarse.resize((120, 90)).save(tmp_path / "picture.png")
    checkpoint = bench.records.Checkpoint(name="x", class_space=api.select()[1][0].class_space, **fields)
    source = CropSource(Files([tmp_path / "picture.png"]), checkpoint.crop)  # type: ignore[arg-type]
    made = torch.from_numpy(source.get(0)).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(fields[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    wanted = torch.as_tensor(pipeline(Image.open(tmp_path / "picture.png").convert("RGB"))).reshape(1, 3, 32, 32)
    assert torch.allclose((to_unit_range(made, "cpu") - mean) / std, wanted.float(), atol=1e-5)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (lambda picture: torch.randn(3, 32, 32), "gives the same numbers for black and for white|gives other numbers"),
        (transforms.Compose([transforms.RandomCrop(32), *END]), "gives other numbers each time"),
        (transforms.ToTensor(), r"gives numbers of the shape .*\(3, S, S\) with the same S"),
        (lambda picture: 1 / 0, "can't be run on a picture: ZeroDivisionError"),
        (lambda picture: torch.zeros(3, 32, 32), "gives the same numbers for black and for white"),
    ],
    ids=["noise", "random", "sizes", "broken", "constant"],
)
def test_a_transform_that_cannot_be_used_is_refused(pipeline: Any, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        fields_of(pipeline, "pipeline")


# -- refusals -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_told_is_asked_for(model: nn.Module, run: Callable[..., Any]) -> None:
    with pytest.raises(BenchError, match="does not say how images are made for it; give transform="):
        run(Scaled(1.0), transform=None)
    with pytest.raises(BenchError, match=r"these suites are of several \(digits, .*imagenet-1k"):
        run(model, suites=["digits", "imagenet"])
    with pytest.raises(BenchError, match="a module or another callable was wanted"):
        run("resnet50")
    with pytest.raises(RunError, match="must give logits of shape"):
        run(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7)))


def test_a_model_of_timm_says_itself_how_images_are_made(run: Callable[..., Any]) -> None:
    import timm

    model = timm.create_model("test_resnet", pretrained=False, num_classes=10)
    assert run(model, transform=None, limit=4).value.notna().any()


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.set_default_device("cpu")
