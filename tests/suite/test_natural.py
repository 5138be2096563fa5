"""ImageNet-X, -Hard, -D and ObjectNet from files to scores, with one small network over ImageNet's classes."""

import importlib.util
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import api
from bench.board.printed import board_text
from bench.checkpoints import checkpoints
from bench.datasets import Library, class_spaces, imagenet_x
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError
from bench.run.available import with_data
from bench.store import Store
from bench.suite import suites
from rtbench_suites.imagenet import CLEAN
from tests.conftest import WNIDS
from tests.suite.toys import small_resnet

NAMES = ("alarm_clock", "banana", "bicycle", "chair")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    preferred = [409, 530, 954, 671, 444, 423, *map(IMAGENET.classes.index, WNIDS)]
    return small_resnet(tmp_path_factory.mktemp("registry"), preferred)


def picture(seed, kind="png"):
    file = io.BytesIO()
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8))
    coarse.resize((80, 72), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A few small files in the layout of each set."""
    root = tmp_path_factory.mktemp("natural")
    for seed, name in enumerate(NAMES * 2):
        for part in ("background", "texture", "material"):
            path = root / "d" / part / name / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(10 * len(part) + seed))
        path = root / "objectnet" / name / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        inside = Image.open(io.BytesIO(picture(seed)))
        framed = Image.new("RGB", (84, 76), (255, 0, 0))
        framed.paste(inside, (2, 2))
        framed.save(path)
    lists = [[409, 530], [954, 3], [5], [423, 559, 765]] * 2
    images = [{"bytes": picture(seed), "path": None} for seed in range(len(lists))]
    (root / "hard").mkdir()
    pq.write_table(pa.table({"image": images, "label": lists}), root / "hard" / "validation.parquet")
    for number in range(1, 17):
        path = root / "val" / WNIDS[number % 4] / f"ILSVRC2012_val_{number:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, "jpeg"))
    return {
        "imagenet": root / "val",
        "imagenet-hard": root / "hard",
        "imagenet-d": root / "d",
        "objectnet": root / "objectnet",
    }


@pytest.fixture
def run(registry, places, tmp_path, monkeypatch, scratch_registries):
    """A function that runs suites on the small checkpoint."""
    monkeypatch.chdir(tmp_path)

    def _run(*names):
        flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "registry": str(registry)}
        settings = api.configure(data={name: str(place) for name, place in places.items()}, **flags).settings
        result = api.run([suites.get(name) for name in names], [checkpoints.get("small")], settings)
        assert result.ok, result.failures
        return result

    return _run


def outcome(result, condition):
    [cell] = [cell for cell in result.plan.cells if cell.condition == condition]
    return Store(Path("runs")).read(cell.key)


def values(result, suite):
    [board] = [board for board in result.boards if board.suite.name == suite]
    return {row.score.column: row.estimate.value for row in board.rows if row.score.column}


def test_sets_with_several_right_labels_run_from_files_to_scores(run):
    result = run("imagenet-hard", "imagenet-d", "objectnet")
    for board in result.boards:
        found = values(result, board.suite.name)
        assert list(found) == [score.column for score in board.suite.board]
        for score in board.suite.board:
            if score.metric.name == "label_set_accuracy":
                one = outcome(result, score.conditions[0])
                hits = [p in set(s) for p, s in zip(one.columns["prediction"], one.columns["label_set"], strict=True)]
                assert found[score.column] == np.mean(hits)


def test_objectnets_logits_are_cut_to_its_classes_in_the_same_pass(run):
    result = run("objectnet")
    assert len(result.plan.cells) == 2  # of three protocols
    first = outcome(result, suites.get("objectnet").headline.conditions[0])
    predictions, sets = first.columns["objectnet/prediction"], first.columns["label_set"]
    hits = [prediction in set(labels) for prediction, labels in zip(predictions, sets, strict=True)]
    assert values(result, "objectnet")["top-1 of 125"] == np.mean(hits)
    assert set(predictions.tolist()) <= set(class_spaces.get("objectnet").indices)


def test_imagenet_x_needs_no_pass_of_its_own(run, monkeypatch):
    monkeypatch.setattr(suites, "_items", dict(suites._items))
    suites._items["imagenet-x"] = replace(suites.get("imagenet-x"), requires=None)
    factors = {f"{number:08d}": imagenet_x.FACTORS[number % 16] for number in range(2, 17)}
    monkeypatch.setattr(imagenet_x, "top_factors", lambda: factors)
    result = run("imagenet", "imagenet-x")
    [cell] = result.plan.cells
    assert cell.condition == CLEAN
    one = outcome(result, CLEAN)
    counted = np.array(["00000001" not in str(i) for i in one.ids])
    right = one.columns["correct"]
    assert values(result, "imagenet-x")["top-1"] == right[counted].mean()
    pose = np.array([factors.get(str(i)[-13:-5]) == "pose" for i in one.ids])
    if not right[counted].all():
        error = 1 - right[counted].mean()
        assert values(result, "imagenet-x")["pose"] == pytest.approx((1 - right[pose].mean()) / error)
    [board] = [board for board in result.boards if board.suite.name == "imagenet-x"]
    text = board_text(board, "text")
    assert "ResNet-50 (published)" in text
    assert "others' numbers, not measured here" in text


def test_without_its_annotations_imagenet_x_is_left_out_of_a_track_and_an_error_alone(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "imagenet_x" else find(name, *a))
    imagenet_x.top_factors.cache_clear()
    suite, library = suites.get("imagenet-x"), Library()
    left_out = {}
    assert with_data([suite], library, left_out) == ([], [])
    assert "pip install 'rtbench[imagenet-x]'" in left_out["imagenet-x"]
    with pytest.raises(AbsentError, match="annotations of ImageNet-X are not here"):
        with_data([suite], library)
