"""Streams that are closed, full, gone or of few characters stop no work, and statuses tell the truth."""

from pathlib import Path

import pytest

SCRIPT = """
import os, sys
{before}
from bench.cli import main
try:
    status = main({command!r})
except SystemExit as end:
    status = end.code
with open("status", "w") as file:
    file.write(str(status))
os._exit(0)
"""
COMMANDS = [["list", "suites"], ["run", "--help"], ["--version"]]


def said(warm, folder: Path, command: list[str], before: str = "", **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of a command in a process whose streams are changed first."""
    ended = warm.fork(SCRIPT.format(before=before, command=command), cwd=folder, environment=environment).wait()
    assert ended.status == 0
    assert "Traceback" not in ended.err
    return int((folder / "status").read_text()), ended.out, ended.err


CLOSED = "os.close(1); sys.stdout = None"
FULL = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
UNREAD = "r, w = os.pipe(); os.close(r); os.dup2(w, 1)"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("before", "reason"), [(CLOSED, "Bad file descriptor"), (FULL, "No space left on device")])
def test_output_that_cannot_be_written_is_said_and_is_no_success(warm, tmp_path, command, before, reason):
    status, out, err = said(warm, tmp_path, command, before)
    assert status == 1
    assert out == ""
    assert err.splitlines() == [f"bench: the output cannot be written ({reason}); make room, or send it elsewhere."]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_who_wants_no_more_is_no_fault(warm, tmp_path, command):
    assert said(warm, tmp_path, command, UNREAD) == (0, "", "")


def test_a_status_does_not_depend_on_who_reads(warm, tmp_path):
    """That of a gate above all: `bench gate … | head` must not pass."""
    before = f"{UNREAD}\nfrom bench.cli import run\nrun._list = lambda arguments: print('x' * 10**6) or 3"
    status, _, err = said(warm, tmp_path, ["list", "suites"], before)
    assert (status, err) == (3, "")


@pytest.mark.parametrize("before", ["os.close(2); sys.stderr = None", FULL.replace(", 1)", ", 2)")])
def test_errors_that_nobody_can_read_keep_their_status(warm, tmp_path, before):
    status, out, _ = said(warm, tmp_path, ["table", "--suite", "nothing"], before)
    assert (status, out) == (2, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "shift-jis"])
@pytest.mark.parametrize("command", [["list", "suites"], ["run", "--help"], ["run", "--suite", "–\u2003"]])
def test_characters_that_a_stream_lacks_are_replaced(warm, tmp_path, encoding, command):
    to_file = "os.dup2(os.open('printed', os.O_CREAT | os.O_WRONLY), 1); os.dup2(1, 2)"
    before = f"{to_file}; sys.stdout.reconfigure(encoding={encoding!r}); sys.stderr.reconfigure(encoding={encoding!r})"
    assert said(warm, tmp_path, command, before)[0] == (2 if command[-1] not in ("suites", "--help") else 0)


def test_tables_are_written_whatever_becomes_of_the_output(warm, tmp_path):
    run = ["run", "--suite", "digits", "--checkpoint", "digits-vit", "--limit", "3", "--device", "cpu"]
    run += ["--workers", "0", "--store", str(tmp_path / "runs"), "--cache", "off"]
    assert said(warm, tmp_path, run, FULL)[0] == 1
    assert (tmp_path / "runs" / "tables" / "digits-limit-3.csv").exists()


def test_no_file_takes_the_place_of_a_closed_stream(warm, tmp_path):
    before = "[os.close(n) for n in (0, 1)]; sys.stdin = sys.stdout = None"
    after = "from bench.machine.streams import lasting_streams\nwith lasting_streams():\n    n = os.open('.', 0)\n"
    ended = warm.fork(f"import os, sys\n{before}\n{after}\nassert n > 2, n\nos._exit(0)", cwd=tmp_path).wait()
    assert ended.status == 0, ended.err
