"""A suite's images as files: what other code predicts of them scores exactly as the model does here."""

import errno
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bench import api
from bench.board.leaderboard import Want
from bench.checkpoints import checkpoints
from bench.checkpoints.zoo.architectures import resnet
from bench.cli import main
from bench.errors import BenchError, RunError
from bench.records import Crop, Images
from bench.store import Store
from bench.tools import images

NAME, NOISE = "digits-resnet", ("gaussian_noise", 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*options, suite="digits-c", out="shown"):
    return main(["images", suite, "--out", out, "--workers", "0", "--cache", "off", *options])


def images_of(folder):
    """(n, h, w, 3) uint8 in the order of the table, by whichever file holds them."""
    table = pd.read_csv(folder / "images.csv", keep_default_na=False)
    if "file" not in table:
        return np.load(folder / "images.npz")["images"]
    return np.stack([np.asarray(Image.open(folder / name)) for name in table["file"]])


def predicted_outside(images_NHWC):
    """Class of each image, without a line of ours: the module and the preprocessing as the registry states them."""
    entry, module = checkpoints.get(NAME), resnet()
    module.load_state_dict(load_file(entry.weights))
    mean, std = (np.array(numbers, np.float32) for numbers in (entry.mean, entry.std))
    x = torch.from_numpy((images_NHWC.astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return module.eval()(x).argmax(1).numpy()


@pytest.fixture
def noise():
    """The suite of one score, the accuracy under one noise."""
    (suite,) = api.select_suites(["digits-c"])
    of_noise = [s for s in suite.scores if (s.columns()["corruption"], s.columns()["severity"]) == NOISE]
    (accuracy,) = [score for score in of_noise if score.metric.name == "top1"]
    return replace(suite, scores=(replace(accuracy, column="noise"),))


@pytest.mark.parametrize("format", ["png", "npz"])
def test_what_is_predicted_of_the_files_scores_as_the_run_does(folder, noise, format, capsys):
    assert write("--checkpoint", NAME, "--corruption", "gaussian_noise", "--severity", "2", "--format", format) == 0
    table = folder / "shown/digits-gaussian_noise-2/images.csv"
    frame = pd.read_csv(table)
    frame["prediction"] = predicted_outside(images_of(table.parent))
    frame.to_csv(table, index=False)
    command = capsys.readouterr().out.strip().splitlines()[-1].partition("bench ")[2]
    assert main(command.replace("NAME", "outside").split()) == 0
    settings = api.configure(workers=0, cache="off", device="cpu").settings
    result = api.run([noise], [checkpoints.get(NAME)], settings)
    (here,) = result.boards[0].rows
    (outside,) = api.boards([noise], Store(settings.store), want=Want(device="imported"))[0].rows
    assert 0.2 < here.estimate.value < 1
    assert (outside.estimate.value, outside.estimate.n) == (here.estimate.value, here.estimate.n)
    rows = Store(settings.store).read(result.plan.cells[0].key)
    assert frame["id"].tolist() == rows.ids.tolist()
    assert frame["prediction"].tolist() == rows.columns["prediction"].tolist()


def test_png_and_npz_hold_the_same_images_with_their_labels(folder):
    assert write("--crop", "32", suite="digits") == 0
    assert write("--crop", "32/1.0/bicubic", "--format", "npz", suite="digits", out="arrays") == 0
    pictures, arrays = folder / "shown/digits-test", folder / "arrays/digits-test"
    np.testing.assert_array_equal(images_of(pictures), images_of(arrays))
    held = np.load(arrays / "images.npz")
    table = pd.read_csv(pictures / "images.csv")
    assert table.columns.tolist() == ["id", "label", "class", "file"]
    assert (table["id"].tolist(), table["label"].tolist()) == (held["ids"].tolist(), held["labels"].tolist())
    assert images_of(pictures).shape == (len(table), 32, 32, 3)


def test_a_checkpoint_of_another_size_is_shown_its_size(folder, scratch_registries):
    from bench.suite import suites

    fixed = replace(suites.get("digits"), name="fixed", scores=tuple(map(with_crop, suites.get("digits").scores)))
    written = api.images(fixed, folder / "own", quiet(), crop=replace(checkpoints.get(NAME), input_size=48))
    assert images_of(written[0].folder).shape[1:] == (48, 48, 3)
    with pytest.raises(BenchError, match="fixes its crop, 40px-1.0-bicubic; leave --crop out"):
        api.images(fixed, folder / "other", quiet(), crop="32")
    assert images_of(api.images(fixed, folder / "bare", quiet())[0].folder).shape[1:] == (40, 40, 3)


def with_crop(score):
    return replace(score, conditions=tuple(replace(c, images=Images(crop=Crop(size=40))) for c in score.conditions))


def quiet():
    return api.configure(workers=0, cache="off", device="cpu").settings


def test_a_call_that_was_stopped_goes_on_and_others_images_do_not_mix(folder, monkeypatch, capsys):
    options = ("--crop", "32", "--corruption", "fog", "--severity", "1,2")
    whole = images.Image.Image.save
    count = iter(range(600))
    monkeypatch.setattr(
        images.Image.Image, "save", lambda *given, **more: stop() if next(count) > 550 else whole(*given, **more)
    )
    with pytest.raises(KeyboardInterrupt):
        api.images(
            api.select_suites(["digits-c"])[0],
            folder / "shown",
            quiet(),
            crop="32",
            corruptions=["fog"],
            severities=[1, 2],
        )
    assert (folder / "shown/digits-fog-1/images.csv").exists()
    assert not (folder / "shown/digits-fog-2/images.csv").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert write(*options) == 0
    said = capsys.readouterr().out.splitlines()
    assert [", written before" in line for line in said[:2]] == [True, False]
    assert len(images_of(folder / "shown/digits-fog-2")) == 500
    assert write("--crop", "32/0.9", *options[2:]) == 2
    assert "begun with other images than these" in capsys.readouterr().err


def stop():
    raise KeyboardInterrupt


def test_files_of_others_are_left_alone(folder, capsys):
    (folder / "shown/digits-test").mkdir(parents=True)
    (folder / "shown/digits-test/000000.png").write_bytes(b"mine")
    assert write("--crop", "32", suite="digits") == 2
    assert "holds other files" in capsys.readouterr().err
    assert (folder / "shown/digits-test/000000.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("digits-pgd", ["--crop", "32"], "attacks make each checkpoint its own images"),
        ("digits-autoattack", ["--crop", "32"], "attacks make each checkpoint its own images"),
        ("digits-landscape", ["--crop", "32"], "needs the model itself"),
        ("digits-transfer", ["--crop", "32"], "learns classes from training images"),
        ("segmentation", ["--crop", "32"], "learns classes from training images"),
        ("digits-c", [], "shows each checkpoint its own crop; name one with --checkpoint"),
        ("digits-c", ["--crop", "32", "--checkpoint", NAME], "give one of them"),
        ("digits-c", ["--crop", "big"], "--crop wants SIZE/RATIO/INTERPOLATION"),
        ("digits-c", ["--crop", "32/2/lanczos"], "--crop wants SIZE/RATIO/INTERPOLATION"),
        ("digits-c", ["--crop", "0"], "--crop wants SIZE/RATIO/INTERPOLATION"),
        ("digits-c", ["--crop", "32", "--corruption", "mist"], "has no corruption 'mist'; it has gaussian_noise"),
        ("digits", ["--crop", "32", "--severity", "3"], "shows no corrupted images"),
        ("imagenet-c", ["--corruption", "fog"], "obtain it from https://zenodo.org"),
        ("nothing", ["--crop", "32"], "no suite 'nothing'"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence(folder, capsys, suite, options, message):
    assert write(*options, suite=suite) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "shown").exists()


def test_conditions_that_change_each_checkpoints_crop_are_left_out_and_named(folder, capsys):
    assert write("--crop", "32", suite="digits-resolution") == 0
    said = capsys.readouterr()
    assert "conditions of digits-resolution are left out: it changes the crop or the input size" in said.err
    assert len(said.out.splitlines()) == 1 + 3  # the clean digits, and both shifts, as they are


def test_a_full_disk_is_a_sentence(folder, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    (folder / "shown").mkdir()
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RunError, match="make room"):
        api.images(api.select_suites(["digits"])[0], folder / "shown", quiet(), crop="32")
