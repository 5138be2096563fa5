"""What holds for every registered suite; a new one is tested with no new line here."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import suites as package
from bench.corruptions import corruptions
from bench.datasets import datasets
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
    return {c: outcome(datasets.get(c.data.dataset), seed + i) for i, c in enumerate(suite.conditions)}


def outcome(dataset, seed: int) -> Outcome:
    rng, k, n = np.random.default_rng(seed), len(dataset.class_space.classes), 40
    labels = np.arange(n) % k
    logits = rng.normal(0, 2, (n, k)) + 3 * np.eye(k)[labels]
    order = np.argsort(-logits, axis=1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    columns = {
        "prediction": order[:, 0].astype(np.int32),
        "correct": order[:, 0] == labels,
        "top_logits": np.take_along_axis(logits, order, 1)[:, :10].astype(np.float32),
        "top_classes": order[:, :10].astype(np.int32),
        "log_sum_exp": np.log(np.exp(logits).sum(1)).astype(np.float32),
        "loss": -np.log(p[np.arange(n), labels]).astype(np.float32),
        "rank": (order == labels[:, None]).argmax(1).astype(np.int32),
        "brier": ((p - np.eye(k)[labels]) ** 2).sum(1).astype(np.float32),
    }
    for column in columns.values():
        column.setflags(write=False)
    return Outcome(ids=np.array([f"{dataset.name}-{i}" for i in range(n)]), labels=labels, columns=columns)


def spoil(outcome: Outcome) -> Outcome:
    """The same samples, of which only the first is still right."""
    right = np.arange(outcome.n) == 0
    worse = {
        "prediction": np.where(right, outcome.labels, outcome.labels + 1).astype(np.int32),
        "correct": right,
        "loss": np.where(right, 0.1, 9).astype(np.float32),
        "rank": np.where(right, 0, 9).astype(np.int32),
        "brier": np.where(right, 0.1, 2).astype(np.float32),
    }
    return replace(outcome, columns={**outcome.columns, **worse})


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
        assert {condition.data.split, *condition.data.fit} <= set(dataset.splits)
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
        assert estimate.n == 40 * len({c.data.dataset for c in score.conditions})  # distinct images
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
