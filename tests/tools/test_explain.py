"""A suite and its columns in words: what the page of protocols says of them, and what the suite itself knows."""

import pytest

from bench.cli import main
from bench.errors import UnknownNameError
from bench.suite import suites
from bench.tools.explain import explain

OURS = [suite for suite in suites if suites.origin(suite.name).startswith("rtbench_suites.")]


@pytest.mark.parametrize("suite", OURS, ids=lambda suite: suite.name)
def test_every_suite_and_every_heading_is_explained(suite):
    text = explain(suite)
    assert suite.title in text
    assert "\n- " in text  # the page has a section
    for score in suite.board:
        said = explain(suite, score.column)
        assert f"metric:     {score.metric.name}\n" in said
        assert "\ndefinition: " in said
        assert "\nover: " in said


def test_a_column_says_how_it_is_taken_and_over_how_many_images(capsys):
    assert main(["explain", "digits-c", "rel. drop"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("rel. drop, of digits-c v2: Handwritten digits, corrupted\n")
    for line in ("better:     lower", "over:       the 15 against clean; the same images", "500 images of digits/test"):
        assert line in said


def test_a_score_of_the_csv_alone_goes_by_its_metric():
    assert "definition: mean over the classes present" in explain(suites.get("digits"), "mean_per_class_accuracy")


def test_an_unknown_column_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="no column of digits-c 'rel drop'. Did you mean 'rel. drop'"):
        explain(suites.get("digits-c"), "rel drop")


def test_a_changed_suite_is_explained_as_it_is(capsys):
    assert main(["explain", "digits-pgd", "--set", "steps=7"]) == 0
    assert "7 steps" in capsys.readouterr().out


def test_a_suite_of_others_is_explained_by_itself(lights):
    text = explain(suites.get("lights"))
    assert text.startswith("lights v")
    assert "column" in text
