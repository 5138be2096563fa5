"""What tests of published files have in common."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the store that the tests of a module share."""
    shutil.copytree(stored, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path
