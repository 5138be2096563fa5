"""The attacks that the project brings; `bench.measure.builtin` registers them."""

import functools
import importlib

from bench.attacks import Attack, UpdateRule


def _load(name: str) -> UpdateRule:
    rule: UpdateRule = getattr(importlib.import_module("bench.attacks.rules"), name)
    return rule


FGSM = Attack(
    name="fgsm",
    version=1,
    load=functools.partial(_load, "fgsm"),
    steps=1,
    step_size=1.0,
    random_start=False,
    about="all of eps in one step along the gradient",
)
PGD = Attack(
    name="pgd",
    version=1,
    load=functools.partial(_load, "pgd"),
    about="steps along the gradient from a random start, kept within eps",
)
