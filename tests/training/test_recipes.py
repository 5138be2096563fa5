"""Recipes as data."""

import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import pytest

from bench.errors import BenchError, UnknownNameError
from bench.training.recipe import Ascent, Attack, Recipe
from bench.training.recipes import changed, load_recipes, parse_recipes, recipe

FAMILIES = ["vit", "mixer", "resnet"]


def test_the_shipped_recipes_are_there_in_order() -> None:
    digits = [f"digits-{family}{ascent}" for family in FAMILIES for ascent in ("", "-sam")]
    names = list(load_recipes())
    assert [name for name in names if name in digits] == digits
    assert {"cifar10-resnet", "cifar10-resnet-adversarial"} <= set(names)


@pytest.mark.parametrize("ascent", ["sam", "gsam"])
@pytest.mark.parametrize("family", [*FAMILIES, "vit-conv"])
def test_a_pair_differs_in_the_ascent_alone(family: str, ascent: str) -> None:
    plain, sharp = load_recipes()[f"digits-{family}"], load_recipes()[f"digits-{family}-{ascent}"]
    assert plain.ascent == Ascent()
    assert sharp.ascent.name == ascent
    assert sharp.ascent.rho > 0
    assert sharp.without_ascent().identity == plain.identity
    # Either is made of the other, and then called so.
    assert recipe(plain.name, {"ascent": ascent}) == sharp
    assert recipe(sharp.name, {"ascent": "none"}).identity == plain.identity


def test_the_recipes_of_cifar10_differ_in_the_attack_alone() -> None:
    plain, attacked = load_recipes()["cifar10-resnet"], load_recipes()["cifar10-resnet-adversarial"]
    [stage] = attacked.stages
    assert stage.attack.eps == pytest.approx(8 / 255, abs=1e-9)
    assert dataclasses.replace(stage, attack=Attack()) == plain.stages[0]
    assert "flip" in stage.augment.names


def test_digits_are_neither_attacked_nor_mirrored() -> None:
    recipes = [given for given in load_recipes().values() if given.dataset == "digits-train"]
    assert len(recipes) >= 9
    assert not any(stage.attack.eps or "flip" in stage.augment.names for given in recipes for stage in given.stages)


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import sys; from bench.training.recipes import load_recipes; load_recipes(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SMALL = """
[defaults]
dataset = "some"
epochs = 3
warmup_epochs = 1
batch_size = 8
clip_norm = 1.0
[with.sam]
rho = 0.05
[with.gsam]
rho = 0.5
alpha = 0.4
[architecture.vit]
optimizer = "adamw"
learning_rate = 1e-3
weight_decay = 0.1
epochs = 5
with.gsam = { rho = 0.6 }
[recipe.small]
architecture = "vit"
weight_decay = 0.3
[recipe.staged]
architecture = "vit"
[[recipe.staged.stages]]
size = 24
epochs = 4
[[recipe.staged.stages]]
size = 32
epochs = 2
optimizer = "sgd"
learning_rate = 0.1
"""


def small(**changes: Any) -> Recipe:
    return changed(SMALL, "small", changes)


def test_a_recipe_comes_before_its_architecture_and_that_before_the_defaults() -> None:
    given = parse_recipes(SMALL)["small"]
    [stage] = given.stages
    assert (given.name, stage.optimizer.weight_decay, stage.epochs, stage.batch_size) == ("small", 0.3, 5, 8)


def test_an_ascent_brings_its_numbers_and_the_architecture_may_have_others() -> None:
    assert small(ascent="sam").ascent == Ascent(name="sam", rho=0.05)
    assert small(ascent="gsam").ascent == Ascent(name="gsam", rho=0.6, alpha=0.4)
    assert small(ascent="gsam", rho=0.7).ascent == Ascent(name="gsam", rho=0.7, alpha=0.4)


def test_stages_say_what_is_other_in_them() -> None:
    first, second = parse_recipes(SMALL)["staged"].stages
    assert (first.size, first.epochs, first.optimizer.name, first.optimizer.learning_rate) == (24, 4, "adamw", 1e-3)
    assert (second.size, second.epochs, second.optimizer.name, second.optimizer.learning_rate) == (32, 2, "sgd", 0.1)
    assert first.optimizer.weight_decay == second.optimizer.weight_decay == 0.1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "small"),
        ({"weight_decay": 0.3}, "small"),  # as it is
        ({"ascent": "gsam"}, "small-gsam"),
        ({"ascent": "gsam", "rho": 0.6}, "small-gsam"),  # as it comes with it
        ({"ascent": "gsam", "rho": 0.7}, "small-gsam-rho-0.7"),
        ({"learning_rate": 5e-4, "epochs": 9}, "small-learning_rate-0.0005-epochs-9"),
        ({"decay_norms": False}, "small-decay_norms-false"),
        ({"augment": ["flip", "simple_crop"]}, "small-flip_simple_crop"),
        ({"augment": "flip+simple_crop"}, "small-flip_simple_crop"),
    ],
)
def test_a_changed_recipe_is_called_after_what_was_set(changes: dict[str, Any], name: str) -> None:
    assert small(**changes).name == name


