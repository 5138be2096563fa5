"""Places: a user without home or account, paths as they are written, files as a shared group needs them."""

import os
import stat
from pathlib import Path

import pytest

from bench.config import load_config
from bench.errors import BenchError
from bench.machine.places import needed_cache, user_cache, user_path

NOBODY_KNOWN = 54321


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: NOBODY_KNOWN)


def test_a_user_without_home_has_no_cache(homeless: None) -> None:
    assert user_cache() is None
    with pytest.raises(BenchError, match="set XDG_CACHE_HOME to a folder"):
        needed_cache()
    assert load_config({}).settings.cache is None


def test_a_cache_that_is_no_whole_path_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("", "relative", "~/x"):
        monkeypatch.setenv("XDG_CACHE_HOME", text)
        assert user_cache() == tmp_path / ".cache" / "rtbench"


@pytest.mark.parametrize("key", ["store", "cache", "registry"])
def test_a_tilde_is_the_home_wherever_a_path_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config({key: "~/x"})
    assert tmp_path / "x" in (config.settings.store, config.settings.cache, config.registry)
    assert load_config({"data": {"imagenet": "~/x"}}).settings.places["imagenet"] == tmp_path / "x"


@pytest.mark.parametrize("text", ["", "a\0b", "~nobody-has-this-name/x"])
def test_what_can_be_no_path_is_one_sentence(text: str) -> None:
    with pytest.raises(BenchError, match=r"^store "):
        user_path(text, "store")


RUN = [
    "run",
    "--suite",
    "digits",
    "--checkpoint",
    "digits-vit",
    "--limit",
    "3",
    "--device",
    "cpu",
    "--workers",
    "0",
    "--cache",
    "off",
]
WITHOUT_HOME = f"""
import os
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)
os.getuid = lambda: {NOBODY_KNOWN}
from bench.cli import main
assert main({RUN!r}) == 0
"""


def test_a_user_without_account_measures(warm, tmp_path):
    ended = warm.fork(WITHOUT_HOME, cwd=tmp_path).wait()
    assert ended.status == 0, ended.err
    assert "digits-vit" in ended.out


MASKED = (
    "import os, sys\nos.umask({mask:#o})\nfrom bench.cli import main\nstatus = main({command!r}) or main({again!r})\n"
)


@pytest.mark.parametrize("mask", [0o002, 0o077, 0o000])
def test_files_of_a_shared_store_are_open_to_whom_the_umask_says(warm, tmp_path, mask):
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chmod(folder, 0o2770)  # what is made in it belongs to its group
    again = ["table", "--suite", "digits", "--limit", "3", "--device", "cpu", "--format", "csv", "--out", "table.csv"]
    ended = warm.fork(MASKED.format(mask=mask, command=RUN, again=again) + "assert status == 0", cwd=folder).wait()
    assert ended.status == 0, ended.err
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"index.sqlite", "log.jsonl", "table.csv"}
    for path in folder.rglob("*"):
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) & 0o777 == wanted, path


@pytest.mark.parametrize("name", ["a:b", "s3:x", "with space", "percent%20", "häuser", "a#b?c"])
def test_odd_names_of_a_store_are_only_names(warm, tmp_path, name):
    ended = warm.fork([*RUN, "--store", name], cwd=tmp_path).wait()
    assert ended.status == 0, ended.err
    assert list((tmp_path / name).glob("cells/*/*.parquet"))
    ended = warm.fork(
        ["table", "--suite", "digits", "--limit", "3", "--device", "cpu", "--store", name], cwd=tmp_path
    ).wait()
    assert "digits-vit" in ended.out
    assert list((tmp_path / name).glob("index.sqlite"))
