"""The recipes of `recipes.toml`, and others with some keys set otherwise. No torch here, so listing them is fast.

What a recipe's table does not say is taken from those of its parts (`[with.gsam]`, for its architecture
`[architecture.vit.with.gsam]`), then from its architecture's (`[architecture.vit]`), and then from `[defaults]`. A
recipe of several stages has a table `[[recipe.NAME.stages]]` each, with what is other in that stage.
"""

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias, get_args, get_type_hints

from bench.errors import BenchError, UnknownNameError
from bench.training.recipe import Ascent, Attack, Augment, AugmentName, Objective, Optimizer, Recipe, Stage

Value: TypeAlias = str | bool | int | float | list[str]
"""Of a key, as TOML has it."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.]+")
_STAGE_KEY = re.compile(r"stage([1-9][0-9]*)\.(\w+)")

_PARTS: Mapping[str, type] = {
    "ascent": Ascent, "objective": Objective, "attack": Attack, "augment": Augment, "optimizer": Optimizer,
}  # fmt: skip
"""Fields of a stage that are records of their own."""
_USED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ascent": {
        "none": (),
        "sam": ("rho", "perturbation"),
        "gsam": ("rho", "rho_min", "alpha", "perturbation"),
        "asam": ("rho", "eta", "perturbation"),
        "looksam": ("rho", "alpha", "every", "perturbation"),
    },
    "objective": {
        "ce": ("smoothing",),
        "bce": ("smoothing", "threshold"),
        "supcon": ("temperature",),
        "tokens": ("smoothing", "token_weight"),
    },
    "augment": {
        "rotate_shift": ("degrees", "shift"),
        "inception_crop": ("area",),
        "three_augment": ("jitter",),
        "rand_augment": ("operations", "magnitude"),
        "mixup": ("mixup",),
        "cutmix": ("cutmix",),
        "mixup_or_cutmix": ("mixup", "cutmix"),
        "mix_tokens": ("cutmix",),
        "attention_crop": ("attention",),
        "attention_drop": ("attention",),
    },
}
"""Which keys mean something beside a name. Where they do not, tables of several recipes may hold them, but none of a
recipe's own."""


@dataclass(frozen=True, slots=True)
class _Key:
    """Where a key's value goes, and what it must be."""

    part: str
    """`recipe`, `stage`, or a field of a stage that is a record of its own."""
    field: str
    kind: type
    wanted: str
    holds: Callable[[Any], bool]

    def typed(self, value: Any) -> Any:
        """Return a value as the record holds it, or None where it is none for this key."""
        if self.kind is tuple:
            value = value.split("+") if isinstance(value, str) else value
            value = tuple(filter(None, value)) if isinstance(value, list | tuple) else None
        elif self.kind is float and type(value) is int:
            value = float(value)
        return value if type(value) is self.kind and self.holds(value) else None


def _known(part: str, cls: type, fields: Mapping[str, tuple[str, Callable[[Any], bool]]]) -> Iterator[tuple[str, _Key]]:
    """Yield the keys of a record: those of the attack with `attack_` before, and for a name that of the part."""
    hints = get_type_hints(cls)
    for field, hint in hints.items():
        key = {"name": part, "names": part}.get(field, f"attack_{field}" if part == "attack" else field)
        if field in fields:
            wanted, holds = fields[field]
            kind = tuple if field == "names" else hint
            yield key, _Key(part, field, kind, wanted, holds)
        elif get_args(hint) and field != "stages":
            names = get_args(hint)
            yield key, _Key(part, field, str, f"one of {', '.join(names)}", names.__contains__)


