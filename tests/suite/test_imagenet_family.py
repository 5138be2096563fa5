"""The suites of the ImageNet family from files to scores, on a few small files in each set's own layout."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import api
from bench.checkpoints import checkpoints
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.datasets.imagenet import real_labels_of
from bench.datasets.spaces import IMAGENET, IMAGENET_A, IMAGENET_R
from bench.reference import ALEXNET_CLEAN_ERROR, alexnet_error
from bench.store import Store
from bench.suite import suites
from bench.suite.scores import CORRUPTIONS, MCE_CORRUPTIONS
from rtbench_suites.imagenet import CLEAN
from rtbench_suites.imagenet_c import stored
from tests.conftest import WNIDS
from tests.suite.toys import small_resnet

SIZE = 64  # pixels: small, and other than the 224 of ImageNet-C
TRACK = ("imagenet", "imagenet-a", "imagenet-c", "imagenet-r", "imagenet-real", "imagenet-sketch", "imagenet-v2")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return small_resnet(tmp_path_factory.mktemp("registry"), map(IMAGENET.classes.index, WNIDS), SIZE)


@pytest.fixture
def run(registry, imagenet_family, tmp_path, monkeypatch, scratch_registries):
    """A function that runs suites on the small checkpoint with the data at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def _run(*names, data=None, checkpoint="small", do=api.run, **flags):
        places = {name: str(place) for name, place in (imagenet_family if data is None else data).items()}
        flags = {"store": "runs", "cache": "off", "workers": 0, "device": "cpu", "registry": str(registry), **flags}
        settings = api.configure(data=places, **flags).settings
        return do([suites.get(name) for name in names], [checkpoints.get(checkpoint)], settings)

    return _run


def values(result, suite):
    """Heading to value, of one suite's leaderboard."""
    board = next(board for board in result.boards if board.suite.name == suite)
    return {row.score.column: row.estimate.value for row in board.rows if row.score.column}


def outcome(result, condition):
    """The stored outcome of a condition."""
    cell = next(cell for cell in result.plan.cells if cell.condition == condition)
    return Store(Path("runs")).read(cell.key)


# -- scores ---------------------------------------------------------------------------------------------------


def test_one_pass_over_the_validation_set_serves_the_whole_track(run):
    result = run(*TRACK)
    assert result.ok, result.failures
    assert {board.suite.name for board in result.boards} == set(TRACK)
    on_val = [cell for cell in result.plan.cells if cell.condition.data.dataset == "imagenet"]
    assert [cell.condition for cell in on_val] == [CLEAN]
    assert len(result.plan.cells) == 1 + 1 + 1 + 3 + 1 + 95  # val, R, A, three of V2, Sketch, C
    for suite in TRACK:
        headings = [score.column for score in suites.get(suite).board]
        assert list(values(result, suite)) == headings


def test_logits_are_cut_to_the_classes_of_a_part(run, imagenet_family, registry):
    result = run("imagenet", "imagenet-r", "imagenet-a")
    model = timm.create_model("test_resnet", num_classes=1000, checkpoint_path=registry.parent / "small.safetensors")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.default_cfg["mean"], model.default_cfg["std"]))
    for dataset, space in (("imagenet", IMAGENET_R), ("imagenet", IMAGENET_A), ("imagenet-r", IMAGENET_R)):
        samples = Library(imagenet_family).open(dataset, "test").samples
        source = CropSource(samples, checkpoints.get("small").crop)
        crops = torch.tensor(np.stack([source.get(i) for i in range(len(samples.ids))])).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            logits = model.eval()((crops - mean) / std)
        kept = torch.full_like(logits, -torch.inf)
        kept[:, list(space.indices)] = logits[:, list(space.indices)]
        rows = [i for i, label in enumerate(samples.labels) if label in space.indices]
        assert rows
        found = outcome(result, suites.get(dataset).headline.conditions[0])
        name = space.name
        assert found.columns[f"{name}/prediction"].tolist() == kept.argmax(1).tolist()
        loss = torch.nn.functional.cross_entropy(kept[rows], torch.tensor(samples.labels[rows]), reduction="none")
        np.testing.assert_allclose(found.columns[f"{name}/loss"][rows], loss, atol=1e-4)
        assert np.isnan(np.delete(found.columns[f"{name}/loss"], rows)).all()
        right = (kept.argmax(1).numpy() == samples.labels)[rows]
        heading = {"imagenet-r": "R's 200", "imagenet-a": "A's 200"}[name] if dataset == "imagenet" else "top-1 of 200"
        assert values(result, dataset)[heading] == right.mean()
    assert (
        values(result, "imagenet-r")["top-1 of 1000"]
        == outcome(result, suites.get("imagenet-r").headline.conditions[0]).columns["correct"].mean()
    )


