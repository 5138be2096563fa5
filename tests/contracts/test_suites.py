"""What holds for every registered suite; a new one is tested with no new line here."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import suites as package
from bench.corruptions import corruptions
from bench.datasets import class_spaces, datasets
from bench.datasets.imagenet import real_labels
from bench.measure import measures
from bench.records import Estimate, Outcome
from bench.suite import suites

FOLDER = Path(package.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
LONGEST = 120  # lines of a suite's file


@pytest.fixture(params=[suite.name for suite in suites])
def suite(request):
    return suites.get(request.param)


def outcomes_of(suite, seed: int = 0) -> dict:
    """A made-up outcome for every condition: 40 samples, the same ones throughout a data set."""
    return {c: outcome(c, seed + i) for i, c in enumerate(suite.conditions)}


def outcome(condition, seed: int) -> Outcome:
    """What the condition's own measure makes of random logits that lean towards the labels."""
    name = condition.data.dataset
    k = len(datasets.get(name).class_space.classes)
    ids, labels = samples(name, k)
    logits = np.random.default_rng(seed).normal(0, 2, (len(ids), k)) + 2 * np.sqrt(2 * np.log(k)) * np.eye(k)[labels]
    measure = measures.get(condition.measure.name).make(condition.measure.params)
    logits, images = torch.tensor(logits, dtype=torch.float32), torch.zeros(len(ids), 3, 1, 1)
    rows = measure.rows(lambda _: logits, images, torch.tensor(labels))
    columns = {name: column.numpy() for name, column in rows.items()}
    for column in columns.values():
        column.setflags(write=False)
    return Outcome(ids=ids, labels=labels, columns=columns)


def samples(name: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels: ImageNet-C shows the validation set's images, and parts of ImageNet have their own classes."""
    n = 40
    if name in ("imagenet", "imagenet-c"):
        parts = [set(class_spaces.get(part).indices) for part in ("imagenet-r", "imagenet-a")]
        sets = [[(i, s[0]) for i, s in real_labels().items() if s and s[0] in part][: n // 2] for part in parts]
        numbers, labels = zip(*dict(sets[0] + sets[1]).items(), strict=True)
        return np.array([f"ILSVRC2012_val_{i}.JPEG" for i in numbers]), np.array(labels)
    part = class_spaces.get(name).indices if name in ("imagenet-r", "imagenet-a") else range(k)
    return np.array([f"{name}-{i}" for i in range(n)]), np.array([part[i % len(part)] for i in range(n)])


def spoil(outcome: Outcome) -> Outcome:
    """The same samples, of which only the first is still right."""
    right = np.arange(outcome.n) == 0
    worse = {
        "prediction": np.where(right, outcome.labels, 999 - outcome.labels).astype(np.int32),
        "correct": right,
        "loss": np.where(right, 0.1, 9).astype(np.float32),
        "rank": np.where(right, 0, 9).astype(np.int32),
        "brier": np.where(right, 0.1, 2).astype(np.float32),
    }
    parts = {name.rpartition("/")[0] for name in outcome.columns} - {""}
    cut = {f"{part}/{name}": column for part in parts for name, column in worse.items() if name != "rank"}
    for part in parts:
        cut[f"{part}/rank"] = np.where(outcome.columns[f"{part}/rank"] < 0, -1, worse["rank"])
    return replace(outcome, columns={**outcome.columns, **worse, **cut})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_short_and_names_its_source(path):
    assert len(path.read_text().splitlines()) <= LONGEST
    doc = importlib.import_module(f"suites.{path.stem}").__doc__
    assert re.search(r"\b(19|20)\d\d\b", doc), "the first lines must name the paper, with its year"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_registers_a_suite_of_its_name(path):
    assert [s.name for s in suites if suites.origin(s.name) == f"suites.{path.stem}"] == [path.stem.replace("_", "-")]


def test_it_says_what_it_is(suite):
    assert re.search(r"\b(19|20)\d\d\b", suite.paper)
    assert suite.title
    assert suite.track
    assert suite.version >= 1
    assert suite.protocol.terms


def test_headings_are_unique(suite):
    headings = [score.column for score in suite.board]
    assert headings
    assert len({heading.casefold() for heading in headings}) == len(headings)


def test_every_condition_can_be_resolved(suite):
    for condition in suite.conditions:
        dataset = datasets.get(condition.data.dataset)
        assert {condition.image_set.split, *condition.data.fit} <= set(dataset.splits)
        assert condition.measure.name in measures
        if condition.images.perturbation is not None:
            assert condition.images.perturbation.corruption in corruptions


def test_no_two_rows_of_the_long_table_are_about_the_same_thing(suite):
    rows = [(score.metric.name, tuple(score.columns().items()), score.column) for score in suite.scores]
    assert len(set(rows)) == len(rows)


def test_scores_are_pure_functions_of_the_outcomes(suite):
    outcomes = outcomes_of(suite)
    for score in suite.scores:
        first, second = (score.metric.function(*(outcomes[c] for c in score.conditions)) for _ in range(2))
        assert isinstance(first, Estimate)
        assert first == second, f"{score.metric.name} gave two values for one outcome"


def test_scores_are_finite_with_an_n_and_an_interval_around_them(suite):
    outcomes = outcomes_of(suite, seed=9)
    for score in suite.scores:
        estimate = score.metric.function(*(outcomes[c] for c in score.conditions))
        assert np.isfinite(estimate.value)
        images = {i for c in score.conditions for i in outcomes[c].ids.tolist()}
        # Metrics of some classes or of images with a label take a share of them.
        share = "[" in score.metric.name or score.metric.name == "real_accuracy"
        assert 0 < estimate.n <= len(images) if share else estimate.n == len(images)
        if estimate.ci_low is not None:
            assert estimate.ci_low <= estimate.value <= estimate.ci_high


def test_scores_take_note_of_every_condition_that_they_declare(suite):
    outcomes = outcomes_of(suite)
    for score in suite.scores:
        taken = [outcomes[c] for c in score.conditions]
        before = score.metric.function(*taken)
        for i, one in enumerate(taken):
            spoilt = score.metric.function(*taken[:i], spoil(one), *taken[i + 1 :])
            assert spoilt != before, f"{score.metric.name} is the same whatever {score.conditions[i]} gave"
