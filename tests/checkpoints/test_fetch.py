"""Weights that lie elsewhere: a server on this machine and a hub that is made up stand for the network."""

import errno
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import save

from bench.checkpoints import fetch as fetching
from bench.checkpoints.fetch import checked_digest, fetch, locate, weights_folder
from bench.checkpoints.loading import model_digest
from bench.errors import AbsentError, BenchError, RunError, UnreachableError
from bench.records import Checkpoint, ClassSpace
from tests.servers import serving

CONTENT = save({"weight": torch.zeros(3, 3)})
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = save({"weight": torch.ones(3, 3)})


def entry(weights: str, digest: str = "") -> Checkpoint:
    space = ClassSpace(name="abc", classes=("a", "b", "c"))
    return Checkpoint(name="x", class_space=space, weights=weights, weights_digest=digest)


HUB = entry("hf://owner/repository/model.safetensors")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the hub given up by another."""
    monkeypatch.setattr(fetching, "_out_of_reach", {})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rtbench" / "weights"


class Server:
    """Answers by the path: what goes wrong is its first part."""

    content = CONTENT

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        what = handler.path.split("/")[1]
        kind = "text/html; charset=utf-8" if what == "page" else "application/octet-stream"
        handler.send_response(404 if what == "absent" else 200)
        handler.send_header("Content-Type", kind)
        body = b"<!DOCTYPE html><p>Sign in" if what in ("page", "hidden") else b"" if what == "empty" else self.content
        handler.send_header("Content-Length", str(len(body) + (7 if what == "cut" else 0)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fetching, "WEB", ("http://",))
    with serving(Server().answer) as address:
        yield address


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# -- where weights are ------------------------------------------------------------------------------------------


def test_a_file_of_the_users_is_where_the_entry_says(tmp_path: Path) -> None:
    assert locate(entry(str(tmp_path / "w"))) == tmp_path / "w"
    assert fetch(entry(str(tmp_path / "w")), print) == tmp_path / "w"


def test_an_entry_without_weights_is_refused() -> None:
    with pytest.raises(BenchError, match="'x' names no weights file; give its entry one"):
        locate(entry(""))


def test_absent_weights_are_told_where_from_and_where_to(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    page = "https://huggingface.co/owner/repository/resolve/main/model.safetensors"
    place = cache / "huggingface.co" / "owner" / "repository" / "model.safetensors"
    message = f"'x' has no weights here: they are fetched by `bench run`; without a network put the file from {page} at"
    with pytest.raises(AbsentError, match=f"{message} {place}"):
        locate(HUB)
    with pytest.raises(AbsentError, match=f"put the file from https://a.b/c/w.npz at {cache}/a.b/c/w.npz"):
        model_digest(entry("https://a.b/c/w.npz"))


def test_what_was_put_there_by_hand_is_found(cache: Path) -> None:
    place = cache / "huggingface.co" / "owner" / "repository" / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert locate(HUB) == place
    assert checked_digest(HUB) == DIGEST


def test_what_the_hubs_cache_has_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--owner--repository"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    file = repository / "snapshots" / commit / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate(HUB) == file
    (repository / ".no_exist" / commit).mkdir(parents=True)  # the hub's mark of a file that it lacks
    (repository / ".no_exist" / commit / "other").touch()
    with pytest.raises(AbsentError):
        locate(entry("hf://owner/repository/other"))


def test_locating_needs_no_torch() -> None:
    code = (
        "import sys; from bench.checkpoints import checkpoints; from bench.checkpoints.fetch import locate\n"
        "from bench.errors import AbsentError\n"
        "try: locate(checkpoints.get('resnet50.tv_in1k'))\n"
        "except AbsentError: print('absent')\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    ran = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- https ------------------------------------------------------------------------------------------------------


def test_it_is_fetched_once_and_kept(server: str, cache: Path) -> None:
    notes: list[str] = []
    checkpoint = entry(f"{server}/good/w.npz")
    path = fetch(checkpoint, notes.append)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache)
    assert path.parts[-2:] == ("good", "w.npz")
    assert notes == [f"x: fetching {checkpoint.weights}", f"x: {len(CONTENT)} B fetched"]
    assert fetch(checkpoint, notes.append) == locate(checkpoint) == path
    assert len(notes) == 2
    assert left_in(cache) == ["digests.json", "w.npz"]


def test_progress_is_noted_now_and_then(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PIECE", 10)
    monkeypatch.setattr(fetching, "_NOTE_EVERY", 50)
    notes: list[str] = []
    fetch(entry(f"{server}/good/w"), notes.append)
    assert len(notes) == 2 + len(CONTENT) // 50
    assert notes[1] == f"x: 50 B of {len(CONTENT)} B"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("absent", r"/absent/w answers 404 \(Not Found\); correct the entry's weights, or put the file from .* at "),
        ("page", "/page/w gives a web page and not weights, and it was not kept; look at it in a browser"),
        ("hidden", "/hidden/w gives a web page and not weights, and it was not kept"),
        ("cut", rf"/cut/w was cut off after {len(CONTENT)} of {len(CONTENT) + 7} bytes, and none of it was kept"),
        ("empty", "/empty/w was cut off after 0 of 0 bytes"),
    ],
)
def test_what_is_no_weights_file_is_not_kept(server: str, cache: Path, what: str, message: str) -> None:
    with pytest.raises(AbsentError, match=f"'x': {server}{message}"):
        fetch(entry(f"{server}/{what}/w"), print)
    assert left_in(cache) == []


def test_without_a_network_it_says_what_to_put_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WEB", ("http://",))
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://localhost:{taken.getsockname()[1]}/w"
        message = rf"{address} can't be reached \(.*refused\); run again with a network, or put the file from {address}"
        with pytest.raises(AbsentError, match=message):
            fetch(entry(address), print)
    assert left_in(cache) == []


def test_a_full_disk_leaves_nothing_behind(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_copy", full)
    with pytest.raises(RunError, match=r"weights can't be kept \(No space left on device\); make room, or set XDG_"):
        fetch(entry(f"{server}/good/w"), print)
    assert left_in(cache) == []


# -- the hub ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the hub is to answer: a path, or an error that is raised."""
    answers: list[object] = []

    def download(repository: str, file: str) -> str:
        assert repository == "owner/repository"
        assert file in ("model.safetensors", "pytorch_model.bin")  # of older repositories, where the first is not
        (answer,) = answers
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return answers


