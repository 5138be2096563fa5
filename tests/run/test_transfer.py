"""Transfer through the engine: features are kept by all that decides them, nothing leaks from the test split, and every
mistake is one sentence."""

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench import api
from bench.board.leaderboard import Want
from bench.board.tables import long_table
from bench.checkpoints import checkpoints
from bench.datasets import Dataset, class_spaces, datasets, subset_by_class
from bench.errors import AbsentError, BenchError
from bench.measure import Labelled, MeasureEntry, Predicted, measures
from bench.measure.probes import joined
from bench.progress import Silent
from bench.records import ClassSpace, Data, Images, Measurement, Params, Perturbation
from bench.run import probing
from bench.run.feature_cache import FeatureCache, feature_sets
from bench.run.workbench import remove_old_states
from bench.store import Store
from bench.suite import suites
from bench.suite.transfer import Learning
from bench.transfer.shots import shot_rows

LETTERS = Data(dataset="letters", fit=("train",))
RESNET = "digits-resnet"


class Pictures:
    """Made-up samples, 16 × 16 pixels: a class is a brightness."""

    def __init__(self, labels, *, seed: int = 0, prefix: str = "s", noise: float = 40.0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.ids = np.array([f"{prefix}{row:04d}" for row in range(len(self.labels))])
        bright = 20 + 40 * self.labels[:, None, None, None]
        self.images = np.clip(bright + rng.normal(0, noise, (len(self.labels), 16, 16, 3)), 0, 255).astype(np.uint8)
        self.sizes = np.full(len(self.labels), 768)

    def read(self, index):
        return self.images[index]

    def stamp(self, index):
        return int(self.images[index].astype(np.int64).sum()) * 7919 + index


TRAIN, TEST = np.arange(120) % 4, np.arange(60) % 4


@pytest.fixture
def shades(scratch_registries):
    """Registers made-up data sets of four classes."""
    space = ClassSpace(name="shades", classes=("black", "dark", "light", "white"))

    def register(name: str, train, test, **more) -> Data:
        splits = {"train": train, "test": test, **more}

        def open_split(split, place):
            return splits[split]

        fit = ("train", *more)
        datasets.register(
            Dataset(name=name, class_space=space, open=open_split, splits=("test", *fit), fit=fit, source="made up")
        )
        return Data(dataset=name, fit=fit)

    return register


def usual(shades, name: str = "shades") -> Data:
    return shades(name, Pictures(TRAIN), Pictures(TEST, seed=1, prefix="t"))


def way(name: str) -> Learning:
    """The Learning of a registered suite."""
    return suites.get(name).covering.args[0]


def suite_of(name: str, data: Data, **settings: str):
    return suites.get(name).over([data.dataset]).changed(settings)


def run(suite, tmp_path: Path, *names: str, **flags):
    entries = [checkpoints.get(name) for name in names or (RESNET,)]
    config = api.configure(
        **{"store": str(tmp_path / "runs"), "cache": str(tmp_path / "cache"), "workers": 0, "device": "cpu", **flags}
    )
    return api.run([suite], entries, config.settings)


def columns(result, tmp_path: Path, store: str = "runs") -> dict:
    """The outcome of the only cell."""
    (cell,) = result.plan.cells
    return Store(tmp_path / store).read(cell.key).columns


@pytest.fixture
def passes(monkeypatch):
    """Counts the images that models are shown for their features."""
    shown = []
    original = probing.run_in_chunks

    def counted(measure, model, images, *rest, **more):
        shown.append(len(images))
        return original(measure, model, images, *rest, **more)

    monkeypatch.setattr(probing, "run_in_chunks", counted)
    return shown


# -- features are kept, by all that decides them -------------------------------------------------------------


def test_features_are_extracted_once_for_all_protocols(shades, tmp_path, passes):
    data = usual(shades)
    assert run(suite_of("knn", data), tmp_path).ok
    assert sum(passes) == 180
    assert run(suite_of("linear-probe", data), tmp_path, store=str(tmp_path / "other")).ok
    assert run(suite_of("few-shot", data), tmp_path).ok
    assert sum(passes) == 180


def test_one_pass_over_the_images_serves_all_checkpoints(shades, tmp_path, monkeypatch):
    data, read = usual(shades), []
    original = Pictures.read
    monkeypatch.setattr(Pictures, "read", lambda self, index: read.append(index) or original(self, index))
    names = ("digits-resnet", "digits-resnet-sam", "digits-vit")
    assert run(suite_of("knn", data), tmp_path, *names).ok
    # Once to tell them from others of their size, and one of each split to see how large its images are.
    assert len(read) == 180 + 180 + 2


@pytest.mark.parametrize("change", ["crop", "token", "weights", "split", "test images"])
def test_kept_features_miss_when_what_decides_them_changes(shades, tmp_path, passes, change):
    data, name = usual(shades), RESNET
    assert run(suite_of("knn", data), tmp_path).ok
    passes.clear()
    suite, wanted = suite_of("knn", data), 180
    if change == "crop":
        suite = suite_of("knn", data, crop_ratio="0.8")
    elif change == "token":
        suite = suite_of("knn", data, token="mean")
    elif change == "weights":
        entry, changed = checkpoints.get(RESNET), tmp_path / "changed.safetensors"
        arrays = load_file(entry.weights)
        arrays["conv1.0.weight"] = arrays["conv1.0.weight"] + 0.01
        save_file(arrays, changed)
        checkpoints.register(replace(entry, name="changed", weights=str(changed), weights_digest=""))
        name = "changed"
    elif change == "split":
        other = shades("more", Pictures([*TRAIN, 1, 2]), Pictures(TEST, seed=1, prefix="t"))
        suite, wanted = suite_of("knn", other), 122 + 60
    else:
        other = shades("other", Pictures(TRAIN), Pictures(TEST, seed=2, prefix="u"))
        suite, wanted = suite_of("knn", other), 180
    assert run(suite, tmp_path, name).ok
    assert sum(passes) == wanted


def test_every_part_of_a_feature_sets_identity_is_in_its_files_name(shades, tmp_path):
    (cell,) = run(suite_of("knn", usual(shades)), tmp_path).plan.cells
    features = feature_sets(cell)["test"]
    others = {
        "model": "0" * 64,
        "input_size": 64,
        "dataset": "letters",
        "split": "validation",
        "fingerprint": "f" * 64,
        "n": 59,
        "by_class": True,
        "crop": replace(features.crop, ratio=0.9),
        "token": "cls",
        "device": "cuda",
        "precision": "bf16",
    }
    assert others.keys() == set(features.__slots__)
    names = {features.file, *(replace(features, **{name: value}).file for name, value in others.items())}
    assert len(names) == 1 + len(others)
    assert replace(features, crop=replace(features.crop, interpolation="bilinear")).file not in names


def test_features_of_another_version_of_the_code_miss(shades, tmp_path, passes, monkeypatch):
    data = usual(shades)
    assert run(suite_of("knn", data), tmp_path).ok
    monkeypatch.setattr("bench.run.feature_cache.FEATURES_VERSION", 99)
    assert run(suite_of("knn", data), tmp_path, store=str(tmp_path / "other")).ok
    assert sum(passes) == 360


@pytest.mark.parametrize("fault", ["cut short", "a flipped bit", "empty", "another array"])
def test_damaged_features_are_extracted_anew(shades, tmp_path, passes, fault):
    data = usual(shades)
    first = run(suite_of("knn", data), tmp_path)
    (path,) = (tmp_path / "cache" / "features").glob("*_train_*")
    content = path.read_bytes()
    flipped = bytes([content[400] ^ 4])
    path.write_bytes(
        {
            "cut short": content[:-50],
            "a flipped bit": content[:400] + flipped + content[401:],
            "empty": b"",
            "another array": b"\x93NUMPY nothing",
        }[fault]
    )
    passes.clear()
    again = run(suite_of("knn", data), tmp_path, store=str(tmp_path / "other"))
    assert again.ok
    assert sum(passes) == 120
    assert path.read_bytes() == content
    for name, column in columns(first, tmp_path).items():
        np.testing.assert_array_equal(columns(again, tmp_path, "other")[name], column)


def test_a_run_without_a_cache_keeps_nothing(shades, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run(suite_of("knn", usual(shades)), tmp_path, cache="off").ok
    assert not list(tmp_path.rglob("*.features"))


def test_what_a_killed_run_left_is_removed_once_it_is_old(tmp_path, shades):
    left = tmp_path / "cache" / "features" / f".{'0' * 32}~1~{'0' * 16}~.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    young = left.with_name(left.name.replace("~1~", "~2~"))
    young.write_bytes(b"half")
    os.utime(left, (time.time() - 9999,) * 2)
    assert run(suite_of("knn", usual(shades)), tmp_path).ok
    assert not left.exists()
    assert young.exists()


def test_the_least_recently_used_features_make_room(shades, tmp_path):
    first, second = usual(shades, "first"), shades("second", Pictures(TRAIN, seed=5), Pictures(TEST, seed=6))
    assert run(suite_of("knn", first), tmp_path, cache_budget_gb=5e-5).ok  # 54 kB
    kept = FeatureCache(tmp_path / "cache", 10_000)
    assert {entry.dataset for entry in kept.entries()} == {"first"}
    assert run(suite_of("knn", second), tmp_path, cache_budget_gb=5e-5).ok
    assert {entry.dataset for entry in kept.entries()} == {"second"}


KILLED = """
import os, signal
from dataclasses import replace
from bench import api
from bench.checkpoints import checkpoints
from bench.records import Data
from bench.run import feature_cache, probing
from bench.suite import suites

feature_cache._SECONDS = 0.0  # a part a batch
original, count = probing.run_in_chunks, 0

def killed(*given, **more):
    global count
    count += 1
    rows = original(*given, **more)
    if count == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows

probing.run_in_chunks = killed
knn = suites.get("knn")
way = knn.covering.args[0]
scores = way.scores(Data(dataset="letters", fit=("train",)), "top1", way.settings, prefix="letters")
suite = replace(knn, name="letters-knn", scores=tuple(scores), covering=None)
settings = api.configure(store="{store}", cache="{cache}", workers=0, device="cpu", batch_size="64").settings
assert api.run([suite], [checkpoints.get("digits-resnet")], settings).ok
print(count)
"""


def features_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "features").iterdir()}


