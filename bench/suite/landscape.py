"""What suites of the loss landscape have in common: conditions, scores and protocol, from the training images."""

import functools
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.metrics import landscape
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite
from bench.text import amounts

PAPER = "Chen, Hsieh & Gong 2022, arXiv 2106.01548; Foret et al. 2021, arXiv 2010.01412"
DRAWS, GROUP = 10, 64
"""Of each noise; images of a group with an ascent of its own."""
BLOCK, MOST_IN_BLOCKS = 16, 160
"""Images of a tangent kernel; those that are in one at most."""
POINTS, EXTENT = 9, 1.0
"""Of an axis of the surface; where it ends, in lengths of a filter."""
_LOSSES = {"ce": "cross-entropy", "bce": "binary cross-entropy"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a suite of the landscape is of: images that the checkpoints were trained on."""

    name: str
    version: int
    title: str
    track: str
    data: Data
    classes: int
    images: int
    """Of the data, those that a limit of this number would take; 0 for all."""
    sigma: str
    """Standard deviations of the noise of every weight, ascending."""
    rho: float
    """Distance of SAM's ascent, over all weights."""
    relative: str = "0.2+0.5"
    """Lengths of the noise of a filter, as shares of the filter's own, ascending."""


def landscape_suite(trained: Trained) -> Suite:
    """The loss landscape at the weights, and what goes on inside."""
    return _make(
        trained,
        Params(
            images=trained.images,
            loss="ce",
            batchnorm="eval",
            sigma=trained.sigma,
            relative=trained.relative,
            rho=trained.rho,
        ),
    )


def _make(trained: Trained, settings: Params) -> Suite:
    _check(trained.name, settings)
    images = int(settings["images"] or 0)
    how = Params({name: settings[name] for name in ("loss", "batchnorm")})

    def condition(measure: str, params: Params, samples: int = images) -> Condition:
        data = replace(trained.data, samples=samples or None)
        return Condition(data=data, measure=Measurement(name=measure, params=params))

    named = Params({name: settings[name] for name in ("sigma", "relative", "rho")})
    flatness = condition("flatness", Params({**how, **named}, draws=DRAWS, group=GROUP))
    in_blocks = min(images or MOST_IN_BLOCKS, MOST_IN_BLOCKS)
    initial, learnt = (
        condition("ntk", Params(state=state, block=BLOCK), in_blocks) for state in ("initial", "trained")
    )
    surface = condition("surface", Params(how, points=POINTS, extent=EXTENT, dimensions=2))
    neurons, norms, attention = (condition(name, Params()) for name in ("neurons", "norms", "attention"))
    return Suite(
        name=trained.name,
        version=trained.version,
        title=trained.title,
        paper=PAPER,
        track=trained.track,
        protocol=Protocol(
            terms=(
                f"{trained.classes}-way",
                f"{images or 'all'} training images",
                f"mean {_LOSSES[str(settings['loss'])]}",
                f"BatchNorm in {settings['batchnorm']} mode",
            )
        ),
        scores=(
            *_flat(flatness, settings),
            Score(metric=landscape.NTK_CONDITION, conditions=(initial,), column="NTK at init"),
            Score(metric=landscape.NTK_CONDITION, conditions=(learnt,), column="NTK"),
            Score(metric=landscape.ACTIVE_FIRST, conditions=(neurons,), column="active first"),
            Score(metric=landscape.ACTIVE, conditions=(neurons,), column="active"),
            Score(metric=landscape.NEVER_ACTIVE, conditions=(neurons,)),
            Score(metric=landscape.WEIGHT_NORM, conditions=(norms,), column="weight norm"),
            Score(metric=landscape.ATTENTION_ENTROPY, conditions=(attention,)),
            Score(metric=landscape.ATTENTION_DISTANCE, conditions=(attention,)),
            Score(metric=landscape.SURFACE_RISE, conditions=(surface,)),
        ),
        settings=settings,
        remake=functools.partial(_make, trained),
    )


def _check(suite: str, settings: Params) -> None:
    if int(settings["images"] or 0) < 0:
        raise BenchError(f"images of suite {suite!r} must be 0, for all, or more, not {settings['images']}.")
    for name, known in (("loss", tuple(_LOSSES)), ("batchnorm", ("eval", "train"))):
        if settings[name] not in known:
            raise BenchError(f"{name} of suite {suite!r} must be {' or '.join(known)}, not {settings[name]!r}.")


def _flat(condition: Condition, settings: Params) -> tuple[Score, ...]:
    """The loss where the weights are moved; the largest sizes on the board."""
    scores = [Score(metric=landscape.LOSS, conditions=(condition,), column="loss")]
    for name, relative in (("relative", True), ("sigma", False)):
        sizes = amounts(str(settings[name]), name)
        for place, size in enumerate(sizes):
            loss, rise = landscape.noise(place, relative=relative)
            at = Params({"size": f"{size:g}"})
            column = f"{'filter ' * relative}noise {size:g}" if size == sizes[-1] else ""
            scores.append(Score(metric=loss, conditions=(condition,), at=at))
            scores.append(Score(metric=rise, conditions=(condition,), at=at, column=column))
    for (loss, rise), column in (
        ((landscape.ASCENT_LOSS, landscape.ASCENT_RISE), f"ascent {settings['rho']:g}"),
        ((landscape.GROUP_ASCENT_LOSS, landscape.GROUP_ASCENT_RISE), f"ascent {settings['rho']:g} of {GROUP}"),
    ):
        scores.append(Score(metric=loss, conditions=(condition,)))
        scores.append(Score(metric=rise, conditions=(condition,), column=column))
    return tuple(scores)
