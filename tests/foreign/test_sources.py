"""The source of what is not ours: every edit that can change a number changes its digest, and nothing else does."""

import functools
import importlib
import sys
import types
from pathlib import Path

import pytest

from bench.corruptions import corruptions
from bench.errors import BenchWarning
from bench.foreign import sources
from bench.foreign.sources import is_ours, source_of

PART = """
from helpers import strength
from .inner.deep import offset


def load():
    import late_helper

    return lambda images, severity, draws: images * strength + offset + late_helper.more
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with a package `fx`, its parts and helpers, from which anything can be imported."""
    files = {
        "fx/__init__.py": "", "fx/part.py": PART, "fx/suite.py": "x = 1", "fx/inner/__init__.py": "",
        "fx/inner/deep.py": "offset = 1", "helpers.py": "strength = 2", "late_helper.py": "more = 3",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("fx", "helpers", "late_helper", "loose")]:
        del sys.modules[name]


@pytest.mark.parametrize("file", ["fx/part.py", "fx/__init__.py", "fx/inner/deep.py", "helpers.py", "late_helper.py"])
def test_an_edit_of_a_module_or_of_what_it_imports_is_noticed(site, file):
    before = source_of("fx.part:load", now=True)
    (site / file).write_text((site / file).read_text() + "\nx = 0\n")
    assert source_of("fx.part:load", now=True) != before


def test_an_edit_of_what_it_does_not_import_and_other_line_ends_change_nothing(site):
    before = source_of("fx.part:load", now=True)
    (site / "fx/suite.py").write_text("x = 2")
    (site / "fx/part.py").write_bytes(PART.replace("\n", "\r\n").encode())
    assert source_of("fx.part:load", now=True) == before


def test_it_is_the_same_wherever_the_files_lie(site, tmp_path_factory, monkeypatch):
    before = source_of("fx.part:load", now=True)
    other = tmp_path_factory.mktemp("elsewhere") / "here"
    site.rename(other)
    monkeypatch.syspath_prepend(other)
    assert source_of("fx.part:load", now=True) == before


def test_installed_libraries_are_not_followed(site, tmp_path_factory, monkeypatch):
    libraries = tmp_path_factory.mktemp("python") / "site-packages"
    libraries.mkdir()
    (site / "helpers.py").rename(libraries / "helpers.py")
    monkeypatch.syspath_prepend(libraries)
    before = source_of("fx.part:load", now=True)
    (libraries / "helpers.py").write_text("strength = 9")
    assert source_of("fx.part:load", now=True) == before


def test_a_plugin_that_comes_later_changes_no_source_of_those_that_import_it(site, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(sources, "_plugins", set())
    monkeypatch.setattr(sources, "_known", {})
    libraries = tmp_path_factory.mktemp("python") / "site-packages"
    libraries.mkdir()
    (site / "helpers.py").rename(libraries / "helpers.py")
    monkeypatch.syspath_prepend(libraries)
    load = importlib.import_module("fx.part").load
    sources.add_plugin("fx.part")
    (site / "late_helper.py").write_text("more = 4")
    sources.add_plugin("helpers")
    assert source_of(load) != source_of(load, now=True)  # what was imported still counts
    (site / "late_helper.py").write_text("more = 3")
    assert source_of(load) == source_of(load, now=True)


def test_what_was_imported_counts_until_it_is_asked_for_now(site):
    load = importlib.import_module("fx.part").load
    before = source_of(load)
    (site / "helpers.py").write_text("strength = 5")
    assert source_of(load) == before
    assert source_of(load, now=True) != before


def test_values_that_code_is_given_count(site):
    (site / "loose.py").write_text(
        "class Given:\n    def __init__(self, by):\n        self.by = by\n\n    def __call__(self):\n        pass\n\n\n"
        "def make(by):\n    return lambda: by\n\n\ndef take(by, other=None):\n    pass\n"
    )
    loose = importlib.import_module("loose")
    ways = [loose.make, loose.Given, functools.partial(functools.partial, loose.take)]
    for way in ways:
        assert source_of(way(1)) == source_of(way(1))
        assert source_of(way(1)) != source_of(way(2))


def test_what_a_part_keeps_while_it_works_makes_no_other_part_of_it(site, monkeypatch):
    """Its cells failed in every run, as if somebody had edited it meanwhile."""
    monkeypatch.setattr(sources, "_known", {})
    (site / "loose.py").write_text(
        "class Table:\n    def __init__(self, by):\n        self.by, self.kept = by, {}\n\n"
        "    def apply(self, at):\n        return self.kept.setdefault(at, at * self.by)\n"
    )
    loose = importlib.import_module("loose")
    table = loose.Table(3)
    for part in (table, table.apply, functools.partial(loose.Table.apply, table)):
        before = source_of(part)
        table.apply(len(table.kept))
        assert source_of(part) == source_of(part, now=True) == before
    assert source_of(loose.Table(4)) != source_of(loose.Table(5))


def test_a_path_is_the_same_however_it_was_used(site):
    (site / "loose.py").write_text("def take(path):\n    pass\n")
    take = importlib.import_module("loose").take
    used, fresh = Path("/masks/a.png"), Path("/masks/a.png")
    hash(used), str(used)
    assert source_of(functools.partial(take, used)) == source_of(functools.partial(take, fresh))
    assert source_of(functools.partial(take, used)) != source_of(functools.partial(take, Path("/masks/b.png")))


def test_what_is_ours_has_none():
    assert is_ours("bench.metrics")
    assert not is_ours("bench_lights")
    assert {source_of(corruptions.origin(entry.name), entry.load) for entry in corruptions} == {""}


def test_what_stands_in_no_file_goes_by_its_own_code_and_says_so_once(monkeypatch):
    module = types.ModuleType("typed_in")
    monkeypatch.setitem(sys.modules, "typed_in", module)

    def typed(value):
        exec(f"def f():\n    return {value}", module.__dict__)
        return source_of(module.f)

    with pytest.warns(BenchWarning, match=r"the source of f \(typed_in\) is in no file"):
        first = typed(1)
    assert typed(2) != first  # and no other warning: here they are errors