def test_a_killed_extraction_goes_on_with_the_bytes_of_an_undisturbed_one(tmp_path, warm):
    def extract(kill: int, cache: str):
        return warm.fork(KILLED.format(kill=kill, store=f"runs-{cache}", cache=cache), cwd=tmp_path).wait()

    undisturbed = extract(0, "whole")
    assert undisturbed.status == 0, undisturbed.err
    assert extract(20, "cache").status == -9  # 1,040 test images are 17 batches, 1,560 to learn from 25
    left = [name.split("_")[:3] for name in features_of(tmp_path / "cache") if name.endswith(".features")]
    assert left == [["letters", "test", "1040"]]
    parts = sorted((tmp_path / "cache/features").glob("*.part"))
    assert [path.name.rpartition("_b64_")[2] for path in parts] == ["0-64.part", "64-128.part"][: len(parts)]
    again = extract(0, "cache")
    assert again.status == 0, again.err
    assert int(again.out.split()[-1]) == 25 - len(parts) < 25
    assert features_of(tmp_path / "cache") == features_of(tmp_path / "whole")


@pytest.fixture
def stopped(shades, tmp_path, monkeypatch):
    """An extraction in batches of 16 that ended with an error at the seventh of 120 images to learn from."""
    monkeypatch.setattr("bench.run.feature_cache._SECONDS", 0.0)
    data, original = usual(shades), probing.run_in_chunks

    def ending(measure, model, images, *rest, **more):
        ending.left -= 1
        if ending.left < 0:
            raise KeyboardInterrupt
        return original(measure, model, images, *rest, **more)

    ending.left = 4 + 6
    with monkeypatch.context() as patched:
        patched.setattr(probing, "run_in_chunks", ending)
        with pytest.raises(KeyboardInterrupt):
            run(suite_of("knn", data), tmp_path, batch_size="16")
    return data


