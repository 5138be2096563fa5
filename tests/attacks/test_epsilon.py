"""Epsilon as it is written: what is taken, and one sentence for all that could be meant in two ways or not at all."""

import re

import pytest

from bench.attacks.epsilon import NORMS, check_norm, parse_eps, parse_grid
from bench.errors import BenchError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "norm", "eps"),
    [
        ("4/255", "linf", 4 / 255),
        ("0.5/255", "linf", 0.5 / 255),
        ("0.0157", "linf", 0.0157),
        ("1e-3", "linf", 0.001),
        ("254/255", "linf", 254 / 255),
        ("3", "l2", 3.0),
        ("128/255", "l2", 128 / 255),
    ],
)
def test_fractions_and_numbers_are_pixels_of_0_to_1(text, norm, eps):
    assert parse_eps(text, norm) == eps


@pytest.mark.parametrize("text", ["", "four", "4/", "/255", "4/255/2", "4/0", "4 of 255", "4/255px"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(BenchError, match=re.escape(f"eps must be a number such as 4/255 or 0.0157, not {text!r}.")):
        parse_eps(text, "linf")


@pytest.mark.parametrize("text", ["0", "-4/255", "0/255", "nan", "inf", "1/nan", "1e999"])
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_not_above_0_and_finite_is_refused(text, norm):
    with pytest.raises(
        BenchError, match=re.escape(f"eps must be more than 0, not {text!r}; write it as 4/255 or 0.0157.")
    ):
        parse_eps(text, norm)


@pytest.mark.parametrize("text", ["4", "1", "8.0"])
def test_a_whole_number_under_linf_asks_which_unit_is_meant(text):
    with pytest.raises(
        BenchError,
        match=re.escape(
            f"eps {text} under linf could mean {text}/255 or {text} times the range of a pixel, which goes from 0 to 1 "
            f"here; write {text}/255, or a number below 1."
        ),
    ):
        parse_eps(text, "linf")


def test_an_unknown_norm_is_answered_with_those_there_are():
    for call in (check_norm, lambda norm: parse_eps("1", norm), lambda norm: parse_grid("1+2", norm)):
        with pytest.raises(UnknownNameError, match=r"no norm 'l1'. Did you mean 'l2'"):
            call("l1")
    with pytest.raises(UnknownNameError, match=r"no norm 'euclid'. Known: l2, linf."):
        check_norm("euclid")


@pytest.mark.parametrize("text", ["1/255+2/255+4/255", "1/255,2/255,4/255", " 1/255, 2/255 + 4/255 "])
def test_a_grid_is_joined_by_plus_or_comma_and_kept_as_written(text):
    grid = parse_grid(text, "linf")
    assert (grid.names, grid.values) == (("1/255", "2/255", "4/255"), (1 / 255, 2 / 255, 4 / 255))


def test_a_grid_may_be_one_value():
    grid = parse_grid("3", "l2")
    assert (grid.names, grid.values) == (("3",), (3.0,))


@pytest.mark.parametrize("text", ["2/255+1/255", "1/255+1/255", "1/255+0.00392156862745098", "0.1,0.3,0.2"])
def test_a_grid_that_does_not_ascend_is_refused(text):
    message = f"the values of eps must be ascending numbers joined by + or a comma, such as 1/255+2/255, not {text!r}."
    with pytest.raises(BenchError, match=re.escape(message)):
        parse_grid(text, "linf")


@pytest.mark.parametrize(
    ("text", "part"),
    [("1/255+", "not ''"), ("1/255+4", "eps 4 under linf"), ("1/255++2/255", "not ''"), ("", "not ''")],
)
def test_one_value_that_is_not_possible_spoils_a_grid(text, part):
    with pytest.raises(BenchError, match=part):
        parse_grid(text, "linf")


@pytest.mark.parametrize("text", ["255/255", "300/255"])
def test_a_fraction_of_the_whole_range_or_more_is_refused(text):
    with pytest.raises(BenchError, match=f"eps {text} under linf is the whole range of a pixel or more"):
        parse_eps(text, "linf")


def test_a_line_below_is_no_digit():
    with pytest.raises(BenchError, match="eps must be a number such as 4/255 or 0.0157, not '1_255'"):
        parse_eps("1_255", "l2")
