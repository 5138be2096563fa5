"""Data that change: what is stored was measured on what was planned, and other pictures are measured anew."""

import os

import numpy as np
import pytest
from PIL import Image

from bench import api
from bench.checkpoints import checkpoints
from bench.datasets import Library
from bench.progress import Silent
from bench.run.local import execute
from bench.run.plan import make_sweeps
from bench.run.workbench import versions
from bench.store import Store
from bench.suite import suites

N = 40
TIME = 10**18  # nanoseconds since the epoch


class Mine:
    """Digits as BMP files in class folders, all of one size and of one time of change."""

    def __init__(self, folder):
        self.folder = folder
        for split in ("data", "train"):
            self.write(split)
        text = 'folder = "data"\nclasses = "digits"\n'
        (folder / "mine.toml").write_text(f'[datasets.plain]\n{text}[datasets.mine]\n{text}train = "train"\n')
        api.configure(registry=str(folder / "mine.toml"))

    def write(self, split, *, inverted=False):
        samples = Library().open("digits" if split == "data" else "digits-v2", "test").samples
        for number in range(N):
            path = self.folder / split / str(samples.labels[number]) / f"{number:02d}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = samples.read(number)
            Image.fromarray(255 - pixels if inverted else pixels).save(path)
            os.utime(path, ns=(TIME, TIME))

    def settings(self, store="runs", cache="cache"):
        places = {"store": str(self.folder / store), "cache": str(self.folder / cache)}
        flags = {**places, "workers": 0, "device": "cpu", "batch_size": "10"}
        return api.configure(**flags).settings

    def run(self, suite="plain", progress=None, **where):
        found = suites.get("knn").over(["mine"]) if suite == "knn" else suites.get("plain")
        return api.run([found], [checkpoints.get("digits-resnet")], self.settings(**where), progress)

    def predictions(self, result, store="runs"):
        (cell,) = result.plan.cells
        return Store(self.folder / store).read(cell.key).columns["prediction"]


@pytest.fixture
def mine(scratch_registries, tmp_path, monkeypatch):
    versions()  # imports timm and torchvision, which takes seconds
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return Mine(tmp_path)


class Meanwhile(Silent):
    """Does something once, when the first images have been shown."""

    def __init__(self, do):
        self.do = do

    def advance(self, count, doing):
        do, self.do = self.do, lambda: None
        do()


def test_data_that_changed_between_the_plan_and_the_run_fail_its_cells(mine):
    settings = mine.settings()
    planned = api.plan([suites.get("plain")], [checkpoints.get("digits-resnet")], settings)
    mine.write("data", inverted=True)
    [failure] = execute(make_sweeps(planned.missing), settings, Silent())
    assert failure.message == (
        "split 'test' of plain has changed since this run was planned; run the same command again."
    )
    assert not Store(mine.folder / "runs").keys()


def test_other_pictures_of_the_same_size_and_time_are_measured_anew(mine):
    before = mine.run()
    mine.write("data", inverted=True)
    again = mine.run()
    assert not again.plan.stored
    assert not np.array_equal(mine.predictions(again), mine.predictions(before))


def test_kept_crops_of_other_pictures_are_not_taken_by_another_store(mine):
    mine.run()
    mine.write("data", inverted=True)
    other, fresh = mine.run(store="other"), mine.run(store="fresh", cache="empty")
    assert np.array_equal(mine.predictions(other, "other"), mine.predictions(fresh, "fresh"))


@pytest.mark.parametrize(("suite", "changed"), [("plain", "data"), ("knn", "data"), ("knn", "train")])
def test_pictures_that_change_during_a_run_fail_its_cells(mine, suite, changed):
    result = mine.run(suite, Meanwhile(lambda: mine.write(changed, inverted=True)))
    [message] = {failure.message for failure in result.failures}
    assert "bmp has changed since this run began; run again." in message
    assert not Store(mine.folder / "runs").keys()
    again, fresh = mine.run(suite), mine.run(suite, store="fresh", cache="other")
    assert again.ok
    assert np.array_equal(mine.predictions(again), mine.predictions(fresh, "fresh"))
