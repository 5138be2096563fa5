"""ImageNet-X against an independent computation on the real annotations, where the package `imagenet-x` is here."""

import importlib.util
import os
import sys

import numpy as np
import pandas as pd
import pytest

from bench.datasets import imagenet_x
from bench.errors import AbsentError, RunError
from bench.metrics.attributes import ERROR_RATIO
from bench.records import Outcome
from bench.suite import suites


@pytest.fixture
def annotations(monkeypatch):
    """The folder of the real annotations: installed, or in the folder that $RTBENCH_EXTRAS names."""
    if extras := os.environ.get("RTBENCH_EXTRAS"):
        monkeypatch.syspath_prepend(extras)
    spec = importlib.util.find_spec("imagenet_x")
    if spec is None:
        pytest.skip("the package imagenet-x is not installed: pip install 'rtbench[imagenet-x]'")
    imagenet_x.top_factors.cache_clear()
    yield f"{os.path.dirname(spec.origin)}/annotations"
    imagenet_x.top_factors.cache_clear()


def test_error_ratios_are_those_of_an_independent_computation(annotations):
    rng = np.random.default_rng(0)
    wrong = pd.DataFrame({"wrong": rng.random(50_000) < 0.24})
    wrong["file_name"] = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
    table = pd.read_json(f"{annotations}/imagenet_x_val_top_factor.jsonl", lines=True).merge(wrong, on="file_name")
    prototypes = pd.read_csv(f"{annotations}/prototypical_paths.csv").file_name
    table = table[~table.file_name.isin(prototypes)]
    ids = np.array([f"n00000000/{name}" for name in wrong.file_name])
    outcome = Outcome(ids=ids, labels=np.zeros(50_000, int), columns={"correct": ~wrong.wrong.to_numpy()})
    found, wanted = {}, {}
    for score in suites.get("imagenet-x").scores[1:]:
        estimate = score.metric.estimate([outcome])
        assert estimate.n == len(table) == 46_110
        assert score.metric.parts([outcome]).value == pytest.approx(estimate.value, rel=1e-12)
        found[score.column] = estimate.value
        wanted[score.column] = table.wrong[table[score.column] == 1].mean() / table.wrong.mean()
    assert len(found) == 16
    assert found == pytest.approx(wanted, rel=1e-12)
    accuracy = suites.get("imagenet-x").headline.metric.estimate([outcome])
    assert accuracy.value == pytest.approx(1 - table.wrong.mean(), rel=1e-12)


def test_counts_of_the_real_annotations(annotations):
    factors = list(imagenet_x.top_factors().values())
    assert (len(factors), factors.count("pose"), factors.count("multiple_objects")) == (46_110, 15_064, 40)


def test_without_the_package_scores_say_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagenet_x", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    imagenet_x.top_factors.cache_clear()
    outcome = Outcome(
        ids=np.array(["a/ILSVRC2012_val_00000001.JPEG"]), labels=np.zeros(1, int), columns={"correct": np.ones(1, bool)}
    )
    with pytest.raises(AbsentError, match=r"pip install 'rtbench\[imagenet-x\]'"):
        ERROR_RATIO.given(attribute=imagenet_x.FACTOR, value="pose").estimate([outcome])


def test_other_annotations_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "imagenet_x"
    (package / "annotations").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "annotations" / "imagenet_x_val_top_factor.jsonl").write_text("{}\n")
    monkeypatch.syspath_prepend(tmp_path)
    imagenet_x.top_factors.cache_clear()
    with pytest.raises(RunError, match=r"is not that of imagenet-x 0\.0\.7"):
        imagenet_x.top_factors()


def test_a_copy_without_the_files_names_is_known_as_one():
    assert imagenet_x.top_factor("validation/00000003") is None
