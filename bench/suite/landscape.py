"""What suites of the loss landscape have in common: conditions, scores and protocol, from the training images."""

import functools
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.metrics import landscape
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite

PAPER = "Chen, Hsieh & Gong 2022, arXiv 2106.01548; Foret et al. 2021, arXiv 2010.01412"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a suite of the landscape is of: images that the checkpoints were trained on."""

    name: str
    version: int
    title: str
    track: str
    data: Data
    """Whose `samples` the setting `images` decides."""
    classes: int
    settings: Params
    """With their values: `images` (0 for all)."""


def landscape_suite(trained: Trained) -> Suite:
    """The loss landscape at the weights, and what goes on inside."""
    return _make(trained, trained.settings)


def _make(trained: Trained, settings: Params) -> Suite:
    images = int(settings["images"] or 0)
    if images < 0:
        raise BenchError(f"images of suite {trained.name!r} must be 0, for all, or more, not {images}.")
    data = replace(trained.data, samples=images or None)

    def condition(measure: str, **params: str | int | float) -> Condition:
        return Condition(data=data, measure=Measurement(name=measure, params=Params(params)))

    neurons, norms, attention = (condition(name) for name in ("neurons", "norms", "attention"))
    return Suite(
        name=trained.name,
        version=trained.version,
        title=trained.title,
        paper=PAPER,
        track=trained.track,
        protocol=Protocol(terms=(f"{trained.classes}-way",)),
        scores=(
            Score(metric=landscape.ACTIVE_FIRST, conditions=(neurons,), column="active first"),
            Score(metric=landscape.ACTIVE, conditions=(neurons,), column="active"),
            Score(metric=landscape.NEVER_ACTIVE, conditions=(neurons,)),
            Score(metric=landscape.WEIGHT_NORM, conditions=(norms,), column="weight norm"),
            Score(metric=landscape.ATTENTION_ENTROPY, conditions=(attention,)),
            Score(metric=landscape.ATTENTION_DISTANCE, conditions=(attention,)),
        ),
        settings=settings,
        remake=functools.partial(_make, trained),
    )
