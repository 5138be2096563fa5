"""`bench data make-c`: files that show models what the generated suite shows, whatever befalls their making."""

import io
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from bench.corruptions import Corruption, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.datasets.imagenet import MADE_HERE
from bench.errors import BenchError, RunError
from bench.images.decode import decode
from bench.store import Store
from bench.suite import suites
from bench.tools.make_c import is_whole

NAMES = ("fog", "contrast", "gaussian_noise")


@pytest.fixture
def val(imagenet_family: dict[str, Path]) -> Path:
    """8 images."""
    return imagenet_family["imagenet"]


@pytest.fixture
def make(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """A function that writes to a folder in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)

    def _make(out, names=NAMES, severities=(1, 3, 5), **flags):
        flags = {"data": {"imagenet": str(val)}, "cache": "off", "workers": 0, **flags}
        return api.make_c(Path(out), api.configure(**flags).settings, names, severities)

    return _make


def tree(out: Path) -> dict[str, bytes]:
    """Everything in it but the lock."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def left_over(out: Path) -> list[Path]:
    return list(out.glob(".half-written-*"))


# -- what is written ------------------------------------------------------------------------------------------


def test_the_stored_reader_finds_the_pixels_of_the_protocol_under_the_originals_names(make, val):
    made = make("c")
    assert (made.written, made.found) == (72, 0)
    ids = sorted(str(path.relative_to(val)) for path in val.glob("*/*"))
    library = Library({"imagenet": val, "imagenet-c": Path("c")})
    crop = suites.get("imagenet-c-generated").conditions[0].images.crop
    clean = CropSource(library.open("imagenet", "test").samples, crop)
    images_NCHW = torch.from_numpy(np.stack([clean.get(i) for i in range(8)])).permute(0, 3, 1, 2)
    for name in NAMES:
        for severity in (1, 3, 5):
            stored = library.open("imagenet-c", f"{name}/{severity}").samples
            assert stored.ids.tolist() == ids
            made_NCHW = corrupt(corruptions.get(name), images_NCHW, severity, seed=0, ids=ids)
            for index, image_HWC in enumerate(made_NCHW.permute(0, 2, 3, 1).numpy()):
                file = io.BytesIO()
                Image.fromarray(image_HWC).save(file, "JPEG", quality=85)
                np.testing.assert_array_equal(decode(stored.read(index), ""), decode(file.getvalue(), ""))


def test_without_names_all_95_folders_of_the_original_are_made(make, monkeypatch):
    monkeypatch.setattr("bench.run.prepare.corrupt", lambda corruption, images_NCHW, severity, **draws: images_NCHW)
    make("c", names=(), severities=(1, 2, 3, 4, 5), limit=1)
    files = [Path(name).parts for name in tree(Path("c")) if name != MADE_HERE]
    every = {(group, name, str(s)) for group, members in GROUPS.items() for name in members for s in range(1, 6)}
    assert {parts[:3] for parts in files} == every
    [(wnid, name)] = {parts[3:] for parts in files}
    assert (wnid[0], name.partition("_")[0]) == ("n", "ILSVRC2012")
    with Image.open(Path("c", *files[0])) as image:
        assert (image.format, image.size) == ("JPEG", (224, 224))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        with Image.open(file) as saved:
            assert image.quantization == saved.quantization


def test_a_run_on_the_written_tree_gives_the_outcomes_of_the_generated_suite(make, val, scratch_registries, tmp_path):
    make("c", names=["snow"], severities=(1, 2, 3, 4, 5), seed=3)
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "small.safetensors")
    entry = '[small]\narch = "test_resnet"\nweights = "small.safetensors"\ndataset = "imagenet"\ninput_size = 224\n'
    (tmp_path / "mine.toml").write_text(entry)
    places = {"imagenet": str(val), "imagenet-c": "c"}
    flags = {"data": places, "registry": "mine.toml", "device": "cpu", "workers": 0, "cache": "off", "seed": 3}
    settings = api.configure(**flags).settings
    logits = {}
    for suite in (suites.get("imagenet-c"), suites.get("imagenet-c-generated")):
        few = [s for s in suite.scores if s.columns()["corruption"] == "snow" and len(s.conditions) == 1]
        part = replace(suite, scores=(replace(few[0], column="top-1"), *few[1:]))
        result = api.run([part], [checkpoints.get("small")], settings)
        assert result.ok, result.failures
        made_here = suite.name == "imagenet-c"
        assert ("generated by bench data make-c" in result.boards[0].protocol) == made_here
        assert any("was generated by `bench data make-c`" in note for note in result.plan.notes) == made_here
        for cell in result.plan.cells:
            shown = cell.condition.images.perturbation
            columns = Store(settings.store).read(cell.key).columns
            logits.setdefault((shown.corruption, shown.severity), []).append(columns["top_logits"])
    assert len(logits) == 5
    for stored, generated in logits.values():
        np.testing.assert_array_equal(stored, generated)