def test_reassessed_labels_are_looked_up_by_file_name(run):
    result = run("imagenet-real")
    found = outcome(result, CLEAN)
    sets = [real_labels_of(str(i)) for i in found.ids]
    hits = [p in labels for p, labels in zip(found.columns["prediction"].tolist(), sets, strict=True) if labels]
    board = result.boards[0]
    estimate = next(row.estimate for row in board.rows if row.score is board.suite.headline)
    assert (estimate.value, estimate.n) == (np.mean(hits), len(hits))
    assert len(hits) < len(sets)  # file 1 has no label


def test_reassessed_labels_need_the_files_own_names(run, tmp_path):
    for wnid in WNIDS:
        (tmp_path / "val" / wnid).mkdir(parents=True)
        Image.new("RGB", (70, 70)).save(tmp_path / "val" / wnid / f"{wnid}_tench.JPEG")
    result = run("imagenet-real", data={"imagenet": tmp_path / "val"})
    assert "goes by file name" in result.boards[0].notes[0]
    assert "top-1" not in values(result, "imagenet-real")


def test_mce_and_its_relatives_are_what_their_definitions_say(run):
    result = run("imagenet-c")
    clean = 1 - outcome(result, CLEAN).columns["correct"].mean()
    errors = {
        name: [1 - outcome(result, condition).columns["correct"].mean() for condition in stored(name)]
        for name in CORRUPTIONS
    }
    alexnet = {name: [alexnet_error(name, severity) for severity in range(1, 6)] for name in CORRUPTIONS}
    shown = values(result, "imagenet-c")
    assert shown["mCE"] == pytest.approx(np.mean([sum(errors[c]) / sum(alexnet[c]) for c in MCE_CORRUPTIONS]))
    assert shown["mean of 15"] == pytest.approx(1 - np.mean([errors[c] for c in MCE_CORRUPTIONS]))
    assert shown["mean of 19"] == pytest.approx(1 - np.mean(list(errors.values())))
    added = [(sum(errors[c]) - 5 * clean) / (sum(alexnet[c]) - 5 * ALEXNET_CLEAN_ERROR) for c in MCE_CORRUPTIONS]
    assert shown["rel. mCE"] == pytest.approx(np.mean(added))


