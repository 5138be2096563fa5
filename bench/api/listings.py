"""What is registered: a record each for `bench list`, and suites in words."""

from collections.abc import Callable
from typing import Any

from bench.attacks import attacks
from bench.checkpoints import checkpoints
from bench.corruptions import corruptions
from bench.datasets import datasets
from bench.errors import UnknownNameError
from bench.study.design import load_study, own_studies
from bench.suite import Suite, suites, tracks
from bench.training.recipes import load_recipes

Rows = list[dict[str, Any]]
_FEW = 4
"""Splits that are named; ImageNet-C has 95."""


def _suites() -> Rows:
    return [
        {
            "name": suite.name,
            "version": suite.version,
            "track": suite.track,
            "conditions": len(suite.conditions),
            "title": suite.title,
            "paper": suite.paper,
        }
        for suite in suites
    ]


def _checkpoints() -> Rows:
    assumed = any(entry.assumed for entry in checkpoints)
    seeded = any(entry.seed is not None for entry in checkpoints)
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "sam": entry.sam,
            "classes": entry.class_space.name,
            "input": entry.input_size,
            "crop": entry.crop_ratio,
            "pairs with": entry.pairs_with,
            "recipe": entry.recipe,
            **({"seed": "" if entry.seed is None else entry.seed} if seeded else {}),
            **({"left out of the entry": entry.assumed} if assumed else {}),
        }
        for entry in checkpoints
    ]


def _datasets() -> Rows:
    return [
        {
            "name": dataset.name,
            "classes": len(dataset.class_space.classes),
            "splits": ", ".join(dataset.splits) if len(dataset.splits) <= _FEW else f"{len(dataset.splits)} splits",
            "about": dataset.about,
            "licence": dataset.licence,
        }
        for dataset in datasets
    ]


def _corruptions() -> Rows:
    return [
        {"name": entry.name, "group": entry.group, "version": entry.version, "about": entry.about}
        for entry in corruptions
    ]


def _attacks() -> Rows:
    return [
        {
            "name": entry.name,
            "version": entry.version,
            "steps": entry.steps,
            "random start": "yes" if entry.random_start else "no",
            "about": entry.about,
        }
        for entry in attacks
    ]


def _tracks() -> Rows:
    return [{"name": name, "suites": ", ".join(s.name for s in members)} for name, members in tracks().items()]


def _studies() -> Rows:
    return [
        {
            "name": study.name,
            "trainings": len(study.arms) * study.draws * study.seeds,
            "factors": ", ".join(f"{factor} ({len(levels)})" for factor, levels in study.factors.items()),
            "draws": study.draws,
            "seeds": study.seeds,
            "title": study.title,
            "paper": study.paper,
        }
        for study in map(load_study, own_studies())
    ]


def _recipes() -> Rows:
    return [
        {
            "name": recipe.name,
            "architecture": recipe.architecture,
            "dataset": recipe.dataset,
            "ascent": recipe.ascent.name,
            "rho": recipe.ascent.rho,
            "objective": ", ".join(dict.fromkeys(stage.objective.name for stage in recipe.stages)),
            "attack eps": round(recipe.stages[-1].attack.eps, 4),
            "epochs": sum(stage.epochs for stage in recipe.stages),
        }
        for recipe in load_recipes().values()
    ]


_LISTINGS: dict[str, Callable[[], Rows]] = {
    "suites": _suites,
    "checkpoints": _checkpoints,
    "datasets": _datasets,
    "corruptions": _corruptions,
    "attacks": _attacks,
    "tracks": _tracks,
    "recipes": _recipes,
    "studies": _studies,
}
"""By the word that `bench list` takes."""


def listing(kind: str) -> Rows:
    """A record each registered thing of a kind, one of those that `bench list` takes.

    Raises:
        BenchError: there is no such kind.
    """
    if kind not in _LISTINGS:
        raise UnknownNameError("kind of listing", kind, _LISTINGS)
    return _LISTINGS[kind]()


def explain(suite: Suite, column: str | None = None) -> str:
    """What a suite measures, or what one of its columns means; see `bench.tools.explain.explain`."""
    from bench.tools.explain import explain as in_words

    return in_words(suite, column)
