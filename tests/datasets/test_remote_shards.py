"""Shards of a server: read once, in order; the same samples, fingerprint and checks as of the same files on a disk."""

import re
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from bench.datasets import download, fingerprint
from bench.datasets.copies import table_at
from bench.datasets.readers.remote_shards import address_of
from bench.datasets.readers.shards import ShardSamples
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError, BenchError, RunError, UnreachableError
from tests.servers import serving


class Server:
    """Gives the files of a folder, with faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        """Path and range of each request."""
        self.cut_after: int | None = None
        """Bytes of each answer after which the connection ends."""
        self.tag = '"1"'
        self.knows_if_range = True
        self.led_to = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range") or ""
        self.asked.append((handler.path, wanted))
        path = self.folder / handler.path.lstrip("/")
        if self.led_to or not path.is_file():
            handler.send_response(302 if self.led_to else 404)
            handler.send_header("Location", self.led_to)
            handler.end_headers()
            return
        content = path.read_bytes()
        asks_for_this = handler.headers.get("If-Range", self.tag) == self.tag or not self.knows_if_range
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and asks_for_this else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("ETag", self.tag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:][: self.cut_after])


@pytest.fixture
def folder(tmp_path, write_bird_shards):
    """Three shards of three samples."""
    return write_bird_shards(tmp_path / "there")


@pytest.fixture
def server(folder, tmp_path, monkeypatch):
    served = Server(folder)
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(lambda handler: served.answer(handler)) as served.host:  # tests put another in its place
        yield served


@pytest.fixture
def opened(server, birds):
    return lambda name="birds-{000..002}.tar": ShardSamples(Path(f"{server.host}/{name}"), birds, "b")


def kept(tmp_path):
    """Names of what is kept, beside the locks."""
    paths = (tmp_path / "cache").rglob("birds-*")
    return sorted(path.name for path in paths if path.suffix != ".lock")


def test_they_are_what_the_same_files_on_a_disk_are(server, opened, folder, birds, images):
    samples, here = opened(), ShardSamples(folder, birds, "b")
    assert samples.ids.tolist() == here.ids.tolist()
    assert samples.labels.tolist() == here.labels.tolist()
    assert fingerprint(samples) == fingerprint(here)
    assert [samples.read(index) for index in (8, 0, 4)] == [images[8], images[0], images[4]]
    assert server.asked == [(f"/birds-{number:03d}.tar", "") for number in range(3)]


def test_they_are_fetched_once(server, opened, capsys):
    opened("birds-000.tar")
    assert fingerprint(opened()) == fingerprint(opened())
    assert len(server.asked) == 3
    said = capsys.readouterr().err
    assert "reading 1 shard of b from" in said
    assert "reading 2 shards of b from" in said
    assert said.count("\n") == 2


def test_cut_connections_are_gone_on_from(server, opened, folder, birds):
    server.cut_after = 4000
    assert fingerprint(opened()) == fingerprint(ShardSamples(folder, birds, "b"))
    assert ("/birds-000.tar", "bytes=4000-") in server.asked


@pytest.mark.parametrize("knows_if_range", [True, False])
@pytest.mark.parametrize("same_size", [True, False])
def test_no_shard_is_put_together_of_two_versions(server, opened, folder, images, write_tar, knows_if_range, same_size):
    server.cut_after, server.knows_if_range = 4000, knows_if_range
    answer = partial(Server.answer, server)

    def changing(handler):
        answer(handler)
        if len(server.asked) == 1:
            server.tag, server.cut_after = '"2"', None
            other = images[4] if not same_size else images[0][:-1] + b"!"
            write_tar(folder / "birds-000.tar", {"0000.png": other, "0000.cls": b"1"})

    server.answer = changing
    samples = opened("birds-000.tar")
    assert samples.read(0) in (images[4], images[0][:-1] + b"!")
    assert samples.labels.tolist() == [1]


def test_what_a_server_cuts_short_is_not_kept(server, opened, folder, tmp_path):
    path = folder / "birds-001.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        RunError, match=r"/birds-001\.tar gave no whole tar file, and nothing was kept of it; run again"
    ):
        opened()
    assert kept(tmp_path) == ["birds-000.tar"]


def test_a_server_that_cuts_every_connection_at_once_is_given_up(server, opened, tmp_path):
    server.cut_after = 0
    with pytest.raises(
        UnreachableError, match=r"birds-000\.tar cannot be reached .*; run again, or correct the address"
    ):
        opened()
    assert len(server.asked) == 5


def test_a_missing_shard_is_named(opened):
    with pytest.raises(AbsentError, match=r"birds-003\.tar answers 404 \(Not Found\); correct the address"):
        opened("birds-{000..003}.tar")


@pytest.mark.parametrize("place", ["https://elsewhere.invalid/x.tar", "ftp://localhost/x.tar", "file:///etc/hostname"])
def test_no_redirect_leads_to_another_host_or_scheme(server, opened, place, tmp_path):
    server.led_to = place
    with pytest.raises(
        AbsentError,
        match=f"(leads to|Redirection to url) '?{re.escape(place)}'?,? (which is not followed|is not allowed)",
    ):
        opened()
    assert [name for name in kept(tmp_path) if not name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://host/val-*.tar", "a server is not asked which shards it has"),
        ("https://host/val.tar?key=1", r"without \*, \? and \["),
        ("https://host/val.tgz", "packed"),
        ("https://host/val.tar.gz", "packed tar file"),
        ("https://host/val", "names no tar file"),
        ("https://host:x/val.tar", "is no address of a shard"),
        ("https://me:secret@host/val.tar", "is no address of a shard"),
        ("https://host/a/../../../val.tar", "is no address of a shard"),
        ("https://host/{000..999999}.tar", "more than 100,000 shards"),
    ],
)
def test_what_can_be_no_address_of_a_shard_is_refused(birds, address, message):
    with pytest.raises(BenchError, match=message):
        ShardSamples(Path(address), birds, "b")


def test_a_folder_called_https_is_a_folder():
    assert address_of(Path("https/val.tar")) is None
    assert address_of(Path("/data/https:/val.tar")) is None
    assert address_of(Path("")) is None
    assert address_of(Path("http://a:1/b/{0..1}.tar")) == "http://a:1/b/{0..1}.tar"


def test_imagenet_may_lie_there(server, folder, images, write_tar):
    write_tar(folder / "val.tar", {"a.png": images[0], "a.cls": b"999", "b.png": images[1], "b.cls": b"3"})
    table = table_at(Path(f"{server.host}/val.tar"), ("validation",), IMAGENET, "imagenet")
    assert table.labels.tolist() == [999, 3]