def test_what_a_generated_tree_lacks_is_to_be_generated(make, val):
    make("c", names=["snow"], severities=(1,))
    library = Library({"imagenet": val, "imagenet-c": Path("c")})
    for split in ("snow/2", "fog/1"):
        name, severity = split.split("/")
        with pytest.raises(BenchError, match=f"it was generated.*--corruption {name} --severity {severity}"):
            library.open("imagenet-c", split)


def test_kept_crops_change_no_byte(make, tmp_path):
    make("one")
    for name in ("cold", "warm"):
        assert make(name, cache=str(tmp_path / "cache")).written == 72
        assert tree(Path(name)) == tree(Path("one"))


# -- going on -------------------------------------------------------------------------------------------------


def test_what_is_whole_is_kept_and_what_is_torn_is_made_anew(make):
    make("c")
    wanted = tree(Path("c"))
    files = sorted(Path("c").rglob("*.JPEG"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])
    files[2].write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in files[3:]}
    made = make("c")
    assert (made.written, made.found) == (3, 69)
    assert tree(Path("c")) == wanted
    assert {path: path.stat().st_mtime_ns for path in files[3:]} == before
    assert not is_whole(Path("c") / MADE_HERE)


def test_corruptions_may_be_added_later(make):
    make("c", names=["fog"], severities=(3,))
    make("c")
    make("whole")
    assert tree(Path("c")) == tree(Path("whole"))


def alive(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_it_goes_on_where_it_was_and_ends_with_the_bytes_of_one_process(make, val, warm):
    names = ("gaussian_noise", "contrast", "fog", "speckle_noise", "pixelate")
    command = ["data", "make-c", f"imagenet={val}", "--corruption", ",".join(names), "--out", "c", "--cache", "off"]
    process = warm.fork([*command, "--workers", "1"], cwd=Path.cwd())
    out = Path("c")
    while process.running and not list(out.rglob("n*/*.JPEG")):
        time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)  # it alone: its worker is to notice
    assert process.wait().status == -signal.SIGKILL
    end = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(process.pid)  # no worker waits for ever
    there = list(out.rglob("n*/*.JPEG"))
    assert 0 < len(there) < 200
    assert all(is_whole(path) for path in there)
    assert left_over(out)
    made = make("c", names=names, severities=(1, 2, 3, 4, 5))
    assert (made.written, made.found) == (200 - len(there), len(there))
    make("whole", names=names, severities=(1, 2, 3, 4, 5))
    assert tree(out) == tree(Path("whole"))
    assert not left_over(out)


def test_every_task_of_a_pool_is_carried_out(make, monkeypatch):
    monkeypatch.setattr("bench.tools.make_c._BATCH", 3)
    assert make("c", workers=1).written == 72
    make("whole")
    assert tree(Path("c")) == tree(Path("whole"))


def test_two_at_once_do_no_harm(make):
    make("whole")
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(make, "c") for _ in range(2)]:
            each.result()
    assert tree(Path("c")) == tree(Path("whole"))
    assert not left_over(Path("c"))


def test_what_another_has_half_written_stays_while_it_works(make, monkeypatch):
    seen = []
    whole = corrupt

    def during(*args, **kwargs):
        if not seen:
            seen.extend(left_over(Path("c")))
            make("c", names=["contrast"])
            assert left_over(Path("c")) == seen
        return whole(*args, **kwargs)

    monkeypatch.setattr("bench.run.prepare.corrupt", during)
    make("c")
    assert len(seen) == 1
    assert not left_over(Path("c"))


def test_a_full_disk_is_one_sentence_and_what_is_written_is_whole(make):
    make("whole")
    make("c", names=["contrast"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))
    try:
        with pytest.raises(RunError, match="c cannot be written: File too large; make room, and the same command"):
            make("c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not left_over(Path("c"))
    assert tree(Path("c")).items() <= tree(Path("whole")).items()
    make("c")
    assert tree(Path("c")) == tree(Path("whole"))


# -- what must not mix ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"seed": 1}, "c was begun with seed 0, and this call has seed 1, which must not mix: call it as then"),
        ({"limit": 3}, "c was begun with limit none, and this call has limit 3"),
    ],
)
def test_another_protocol_is_refused(make, flags, says):
    make("c", names=["contrast"], severities=(1,))
    before = tree(Path("c"))
    with pytest.raises(BenchError, match=says):
        make("c", names=["contrast"], severities=(2,), **flags)
    assert tree(Path("c")) == before
    assert not left_over(Path("c"))


