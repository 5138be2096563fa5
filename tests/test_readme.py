"""The documents' files of one's own are files that work: each is taken out of it as it stands, and used."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from bench import api
from bench.attacks import attacks
from bench.board.leaderboard import Want
from bench.compare.differences import differences
from bench.compare.gate import judge
from bench.compare.numbers import stored
from bench.compare.sides import Side
from bench.corruptions import corrupt, corruptions
from bench.measure import measures
from bench.store import Store
from bench.suite import suites
from tests.contracts.test_attacks import test_every_image_shown_is_in_range_and_within_eps as check_attack

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def file_with(scratch_registries, tmp_path_factory, monkeypatch):
    """A function that imports the documents' only block with some words, as a module of its own."""

    def _file_with(words):
        [text] = [block for block in BLOCKS if words in block]
        folder = tmp_path_factory.mktemp("plugin")
        (folder / "readme_plugin.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "readme_plugin", raising=False)
        return importlib.import_module("readme_plugin")

    return _file_with


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A function that measures a suite on 40 images with two checkpoints, and gives its board."""
    monkeypatch.chdir(tmp_path)

    def _measured(suite):
        settings = api.configure(store="runs", limit=40, cache="off", workers=0, device="cpu").settings
        checkpoints = api.select(checkpoints=["digits-vit", "digits-vit-sam"])[1]
        result = api.run([suite], checkpoints, settings)
        assert result.ok, result.failures
        return result.boards[0]

    return _measured


def test_the_suite_is_measured_and_has_a_clean_score(file_with, measured):
    file_with('name="foggy-digits"')
    board = measured(suites.get("foggy-digits"))
    assert board.protocol.startswith("10-way, fog at severity 3")
    assert {"top-1", "clean", "rel. drop"} <= {row.score.column for row in board.rows}
    assert board.suite.clean.column == "clean"


def test_the_metric_is_compared_and_gated_as_ours(file_with, measured):
    file_with('name="surely_right"')
    suite = suites.get("sure-digits")
    board, store = measured(suite), Store(Path("runs"))
    before, after = (Side(board=board, checkpoint=one, store=store) for one in board.checkpoints)
    [difference] = differences(before, after, suite.board)
    assert difference.how == "McNemar"
    assert difference.lost is not None
    assert difference.ci_low <= difference.value <= difference.ci_high
    [board] = api.boards([suite], store, want=Want(limit=40))
    numbers = stored([board], store)
    report = judge(numbers, numbers, [suite], [(before.checkpoint.name, after.checkpoint.name)])
    [row] = report.rows
    assert row.difference.how == "by image"
    assert row.verdict != "cannot compare"


def test_the_corruption_darkens_by_its_severity(file_with):
    file_with('name="dusk"')
    images = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    dusk = corruptions.get("dusk")
    slight, strong = (corrupt(dusk, images, severity, seed=0, ids=["a", "b"]).float().mean() for severity in (1, 5))
    assert strong < slight < 200


def test_the_attack_keeps_the_promises_of_ours_and_takes_pgds_place(file_with):
    file_with('name="momentum"')
    for norm in ("linf", "l2"):
        check_attack(attacks.get("momentum"), norm, "ce", torch.float32)
    suite = suites.get("digits-pgd").changed({"attack": "momentum"})
    assert "momentum" in {condition.measure.name for condition in suite.conditions}
    assert measures.get("momentum").seeded
