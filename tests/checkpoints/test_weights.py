import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from argparse import Namespace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.checkpoints import weights
from bench.checkpoints.weights import read_weights, weights_digest
from bench.errors import BenchError, RunError

ARRAYS = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([1.0, -1.0]).bfloat16()}


class Attack:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = ARRAYS) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert torch.equal(found[name], array)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_safetensors_round_trip_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    save_file(ARRAYS, tmp_path / name)
    assert_same(read_weights(tmp_path / name))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("new", [True, False])
def test_torch_files_round_trip_in_both_formats(tmp_path: Path, name: str, new: bool) -> None:
    torch.save(ARRAYS, tmp_path / name, _use_new_zipfile_serialization=new)
    assert_same(read_weights(tmp_path / name))


def test_a_torch_file_that_was_compressed_can_be_read(tmp_path: Path) -> None:
    torch.save(ARRAYS, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as old, zipfile.ZipFile(tmp_path / "z.pth", "w", 8) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    assert_same(read_weights(tmp_path / "z.pth"))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_training_scripts_wrap_around_is_taken_off(tmp_path: Path, wrapper: str, prefix: str) -> None:
    inner = {prefix + name: array for name, array in ARRAYS.items()}
    torch.save({wrapper: inner, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    assert_same(read_weights(tmp_path / "w.pth"))


def test_a_prefix_that_not_every_name_has_stays(tmp_path: Path) -> None:
    arrays = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    save_file(arrays, tmp_path / "w")
    assert_same(read_weights(tmp_path / "w"), arrays)


def test_parameters_named_like_a_wrapper_are_parameters(tmp_path: Path) -> None:
    arrays = {"model": torch.zeros(1), "b": torch.zeros(1)}
    torch.save(arrays, tmp_path / "w")
    assert_same(read_weights(tmp_path / "w"), arrays)


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, new: bool) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "w.pth"
    torch.save({**ARRAYS, "x": Attack(marker)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(BenchError, match=r"would run code \(it names posix\.mkdir\).*safetensors\.torch\.save_file"):
        read_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_code_in_a_plain_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Attack(marker), protocol=protocol))
    with pytest.raises(BenchError, match=r"(could|would) run code"):
        read_weights(tmp_path / "w.pkl")
    assert not marker.exists()
    pickle.loads((tmp_path / "w.pkl").read_bytes())
    assert marker.exists(), "the file must be one that runs code where it is loaded carelessly"


def test_a_pickle_that_is_not_of_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    with pytest.raises(BenchError, match="is a pickle, but not one of plain arrays"):
        read_weights(tmp_path / "w.pkl")


def test_what_a_script_was_called_with_may_stand_beside_the_weights(tmp_path: Path) -> None:
    torch.save({"model": ARRAYS, "args": Namespace(lr=1, betas=(0.9, 0.99)), "epoch": 3}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == ARRAYS.keys()


def test_objects_beside_the_weights_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": ARRAYS, "args": Namespace(lr=Fraction(1, 3))}, tmp_path / "w.pth")
    with pytest.raises(BenchError, match=r"it names fractions\.Fraction"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_weights, weights_digest):
        with pytest.raises(BenchError, match=r"there is no weights file .*none\.pth"):
            read(tmp_path / "none.pth")  # type: ignore[operator]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is a folder; name the file in it"):
        read_weights(tmp_path)


def test_a_path_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"can't be opened \(File name too long\)"):
        read_weights(tmp_path / ("x" * 300))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    with pytest.raises(BenchError, match=r"w\.pth is empty; download or copy it again"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>",
            "is a web page, likely the error page",
        ),
        (b"<html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-lfs pointer.*git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), r"neither safetensors nor a file of torch\.save nor npz \(it begins"),
        (b"PK\x03\x04" + bytes(100), r"\(a zip archive\) is damaged or cut short"),
    ],
)
def test_other_files_are_refused_for_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        read_weights(path)


@pytest.mark.parametrize("keep", [10, 60, -1])
def test_a_cut_safetensors_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(ARRAYS, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"w\.safetensors is damaged or cut short \(.*download or copy"):
        read_weights(path)


@pytest.mark.parametrize("new", [True, False])
def test_a_cut_torch_file_is_refused(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save(ARRAYS, path, _use_new_zipfile_serialization=new)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunError, match=r"w\.pth .*is damaged or cut short.*download or copy"):
        read_weights(path)


@pytest.mark.parametrize("members", [["kernel.npy", "notes.txt"], []])
def test_another_zip_archive_is_refused(tmp_path: Path, members: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for member in members:
            archive.writestr(member, b"")
    with pytest.raises(BenchError, match=r"is a zip archive, but not of torch\.save or NumPy \(it holds "):
        read_weights(tmp_path / "w.zip")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:  # torch.jit is deprecated: only the layout
        archive.writestr("w/data.pkl", b"")
        archive.writestr("w/constants.pkl", b"")
    with pytest.raises(BenchError, match="is TorchScript, a program and not only weights"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "a state dict was wanted, but .* holds an array"),
        ([torch.zeros(3)], "a state dict was wanted, but .* holds a value of type list"),
        ({}, r"the state dict in .* is empty"),
        ({"model": {}}, r"the state dict in .* is empty"),
        ({"epoch": 3, **ARRAYS}, "holds a value of type int under 'epoch'"),
        ({1: torch.zeros(3)}, "holds an array under 1"),
        ({"a": torch.zeros(3, device="meta")}, "holds a sparse, quantised or empty tensor under 'a'"),
        ({"a": torch.eye(3).to_sparse()}, "holds a sparse, quantised or empty tensor under 'a'"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BenchError, match=message):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "old torch", "npz"])
def test_what_was_checked_is_what_is_loaded_whoever_writes_the_file_meanwhile(tmp_path: Path, kind: str) -> None:
    def write(arrays: dict[str, torch.Tensor]) -> None:
        if kind == "safetensors":
            save_file(arrays, path)
        elif kind == "npz":
            np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
        else:
            torch.save(arrays, path, _use_new_zipfile_serialization=kind == "torch")

    path = tmp_path / "w.npz"
    first = {"head.weight": torch.arange(6.0).view(2, 3)}
    write(first)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()]

    def check(sha256: str) -> None:
        digests.append(sha256)
        write({"head.weight": -first["head.weight"]})

    assert_same(read_weights(path, check=check), first)
    assert digests[0] == digests[1]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w")
    for read in (read_weights, weights_digest):
        with pytest.raises(BenchError, match="is empty"):
            read(tmp_path / "w")


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w").open("wb") as file:
        file.truncate(2**42)  # takes no room on the disk
    with pytest.raises(BenchError, match=r"w has 4\.0 TiB, more than the memory of this machine"):
        read_weights(tmp_path / "w")


def test_a_file_that_unpacks_to_more_than_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "w.npz", kernel=np.zeros(10_000))
    monkeypatch.setattr(weights, "physical_memory", lambda: 10_000)
    with pytest.raises(BenchError, match=r"w\.npz has 78\.2 KiB, more than the memory of this machine"):
        read_weights(tmp_path / "w.npz")


def test_the_digest_is_that_of_the_file_now(tmp_path: Path) -> None:
    path = tmp_path / "w"
    for content in (b"one", b"another", b"one"):
        path.write_bytes(content)
        assert weights_digest(path) == hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"one")
    first = weights_digest(path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert weights_digest(path) == first


def test_digests_and_registry_files_need_no_torch() -> None:
    code = (
        "import sys, bench.checkpoints.weights, bench.checkpoints.loading, bench.checkpoints.toml_file;"
        "assert not {'torch', 'timm', 'safetensors'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