def hub_error(name: str) -> Exception:
    """An error of the hub's client; those with a response take one that differs from version to version."""
    kind = getattr(hub_errors, name)
    error: Exception = kind.__new__(kind)
    error.args = (f"told by the {name}",)
    return error


def test_the_hub_gives_a_file(tmp_path: Path, hub: list[object]) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    hub.append(file)
    assert fetch(HUB, print) == file
    assert json.loads((weights_folder() / "digests.json").read_text()) == {HUB.weights: DIGEST}


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (
            "LocalEntryNotFoundError",
            UnreachableError,
            "can't be reached .*; run again with a network, or put the file from",
        ),
        (
            "OfflineModeIsEnabled",
            UnreachableError,
            "can't be reached .*; run again with a network, or put the file from",
        ),
        ("HfHubHTTPError", UnreachableError, "can't be reached .*; run again with a network, or put the file from"),
        (
            "GatedRepoError",
            AbsentError,
            r"accepted its terms; do so on https://huggingface\.co/owner/repository and log",
        ),
        ("RepositoryNotFoundError", BenchError, "the hub has no file 'model.safetensors' in owner/repository"),
        ("EntryNotFoundError", BenchError, "the hub has no file 'model.safetensors' in owner/repository.*correct the"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_sentence(
    hub: list[object], name: str, kind: type[BenchError], message: str
) -> None:
    hub.append(hub_error(name))
    with pytest.raises(BenchError, match=message) as caught:
        fetch(HUB, print)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_no_fault_of_the_hubs(hub: list[object]) -> None:
    hub.append(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RunError, match=r"can't be kept \(No space left on device\).*from the hub, HF_HOME"):
        fetch(HUB, print)


def test_an_unknown_error_of_the_hubs_client_is_no_traceback(hub: list[object]) -> None:
    hub.append(RuntimeError("client has been closed.\nsecond line"))
    with pytest.raises(AbsentError, match=r"can't be reached \(client has been closed\); run again"):
        fetch(HUB, print)


# -- digests ----------------------------------------------------------------------------------------------------


def test_what_the_entry_pins_is_checked_before_it_is_kept(server: str, cache: Path) -> None:
    checkpoint = entry(f"{server}/good/w", digest="0" * 64)
    with pytest.raises(BenchError, match=f"wants weights with SHA-256 000000000000…, but .* has {DIGEST[:12]}…"):
        fetch(checkpoint, print)
    assert left_in(cache) == []
    assert fetch(replace(checkpoint, weights_digest=DIGEST), print).read_bytes() == CONTENT
    assert left_in(cache) == ["w"]  # a pinned digest needs no record


def test_an_address_means_what_it_held_first(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = entry(f"{server}/good/w")
    path = fetch(checkpoint, print)
    assert checked_digest(checkpoint) == DIGEST
    path.unlink()
    monkeypatch.setattr(Server, "content", OTHER)
    message = rf"had SHA-256 {DIGEST[:12]}… when it was first used, but .*; restore that file, or take the address out"
    with pytest.raises(BenchError, match=message):
        fetch(checkpoint, print)
    assert left_in(cache) == ["digests.json"]
    path.write_bytes(OTHER)
    with pytest.raises(BenchError, match=f"{message} of {cache}/digests.json to trust the new content"):
        model_digest(checkpoint)
    (cache / "digests.json").write_text("{}")
    assert checked_digest(checkpoint) == hashlib.sha256(OTHER).hexdigest()


def test_a_users_own_file_may_change(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "w"
    for content in (CONTENT, OTHER + b" "):
        file.write_bytes(content)
        assert checked_digest(entry(str(file))) == hashlib.sha256(content).hexdigest()
    assert left_in(cache) == []


def test_records_of_several_addresses_stay(server: str, cache: Path) -> None:
    for name in ("a", "b"):
        fetch(entry(f"{server}/good/{name}"), print)
    assert json.loads((cache / "digests.json").read_text()) == {f"{server}/good/{name}": DIGEST for name in "ab"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"digests\.json can't be read \(.*\); restore it, or remove it to start anew"),
        ("[1]", r"digests\.json does not hold digests by address; restore it, or remove it"),
        ('{"a": 1}', r"digests\.json does not hold digests by address; restore it, or remove it"),
    ],
)
def test_a_damaged_record_trusts_nothing(server: str, cache: Path, text: str, message: str) -> None:
    cache.mkdir(parents=True)
    (cache / "digests.json").write_text(text)
    with pytest.raises(RunError, match=message):
        fetch(entry(f"{server}/good/w"), print)
    assert left_in(cache) == ["digests.json"]


def test_a_digest_that_cannot_be_recorded_is_an_error(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    checkpoint = entry(f"{server}/good/w")
    monkeypatch.setattr(fetching.json, "dumps", read_only)
    with pytest.raises(
        RunError, match=r"can't be recorded in .*digests\.json \(Permission denied\); set XDG_CACHE_HOME"
    ):
        fetch(checkpoint, print)
    assert left_in(cache) == []