def test_a_key_that_stages_set_is_changed_by_stage() -> None:
    with pytest.raises(BenchError, match=r"'staged' sets epochs by stage; .*: --set stage1.epochs=VALUE"):
        changed(SMALL, "staged", {"epochs": 9})
    given = changed(SMALL, "staged", {"stage2.epochs": 9, "batch_size": 4})
    assert [stage.epochs for stage in given.stages] == [4, 9]
    assert [stage.batch_size for stage in given.stages] == [4, 4]
    assert given.name == "staged-stage2.epochs-9-batch_size-4"
    with pytest.raises(BenchError, match="'staged' has no stage 3, its last one is 2"):
        changed(SMALL, "staged", {"stage3.epochs": 9})
    with pytest.raises(BenchError, match="dataset is of all stages of recipe 'staged'"):
        changed(SMALL, "staged", {"stage1.dataset": "other"})


@pytest.mark.parametrize("name", load_recipes())
def test_a_recipe_is_told_from_others_by_what_it_says_alone(name: str) -> None:
    given = load_recipes()[name]
    again = pickle.loads(pickle.dumps(given))
    assert again == given
    other = dataclasses.replace(given, name="other")
    assert other.identity == given.identity
    assert dataclasses.replace(given, seed=1).identity != given.identity


def test_missing_keys_are_named() -> None:
    with pytest.raises(BenchError, match="'bare' lacks optimizer, learning_rate, weight_decay"):
        parse_recipes('[recipe.bare]\narchitecture = "vit"\ndataset = "some"')


@pytest.mark.parametrize("key", ["colour", "stage1.colour"])
def test_unknown_keys_are_named(key: str) -> None:
    with pytest.raises(UnknownNameError, match="no key of recipe 'small' 'colour'"):
        small(**{key: 1})


def test_unknown_recipes_are_named() -> None:
    with pytest.raises(UnknownNameError, match="no recipe 'smal'. Did you mean 'small'"):
        changed(SMALL, "smal", {})


def test_a_seed_is_no_key() -> None:
    with pytest.raises(BenchError, match="give it by --seed, or several by --seeds"):
        small(seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": 0.1}, "has ascent none, to which rho means nothing; it is of ascent sam or gsam"),
        (
            {"ascent": "sam", "alpha": 0.1},
            "has ascent sam, to which alpha means nothing; it is of ascent gsam or looksam",
        ),
        ({"temperature": 0.1}, "has objective ce, to which temperature means nothing; it is of objective supcon"),
        ({"degrees": 3}, "has no augment, to which degrees means nothing; it is of augment rotate_shift"),
        ({"augment": ["flip"], "mixup": 1}, "has augment flip, to which mixup means nothing"),
        ({"attack_steps": 3}, "has no attack, to which attack_steps means nothing; set attack_eps"),
        ({"batch_size": 8, "repeats": 3}, "wants repeats to divide the batch_size 8, it is 3"),
    ],
)
def test_a_key_that_would_do_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=f"'small' {message}"):
        small(**changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ascent", "climb", "ascent to be one of none, sam, gsam, asam, looksam, it is 'climb'"),
        ("optimizer", "lion", "optimizer to be one of adamw, sgd, lamb, it is 'lion'"),
        ("augment", "flip+flop", "augment to be a list of names of rotate_shift, .*, it is 'flip.flop'"),
        ("learning_rate", 0, "learning_rate to be more than 0, it is 0"),
        ("learning_rate", "fast", "learning_rate to be more than 0, it is 'fast'"),
        ("learning_rate", float("nan"), "learning_rate to be more than 0, it is nan"),
        ("clip_norm", -1, "clip_norm to be more than 0, it is -1"),
        ("epochs", 0, "epochs to be a whole number of at least 1, it is 0"),
        ("epochs", 1.5, "epochs to be a whole number of at least 1, it is 1.5"),
        ("epochs", True, "epochs to be a whole number of at least 1, it is True"),
        ("batch_size", 0, "batch_size to be a whole number of at least 1, it is 0"),
        ("weight_decay", -1, "weight_decay to be at least 0, it is -1"),
        ("attack_eps", 8, "attack_eps to be at least 0 and less than 1, it is 8"),
        ("decay_norms", 0, "decay_norms to be true or false, it is 0"),
        ("warmup_epochs", 10_000, "warmup_epochs to be fewer than the 5 epochs, it is 10000"),
        ("architecture", "", "architecture to be a name, it is ''"),
    ],
)
def test_values_outside_their_range_are_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(BenchError, match=f"'small' wants {message}"):
        small(**{key: value})
