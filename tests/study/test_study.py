"""`bench study` from end to end, on few images and epochs."""

import csv
import re

import pytest

from bench import api
from bench.checkpoints import train
from bench.errors import BenchError

TEXT = """
title = "Two & two"
claim = "SAM <helps>."
seeds = 3
compare = ["ascent"]
[set]
epochs = 2
warmup_epochs = 1
[suite.digits]
scores = ["top-1"]
limit = 40
[factor.family.resnet]
recipe = "digits-resnet"
[factor.ascent.none]
[factor.ascent.sam]
set = { ascent = "sam" }
[factor.ascent.far]
set = { ascent = "sam", learning_rate = 1e30 }
"""


@pytest.fixture
def few(monkeypatch):
    """Few images to learn from."""
    every = train._training_data
    monkeypatch.setattr(train, "_training_data", lambda opened: tuple(part[:40] for part in every(opened)))


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(TEXT)
    return path


def carry_out(path, out, **how):
    settings = api.configure(store=out / "unused", device="cpu", cache="off", workers=0, precision="fp32").settings
    told = []
    result = api.study(str(path), out, settings, workers=0, note=told.append, command="bench study two.toml", **how)
    return result, told


def test_a_study_is_trained_measured_and_told(few, study_file, tmp_path):
    out = tmp_path / "out"
    result, told = carry_out(study_file, out)
    assert len(told) == 9
    assert sum("it diverged" in line for line in told) == 3
    rows = list(csv.DictReader((out / "trainings.csv").read_text().splitlines()))
    assert [row["diverged"] != "" for row in rows] == [False] * 6 + [True] * 3
    assert all(0 <= float(row["digits: top-1"]) <= 1 for row in rows[:6])
    page = (out / "index.html").read_text()
    assert "Two &amp; two" in page
    assert "SAM &lt;helps&gt;" in page
    assert "data:image/svg+xml" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert (out / "changes-ascent.png").stat().st_size > 1000
    again, told = carry_out(study_file, out)
    assert all("was trained before" in line or "diverged" in line for line in told)
    assert again.tables == result.tables
    assert page == (out / "index.html").read_text()


def test_fewer_seeds_are_the_first_ones(few, study_file, tmp_path):
    result, _ = carry_out(study_file, tmp_path / "out", seeds=1)
    assert [one.trial.seed for one in result.trained] == [0, 0, 0]
    assert result.tables[0].rows[0][-1] == "–"


@pytest.mark.parametrize(
    ("change", "how", "message"),
    [
        (("top-1", "top-9"), {}, "digits has no heading 'top-9'"),
        (("suite.digits]", "suite.digitz]"), {}, "digitz"),
        (("", ""), {"draws": 2}, "draws no settings"),
        (("", ""), {"seeds": 0}, "seeds of a study must be at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(few, study_file, tmp_path, change, how, message):
    study_file.write_text(TEXT.replace(*change, 1) if change[0] else TEXT)
    with pytest.raises(BenchError, match=message):
        carry_out(study_file, tmp_path / "out", **{"seeds": 1, **how})
