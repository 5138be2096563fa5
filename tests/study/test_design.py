"""A study's design: what a file says, and the trainings that it makes."""

import pytest

from bench.errors import BenchError
from bench.study.design import load_study, own_studies, parse_study

TEXT = """
title = "Of two optimisers"
draws = 3
seeds = 2
compare = ["optimizer"]
[set]
epochs = 12
[suite.digits]
scores = ["top-1"]
[factor.family.mixer]
recipe = "digits-mixer"
[factor.family.resnet]
recipe = "digits-resnet"
[factor.optimizer.adamw]
set = { optimizer = "adamw" }
draw = { learning_rate = [1e-4, 1e-2], weight_decay = [0.01, 1.0] }
[factor.optimizer.sgd]
set = { optimizer = "sgd" }
draw = { learning_rate = [0.01, 1.0], weight_decay = [1e-4, 1e-2] }
"""


def test_every_arm_is_trained_at_every_setting_and_seed():
    study = parse_study("two", TEXT)
    trials = list(study.trials())
    assert len(trials) == 2 * 2 * 3 * 2
    assert len({(trial.recipe.name, trial.seed) for trial in trials}) == len(trials)
    assert {trial.recipe.stages[0].epochs for trial in trials} == {12}
    assert [trial.recipe.seed for trial in trials[:2]] == [0, 1]


def test_arms_share_their_draws():
    trials = list(parse_study("two", TEXT).trials())
    of = {(trial.arm["family"], trial.arm["optimizer"], trial.draw): trial.drawn for trial in trials}
    for draw in range(3):
        assert of["mixer", "adamw", draw] == of["resnet", "adamw", draw]
        # The same place in each optimiser's own range, which is a hundred times as high.
        here, there = (of["mixer", name, draw]["learning_rate"] for name in ("adamw", "sgd"))
        assert there == pytest.approx(100 * here, rel=1e-3)
    assert len({drawn["learning_rate"] for drawn in of.values()}) == 6
    assert all(1e-4 <= of["mixer", "adamw", draw]["learning_rate"] <= 1e-2 for draw in range(3))


def test_more_draws_keep_the_first_ones():
    few, many = (list(parse_study("two", TEXT.replace("draws = 3", f"draws = {n}")).trials()) for n in (2, 5))
    assert {trial.recipe.name for trial in few} < {trial.recipe.name for trial in many}


@pytest.mark.parametrize("name", own_studies())
def test_our_own_studies_can_be_carried_out(name):
    study = load_study(name)
    assert len(list(study.trials())) == len(study.arms) * study.draws * study.seeds
    assert study.claim
    assert study.paper


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = 2", "seeds = 0", "seeds must be a whole number of at least 1, not 0"),
        ("seeds = 2", "seeds = true", "seeds must be a whole number"),
        ("seeds = 2", "sed = 2", "the study has no key 'sed'"),
        ("seeds = 2", "seeds =", "is no TOML"),
        ('compare = ["optimizer"]', 'compare = ["stem"]', "compare must name some of its factors"),
        ("[1e-4, 1e-2]", "[1e-2, 1e-4]", r"draw.learning_rate of factor.optimizer.adamw must be a range"),
        ("[1e-4, 1e-2]", "[0, 1e-4]", "must be a range"),
        ("[1e-4, 1e-2]", "3", "must be a range"),
        ('scores = ["top-1"]', "", "scores of suite.digits must name headings"),
        ('recipe = "digits-mixer"', 'recipes = "digits-mixer"', "factor.family.mixer has no key 'recipes'"),
    ],
)
def test_a_file_that_is_no_study_is_one_sentence(before, after, message):
    with pytest.raises(BenchError, match=message):
        parse_study("two", TEXT.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('recipe = "digits-mixer"', "", "the arm family mixer, optimizer adamw has no recipe"),
        ('set = { optimizer = "sgd" }', 'recipe = "digits-vit"', "has digits-mixer, digits-vit, not one recipe"),
        ("digits-mixer", "digits-mixr", "digits-mixr"),
        ("epochs = 12", "epoch = 12", "epoch"),
    ],
)
def test_trainings_that_are_none_are_one_sentence(before, after, message):
    study = parse_study("two", TEXT.replace(before, after))
    with pytest.raises(BenchError, match=message):
        list(study.trials())


def test_an_unknown_study_names_ours(tmp_path):
    with pytest.raises(BenchError, match="optimisability"):
        load_study("optimizability")
    with pytest.raises(BenchError, match="cannot be read"):
        load_study(str(tmp_path / "none.toml"))


def test_some_levels_alone_are_trained_as_among_all():
    study = parse_study("two", TEXT)
    some = study.only("optimizer", ["sgd"])
    assert {trial.recipe.name for trial in some.trials()} == {
        trial.recipe.name for trial in study.trials() if trial.arm["optimizer"] == "sgd"
    }
    with pytest.raises(BenchError, match="no level of optimizer 'sgt'"):
        study.only("optimizer", ["sgt"])
    with pytest.raises(BenchError, match="no factor of study 'two' 'optimiser'"):
        study.only("optimiser", ["sgd"])