@pytest.mark.parametrize(
    ("part", "name", "says"),
    [("corruption_version", "fog", "corruption version fog 0"), ("crop", "size", "crop size 0")],
)
def test_files_of_older_code_are_refused(make, part, name, says):
    make("c", names=["contrast"], severities=(1,))
    note = json.loads(Path("c", MADE_HERE).read_text())
    note[part][name] = 0
    Path("c", MADE_HERE).write_text(json.dumps(note))
    with pytest.raises(BenchError, match=f"was begun with {says}, and this call has"):
        make("c", names=["contrast"], severities=(1,))


def test_other_images_are_refused(make, tmp_path, val):
    make("c", names=["contrast"], severities=(1,))
    fewer = tmp_path / "val"
    for path in sorted(val.glob("*/*"))[:5]:
        (fewer / path.parent.name).mkdir(parents=True, exist_ok=True)
        (fewer / path.relative_to(val)).write_bytes(path.read_bytes())
    with pytest.raises(
        BenchError, match="begun with data imagenet, 8 images, .* this call has data imagenet, 5 images"
    ):
        make("c", names=["contrast"], severities=(1,), data={"imagenet": str(fewer)})


def test_a_note_that_cannot_be_read_is_named(make):
    make("c", names=["contrast"], severities=(1,))
    Path("c", MADE_HERE).write_text("{")
    with pytest.raises(BenchError, match=r"c/protocol.json can't be read .*; name another folder with --out"):
        make("c", names=["contrast"], severities=(1,))


def test_files_of_another_origin_are_never_added_to(make, imagenet_family):
    before = tree(imagenet_family["imagenet-c"])
    with pytest.raises(BenchError, match="holds other files and no protocol.json.* name an empty folder"):
        make(imagenet_family["imagenet-c"])
    assert tree(imagenet_family["imagenet-c"]) == before


# -- mistakes -------------------------------------------------------------------------------------------------


def test_faults_are_one_sentence(bench, val, tmp_path):
    (tmp_path / "file").touch()
    for options, says in (
        ((f"imagenet={val}", "--corruption", "fgo", "--out", "c"), "no corruption 'fgo'. Did you mean 'fog'"),
        ((f"imagenet={val}", "--out", "file"), "file cannot be written: it is not a folder; name another folder"),
    ):
        done = bench("data", "make-c", *options, "--workers", 0, "--cache", "off")
        assert (done.returncode, done.stdout) == (2, "")
        [sentence] = done.stderr.splitlines()
        assert sentence.startswith("bench: ")
        assert says in sentence
        assert not (tmp_path / "c").exists()


def test_only_the_validation_set_will_do(call_data):
    assert "make-c takes imagenet or imagenet=PATH, not 'digits'" in call_data("digits")
    assert "obtain it from" in call_data("imagenet")


@pytest.fixture
def call_data(tmp_path, monkeypatch, capsys):
    """A function that runs `bench data make-c` in this process, which must fail with the one sentence that it gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)

    def _call(*arguments):
        from bench.cli import main

        assert main(["data", "make-c", *arguments, "--out", "c"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    return _call


def test_a_corruption_that_imagenet_c_lacks_is_refused(make, scratch_registries):
    corruptions.register(Corruption(name="dusk", version=1, load=lambda: lambda images, severity, draws: images))
    with pytest.raises(BenchError, match="ImageNet-C has no corruption 'dusk'; it has gaussian_noise, shot_noise"):
        make("c", names=["dusk"])


def test_a_corruption_that_fails_is_named(make, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("too dark")

    monkeypatch.setattr("bench.run.prepare.corrupt", fails)
    with pytest.raises(RunError, match="making images under 'fog' failed: ValueError: too dark"):
        make("c")


def test_an_image_that_does_not_decode_is_named(make, tmp_path, val):
    (tmp_path / "val/n01440764").mkdir(parents=True)
    (tmp_path / "val/n01440764/ILSVRC2012_val_00000293.JPEG").write_bytes(b"text")
    with pytest.raises(RunError, match="n01440764/ILSVRC2012_val_00000293.JPEG does not decode as an image"):
        make("c", data={"imagenet": str(tmp_path / "val")})


def test_a_process_that_dies_is_one_sentence(make, monkeypatch):
    here = os.getpid()  # where kernels are compiled first
    monkeypatch.setattr("bench.tools.make_c.perturb", lambda *_, **__: os.abort() if os.getpid() != here else None)
    with pytest.raises(RunError, match="a process that makes images died .* give fewer --workers: the same command"):
        make("c", names=["contrast"], workers=1)
    assert not left_over(Path("c"))