_AT_LEAST_0 = ("at least 0", lambda v: 0 <= v < math.inf)
_ABOVE_0 = ("more than 0", lambda v: 0 < v < math.inf)
_COUNT = ("a whole number of at least 1", lambda v: v >= 1)
_WHOLE = ("a whole number of at least 0", lambda v: v >= 0)
_SHARE = ("at least 0 and less than 1", lambda v: 0 <= v < 1)
_PORTION = ("more than 0 and at most 1", lambda v: 0 < v <= 1)
_TEXT = ("a name", lambda v: v != "")
_KEYS: Mapping[str, _Key] = dict(
    [
        *_known(
            "recipe",
            Recipe,
            {"architecture": _TEXT, "dataset": _TEXT, "seed": _WHOLE, "drop_path": _SHARE, "layer_scale": _AT_LEAST_0},
        ),
        *_known(
            "stage",
            Stage,
            {
                "epochs": _COUNT, "warmup_epochs": _AT_LEAST_0, "batch_size": _COUNT, "clip_norm": _ABOVE_0,
                "size": _WHOLE, "micro_batch": _WHOLE, "repeats": _COUNT, "ema": _SHARE,
            },
        ),
        *_known(
            "ascent",
            Ascent,
            {"rho": _AT_LEAST_0, "rho_min": _AT_LEAST_0, "alpha": _AT_LEAST_0, "eta": _AT_LEAST_0, "every": _COUNT},
        ),
        *_known(
            "objective",
            Objective,
            {"smoothing": _SHARE, "threshold": _SHARE, "temperature": _ABOVE_0, "token_weight": _AT_LEAST_0},
        ),
        *_known("attack", Attack, {"eps": _SHARE, "steps": _COUNT, "step": _ABOVE_0}),
        *_known(
            "augment",
            Augment,
            {
                "names": (
                    f"a list of names of {', '.join(get_args(AugmentName))}",
                    lambda v: set(v) <= set(get_args(AugmentName)),
                ),
                "degrees": _AT_LEAST_0, "shift": _AT_LEAST_0, "area": _PORTION, "jitter": _SHARE,
                "operations": _COUNT, "magnitude": ("a whole number from 0 to 30", lambda v: 0 <= v <= 30),
                "mixup": _ABOVE_0, "cutmix": _ABOVE_0, "attention": _SHARE,
            },
        ),
        *_known(
            "optimizer",
            Optimizer,
            {
                "learning_rate": _ABOVE_0, "weight_decay": _AT_LEAST_0,
                "decay_norms": ("true or false", lambda v: True),
            },
        ),
    ]
)  # fmt: skip
"""All keys of a recipe's table but `stages`."""


def load_recipes() -> dict[str, Recipe]:
    """Return the project's own recipes, those of `recipes.toml`, by name and in the order of the file."""
    return parse_recipes(_own_text())


def recipe(name: str, changes: Mapping[str, Value] | None = None) -> Recipe:
    """Return one of the project's recipes, or another that some keys make of it; see `changed`.

    Raises:
        UnknownNameError: If there is no such recipe, or no such key.
        BenchError: If a value is not possible.
    """
    return changed(_own_text(), name, changes or {})


def parse_recipes(text: str) -> dict[str, Recipe]:
    """Return the recipes of a TOML text by name, in its order; `[recipe.NAME]` is the table of one.

    Raises:
        BenchError: If a recipe lacks a key, has an unknown one, or a value that is not possible.
    """
    tables = tomllib.loads(text)
    return {name: _Maker(tables, name, {}).recipe(name) for name in tables["recipe"]}


def changed(text: str, name: str, changes: Mapping[str, Value]) -> Recipe:
    """Return a recipe with some keys set otherwise, called after those: `digits-vit-gsam-rho-0.2`.

    Args:
        text: Recipes in TOML.
        name: Of the recipe.
        changes: Key to value. A key that stages set is set by `stage1.epochs`, `stage2.epochs`, … .

    Raises:
        UnknownNameError: If there is no such recipe, or no such key.
        BenchError: If a value is not possible.
    """
    tables = tomllib.loads(text)
    if name not in tables["recipe"]:
        raise UnknownNameError("recipe", name, tables["recipe"], see="bench list recipes")
    before = _Maker(tables, name, {}).recipe(name)
    maker, made = _Maker(tables, name, changes), name
    for key in changes:
        # What the others alone would make of it: a radius that comes with its ascent is no change.
        others = _Maker(tables, name, {other: value for other, value in changes.items() if other != key})
        if maker.value(key) != others.value(key):
            made += _mark(key, maker.value(key))
    after = maker.recipe(made)
    return before if after.identity == before.identity else after


