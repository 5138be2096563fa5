"""`bench train` makes weights and an entry that `--registry` takes."""

from dataclasses import replace

import pytest

from bench import api, train
from bench.errors import UnknownNameError
from bench.training.recipes import load_recipes


@pytest.fixture
def short(monkeypatch):
    recipes = {name: replace(recipe, epochs=2, warmup_epochs=1) for name, recipe in load_recipes().items()}
    monkeypatch.setattr(train, "load_recipes", lambda: recipes)


@pytest.mark.parametrize("name", ["digits-vit", "digits-mixer-sam", "digits-resnet-sam"])
def test_a_trained_checkpoint_can_be_run(short, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    registry = train.train_recipe(name, tmp_path / "out", device="cpu", progress=lines.append)
    assert lines == [lines[0]]
    assert "epoch 2/2" in lines[0]
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=20).settings
    [entry] = api.register_file(registry)
    assert entry.sam == ("sam" if name.endswith("-sam") else "none")
    result = api.run(api.select(["digits"])[0], [entry], settings)
    assert result.ok
    assert result.boards[0].checkpoints[0].name == f"{name}-retrained"


def test_an_unknown_recipe_offers_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="'digits-vit-sam'"):
        train.train_recipe("digits-vit-sma", tmp_path, device="cpu", progress=print)
