"""`bench train` makes weights and an entry that `--registry` takes."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import api
from bench.checkpoints import checkpoints, train
from bench.cli import main
from bench.errors import AbsentError, UnknownNameError
from bench.training.recipes import load_recipes


@pytest.fixture
def short(monkeypatch):
    """Two epochs of few images."""
    few = 'clip_norm = 1.0\n'
    text = recipes._own_text()
    monkeypatch.setattr(recipes, "_own_text", lambda: re.sub(r"(?m)^(warmup_)?epochs = .*$", "", text).replace(
        few, f"{few}epochs = 2\nwarmup_epochs = 1\n", 1))
    every = train._training_data
    monkeypatch.setattr(train, "_training_data", lambda *of: tuple(part[:256] for part in every(*of)))


@pytest.mark.parametrize("name", ["digits-vit", "digits-vit-conv", "digits-mixer-sam", "digits-resnet-sam"])
def test_a_trained_checkpoint_can_be_run(short, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    registry = train.train_recipe(name, tmp_path / "out", device="cpu", progress=lines.append)
    assert lines == [lines[0]]
    assert "epoch 2/2" in lines[0]
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=20).settings
    [entry] = api.register_file(registry)
    assert entry.sam == ("sam" if name.endswith("-sam") else "none")
    assert entry.family == name.removeprefix("digits-").removesuffix("-sam")
    result = api.run(api.select(["digits"])[0], [entry], settings)
    assert result.ok
    assert result.boards[0].checkpoints[0].name == f"{name}-retrained"


@pytest.fixture
def cifar10(tmp_path) -> Path:
    """A folder with 20 images a split, two of each class, in the hub's columns."""
    folder = tmp_path / "cifar10"
    folder.mkdir()
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        files = []
        for pixels in draws.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "png")
            files.append({"bytes": file.getvalue(), "path": None})
        pq.write_table(pa.table({"img": files, "label": [*range(10)] * 2}), folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("name", ["cifar10-resnet", "cifar10-resnet-adversarial"])
def test_data_of_ones_own_are_found_by_their_place(
    short, scratch_registries, cifar10, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, "--out", "out", "--device", "cpu", "--data", f"cifar10={cifar10}"]) == 0
    assert "bench run --registry" in capsys.readouterr().out
    flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "registry": f"out/{name}.toml"}
    settings = api.configure(**flags, data={"cifar10": str(cifar10)}).settings
    entry = checkpoints.get(f"{name}-retrained")
    assert entry.class_space.name == "cifar10"
    assert api.run(api.select(["cifar10"])[0], [entry], settings).ok


def test_places_may_stand_in_the_configuration(short, cifar10, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.toml").write_text(f"[data]\ncifar10 = {str(cifar10)!r}\n")
    assert main(["train", "cifar10-resnet", "--out", "out", "--device", "cpu"]) == 0


def test_data_that_are_not_here_are_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AbsentError, match=r"obtain it from .* give its folder with --data cifar10=FOLDER"):
        train.train_recipe("cifar10-resnet", tmp_path / "out", device="cpu", progress=print)
    assert main(["train", "cifar10-resnet", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "--data cifar10=FOLDER" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_images_keep_their_labels_and_pixels(cifar10):
    recipe = load_recipes()["cifar10-resnet"]
    images_NCHW, labels_N = train._training_data(recipe, {"cifar10": cifar10})
    assert images_NCHW.shape == (20, 3, 32, 32)
    assert labels_N.tolist() == [*range(10)] * 2
    first = pq.read_table(cifar10 / "train.parquet")["img"][0].as_py()["bytes"]
    assert np.array_equal(images_NCHW[0].permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(first))))


def test_every_epoch_is_told_of_where_they_take_long(short, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_SECONDS_A_LINE", 0)
    lines: list[str] = []
    train.train_recipe("digits-resnet", tmp_path, device="cpu", progress=lines.append)
    assert [line.split(", ")[0] for line in lines] == [f"digits-resnet: epoch {number}/2" for number in (1, 2)]


def test_from_python_nothing_but_a_recipe_and_a_folder_is_needed(short, tmp_path):
    assert api.train("digits-resnet", tmp_path) == tmp_path / "digits-resnet.toml"
    assert (tmp_path / "digits-resnet.safetensors").is_file()


def test_an_unknown_recipe_offers_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="'digits-vit-sam'"):
        train.train_recipe("digits-vit-sma", tmp_path, device="cpu", progress=print)