def typed(text: str) -> Value:
    """Return a value as it is typed on a command line: as TOML has it, or else a text.

    >>> typed("0.1"), typed("gsam"), typed("true")
    (0.1, 'gsam', True)
    """
    try:
        value: Value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _own_text() -> str:
    return files("bench.training").joinpath("recipes.toml").read_text(encoding="utf-8")


def _mark(key: str, value: Any) -> str:
    """Return what a change adds to a recipe's name; a part's name stands for itself."""
    text = (
        "+".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else f"{value}"
    )
    text = _NOT_IN_NAMES.sub("_", text if not isinstance(value, float) else f"{value:g}")
    return f"-{text}" if key in _PARTS else f"-{key}-{text}"


def _typed(name: str, key: str, value: Any) -> Any:
    """Return a value as a record holds it."""
    own = key.split(".")[-1]
    if own not in _KEYS:
        raise UnknownNameError(f"key of recipe {name!r}", own, _KEYS)
    found = _KEYS[own].typed(value)
    if found is None:
        raise BenchError(f"recipe {name!r} wants {own} to be {_KEYS[own].wanted}, it is {value!r}.")
    return found


class _Maker:
    """Makes one recipe of the tables.

    Args:
        tables: Of a file of recipes.
        name: Of the recipe's table.
        changes: Keys that are set otherwise.
    """

    def __init__(self, tables: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> None:
        self._tables, self._name = tables, name
        own = dict(tables["recipe"][name])
        stages: list[dict[str, Any]] = [dict(stage) for stage in own.pop("stages", [{}])]
        for key, value in changes.items():
            place = _STAGE_KEY.fullmatch(key)
            inner = place[2] if place else key
            if inner not in _KEYS:
                raise UnknownNameError(f"key of recipe {name!r}", inner, _KEYS)
            if inner == "seed":
                raise BenchError("a seed is no key of a recipe; give it by --seed, or several by --seeds.")
            if place is None:
                self._refuse_hidden(key, stages)
                own[key] = value
            elif _KEYS[inner].part == "recipe":
                raise BenchError(f"{inner} is of all stages of recipe {name!r}; set it without {key.split('.')[0]}.")
            elif int(place[1]) > len(stages):
                raise BenchError(f"recipe {name!r} has no stage {place[1]}, its last one is {len(stages)}.")
            else:
                stages[int(place[1]) - 1][inner] = value
        self._stages = [{**own, **stage} for stage in stages]

    def _refuse_hidden(self, key: str, stages: list[dict[str, Any]]) -> None:
        hiding = [number for number, stage in enumerate(stages, start=1) if key in stage]
        if hiding:
            raise BenchError(
                f"recipe {self._name!r} sets {key} by stage; give it for one of them: "
                f"--set stage{hiding[0]}.{key}=VALUE."
            )

    def value(self, key: str) -> Any:
        """Return what a key comes to."""
        place = _STAGE_KEY.fullmatch(key)
        found = self._stage_values(self._stages[int(place[1]) - 1 if place else -1])
        inner = place[2] if place else key
        return _typed(self._name, inner, found[inner]) if inner in found else None

    def recipe(self, name: str) -> Recipe:
        """Return the recipe, called `name`."""
        self._check_keys()
        values = [self._stage_values(own) for own in self._stages]
        stages = tuple(self._stage(stage) for stage in values)
        try:
            return Recipe(name=name, stages=stages, **self._fields("recipe", values[0]))
        except TypeError:
            raise self._lacks(Recipe, values[0]) from None

    def _check_keys(self) -> None:
        """Refuse keys that are unknown, or mean nothing where they stand."""
        for own in self._stages:
            values = self._stage_values(own)
            for key in own:
                _typed(self._name, key, own[key])
                part = _KEYS[key].part
                if key in ("attack_steps", "attack_step") and not values.get("attack_eps"):
                    raise BenchError(
                        f"recipe {self._name!r} has no attack, to which {key} means nothing; set attack_eps too."
                    )
                if part not in _USED or _KEYS[key].field in ("name", "names"):
                    continue
                names = values.get(part, getattr(_PARTS[part](), "name", ()))
                names = [names] if isinstance(names, str) else names
                if not any(key in _USED[part].get(name, ()) for name in names):
                    chosen = f"{part} {' and '.join(names)}" if names else f"no {part}"
                    users = [name for name, used in _USED[part].items() if key in used]
                    raise BenchError(
                        f"recipe {self._name!r} has {chosen}, to which {key} means nothing; it is of {part} "
                        f"{' or '.join(users)}."
                    )

    def _stage_values(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return all keys of a stage: its own, over those of its parts, its architecture and the defaults."""
        family = self._tables.get("architecture", {}).get(own.get("architecture"), {})
        below = {**self._tables.get("defaults", {}), **{key: v for key, v in family.items() if not isinstance(v, dict)}}
        for name in [{**below, **own}.get(part) for part in _PARTS]:
            for tables in (self._tables, family):
                if isinstance(name, str):
                    below |= tables.get("with", {}).get(name, {})
        return {**below, **own}

    def _stage(self, values: Mapping[str, Any]) -> Stage:
        parts = {}
        for part, cls in _PARTS.items():
            fields = self._fields(part, values)
            if part in _USED:
                names = fields.get("names", (fields.get("name", "ce" if part == "objective" else "none"),))
                used = {key for name in names for key in _USED[part].get(name, ())}
                fields = {name: v for name, v in fields.items() if name in ("name", "names") or name in used}
            if part == "attack" and not fields.get("eps"):
                fields = {}
            try:
                parts[part] = cls(**fields)
            except TypeError:
                raise self._lacks(cls, values) from None
        try:
            stage = Stage(**self._fields("stage", values), **parts)
        except TypeError:
            raise self._lacks(Stage, values) from None
        if stage.warmup_epochs >= stage.epochs:
            raise BenchError(
                f"recipe {self._name!r} wants warmup_epochs to be fewer than the {stage.epochs} epochs, it is "
                f"{stage.warmup_epochs:g}."
            )
        if stage.batch_size % stage.repeats:
            raise BenchError(
                f"recipe {self._name!r} wants repeats to divide the batch_size {stage.batch_size}, it is "
                f"{stage.repeats}."
            )
        return stage

    def _fields(self, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a record that a stage's values hold."""
        return {
            _KEYS[key].field: _typed(self._name, key, value)
            for key, value in values.items()
            if key in _KEYS and _KEYS[key].part == part
        }

    def _lacks(self, cls: type, values: Mapping[str, Any]) -> BenchError:
        needed = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        part = cls.__name__.lower()
        lacking = [k for k, rule in _KEYS.items() if rule.part == part and rule.field in needed and k not in values]
        architecture = values.get("architecture")
        if architecture not in self._tables.get("architecture", {}) and self._tables.get("architecture"):
            known = ", ".join(self._tables["architecture"])
            return BenchError(
                f"recipe {self._name!r} lacks {', '.join(lacking)}, for nothing stands in the file of recipes for "
                f"architecture {architecture!r}; set them too, or take one of {known}."
            )
        return BenchError(f"recipe {self._name!r} lacks {', '.join(lacking)}; add them to its table.")