def parts_in(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/features").glob("*.part"), key=lambda path: int(path.stem.split("-")[-1]))


def test_a_stopped_extraction_goes_on_and_says_so(stopped, tmp_path, passes, capsys):
    assert len(parts_in(tmp_path)) == 6
    kept = api.list_cache(api.configure(cache=str(tmp_path / "cache")).settings)
    assert kept["crop"].tolist() == ["features", "features, in part"]

    class Told(Silent):
        notes, shown = [], 0

        def note(self, text):
            self.notes.append(text)

        def advance(self, count, doing):
            Told.shown += count

    config = api.configure(
        store=str(tmp_path / "runs"), cache=str(tmp_path / "cache"), workers=0, device="cpu", batch_size="16"
    )
    result = api.run([suite_of("knn", stopped)], [checkpoints.get(RESNET)], config.settings, Told())
    assert result.ok
    assert passes == [16, 8]
    assert Told.shown == result.plan.images
    assert any("features of 96 of 120 images are kept of a run that was stopped" in note for note in Told.notes)
    assert not parts_in(tmp_path)


@pytest.mark.parametrize("fault", ["cut short", "a flipped bit", "empty", "gone"])
def test_damaged_parts_are_extracted_anew(stopped, tmp_path, passes, fault):
    path = parts_in(tmp_path)[2]
    content = path.read_bytes()
    harm = {"cut short": content[:-50], "a flipped bit": content[:400] + bytes([content[400] ^ 4]) + content[401:]}
    path.write_bytes(harm.get(fault, b""))
    if fault == "gone":
        path.unlink()
    assert run(suite_of("knn", stopped), tmp_path, batch_size="16").ok
    assert passes == [16, 16, 8]
    whole = features_of(tmp_path / "cache")
    apart = {"cache": str(tmp_path / "other"), "store": str(tmp_path / "others")}
    assert run(suite_of("knn", stopped), tmp_path, batch_size="16", **apart).ok
    assert whole == features_of(tmp_path / "other")


def test_parts_in_other_batches_are_not_mixed(stopped, tmp_path, passes):
    assert run(suite_of("knn", stopped), tmp_path, batch_size="32").ok
    assert sum(passes) == 120
    cache = FeatureCache(tmp_path / "cache", 10**9)
    cache.write([], 32)
    assert not parts_in(tmp_path)  # nobody needs them any more


def test_parts_count_against_the_budget_and_are_cleared(stopped, tmp_path, passes):
    cache = FeatureCache(tmp_path / "cache", 10_000)
    assert sum(entry.bytes for entry in cache.entries()) == sum(map(len, features_of(tmp_path / "cache").values()))
    cache.write([], 16)
    assert sum(map(len, features_of(tmp_path / "cache").values())) <= 10_000
    cache.clear()
    assert not features_of(tmp_path / "cache")


@pytest.mark.parametrize("name", ["mine.features", "letters_test_12.features", "x.part", "{whole}_notes.part"])
def test_files_of_others_among_the_features_are_left_alone(stopped, tmp_path, name):
    [whole] = (tmp_path / "cache/features").glob("*_test_*")
    foreign = whole.with_name(name.format(whole=whole.stem))
    with foreign.open("wb") as file:
        np.save(file, np.zeros(3))
    other = whole.with_name(whole.name.replace("_test_", "_text_"))  # by its name ours, but no array
    other.write_text("mine")
    for cache in (FeatureCache(tmp_path / "cache", 0), FeatureCache(tmp_path / "cache", 10**9)):
        cache.write([], 16)
        cache.clear()
    assert set(features_of(tmp_path / "cache")) == {foreign.name, other.name}


def test_states_of_cells_are_removed_and_nothing_else(tmp_path):
    for name in ("0" * 32, "notes"):
        folder = tmp_path / "unfinished" / name
        folder.mkdir(parents=True)
        (folder / "fine-tune.pt").write_text("")
        for path in (folder / "fine-tune.pt", folder):
            os.utime(path, (0, 0))
    remove_old_states(Store(tmp_path))
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["notes"]


# -- nothing leaks from the test split -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["knn", "linear-probe"])
def test_a_poisoned_test_split_changes_nothing_that_is_chosen(shades, tmp_path, name):
    rng = np.random.default_rng(7)
    clean = shades("clean", Pictures(TRAIN), Pictures(TEST, seed=1, prefix="t"))
    poisoned = shades("poisoned", Pictures(TRAIN), Pictures(rng.permutation(TEST), seed=9, prefix="t", noise=200))
    parts = [columns(run(suite_of(name, data), tmp_path), tmp_path) for data in (clean, poisoned)]
    chosen = [{k: v[0] for k, v in part.items() if k.startswith(("chosen", "validation"))} for part in parts]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 2
    assert parts[0]["correct"].mean() > parts[1]["correct"].mean()  # the poison does harm where it may


@pytest.mark.parametrize("name", ["knn", "linear-probe", "few-shot"])
def test_a_test_image_is_predicted_alike_whatever_others_there_are(shades, tmp_path, name):
    settings = {"shots": "5", "draws": "1"} if name == "few-shot" else {}
    suite = suite_of(name, usual(shades), **settings)
    (whole,), (part,) = (run(suite, tmp_path, limit=limit).plan.cells for limit in (None, 13))
    every, some = (Store(tmp_path / "runs").read(cell.key) for cell in (whole, part))
    place = {i: row for row, i in enumerate(every.ids)}
    rows = [place[i] for i in some.ids]
    assert len(rows) == 13
    np.testing.assert_array_equal(every.columns["prediction"][rows], some.columns["prediction"])


def test_measures_are_given_no_label_of_the_test_split(shades, tmp_path, monkeypatch):
    given = {}

    class Spy:
        def __init__(self, token="pre_logits"):
            self.token = token

        def run(self, train, validation, test_ND, classes, seed):
            given.update(train=train, validation=validation, test=test_ND)
            return Predicted(scores_NK=torch.zeros(len(test_ND), classes), logits=False, chosen={})

    monkeypatch.setattr("bench.measure.probes.Knn", Spy)
    measures.register(
        MeasureEntry(
            name="spy", version=1, interface="features", factory="bench.measure.probes:Knn", transfer=True, about="-"
        )
    )
    learning = replace(way("knn"), name="spy", measurements=lambda s: {"": (Measurement(name="spy"),)}, chosen=())
    data = usual(shades)
    assert run(learning.suite(track="transfer").over([data.dataset]), tmp_path).ok
    assert isinstance(given["test"], torch.Tensor)
    train, validation = set(given["train"].ids), set(given["validation"].ids)
    assert len(train) + len(validation) == 120
    assert not train & validation
    assert not (train | validation) & {f"t{row:04d}" for row in range(60)}


def test_an_official_validation_split_is_used_as_it_is(shades, tmp_path, monkeypatch):
    seen = {}
    original = probing._held_out
    monkeypatch.setattr(probing, "_held_out", lambda every: seen.setdefault("held", True) and original(every))
    data = shades("official", Pictures(TRAIN), Pictures(TEST, seed=1), validation=Pictures(TEST, seed=3, prefix="v"))
    result = run(suite_of("knn", data), tmp_path)
    assert result.ok
    assert not seen
    (cell,) = result.plan.cells
    assert cell.fit_n == (120, 60)


# -- right numbers, whatever the batch -------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["shades", pytest.param("letters", marks=pytest.mark.slow)])
def test_predictions_hardly_depend_on_the_batch_size(tmp_path, shades, data):
    learning, probe = way("linear-probe"), suites.get("linear-probe")
    data = LETTERS if data == "letters" else usual(shades)
    scores = learning.scores(data, "top1", learning.settings, prefix="letters")
    suite = replace(probe, name="letters-probe", scores=tuple(scores), covering=None)
    found = []
    for size in ("64", "17"):
        result = run(suite, tmp_path / size, batch_size=size)
        assert result.ok
        found.append(columns(result, tmp_path / size)["prediction"])
    assert np.mean(found[0] != found[1]) <= 0.002


def test_the_metric_is_the_one_that_the_data_sets_authors_use(shades, tmp_path):
    data = usual(shades)
    uneven = Pictures([0] * 40 + [1] * 10 + [2] * 5 + [3] * 5, seed=1, prefix="t")
    space = datasets.get("shades").class_space
    datasets.register(
        Dataset(
            name="uneven",
            class_space=space,
            open=lambda split, place: Pictures(TRAIN) if split == "train" else uneven,
            splits=("test", "train"),
            fit=("train",),
            metric="mean_per_class_accuracy",
        )
    )
    result = run(suite_of("knn", replace(data, dataset="uneven")), tmp_path)
    headline = next(row for row in result.boards[0].rows if row.score is result.boards[0].suite.headline)
    correct = columns(result, tmp_path)["correct"]
    wanted = np.mean([correct[uneven.labels == label].mean() for label in range(4)])
    assert headline.estimate.value == pytest.approx(wanted)


def test_a_mean_over_data_sets_is_the_mean_of_their_scores(shades, tmp_path):
    usual(shades, "one")
    shades("two", Pictures(TRAIN, seed=3, noise=150), Pictures(TEST, seed=4, noise=150))
    suite = suites.get("knn").over(["one", "two"])
    result = run(suite, tmp_path)
    values = {row.score.column: row.estimate.value for row in result.boards[0].rows if row.score.column}
    assert list(values) == ["mean of 2", "one", "two"]
    assert values["mean of 2"] == pytest.approx((values["one"] + values["two"]) / 2)
    assert "over one+two" in result.boards[0].protocol


# -- mistakes are one sentence ---------------------------------------------------------------------------------


def failure(suite, tmp_path, *names, **flags) -> str:
    result = run(suite, tmp_path, *names, **flags)
    assert not result.ok
    messages = {failure.message for failure in result.failures} | set(result.plan.unavailable.values())
    assert len(messages) == 1
    return messages.pop()


def test_a_missing_training_split_is_named(scratch_registries, tmp_path):
    (tmp_path / "test" / "apple").mkdir(parents=True)
    flags = {"data": {"cifar100": str(tmp_path)}}
    with pytest.raises(AbsentError, match="suite 'knn' cannot be measured: .*"):
        run(suites.get("knn"), tmp_path, **flags)


def test_without_any_data_set_a_suite_says_what_it_takes(tmp_path):
    with pytest.raises(AbsentError, match=r"takes any of cars, cifar10, .* --data NAME=FOLDER \(`bench data list`"):
        run(suites.get("knn"), tmp_path)


def test_classes_without_training_samples_are_named(shades, tmp_path):
    data = shades("unseen", Pictures(TRAIN % 3), Pictures(TEST, seed=1))
    message = failure(suite_of("knn", data), tmp_path)
    assert message.startswith("1 classes of the test split of unseen ('white') have no training sample")


def test_one_class_alone_is_refused(shades, tmp_path):
    data = shades("one", Pictures(0 * TRAIN), Pictures(0 * TEST, seed=1))
    assert "the class 'black' alone" in failure(suite_of("linear-probe", data), tmp_path)


def test_fewer_samples_than_shots_fail_those_shots_alone(shades, tmp_path):
    result = run(suite_of("few-shot", usual(shades), shots="1+40"), tmp_path)
    messages = {failure.message for failure in result.failures}
    assert len(result.failures) == 5
    assert messages.pop().startswith("40 shots need as many training samples of each class, but 4 of 4 classes")
    shown = {row.score.column for row in result.boards[0].rows}
    assert "shades 1-shot" in shown


def test_features_that_are_not_finite_are_counted(shades, tmp_path):
    entry, broken = checkpoints.get(RESNET), tmp_path / "nan.safetensors"
    arrays = load_file(entry.weights)
    arrays["layer1.0.conv1.weight"][0] = 3e38
    save_file(arrays, broken)
    checkpoints.register(replace(entry, name="nan", weights=str(broken), weights_digest=""))
    message = failure(suite_of("knn", usual(shades)), tmp_path, "nan")
    assert message.startswith("the features of 60 of 60 images are NaN or infinite; look for NaN in the weights")


def test_an_architecture_without_features_is_named(shades, lights, tmp_path, pictures):
    data = usual(shades)
    name = next(entry.name for entry in checkpoints if entry.builder.startswith("bench_lights"))
    assert "has no features that rtbench knows how to take" in failure(suite_of("knn", data), tmp_path, name)


@pytest.mark.parametrize(
    ("suite", "settings", "message"),
    [
        ("knn", {"ks": "5+1"}, "ks must be ascending whole numbers"),
        ("knn", {"token": "nose"}, "there are no features 'nose'; they are pre_logits, cls, mean, patches"),
        ("knn", {"token": "cls"}, "ResNet has no class token; take --set token=mean"),
        ("linear-probe", {"smallest": "0"}, "linear-probe tries at least one strength"),
    ],
)
def test_settings_that_make_no_sense_are_refused(shades, tmp_path, suite, settings, message):
    assert message in failure(suite_of(suite, usual(shades), **settings), tmp_path)


@pytest.mark.parametrize(
    ("suite", "settings", "message"),
    [
        ("few-shot", {"shots": "five"}, "shots must be ascending whole numbers"),
        ("few-shot", {"draws": "0"}, "draws of suite 'few-shot' must be at least 1"),
        ("knn", {"crop_ratio": "1.2"}, "crop_ratio of suite 'knn' must be in"),
    ],
)
def test_settings_that_make_no_suite_are_refused(suite, settings, message):
    with pytest.raises(BenchError, match=message):
        suites.get(suite).changed(settings)


def test_a_set_that_cannot_be_read_leaves_the_others_to_be_measured(shades, tmp_path):
    usual(shades, "sound")

    def broken(split, place):
        raise BenchError("its folder is gone; put it back.")

    space = datasets.get("sound").class_space
    datasets.register(
        Dataset(name="gone", class_space=space, open=broken, splits=("test", "train"), fit=("train",), source="-")
    )
    (found,), _, notes = api.suites_here([suites.get("knn").over(["sound", "gone"])], api.Library({}), needed=True)
    assert found.sets == ("sound",)
    assert notes == ["knn: left out: its folder is gone; put it back."]


def test_features_larger_than_the_budget_are_refused_at_their_first_batch(shades, tmp_path):
    message = failure(suite_of("knn", usual(shades)), tmp_path, cache_budget_gb=1e-5)
    assert message.startswith("the features would take 22.5 KiB, over the budget of 10.5 KiB; take others")


def test_a_cache_that_cannot_be_written_costs_only_the_keeping(shades, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    noted = []

    class Heard(Silent):
        def note(self, text):
            noted.append(text)

    config = api.configure(store=str(tmp_path / "runs"), cache=str(tmp_path / "cache"), workers=0, device="cpu")
    result = api.run([suite_of("knn", usual(shades))], [checkpoints.get(RESNET)], config.settings, Heard())
    assert result.ok
    assert any("cannot be written, so features are kept for this run alone" in text for text in noted)


def test_one_sample_a_class_is_enough_for_one_shot_and_for_nothing_that_is_chosen(shades, tmp_path):
    data = shades("single", Pictures(np.arange(4)), Pictures(TEST, seed=1, prefix="t"))
    assert run(suite_of("few-shot", data, shots="1"), tmp_path).ok
    assert "every class has one sample alone; obtain the whole" in failure(suite_of("knn", data), tmp_path)


def test_pictures_of_one_name_in_both_official_splits_are_drawn_apart(shades, tmp_path):
    validation = Pictures(TRAIN, seed=3)  # named as those of the training split
    data = shades("twins", Pictures(TRAIN), Pictures(TEST, seed=1, prefix="t"), validation=validation)
    assert run(suite_of("few-shot", data, shots="2"), tmp_path).ok
    train, held = (
        Labelled(ids=part.ids, labels_N=torch.from_numpy(part.labels), features_ND=torch.zeros(120, 1))
        for part in (Pictures(TRAIN), validation)
    )
    every = joined(train, held)
    drawn = [shot_rows(every.ids, every.labels_N.numpy(), 2, seed=0, draw=draw) for draw in range(5)]
    names = [[str(i).removeprefix("validation/") for i in every.ids[rows]] for rows in drawn]
    assert any(len(set(some)) == len(some) for some in names)


def test_a_condition_that_corrupts_what_is_learnt_from_features_is_refused(shades, tmp_path):
    data = usual(shades)
    learning = way("knn")
    (condition,) = learning.conditions(data, learning.settings)[""]
    images = Images(perturbation=Perturbation(corruption="fog", severity=1))
    suite = suite_of("knn", data)
    score = replace(suite.headline, conditions=(replace(condition, images=images),))
    with pytest.raises(BenchError, match="measure 'knn' learns from images as they are; take 'fog' out"):
        run(replace(suite, scores=(score,), covering=None), tmp_path)


def test_a_table_of_one_limit_is_over_the_sets_that_it_has(shades, tmp_path):
    usual(shades, "one")
    shades("two", Pictures(TRAIN, seed=3), Pictures(TEST, seed=4))
    both = suites.get("knn").over(["one", "two"])
    assert run(both, tmp_path).ok
    assert run(both.over(["one"]), tmp_path, limit=6).ok
    want = Want(limit=6, any_limit=False)
    (board,) = api.boards([both], Store(tmp_path / "runs"), want=want)
    assert [score.column for score in board.suite.board] == ["one"]
    (board,) = api.boards([both], Store(tmp_path / "runs"))
    assert [score.column for score in board.suite.board] == ["mean of 2", "one", "two"]


# -- adding to it ----------------------------------------------------------------------------------------------


def test_a_data_set_of_the_users_own_joins_the_suites_by_its_entry(scratch_registries, tmp_path, pictures):
    registry = tmp_path / "mine.toml"
    registry.write_text(
        f'[datasets.my-lights]\nfolder = "{pictures}/test"\ntrain = "{pictures}/train"\n'
        'classes = ["red", "amber", "green"]\n'
    )
    api.register_file(registry)
    (suite,) = api.select_suites(["knn"])
    assert "my-lights" in suite.sets
    (found,), _, _ = api.suites_here([suite], api.Library({}), needed=True)
    assert found.sets == ("my-lights",)
    assert run(found, tmp_path).ok


class NearestMean:
    """A protocol that somebody adds: the class whose mean is nearest."""

    def __init__(self, token: str = "pre_logits") -> None:
        self.token = token

    def run(self, train, validation, test_ND, classes, seed):
        means = torch.stack([train.features_ND[train.labels_N == label].mean(0) for label in range(classes)])
        return Predicted(scores_NK=-torch.cdist(test_ND, means), logits=False, chosen={})


def test_a_protocol_is_added_by_a_measure_and_a_suite_in_one_file(shades, tmp_path):
    measures.register(
        MeasureEntry(
            name="nearest-mean",
            version=1,
            interface="features",
            factory=f"{__name__}:NearestMean",
            transfer=True,
            about="nearest class mean",
        )
    )
    learning = Learning(
        name="nearest-mean",
        version=1,
        title="Nearest class mean",
        paper="-",
        settings=Params(token="pre_logits"),
        measurements=lambda s: {"": (Measurement(name="nearest-mean", params=Params(token=s["token"])),)},
        terms=lambda s: ("nearest class mean",),
        chosen=(),
    )
    data = usual(shades)
    suites.register(learning.suite(track="transfer"))
    result = run(suite_of("nearest-mean", data), tmp_path)
    assert result.ok
    assert columns(result, tmp_path)["correct"].mean() > 0.5


def test_class_spaces_of_transfer_sets_need_not_be_the_checkpoints(shades, tmp_path):
    assert checkpoints.get(RESNET).class_space == class_spaces.get("digits")
    assert run(suite_of("knn", usual(shades)), tmp_path).ok


# -- fewer images to learn from ---------------------------------------------------------------------------------

RARE = np.array([0] * 150 + [1] * 30 + [2] * 15 + [3] * 5)
"""Labels of a training split of which a limit by name alone would lose a class."""


@pytest.fixture
def rare(shades):
    return shades("rare", Pictures(RARE), Pictures(np.arange(60) % 4, seed=1, prefix="t"))


def test_a_limit_of_what_is_learnt_from_takes_every_class_in_turn_and_is_nested():
    ids = np.array([f"s{row}" for row in range(200)])
    kept = [subset_by_class(ids, RARE, limit) for limit in (4, 20, 60, None)]
    assert [np.bincount(RARE[rows]).tolist() for rows in kept[:3]] == [[1, 1, 1, 1], [5, 5, 5, 5], [20, 20, 15, 5]]
    assert all(set(few) < set(more) for few, more in itertools.pairwise(kept))
    assert kept[3].tolist() == list(range(200))


def test_features_of_no_more_images_are_extracted_and_the_whole_is_another_cell(rare, tmp_path, passes):
    few = run(suite_of("knn", rare, train_limit="40"), tmp_path)
    assert sum(passes) == 40 + 60
    whole = run(suite_of("knn", rare), tmp_path)
    assert sum(passes) == 40 + 60 + 200  # the test features are shared
    (of_few,), (of_whole,) = few.plan.cells, whole.plan.cells
    assert of_few.key != of_whole.key
    assert (of_few.fit_n, of_few.fit_of, of_whole.fit_n, of_whole.fit_of) == ((40,), (200,), (200,), ())
    assert "fit_samples" not in of_whole.identity["condition"]
    assert (columns(few, tmp_path)["prediction"] != columns(whole, tmp_path)["prediction"]).any()


def test_the_protocol_says_so_and_the_limit_of_the_test_side_stands_beside_it(rare, tmp_path):
    result = run(suite_of("linear-probe", rare, train_limit="40"), tmp_path, limit=20)
    (board,) = result.boards
    assert result.plan.cells[0].n == 20
    assert board.suite.name == "linear-probe-train_limit-40"
    assert "learnt from 40 images at most" in board.protocol
    assert "limit 20" in board.protocol
    assert set(long_table([board])["fit_samples"]) == {"40"}


@pytest.mark.parametrize("name", ["fine-tune", "knn", "linear-probe"])
def test_each_way_to_learn_is_given_the_limited_split(rare, tmp_path, monkeypatch, name):
    entry, seen = measures.get(name), []
    factory = entry.make(suite_of(name, rare).conditions[0].measure.params).__class__

    def spied(self, *given, **more):
        learnt = given[2]["train"] if name == "fine-tune" else given[0]
        seen.append(len(learnt.ids) + (0 if name == "fine-tune" else len(given[1].ids)))
        raise BenchError("seen")

    monkeypatch.setattr(factory, "run", spied)
    run(suite_of(name, rare, train_limit="24"), tmp_path)
    assert seen == [24]


def test_every_registered_suite_that_learns_has_a_limit_of_what_it_learns_from():
    learning = [suite for suite in suites if any(condition.data.fit for condition in suite.conditions)]
    assert {"digits-transfer", "knn", "fine-tune", "segmentation"} <= {suite.name for suite in learning}
    for suite in learning:
        limited = suite.changed({"train_limit": "50"})
        fitted = [condition.data for condition in limited.conditions if condition.data.fit]
        assert {data.fit_samples for data in fitted} == {50}, suite.name
        assert "learnt from 50 images at most" in limited.protocol.name
        with pytest.raises(BenchError, match="train_limit of suite .* must be at least 1"):
            suite.changed({"train_limit": "-1"})


def test_every_suite_of_few_shots_takes_the_setting_that_its_advice_names():
    few = [suite for suite in suites if "few-shot" in {condition.measure.name for condition in suite.conditions}]
    assert {"digits-transfer", "few-shot"} <= {suite.name for suite in few}
    for suite in few:
        fewer = suite.changed({"shots": "1+2", "train_limit": "60"})
        taken = [c.measure.params["shots"] for c in fewer.conditions if c.measure.name == "few-shot"]
        assert set(taken) == {1, 2}, suite.name
        assert "of 1+2 samples" in fewer.protocol.name


def test_too_few_to_hold_any_out_says_what_to_raise(rare, tmp_path):
    result = run(suite_of("knn", rare, train_limit="4"), tmp_path)
    assert "raise train_limit" in result.failures[0].message
