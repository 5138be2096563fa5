"""`bench train` makes weights and an entry that `--registry` takes."""

import io
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import api
from bench.checkpoints import checkpoints, train, trainings
from bench.checkpoints.train import Training
from bench.cli import main
from bench.datasets import Library
from bench.errors import AbsentError, BenchError, UnknownNameError
from bench.training.recipes import recipe

SHORT = {"epochs": 2, "warmup_epochs": 1}
CHANGED = "-epochs-2-warmup_epochs-1-seed"
SET = ["--set", "epochs=2", "--set", "warmup_epochs=1", "--device", "cpu", "--workers", "0"]


@pytest.fixture(autouse=True)
def few(monkeypatch, scratch_registries):
    """Few images."""
    every = train._training_data
    monkeypatch.setattr(train, "_training_data", lambda of: tuple(part[:96] for part in every(of)))


def made(out: Path, *names: str, **others: Any) -> "list[train.Done]":
    return api.train(names or ["digits-resnet"], out, **{"changes": SHORT, "workers": 0, **others})


def registry(out: Path) -> dict[str, Any]:
    return tomllib.loads((out / "registry.toml").read_text())


@pytest.mark.parametrize("name", ["digits-vit", "digits-vit-conv", "digits-mixer-sam", "digits-resnet-gsam"])
def test_a_trained_checkpoint_can_be_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    [done] = made(tmp_path / "out", name, progress=lines.append)
    assert [line.split(",")[0] for line in lines] == [f"{name}{CHANGED}0: epoch 2/2"]
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=20).settings
    [entry] = api.register_file(done.registry)
    assert entry.sam == (name.split("-")[-1] if name.endswith("sam") else "none")
    assert (entry.recipe, entry.seed) == (f"{name}{CHANGED}".removesuffix("-seed"), 0)
    result = api.run(api.select(["digits"])[0], [entry], settings)
    assert result.ok
    assert result.boards[0].checkpoints[0].name == f"{name}{CHANGED}0"


def test_several_recipes_and_seeds_stand_in_one_registry_paired_by_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits-resnet", "digits-resnet-sam", *SET, "--seeds", "2", "--out", "zoo"]) == 0
    assert "bench run --registry zoo/registry.toml" in capsys.readouterr().out
    entries = registry(tmp_path / "zoo")
    plain, sharp = f"digits-resnet{CHANGED}", f"digits-resnet-sam{CHANGED}"
    assert list(entries) == [f"{plain}0", f"{plain}1", f"{sharp}0", f"{sharp}1"]
    assert [entry["seed"] for entry in entries.values()] == [0, 1, 0, 1]
    assert [entry["sam"] for entry in entries.values()] == ["none", "none", "sam", "sam"]
    partners = [entry["pairs_with"] for entry in entries.values()]
    assert partners == [f"{sharp}0", f"{sharp}1", f"{plain}0", f"{plain}1"]
    assert len({entry["weights_digest"] for entry in entries.values()}) == 4
    assert not list((tmp_path / "zoo").glob("*.pt"))


def test_a_partner_that_is_not_there_is_not_named(tmp_path):
    made(tmp_path, "digits-resnet-sam")
    [entry] = registry(tmp_path).values()
    assert "pairs_with" not in entry
    made(tmp_path, changes={**SHORT, "learning_rate": 0.01})
    assert not any("pairs_with" in entry for entry in registry(tmp_path).values())


def test_the_plain_one_is_paired_with_sam_before_other_ascents(tmp_path):
    made(tmp_path, "digits-resnet", "digits-resnet-gsam")
    name = f"digits-resnet{CHANGED}0"
    assert registry(tmp_path)[name]["pairs_with"] == f"digits-resnet-gsam{CHANGED}0"
    made(tmp_path, "digits-resnet-sam")
    assert {key: entry["pairs_with"] for key, entry in registry(tmp_path).items()} == {
        name: f"digits-resnet-sam{CHANGED}0",
        f"digits-resnet-gsam{CHANGED}0": name,
        f"digits-resnet-sam{CHANGED}0": name,
    }


def test_a_finished_training_is_not_done_again_unless_something_changed(tmp_path):
    [first] = made(tmp_path)
    [again] = made(tmp_path)
    assert first.anew
    assert not again.anew
    assert again.record == first.record
    (tmp_path / f"{first.record.name}.safetensors").write_bytes(b"damaged")
    [mended] = made(tmp_path)
    assert mended.anew
    assert mended.record == first.record
    # The same name, of other settings: as a later version of the recipe would be.
    path = tmp_path / f"{first.record.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "0"}))
    [changed] = made(tmp_path)
    assert changed.anew


def test_processes_make_the_same_weights_as_this_one(tmp_path):
    alone, together = (made(tmp_path / str(workers), seeds=[0, 1], workers=workers) for workers in (0, 2))
    assert [done.record.weights for done in alone] == [done.record.weights for done in together]


