"""Recipes of fine-tuning: all that decides it but the checkpoint, the data, the seed and the machine. No torch here."""

import functools
import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from bench.errors import BenchError, UnknownNameError

DEFAULT = "default"
"""The name that stands for the recipe which suits the number of training images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a checkpoint is fine-tuned: SGD with momentum, without weight decay."""

    name: str
    learning_rate: float
    """The largest, at the end of the warm-up; it then falls to 0 along half a cosine."""
    momentum: float
    batch_size: int
    """Images in a step, over all processes."""
    clip_norm: float
    """Longest gradient to step along, as an L2 norm over all parameters; a longer one is shortened to it."""
    epochs: int
    """Passes over the training images; 0 where `steps` says how long."""
    steps: int
    """Steps in all; 0 where `epochs` says how long."""
    warmup: float
    """Share of all steps over which the rate rises in a straight line from 0."""
    area: tuple[float, float]
    """Least and largest share of a picture that a training crop covers."""
    aspect: tuple[float, float]
    """Least and largest width of a crop over its height."""
    flip: bool
    """Whether each crop is mirrored left to right with probability a half."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with.

        Raises:
            ValueError: a field is outside its range.
        """
        for field in ("learning_rate", "batch_size", "clip_norm"):
            self._want(0 < getattr(self, field) < math.inf, field, "more than 0")
        self._want(0 <= self.momentum < 1, "momentum", "at least 0 and less than 1")
        self._want((self.epochs > 0) != (self.steps > 0), "steps", "more than 0 where epochs is 0, and 0 elsewhere")
        self._want(0 <= self.warmup < 1, "warmup", "at least 0 and less than 1")
        self._want(0 < self.area[0] <= self.area[1] <= 1, "area", "two ascending shares in (0, 1]")
        self._want(0 < self.aspect[0] <= self.aspect[1], "aspect", "two ascending ratios")

    def _want(self, holds: bool, field: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"recipe {self.name!r} wants {field} to be {wanted}, it is {getattr(self, field)!r}.")

    def steps_of(self, images: int) -> int:
        """How many steps the recipe takes with so many training images."""
        return self.steps or self.epochs * -(-images // self.batch_size)


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(files("bench.transfer").joinpath("recipes.toml").read_text(encoding="utf-8"))


@functools.cache
def load_recipes() -> dict[str, Recipe]:
    """The recipes of `recipes.toml` by name, in the order of the file."""
    tables, recipes = _tables(), {}
    for name, own in tables["recipe"].items():
        values = {**tables["defaults"], **own, "name": name}
        values |= {field: tuple(values[field]) for field in ("area", "aspect")}
        recipes[name] = Recipe(**values)
    return recipes


def check_name(name: str) -> None:
    """Make sure that there is such a recipe.

    Raises:
        UnknownNameError: there is none.
    """
    if name != DEFAULT and name not in load_recipes():
        raise UnknownNameError("fine-tuning recipe", name, [DEFAULT, *load_recipes()])


def recipe_for(name: str, images: int) -> Recipe:
    """A recipe by name.

    Args:
        name: of the recipe, or `default`.
        images: to train on; they choose what `default` stands for.

    Raises:
        UnknownNameError: there is none of that name.

    >>> recipe_for("default", 45_000).steps
    10000
    """
    check_name(name)
    if name == DEFAULT:
        rows = _tables()["default"]
        name = next(row["recipe"] for row in rows if images < row.get("images_below", math.inf))
    return load_recipes()[name]


def check_changes(*, epochs: int, learning_rate: float, batch_size: int) -> None:
    """Make sure that a user's numbers can be trained with; 0 stands for the recipe's own.

    Raises:
        BenchError: one cannot.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 0:
            raise BenchError(
                f"{name} of fine-tune must be a whole number of at least 1, not {value!r}: --set {name}=20."
            )
    if not 0 <= learning_rate < math.inf:
        raise BenchError(
            f"learning_rate of fine-tune must be more than 0 and finite, not {learning_rate!r}: "
            "--set learning_rate=0.01."
        )
