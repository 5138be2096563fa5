"""Recipes: all that decides a training but data, code and machine. No torch here, so listing them is fast."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

Architecture = Literal["vit", "vit_conv", "mixer", "resnet", "cifar10_vit", "cifar10_vit_conv", "cifar10_mixer"]
OptimizerName = Literal["adamw", "sgd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one checkpoint is trained. Two that differ in name and `sam_rho`, or `attack_eps`, alone make a pair."""

    name: str
    """Name of the recipe and of the checkpoint that it makes."""
    architecture: Architecture
    """Function of `bench.checkpoints.zoo.architectures` that builds the untrained module."""
    dataset: str
    """Name of the dataset that is trained on, all of it."""
    optimizer: OptimizerName
    """AdamW with torch's defaults, or SGD with a Nesterov momentum of 0.9."""
    learning_rate: float
    """Largest learning rate, reached when the warm-up ends; it then falls to 0 along half a cosine."""
    weight_decay: float
    """Decay of every parameter: decoupled from the gradient in AdamW, added to it in SGD."""
    epochs: int
    """Passes over the dataset."""
    warmup_epochs: int
    """Passes over which the learning rate rises in a straight line from 0; fewer than `epochs`."""
    batch_size: int
    """Images in a step. The last step of an epoch takes what is left; no image is dropped."""
    clip_norm: float
    """Longest gradient to step along, as an L2 norm over all parameters; a longer one is shortened to it."""
    sam_rho: float
    """Radius of sharpness-aware minimisation, as an L2 norm over all parameters; 0 trains without it."""
    attack_eps: float
    """Farthest that adversarial training moves each channel of a pixel in [0, 1]; 0 trains on clean images."""
    flip: bool
    """Whether each image is mirrored left to right with probability a half."""
    degrees: float
    """Largest random rotation either way, in degrees."""
    shift: float
    """Largest random shift either way, in pixels, down and across."""
    seed: int
    """Decides the first weights, the order of the images, their augmentation, and where attacks start."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with.

        Raises:
            ValueError: If a field is outside its range or set.
        """
        for field, choices in (("architecture", Architecture), ("optimizer", OptimizerName)):
            self._want(getattr(self, field) in get_args(choices), field, f"one of {get_args(choices)}")
        for field in ("learning_rate", "clip_norm", "epochs", "batch_size"):
            self._want(getattr(self, field) > 0, field, "more than 0")
        for field in ("weight_decay", "warmup_epochs", "sam_rho", "degrees", "shift", "seed"):
            self._want(getattr(self, field) >= 0, field, "at least 0")
        self._want(0 <= self.attack_eps < 1, "attack_eps", "at least 0 and less than 1")
        self._want(isinstance(self.flip, bool), "flip", "true or false")
        self._want(self.warmup_epochs < self.epochs, "warmup_epochs", f"fewer than the {self.epochs} epochs")

    def _want(self, holds: bool, field: str, wanted: str) -> None:
        if not holds:
            raise ValueError(
                f"recipe {self.name!r} wants {field} to be {wanted}, it is {getattr(self, field)!r}; "
                "correct it where the recipe is written."
            )


def load_recipes() -> dict[str, Recipe]:
    """Return the project's own recipes, those of `recipes.toml`, by name and in the order of the file."""
    return parse_recipes(files("bench.training").joinpath("recipes.toml").read_text(encoding="utf-8"))


def parse_recipes(text: str) -> dict[str, Recipe]:
    """Return the recipes of a TOML text by name, in its order.

    Args:
        text: A table `[recipe.NAME]` a recipe. What it does not say is taken from `[architecture.A]` of its
            architecture, and then from `[defaults]`; both may be missing.

    Raises:
        ValueError: If a recipe lacks a field, has an unknown one, or one outside its range.
    """
    tables: dict[str, Any] = tomllib.loads(text)
    recipes = {}
    for name, own in tables["recipe"].items():
        family = tables.get("architecture", {}).get(own.get("architecture"), {})
        values = {**tables.get("defaults", {}), **family, **own, "name": name}
        wanted = set(Recipe.__dataclass_fields__)
        if values.keys() != wanted:
            raise ValueError(
                f"recipe {name!r} lacks {sorted(wanted - values.keys())} and has the unknown "
                f"{sorted(values.keys() - wanted)}; the fields are those of bench.training.recipes.Recipe."
            )
        recipes[name] = Recipe(**values)
    return recipes