def test_two_commands_into_one_folder_lose_no_entry(tmp_path, monkeypatch):
    [done] = made(tmp_path / "other")
    written = trainings.replacing
    waiting = [replace(done.record, name="other-seed0")]

    def another_command_between(path, **others):
        if path.name == trainings.REGISTRY and waiting:
            (tmp_path / "out/other-seed0.safetensors").write_bytes(b"")
            record = waiting.pop()
            (tmp_path / "out/other-seed0.json").write_text(json.dumps(trainings.asdict(record)))
        return written(path, **others)

    monkeypatch.setattr(trainings, "replacing", another_command_between)
    made(tmp_path / "out")
    assert list(registry(tmp_path / "out")) == [f"digits-resnet{CHANGED}0", "other-seed0"]


def test_a_registry_of_ones_own_is_not_replaced(tmp_path):
    (tmp_path / "registry.toml").write_text("[mine]\n")
    with pytest.raises(BenchError, match=r"registry.toml was not written by `bench train`.* give another --out"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["registry.toml"]


def test_a_training_that_diverges_is_told_of_and_stands_in_no_registry(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "digits-resnet", *SET, "--set", "learning_rate=1e30", "--set", "clip_norm=1e30", "--out", "zoo"]
    for _ in "again":
        assert main(words) == 1
        error = capsys.readouterr().err
        assert "is nan in epoch 1, at a learning rate of 1e+30; lower learning_rate." in error
    assert registry(tmp_path / "zoo") == {}
    assert not list((tmp_path / "zoo").glob("*.safetensors"))


def test_layer_scale_and_the_moving_average_are_said_in_the_entry(tmp_path):
    given = replace(recipe("digits-vit", {**SHORT, "layer_scale": 1e-4, "ema": 0.9}), name="scaled")
    [done] = train.train_all([Training(recipe=given, out=tmp_path)], workers=0)
    assert registry(tmp_path)["scaled-seed0"]["arch_args"] == {"layer_scale": 1e-4}
    assert "# The weights are their moving average, of decay 0.9." in done.registry.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set epocs=2", "no key of recipe 'digits-vit' 'epocs'. Did you mean 'epochs'"),
        ("--set epochs=two", "'digits-vit' wants epochs to be a whole number of at least 1, it is 'two'"),
        ("--set ascent=climb", "ascent to be one of none, sam, gsam, asam, looksam, it is 'climb'"),
        ("--set rho=0.1", "ascent none, to which rho means nothing"),
        ("--set epochs", "--set wants NAME=VALUE"),
        ("--set architecture=vti", "lacks optimizer, learning_rate, weight_decay, for nothing stands in the file"),
        (
            "--set architecture=vti --set optimizer=sgd --set learning_rate=1 --set weight_decay=0 --set epochs=20",
            "no architecture 'vti'. Did you mean 'vit'",
        ),
        ("--set architecture=resnet --set layer_scale=1e-4", "architecture 'resnet' takes no layer_scale"),
        ("--set dataset=digit", "no dataset 'digit'. Did you mean 'digits'"),
        ("--seeds 0", "--seeds must be at least 1, not 0"),
        ("--seed -1", "--seed must be at least 0, not -1"),
        ("--workers -1", "--workers must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits-vit", "--device", "cpu", "--out", "zoo", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "zoo/registry.toml").exists()


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
def test_data_of_ones_own_are_found_by_their_place(scratch_registries, cifar10, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, *SET, "--out", "out", "--data", f"cifar10={cifar10}"]) == 0
    flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "registry": "out/registry.toml"}
    settings = api.configure(**flags, data={"cifar10": str(cifar10)}).settings
    entry = checkpoints.get(f"{name}{CHANGED}0")
    assert entry.class_space.name == "cifar10"
    assert api.run(api.select(["cifar10"])[0], [entry], settings).ok


def test_places_may_stand_in_the_configuration(cifar10, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.toml").write_text(f"[data]\ncifar10 = {str(cifar10)!r}\n")
    assert main(["train", "cifar10-resnet", *SET, "--out", "out"]) == 0


def test_data_that_are_not_here_are_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AbsentError, match=r"obtain it from .* give its folder with --data cifar10=FOLDER"):
        made(tmp_path / "out", "cifar10-resnet")
    assert main(["train", "cifar10-resnet", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "--data cifar10=FOLDER" in error
    assert len(error.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_images_keep_their_labels_and_pixels(cifar10):
    images_NCHW, labels_N = train._training_data(Library({"cifar10": cifar10}).open("cifar10", "train"))
    assert images_NCHW.shape == (20, 3, 32, 32)
    assert labels_N.tolist() == [*range(10)] * 2
    first = pq.read_table(cifar10 / "train.parquet")["img"][0].as_py()["bytes"]
    assert np.array_equal(images_NCHW[0].permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(first))))


def test_every_epoch_is_told_of_where_they_take_long(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_SECONDS_A_LINE", 0)
    lines: list[str] = []
    made(tmp_path, progress=lines.append)
    assert [line.split(", ")[0] for line in lines] == [f"digits-resnet{CHANGED}0: epoch {n}/2" for n in (1, 2)]


def test_an_unknown_recipe_offers_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="'digits-vit-sam'"):
        made(tmp_path, "digits-vit-sma")
