"""Fine-tuning as a measure, of the shipped checkpoints on drawn letters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import datasets
from bench.datasets.crops import CropSource
from bench.errors import BenchError, UnknownNameError
from bench.measure import Batch, Pace
from bench.measure.classify import describe
from bench.measure.fine_tuned import FineTuned
from bench.records import Crop
from bench.training import unfinished
from bench.transfer.split import validation_rows


class Letters:
    """A split of the drawn letters, as the engine's loader gives it."""

    def __init__(self, source: CropSource, indices: np.ndarray, opened: list[str] | None = None) -> None:
        self.source, self.indices, self.opened = source, indices, opened
        self.ids, self.labels = source.samples.ids[indices], source.samples.labels[indices]

    def at(self, rows):
        return Letters(self.source, self.indices[rows], self.opened)

    def __iter__(self):
        if self.opened is not None:
            self.opened.append("opened")
        for start in range(0, len(self.indices), 64):
            rows = self.indices[start : start + 64]
            crops = np.stack([self.source.get(index) for index in rows])
            yield Batch(
                ids=[str(i) for i in self.source.samples.ids[rows]],
                labels_N=torch.from_numpy(self.source.samples.labels[rows]),
                images_NCHW=torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255,
            )


@pytest.fixture(scope="module")
def splits() -> dict[str, Letters]:
    """Letters A to E: to learn from and to test on."""
    found = {}
    for split in ("train", "test"):
        samples = datasets.get("letters").open(split, None)
        found[split] = Letters(CropSource(samples, Crop(size=32)), np.flatnonzero(samples.labels < 5))
    return found


@pytest.fixture(scope="module", params=["digits-vit", "digits-mixer", "digits-resnet"])
def module(request):
    return load(checkpoints.get(request.param), "cpu")


@pytest.fixture(scope="module")
def resnet():
    return load(checkpoints.get("digits-resnet"), "cpu")


def pace(folder: Path, **changes) -> Pace:
    given = {
        "batch_size": 64, "fixed": False, "done": lambda count: None, "note": lambda text: None,
        "workers": 0, "state": folder / "state",
    }  # fmt: skip
    return Pace(**given | changes)


def run(module, splits, folder: Path, epochs: int = 2, seed: int = 0, test=None, **changes):
    measure = FineTuned(recipe="letters", epochs=epochs)
    return measure.run(module, test or splits["test"], {"train": splits["train"]}, seed, pace(folder, **changes))


def test_the_shipped_checkpoints_learn_letters(module, splits, tmp_path):
    columns = run(module, splits, tmp_path, epochs=5)
    n = len(splits["test"].ids)
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(columns, n)
    assert set(describe(torch.zeros(1, 5), torch.zeros(1, dtype=int))) == columns.keys() - {
        "validation_accuracy",
        "best_epoch",
    }
    assert columns["top_classes"].shape == (n, 5)
    assert np.array_equal(columns["correct"], columns["prediction"] == splits["test"].labels)
    assert columns["correct"].mean() > 0.4  # by chance 0.2
    for name, dtype in (("validation_accuracy", np.float32), ("best_epoch", np.int32)):
        assert columns[name].dtype == dtype
        assert len(set(columns[name].tolist())) == 1
    assert 1 <= columns["best_epoch"][0] <= 5


def test_the_module_is_left_as_it_was(resnet, splits, tmp_path):
    before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    run(resnet, splits, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in resnet.state_dict().items())
    assert not resnet.training
    assert not any(parameter.requires_grad for parameter in resnet.parameters())


def test_the_test_split_is_shown_once_and_after_training(resnet, splits, tmp_path):
    events: list[str] = []
    test = Letters(splits["test"].source, splits["test"].indices, events)
    run(resnet, splits, tmp_path, test=test, note=lambda text: events.append("epoch 2" if "2/2" in text else "note"))
    assert events[-2:] == ["epoch 2", "opened"]
    assert events.count("opened") == 1


class Poisoned:
    """Samples whose pictures and labels are others', under the same ids."""

    def __init__(self, samples) -> None:
        self.ids, self.sizes, self.labels = samples.ids, samples.sizes, (samples.labels + 1) % 5
        self.stamp = samples.stamp
        self._samples = samples

    def read(self, index):
        return 255 - self._samples.read(index)


