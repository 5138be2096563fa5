"""Recipes as data."""

import dataclasses
import subprocess
import sys

import pytest

from bench.training.recipes import Recipe, load_recipes, parse_recipes

PAIRS = ["digits-vit", "digits-mixer", "digits-resnet"]


def test_the_recipes_are_there_in_order() -> None:
    digits = [name for pair in PAIRS for name in (pair, f"{pair}-sam")]
    assert list(load_recipes()) == [*digits, "cifar10-resnet", "cifar10-resnet-adversarial"]


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_differs_in_rho_alone(name: str) -> None:
    plain, sharp = load_recipes()[name], load_recipes()[f"{name}-sam"]
    assert plain.sam_rho == 0
    assert sharp.sam_rho > 0
    assert dataclasses.replace(sharp, name=plain.name, sam_rho=0) == plain


def test_the_recipes_of_cifar10_differ_in_the_attack_alone() -> None:
    plain, attacked = load_recipes()["cifar10-resnet"], load_recipes()["cifar10-resnet-adversarial"]
    assert plain.attack_eps == 0
    assert attacked.attack_eps == pytest.approx(8 / 255, abs=1e-9)
    assert dataclasses.replace(attacked, name=plain.name, attack_eps=0) == plain
    assert plain.flip


def test_digits_are_neither_attacked_nor_mirrored() -> None:
    recipes = [recipe for recipe in load_recipes().values() if recipe.dataset == "digits-train"]
    assert len(recipes) == 6
    assert not any(recipe.attack_eps or recipe.flip for recipe in recipes)


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import sys; from bench.training.recipes import load_recipes; load_recipes(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_comes_before_its_architecture_and_that_before_the_defaults() -> None:
    recipe = parse_recipes(
        """
        [defaults]
        dataset = "some"
        epochs = 3
        warmup_epochs = 1
        batch_size = 8
        clip_norm = 1.0
        sam_rho = 0
        attack_eps = 0
        flip = false
        degrees = 10
        shift = 2
        seed = 0
        [architecture.vit]
        optimizer = "adamw"
        learning_rate = 1e-3
        weight_decay = 0.1
        epochs = 5
        [recipe.small]
        architecture = "vit"
        weight_decay = 0.3
        """
    )["small"]
    assert (recipe.name, recipe.weight_decay, recipe.epochs, recipe.batch_size) == ("small", 0.3, 5, 8)


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"'small' lacks \['attack_eps', 'batch_size', .*and has the unknown \['colour'\]"
    ):
        parse_recipes('[recipe.small]\narchitecture = "vit"\ncolour = 1')


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", "cnn", r"architecture to be one of \('vit', .*'resnet', .*\), it is 'cnn'"),
        ("optimizer", "lamb", r"optimizer to be one of \('adamw', 'sgd'\), it is 'lamb'"),
        ("learning_rate", 0, "learning_rate to be more than 0, it is 0"),
        ("clip_norm", -1, "clip_norm to be more than 0, it is -1"),
        ("epochs", 0, "epochs to be more than 0, it is 0"),
        ("batch_size", 0, "batch_size to be more than 0, it is 0"),
        ("weight_decay", -1, "weight_decay to be at least 0, it is -1"),
        ("sam_rho", -0.1, r"sam_rho to be at least 0, it is -0\.1"),
        ("attack_eps", -0.1, r"attack_eps to be at least 0 and less than 1, it is -0\.1"),
        ("attack_eps", 8, "attack_eps to be at least 0 and less than 1, it is 8"),
        ("flip", 0.5, r"flip to be true or false, it is 0\.5"),
        ("warmup_epochs", 10_000, "warmup_epochs to be fewer than the [0-9]+ epochs, it is 10000"),
    ],
)
def test_values_outside_their_range_are_refused(field: str, value: object, message: str) -> None:
    recipe: Recipe = load_recipes()["digits-vit"]
    with pytest.raises(ValueError, match=f"'digits-vit' wants {message}; correct it"):
        dataclasses.replace(recipe, **{field: value})
