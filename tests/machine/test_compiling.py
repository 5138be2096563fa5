"""Kernels are compiled once on a machine, and whoever waits is told."""

import sys

import numba

from bench.machine.compiled import compiled
from bench.machine.compiling import told_of_compiling
from bench.progress import Lines, compiling


def twice(x):
    return x * 2


def test_of_a_kernel_is_told_where_it_is_compiled_and_not_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    heard: list[str] = []
    with told_of_compiling(heard.append):
        assert compiled(twice)(3.0) == 6.0
        assert heard == ["twice"]
        assert compiled(twice)(4.0) == 8.0  # as another process finds it
        assert heard == ["twice"]
    compiled(twice)(3)  # of other numbers, so anew
    assert heard == ["twice"]  # nobody listens


def test_it_is_said_once_and_each_kernel_shown(capsys):
    lines = Lines(sys.stderr, every=0)
    lines.begin(10)
    tell = compiling(lines)
    tell("_blur")
    tell("warp")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "once on a machine" in line] == [said[0]]
    assert [line.rsplit(", ", 1)[1] for line in said[1:]] == ["compiling blur", "compiling warp"]