def test_a_poisoned_test_split_changes_nothing_that_is_chosen(resnet, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "_SECONDS", 0.0)  # the states are of the last step of both, however long they took
    monkeypatch.setattr(unfinished, "_SHARE", 1.0)
    test = splits["test"]
    poisoned = Letters(CropSource(Poisoned(test.source.samples), Crop(size=32)), test.indices)
    clean = run(resnet, splits, tmp_path / "clean")
    other = run(resnet, splits, tmp_path / "poisoned", test=poisoned)
    for name in ("validation_accuracy", "best_epoch"):
        assert np.array_equal(clean[name], other[name])
    assert not np.array_equal(clean["loss"], other["loss"])
    states = [torch.load(tmp_path / name / "state/fine-tune.pt") for name in ("clean", "poisoned")]
    for (name, mine), theirs in zip(
        states[0]["state"]["best"].items(), states[1]["state"]["best"].values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_only_labels_of_the_test_split_that_describe_change_with_them(resnet, splits, tmp_path):
    relabelled = Letters(splits["test"].source, splits["test"].indices)
    clean = run(resnet, splits, tmp_path / "clean")

    class Relabelled(Letters):
        def __iter__(self):
            for batch in super().__iter__():
                yield Batch(ids=batch.ids, labels_N=(batch.labels_N + 1) % 5, images_NCHW=batch.images_NCHW)

        def at(self, rows):
            return Relabelled(self.source, self.indices[rows])

    other = run(resnet, splits, tmp_path / "other", test=Relabelled(relabelled.source, relabelled.indices))
    assert np.array_equal(clean["top_logits"], other["top_logits"])
    assert not np.array_equal(clean["correct"], other["correct"])


def test_the_authors_validation_split_is_used_where_there_is_one(resnet, splits, tmp_path):
    train = splits["train"]
    held = validation_rows(train.ids, train.labels)
    rest = np.setdiff1d(np.arange(len(train.ids)), held)
    fit = {"train": train.at(rest), "validation": train.at(held)}
    given = FineTuned(recipe="letters", epochs=2).run(resnet, splits["test"], fit, 0, pace(tmp_path / "given"))
    # The tenth that is held out is the same here, so that all else must be too.
    own = run(resnet, splits, tmp_path / "own")
    assert all(np.array_equal(given[name], own[name]) for name in own)


def test_one_sample_a_class_is_too_few(resnet, splits, tmp_path):
    train = splits["train"]
    first = np.unique(train.labels, return_index=True)[1]
    with pytest.raises(BenchError, match="every class has one sample alone; obtain the whole training split"):
        FineTuned().run(resnet, splits["test"], {"train": train.at(first)}, 0, pace(tmp_path))


def test_nothing_is_kept_where_there_is_no_folder(resnet, splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(resnet, splits, tmp_path, epochs=1, state=None)
    assert not list(tmp_path.iterdir())


def test_the_seed_decides_and_workers_do_not(resnet, splits, tmp_path):
    first = run(resnet, splits, tmp_path / "first")
    by_workers = run(resnet, splits, tmp_path / "workers", workers=2)
    assert all(np.array_equal(first[name], by_workers[name]) for name in first)
    assert not np.array_equal(first["loss"], run(resnet, splits, tmp_path / "seed", seed=1)["loss"])


def test_progress_never_passes_the_samples(resnet, splits, tmp_path):
    told: list[int] = []
    run(resnet, splits, tmp_path, done=told.append)
    assert all(count > 0 for count in told)
    assert sum(told) == len(splits["test"].ids) - 1


def test_an_unknown_recipe_is_refused_at_once():
    with pytest.raises(UnknownNameError, match="no fine-tuning recipe 'letter'"):
        FineTuned(recipe="letter")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epochs": -1}, "epochs of fine-tune must be a whole number of at least 1, not -1"),
        ({"epochs": 1.5}, "epochs of fine-tune must be a whole number of at least 1, not 1.5"),
        ({"batch_size": -8}, "batch_size of fine-tune must be a whole number of at least 1, not -8"),
        ({"learning_rate": -0.1}, "learning_rate of fine-tune must be more than 0 and finite, not -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate of fine-tune must be more than 0 and finite, not nan"),
    ],
)
def test_numbers_that_cannot_be_trained_with_are_refused(given, told):
    with pytest.raises(BenchError, match=told):
        FineTuned(**given)


def test_a_users_numbers_come_before_the_recipes(resnet, splits, tmp_path):
    notes: list[str] = []
    measure = FineTuned(epochs=1, learning_rate=0.02, batch_size=32)
    columns = measure.run(resnet, splits["test"], {"train": splits["train"]}, 0, pace(tmp_path, note=notes.append))
    assert notes[-1].startswith("fine-tune: epoch 1/1,")
    assert columns["best_epoch"][0] == 1
