"""Files come to their places whole or not at all, whatever fails and whoever is killed."""

import errno
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.board.tables import read_csv
from bench.datasets.toml_file import read_datasets
from bench.errors import DISK_FULL, BenchError, RunError
from bench.machine import files
from bench.tools.gallery import read_picture

BENCH = Path(files.__file__).parents[1]


def failing(number: int) -> Callable[..., None]:
    """A call of the system that always fails."""

    def _fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return _fail


def put(path: Path, content: bytes) -> bool:
    return files.create(path, lambda half: half.write_bytes(content))


def test_nothing_else_brings_files_into_place() -> None:
    ways = re.compile(r"os\.(replace|rename|link|fsync)\b|\.rename\(|tempfile\.(mkstemp|NamedTemporary)")
    home = BENCH / "machine" / "files.py"
    assert [path for path in BENCH.rglob("*.py") if path != home and ways.search(path.read_text())] == []


# -- replacing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_once_it_is_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"first", b"second"):
        with files.replacing(path, sync=sync) as half:
            half.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"first"
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_whoever_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.replacing(path) as half:
            half.write_bytes(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_written_in_another_folder(tmp_path: Path) -> None:
    inside, path = tmp_path / "inside", tmp_path / "file"
    inside.mkdir()
    with files.replacing(path, folder=inside) as half:
        half.write_bytes(b"new")
        assert half.parent == inside
    assert path.read_bytes() == b"new"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with files.replacing(path) as half:
        half.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with files.replacing(tmp_path / "replaced") as half:
            half.write_bytes(b"new")
        put(tmp_path / "created", b"new")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o664}


# -- creating ---------------------------------------------------------------------------------------------------


def test_the_first_writer_wins(tmp_path: Path) -> None:
    path, wins = tmp_path / "file", []
    threads = [threading.Thread(target=lambda n=n: wins.append((put(path, b"%d" % n), n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [n for won, n in wins if won]
    assert path.read_bytes() == b"%d" % winner
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EIO, errno.EINVAL, errno.EACCES, errno.EMLINK]
)
def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    assert put(tmp_path / "file", b"first")
    assert not put(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EIO, errno.EROFS])
def test_a_file_system_that_cannot_sync_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    assert put(tmp_path / "file", b"first")


@pytest.mark.parametrize("number", DISK_FULL)
@pytest.mark.parametrize("call", ["link", "fsync"])
def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        put(tmp_path / "file", b"first")
    assert list(tmp_path.iterdir()) == []


# -- what killed writers leave ----------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed(tmp_path: Path, killed_while_writing: Callable[[Path], Path]) -> None:
    left = killed_while_writing(tmp_path / "some" / "file")
    files.tidy(tmp_path)
    assert not left.exists()


def test_what_a_living_process_writes_stays_until_it_is_silent_for_long(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "file") as half:
        half.write_bytes(b"half")
        files.tidy(tmp_path)
        assert half.exists()
        os.utime(half, (time.time() - 9999,) * 2)
        files.tidy(tmp_path)
        assert not half.exists()
        half.write_bytes(b"whole")


def test_a_process_number_of_another_container_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_while_writing: Callable[[Path], Path]
) -> None:
    left = killed_while_writing(tmp_path / "file")
    monkeypatch.setattr(files, "_here", lambda: "elsewhere")
    files.tidy(tmp_path)
    assert left.exists()
    os.utime(left, (time.time() - 9999,) * 2)
    files.tidy(tmp_path)
    assert not left.exists()


def test_containers_with_one_host_name_are_told_apart() -> None:
    command = ["unshare", "-pf", "--mount-proc", sys.executable, "-c"]
    try:
        done = subprocess.run(
            [*command, "from bench.machine.files import _here; print(_here())"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a container")
    assert done.stdout.strip() != files._here()


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = [tmp_path / name for name in (".hidden", ".cache.tmp", "x~.tmp", ".a~b~.tmp", ".~.tmp")]
    for path in others:
        path.write_bytes(b"mine")
        os.utime(path, (time.time() - 9999,) * 2)
    files.tidy(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)


# -- what the user asked for ------------------------------------------------------------------------------------


def test_what_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    files.write(pipe, "text")
    reader.join()
    assert got == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_place_below_a_file_is_the_callers_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="file is not a folder; name another place"):
        files.write(tmp_path / "file" / "inside", "text")


def test_want_of_room_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="file cannot be written: No space left on device; make room"):
        files.write(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [f".cell~host~12~{'0' * 32}~.tmp", f".{'0' * 32}.tmp"])
def test_what_older_versions_left_half_written_goes_once_it_is_silent(tmp_path: Path, name: str) -> None:
    half = tmp_path / name
    half.write_bytes(b"half")
    files.tidy(tmp_path)
    assert half.exists()
    os.utime(half, (time.time() - 9999,) * 2)
    files.tidy(tmp_path)
    assert not half.exists()


def test_other_hidden_files_stay_however_old_they_are(tmp_path: Path) -> None:
    theirs = tmp_path / ".somebody.tmp"
    theirs.write_bytes(b"")
    os.utime(theirs, (0, 0))
    files.tidy(tmp_path)
    assert theirs.exists()


@pytest.mark.parametrize("read", [read_picture, read_csv, read_datasets])
def test_a_device_is_not_read_as_a_file(read: Callable[[Path], object]) -> None:
    """It never ends: the command would take all memory."""
    with pytest.raises(BenchError, match="a device, and not a file|is not a file|not a readable CSV"):
        read(Path("/dev/zero"))
