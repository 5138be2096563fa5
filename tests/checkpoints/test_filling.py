"""Arrays under other names than the module's: by the entry's own word, or as usual tools write them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.checkpoints.loading import load, model_digest
from bench.checkpoints.toml_file import read_registry
from bench.datasets.spaces import DIGITS
from bench.errors import BenchError
from bench.records import Checkpoint, ClassSpace, Params

CLASSES = ClassSpace(name="trio", classes=("a", "b", "c"))
BUILDERS = __name__


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, BUILDERS, sys.modules[__name__])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.stem(images).mean((2, 3)))
        return scores


def net() -> nn.Module:
    return Net()


@pytest.fixture
def arrays() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().state_dict()


def entry(path: Path, **fields: object) -> Checkpoint:
    checkpoint = Checkpoint(
        name="x", class_space=CLASSES, builder=f"{BUILDERS}:net", weights=str(path), input_size=8, mean=(0, 0, 0)
    )
    return replace(checkpoint, **fields)  # type: ignore[arg-type]


def loaded(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    model = load(checkpoint, "cpu").model
    assert isinstance(model, nn.Module)
    return dict(model.state_dict())


@pytest.mark.parametrize("before", ["model.", "module.model.", "_orig_mod.model.", "module._orig_mod."])
def test_what_stands_before_every_name_is_taken_off(
    tmp_path: Path, arrays: dict[str, torch.Tensor], before: str
) -> None:
    wrapped = {f"{before}{name}": array for name, array in arrays.items()}
    torch.save({"state_dict": wrapped, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "w.pt")
    assert all(torch.equal(arrays[name], array) for name, array in loaded(entry(tmp_path / "w.pt")).items())


def test_an_entry_says_what_names_begin_with(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    others = {name.replace("stem.", "backbone.conv.").replace("head.", "fc_"): array for name, array in arrays.items()}
    save_file(others, tmp_path / "w.safetensors")
    renamed = entry(tmp_path / "w.safetensors", rename=Params({"backbone.conv.": "stem.", "fc_": "head."}))
    assert all(torch.equal(arrays[name], array) for name, array in loaded(renamed).items())
    assert model_digest(renamed) != model_digest(replace(renamed, rename=Params()))
    with pytest.raises(BenchError, match=r"has no names that begin with nowhere\., which rename has"):
        load(replace(renamed, rename=Params({"nowhere.": "stem."})), "cpu")
    with pytest.raises(BenchError, match=r"holds two arrays that rename calls stem\."):
        load(replace(renamed, rename=Params({"backbone.conv.": "stem.", "fc_": "stem."})), "cpu")


def test_an_entry_says_that_arrays_are_in_order(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    torch.save({f"layer{place}": array for place, array in enumerate(arrays.values())}, tmp_path / "w.pt")
    ordered = entry(tmp_path / "w.pt", in_order=True)
    assert all(torch.equal(arrays[name], array) for name, array in loaded(ordered).items())
    torch.save(dict(reversed(arrays.items())), tmp_path / "w.pt")
    with pytest.raises(
        BenchError, match=r"holds head\.bias of 3 in the place of stem\.weight of 4 x 3 x 3 x 3, in order"
    ):
        load(ordered, "cpu")
    torch.save({"one": arrays["head.bias"]}, tmp_path / "w.pt")
    with pytest.raises(BenchError, match="holds 1 arrays, and in order 4 were wanted"):
        load(ordered, "cpu")
    save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(BenchError, match="is safetensors, which sorts its arrays, so in_order can't be"):
        load(entry(tmp_path / "w.safetensors", in_order=True), "cpu")


WHOLE = 'input_size = 8\ncrop_ratio = 1.0\ninterpolation = "bilinear"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n'


def read(folder: Path, text: str) -> Checkpoint:
    (folder / "mine.toml").write_text(text)
    return read_registry(folder / "mine.toml", lambda name: {"digits": DIGITS}[name])[0]


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    text = f'[x]\narch = "resnet18"\nweights = "w.pt"\ndataset = "digits"\n{WHOLE}'
    written = read(tmp_path, f'{text}crop_mode = "squash"\nin_order = true\nrename = {{ "fc." = "head." }}\n')
    assert (written.crop_mode, written.in_order, dict(written.rename)) == ("squash", True, {"fc.": "head."})
    assert written.crop.mode == "squash"
    for line, message in (
        ("rename = {}", "rename must be a table of what names of arrays begin with"),
        ("rename = { a = 1 }", "rename must be a table of what names of arrays begin with"),
        ("in_order = 1", "in_order must be true or false"),
        ('crop_mode = "middle"', "crop_mode must be one of center, squash, border"),
    ):
        with pytest.raises(BenchError, match=message):
            read(tmp_path, f"{text}{line}\n")


def test_an_onnx_file_needs_no_architecture_and_all_of_how_it_is_fed(tmp_path: Path) -> None:
    head = '[x]\nweights = "w.onnx"\ndataset = "digits"\n'
    assert read(tmp_path, f"{head}{WHOLE}").loader.endswith("from_onnx:load")
    with pytest.raises(
        BenchError, match=r"leaves out crop_ratio, interpolation, mean, std, which an ONNX file does not"
    ):
        read(tmp_path, f"{head}input_size = 8\n")
    with pytest.raises(BenchError, match="an architecture and weights in one; take arch out"):
        read(tmp_path, f'{head}arch = "resnet18"\n{WHOLE}')