def test_relative_mce_needs_the_clean_images_of_the_stored_ones(run, imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet"], tmp_path / "val")
    for path in sorted((tmp_path / "val").glob("*/*"))[::2]:
        path.unlink()
    result = run("imagenet-c", data={**imagenet_family, "imagenet": tmp_path / "val"})
    assert {"mCE", "mean of 19"} <= values(result, "imagenet-c").keys()
    assert "rel. mCE" not in values(result, "imagenet-c")
    assert any("relative mCE needs the same images" in note for note in result.boards[0].notes)


def test_a_224_pixel_model_sees_the_stored_pixels_of_imagenet_c(imagenet_family):
    condition = stored("fog")[2]
    samples = Library(imagenet_family).open("imagenet-c", condition.image_set.split).samples
    source = CropSource(samples, condition.images.crop)
    for index in range(len(samples.ids)):
        assert np.array_equal(source.get(index), np.asarray(Image.open(samples.path(index)).convert("RGB")))


def test_a_part_of_a_data_set_is_named_in_the_protocol(run):
    board = run("imagenet").boards[0]
    assert board.choice.text.startswith("8 of 50,000 images")
    assert board.protocol.endswith("each checkpoint's own crop, 8 of 50,000 images")
    limited = run("imagenet", limit=3).boards[0]
    assert limited.protocol.endswith("each checkpoint's own crop, 8 of 50,000 images, limit 3")
    assert limited.choice.text.startswith("limit 3; a copy that has 8 of 50,000 images")


def test_a_control_on_a_part_of_the_validation_set_is_named_too(run):
    assert "8 of 50,000 images of imagenet" in run("imagenet-sketch").boards[0].protocol


def test_a_folder_of_imagenet_c_that_lacks_an_image_is_named_before_the_run_and_has_no_mce(
    run, imagenet_family, tmp_path
):
    shutil.copytree(imagenet_family["imagenet-c"], tmp_path / "c")
    sorted((tmp_path / "c" / "weather" / "fog" / "3").glob("*/*"))[0].unlink()
    result = run("imagenet-c", data={**imagenet_family, "imagenet-c": tmp_path / "c"})
    assert not result.ok
    assert any("fog/3 (7) hold other images than the rest (8)" in note for note in result.plan.notes)
    assert "mCE" not in values(result, "imagenet-c")


def test_the_larger_part_of_a_data_set_is_shown_where_both_are_stored(run, imagenet_family, tmp_path):
    for number, wnid in enumerate(WNIDS, start=1):  # several: no order of fingerprints can be right by chance
        shutil.copytree(imagenet_family["imagenet"] / wnid, tmp_path / f"part{number}" / wnid)
        run("imagenet", data={"imagenet": tmp_path / f"part{number}"})
    run("imagenet")
    (board,) = api.boards([suites.get("imagenet")], Store(Path("runs")))
    assert board.choice.text.startswith("8 of 50,000 images")


def test_two_names_of_one_model_both_stand_in_the_table(run, registry, imagenet_family):
    run("imagenet", limit=1)  # registers what the file holds
    (registry.parent / "twin.toml").write_text(registry.read_text().replace("[small]", "[twin]"))
    api.register_file(registry.parent / "twin.toml")
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu").settings
    settings = replace(settings, places=imagenet_family)
    entries = [checkpoints.get(name) for name in ("small", "twin")]
    result = api.run([suites.get("imagenet")], entries, settings)
    assert [entry.name for entry in result.boards[0].checkpoints] == ["small", "twin"]
    names = [entry.name for entry in api.boards([suites.get("imagenet")], Store(Path("runs")))[0].checkpoints]
    assert names == ["small", "twin"]


def test_the_table_of_imagenet_c_shows_the_generated_one_where_that_stood_in(run, imagenet_family):
    run("imagenet-c", data={"imagenet": imagenet_family["imagenet"]}, limit=1)
    (board,) = api.boards([suites.get("imagenet-c")], Store(Path("runs")))
    assert board.suite.name == "imagenet-c-generated"


# -- what is not there ----------------------------------------------------------------------------------------


def test_without_the_stored_files_imagenet_c_is_generated_under_a_name_of_its_own(run, imagenet_family):
    data = {"imagenet": imagenet_family["imagenet"]}
    result = run("imagenet-c", data=data, limit=1)
    assert result.ok, result.failures
    (board,) = result.boards
    assert board.suite.name == "imagenet-c-generated"
    assert "JPEG quality 85" in board.protocol
    again = run("imagenet-c", limit=1, do=api.plan)  # now the stored files are given: another suite, another protocol
    assert [suite.name for suite in again.suites] == ["imagenet-c"]
    assert {cell.key for cell in again.cells} & {cell.key for cell in result.plan.cells} == {
        cell.key for cell in result.plan.cells if cell.condition == CLEAN
    }


def test_imagenet_c_without_two_corruptions_has_no_mce(run, imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet-c"], tmp_path / "c")
    for name in ("fog", "frost"):
        shutil.rmtree(tmp_path / "c" / "weather" / name)
    result = run("imagenet-c", data={**imagenet_family, "imagenet-c": tmp_path / "c"})
    assert not result.ok
    assert not result.failures
    shown = values(result, "imagenet-c")
    assert not {"mCE", "rel. mCE", "mean of 15", "mean of 19", "weather"} & shown.keys()
    assert {"noise", "blur", "digital", "clean"} <= shown.keys()
    board = result.boards[0]
    assert f"{board.present(board.checkpoints[0])}/{len(board.suite.conditions)}" == "86/96"


def test_a_missing_extra_corruption_blocks_only_the_mean_over_19(run, imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet-c"], tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "extra" / "spatter")
    result = run("imagenet-c", data={**imagenet_family, "imagenet-c": tmp_path / "c"})
    assert result.ok
    missing = {score.column for score in suites.get("imagenet-c").board} - values(result, "imagenet-c").keys()
    assert missing == {"mean of 19"}


def test_a_track_is_measured_with_the_data_that_are_here(bench, registry, imagenet_family):
    common = ("--registry", registry, "--checkpoint", "small", "--workers", 0, "--device", "cpu", "--cache", "off")
    data = (f"--data=imagenet={imagenet_family['imagenet']}", f"--data=imagenet-r={imagenet_family['imagenet-r']}")
    done = bench("run", "--track", "imagenet", "--limit", 1, *data, *common)
    assert done.returncode == 0, done.stderr
    assert (
        "left out, for want of their data: imagenet-a, imagenet-sketch, imagenet-v2, imagenet-x (`bench" in done.stderr
        or "left out, for want of their data: imagenet-a, imagenet-sketch, imagenet-v2 (`bench" in done.stderr
    )  # the annotations of ImageNet-X come with a package that need not be here
    for name in ("imagenet v1", "imagenet-r v1", "imagenet-real v1", "imagenet-c-generated v2"):
        assert name in done.stdout


def test_a_suite_that_was_named_needs_its_data(bench, registry):
    done = bench("run", "--suite", "imagenet-r", "--registry", registry, "--checkpoint", "small")
    assert done.returncode == 2
    assert "suite 'imagenet-r' cannot be measured: data set 'imagenet-r' is not on this machine" in done.stderr


def test_an_entry_of_data_without_a_path(bench):
    done = bench("run", "--suite", "imagenet", "--data", "imagenet")
    assert done.returncode == 2
    assert "--data wants NAME=PATH, such as imagenet=/data/imagenet/val, not 'imagenet'" in done.stderr


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"not a picture", "cut"])
@pytest.mark.parametrize("on_error", ["skip", "stop"])
def test_a_file_that_does_not_decode_is_named_and_gives_no_score(
    bench, registry, imagenet_family, tmp_path, content, on_error
):
    shutil.copytree(imagenet_family["imagenet"], tmp_path / "val")
    broken = sorted((tmp_path / "val").glob("*/*"))[4]
    broken.write_bytes(broken.read_bytes()[:900] if content == "cut" else content)
    done = bench(
        "run", "--suite", "imagenet", "--suite", "imagenet-r", "--registry", registry, "--checkpoint", "small",
        "--workers", 0, "--device", "cpu", "--cache", "off", "--on-error", on_error,
        "--data", f"imagenet={tmp_path / 'val'}", "--data", f"imagenet-r={imagenet_family['imagenet-r']}",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{broken.parent.name}/{broken.name}" in done.stderr
    assert "Traceback" not in done.stderr
    assert ("imagenet-r v1" in done.stdout) == (on_error == "skip")
    assert "imagenet v1" not in done.stdout


def test_a_checkpoint_with_21841_classes(run, tmp_path):
    model = timm.create_model("test_resnet", num_classes=21_841)
    save_file(model.state_dict(), tmp_path / "large.safetensors")
    entry = f'arch = "test_resnet"\nweights = "large.safetensors"\ninput_size = {SIZE}\n'
    (tmp_path / "large.toml").write_text(f'[small-21k]\n{entry}dataset = "imagenet"\n')
    api.register_file(tmp_path / "large.toml")
    result = run("imagenet", checkpoint="small-21k")
    assert "has 21841 outputs, but class space 'imagenet-1k' has 1000" in result.failures[0].message


def test_a_checkpoint_that_says_it_has_21841_classes(bench, tmp_path, imagenet_family):
    save_file(timm.create_model("test_resnet", num_classes=21_841).state_dict(), tmp_path / "large.safetensors")
    classes = json.dumps([f"class {i}" for i in range(21_841)])
    (tmp_path / "large.toml").write_text(
        f'[large]\narch = "test_resnet"\nweights = "large.safetensors"\nclasses = {classes}\n'
    )
    done = bench("run", "--suite", "imagenet", "--registry", "large.toml", "--checkpoint", "large",
                 "--data", f"imagenet={imagenet_family['imagenet']}")  # fmt: skip
    assert done.returncode == 2
    assert "'large' predicts the 21841 classes of 'large', but data set 'imagenet' is labelled with" in done.stderr
