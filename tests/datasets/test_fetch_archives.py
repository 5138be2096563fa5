"""Archives over a network that cuts, lies, forgets and leads elsewhere: what takes its place is what was published."""

import errno
import hashlib
import os
import re
import shutil
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest

from bench import api
from bench.cli import main
from bench.datasets import Archive, datasets, download
from bench.datasets.fetch import fetch_archives
from bench.errors import AbsentError, BenchError, RunError, UnreachableError
from tests.servers import serving

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several pieces
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves CONTENT as `imagenet-a.tar`, with faults."""

    def __init__(self) -> None:
        self.ranges: list[str] = []
        self.content = CONTENT
        self.cut_after: int | None = None
        """Bytes of each answer after which the connection ends."""
        self.has_ranges = True
        self.says_length = True
        self.answers: dict[int, tuple[int, dict[str, str], bytes]] = {}
        """Number of the request to what is answered instead."""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range") or ""
        self.ranges.append(wanted)
        if len(self.ranges) in self.answers:
            code, headers, body = self.answers[len(self.ranges)]
            handler.send_response(code)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.has_ranges else 0
        if start >= len(self.content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.content)}")
            handler.end_headers()
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.says_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.cut_after])


@pytest.fixture
def server(monkeypatch):
    served = Server()
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    with serving(served.handle) as address:
        served.url = f"{address}/copies/"
        yield served


@pytest.fixture
def small(scratch_registries):
    """imagenet-a, as if its archive were CONTENT."""
    small = replace(datasets.get("imagenet-a"), archives=(Archive("https://host.invalid/imagenet-a.tar", MD5),))
    datasets._items["imagenet-a"] = small
    return small


@pytest.fixture
def bring(server, small, tmp_path):
    """Fetches from the server; the lines that it notes."""

    def run():
        notes = []
        (path,) = fetch_archives(small, tmp_path / "out", notes.append, url=server.url)
        assert path.read_bytes() == CONTENT
        assert [left.name for left in path.parent.iterdir()] == ["imagenet-a.tar"]
        return notes

    return run


def stopped(tmp_path, content=CONTENT[:1_000_000]):
    """What a call that was stopped leaves."""
    part = tmp_path / "out/imagenet-a.tar.part"
    part.parent.mkdir()
    part.write_bytes(content)
    return part


def test_an_archive_comes_whole_and_a_second_call_fetches_nothing(bring, server):
    assert "as published" in bring()[-1]
    assert "here already" in bring()[-1]
    assert server.ranges == [""]


def test_cut_connections_are_gone_on_from(bring, server):
    server.cut_after = 1_100_000
    bring()
    assert server.ranges == ["", "bytes=1100000-", "bytes=2200000-"]


def test_what_a_stopped_call_left_is_gone_on_from(bring, server, tmp_path):
    stopped(tmp_path)
    assert any("going on from there" in note for note in bring())
    assert server.ranges == ["bytes=1000000-"]


def test_all_bytes_of_a_stopped_call_are_enough(bring, server, tmp_path):
    stopped(tmp_path, CONTENT)
    bring()
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_more_than_there_is_begins_anew(bring, server, tmp_path):
    stopped(tmp_path, CONTENT + b"more")
    bring()
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", ""]


def test_a_server_without_ranges_begins_anew(bring, server, tmp_path):
    stopped(tmp_path)
    server.has_ranges = False
    assert any("begins anew" in note for note in bring())


def test_another_part_than_was_asked_for_is_not_taken(bring, server, tmp_path):
    stopped(tmp_path)
    server.answers[1] = (206, {"Content-Range": "bytes 5-9/3072000", "Content-Length": "5"}, b"other")
    bring()
    assert server.ranges[-1] == ""


def test_a_length_that_is_not_said_needs_no_saying(bring, server):
    server.says_length = False
    bring()


def test_a_server_that_is_busy_is_asked_again(bring, server):
    server.answers |= {1: (503, {}, b""), 2: (429, {}, b"")}
    bring()


def test_other_bytes_are_never_kept(bring, server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(RunError, match=r"not imagenet-a.tar as published .* none was kept"):
        bring()
    assert not list((tmp_path / "out").iterdir())
    stopped_at = tmp_path / "out/imagenet-a.tar.part"
    stopped_at.write_bytes(b"?" * 1000)  # of another version: the whole is wrong, and the next call begins anew
    server.content = CONTENT
    with pytest.raises(RunError, match="none was kept"):
        bring()
    bring()


def test_a_server_that_gives_nothing_is_given_up_and_what_came_is_kept(bring, server, tmp_path):
    stopped(tmp_path)
    server.cut_after = 0
    with pytest.raises(
        UnreachableError, match=r"cannot be reached \(the connection was cut\); 976.6 KiB are kept: run again"
    ):
        bring()
    assert (tmp_path / "out/imagenet-a.tar.part").stat().st_size == 1_000_000
    assert len(server.ranges) == 5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {}, b""), r"answers 404 \(Not Found\); name a mirror with --url"),
        ((403, {}, b""), "answers 403"),
        ((200, {"Content-Type": "text/html"}, b"<html>log in"), "gives a web page and not imagenet-a.tar"),
        ((302, {"Location": "ftp://localhost/x.tar"}, b""), "leads to ftp://localhost/x.tar, which is not followed"),
        (
            (302, {"Location": "https://elsewhere.invalid/x.tar"}, b""),
            "leads to https://elsewhere.invalid/x.tar, which is not",
        ),
    ],
)
def test_what_is_not_the_archive_is_refused_and_leaves_what_was_kept(bring, server, tmp_path, answer, message):
    part = stopped(tmp_path)
    server.answers[1] = answer
    with pytest.raises(AbsentError, match=message):
        bring()
    assert part.read_bytes() == CONTENT[:1_000_000]


def test_a_redirect_within_the_host_is_followed(bring, server):
    server.answers[1] = (302, {"Location": "/other/imagenet-a.tar"}, b"")
    bring()


def test_a_full_disk_is_said_before_and_while_bytes_come(bring, server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(RunError, match="has 1000 B left, and imagenet-a.tar takes 2.9 MiB more; make room"):
            bring()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="make room: the same command goes on from there"):
            bring()
    bring()


def test_two_calls_do_not_write_the_same_file(bring, tmp_path):
    part = stopped(tmp_path)
    taken = "another process fetches .*; wait for it, or name another folder with --out"
    with part.open("a+b") as file, download._alone(file, part, ""), pytest.raises(BenchError, match=taken):
        bring()


def test_another_file_of_that_name_is_left_alone(bring, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/imagenet-a.tar").write_bytes(b"mine")
    with pytest.raises(BenchError, match="is not imagenet-a.tar as published"):
        bring()
    assert (tmp_path / "out/imagenet-a.tar").read_bytes() == b"mine"


def test_the_command_says_how_to_read_it(server, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "fetch", "imagenet-a", "--url", server.url]) == 0
    assert capsys.readouterr().out == "read it with --data imagenet-a=imagenet-a\n"
    assert (tmp_path / "imagenet-a/imagenet-a.tar").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["imagenet"],
            r"imagenet is not fetched for you \(image-net.org's terms .*\): obtain it from https://image-net",
        ),
        (["imagenet-v2"], "obtain it from https://huggingface.co/datasets/vaishaal/ImageNetV2"),
        (["digits"], "digits ships with the package"),
        (["imagenet-z"], "no dataset 'imagenet-z'"),
        (["imagenet-a", "--url", "ftp://host/"], "--url wants the http or https address"),
    ],
)
def test_what_is_not_fetched_is_a_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "fetch", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_archives_are_named_as_the_readers_look_for_them():
    named = {dataset.name: [archive.name for archive in dataset.archives] for dataset in datasets if dataset.archives}
    groups = ["noise.tar", "blur.tar", "weather.tar", "digital.tar", "extra.tar"]
    assert named == {"imagenet-a": ["imagenet-a.tar"], "imagenet-c": groups, "imagenet-r": ["imagenet-r.tar"]}
    for dataset in datasets:
        for archive in dataset.archives:
            assert archive.address.startswith("https://")
            assert re.fullmatch("[0-9a-f]{32}", archive.md5)
    assert api.fetch_data.__doc__
