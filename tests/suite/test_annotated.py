"""A user's own set with attributes, several right labels and groups, from TOML to scores."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import api
from bench.checkpoints import checkpoints
from bench.datasets import datasets
from bench.datasets.groups import class_groups
from bench.store import Store
from bench.suite import suites

DIGITS = '[datasets.mine]\nfolder = "pictures"\nclasses = "digits"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch, scratch_registries):
    """Noise in folders of four digits, three pictures each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(class_groups, "_items", dict(class_groups._items))
    monkeypatch.setattr(class_groups, "_origin", dict(class_groups._origin))
    rng = np.random.default_rng(0)
    for digit, number in itertools.product(range(4), range(3)):
        path = tmp_path / "pictures" / str(digit) / f"{digit}{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path


def measured(folder: Path, text: str):
    """The board of the set's suite, and what the one checkpoint gave."""
    (folder / "mine.toml").write_text(text)
    flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "registry": "mine.toml"}
    settings = api.configure(**flags).settings
    result = api.run([suites.get("mine")], [checkpoints.get("digits-vit")], settings)
    assert result.ok, result.failures
    [board], [cell] = result.boards, result.plan.cells
    return board, Store(Path("runs")).read(cell.key), cell


def value(board, heading="", **at):
    [row] = [r for r in board.rows if r.score.column == heading and dict(r.score.at) == at and (heading or at)]
    return row.estimate.value


def forget():
    """What a new process would not have registered."""
    for registry in (suites, datasets, class_groups):
        registry._items.pop("mine", None)


def test_scores_are_taken_by_attribute_and_for_the_worst_group(folder):
    _, _, cell = measured(folder, DIGITS)
    rows = "".join(f"{d}{n}.png,{'sea' if n else 'land'}\n" for d in range(4) for n in range(3))
    (folder / "factors.csv").write_text(f"file,place\n{rows}")
    forget()
    annotated = DIGITS + 'attributes = "factors.csv"\ngroup_by = ["label", "place"]\n'
    board, outcome, again = measured(folder, annotated)
    assert again.key == cell.key  # nothing is measured again for what is written beside the images
    right = outcome.columns["correct"]
    sea = np.array([str(i)[-5] != "0" for i in outcome.ids])
    assert value(board, place="sea") == right[sea].mean()
    groups = [right[(outcome.labels == d) & (sea == s)].mean() for d in range(4) for s in (True, False)]
    assert board.suite.headline.column == "worst group"
    assert value(board, "worst group") == min(groups)


def test_kept_scores_are_made_anew_when_the_file_changes(folder):
    text = DIGITS + 'attributes = "factors.csv"\n'
    for turn in range(2):
        rows = "".join(f"{d}{n}.png,{'sea' if (n + turn) % 2 else 'land'}\n" for d in range(4) for n in range(3))
        (folder / "factors.csv").write_text(f"file,place\n{rows}")
        forget()
        board, outcome, _ = measured(folder, text)
        sea = np.array([(int(str(i)[-5]) + turn) % 2 == 1 for i in outcome.ids])
        [row] = [r for r in board.rows if dict(r.score.at) == {"place": "sea"}]
        assert (row.estimate.value, row.estimate.n) == (outcome.columns["correct"][sea].mean(), sea.sum())


def test_a_prediction_is_right_if_it_is_in_the_set(folder):
    _, outcome, _ = measured(folder, DIGITS)
    wrong = next(i for i in range(outcome.n) if not outcome.columns["correct"][i])
    name = str(outcome.ids[wrong])
    rows = [f"{name},{outcome.labels[wrong]}", f"{name},{outcome.columns['prediction'][wrong]}"]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows, ""]))
    forget()
    board, outcome, _ = measured(folder, DIGITS + 'labels = "labels.csv"\n')
    right = outcome.columns["correct"].mean()
    assert value(board, "top-1 in the set") == pytest.approx(right + 1 / outcome.n)
    assert value(board, "first label") == right
    assert "right if in the set of labels" in board.suite.protocol.name


def test_groups_are_predicted_by_models_of_finer_classes_and_are_part_of_the_key(folder):
    for digit, name in enumerate(("low", "high")):
        (folder / "pictures" / str(digit)).rename(folder / "pictures" / name)
    for digit in (2, 3):
        for path in (folder / "pictures" / str(digit)).iterdir():
            path.unlink()
        (folder / "pictures" / str(digit)).rmdir()
    keys = set()
    for groups in ({"low": [0, 1, 2, 3, 4], "high": [5, 6, 7]}, {"low": [0, 1, 2], "high": [5, 6, 7]}):
        (folder / "map.json").write_text(json.dumps(groups))
        forget()
        _, outcome, cell = measured(folder, DIGITS + 'groups = "map.json"\n')
        keys.add(cell.key)
        assert set(outcome.columns["prediction"].tolist()) <= {0, 1}
        assert cell.classes == 2
    assert len(keys) == 2
