"""Rows as text."""

from bench.text import render, render_markdown


def test_columns_are_aligned_and_numbers_set_to_the_right():
    text = render(["name", "n", "about"], [["a", "1,000", "500 words"], ["long name", "20", "b"]])
    assert text.splitlines() == [
        "name           n  about",
        "─────────  ─────  ─────────",
        "a          1,000  500 words",
        "long name     20  b",
    ]


def test_a_missing_number_keeps_its_column_to_the_right():
    assert render(["x"], [["97.4 ±1.2"], ["–"]]).splitlines()[-1] == "        –"


def test_bars_in_markdown_are_escaped():
    assert render_markdown(["a|b"], [["c|d"]]).splitlines() == ["| a\\|b |", "|---|", "| c\\|d |"]
