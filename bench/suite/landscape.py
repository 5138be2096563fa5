"""What suites of the loss landscape have in common: conditions, scores and protocol, from the training images."""

import functools
import math
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.metrics import landscape
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite
from bench.text import amounts

PAPER = "Chen, Hsieh & Gong 2022, arXiv 2106.01548; Foret et al. 2021, arXiv 2010.01412"
TOLERANCE = 0.1
"""Of the largest eigenvalue, which machines give alike to a few digits."""
DRAWS, GROUP = 10, 64
"""Of each noise; images of a group with an ascent of its own."""
BLOCK, MOST_IN_BLOCKS = 16, 160
"""Images of a tangent kernel; those that are in one at most."""
POINTS, EXTENT = 9, 1.0
"""Of an axis of the surface; where it ends, in lengths of a filter."""
STARTS, MOST_IN_SPECTRUM = 4, 100
"""Random vectors of the spectral density; images that it, the blocks and the surface are of at most."""
_EIGENVALUES = range(2, 6)
"""Beside the largest."""
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
            steps=30,
            probes=10,
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

    some = min(images or MOST_IN_SPECTRUM, MOST_IN_SPECTRUM)
    products = Params({**how, "steps": settings["steps"], "probes": settings["probes"]})
    curvature = condition("curvature", Params(products, starts=0, blocks=False))
    spectrum = condition("curvature", Params(products, starts=STARTS, blocks=True), some)
    named = Params({name: settings[name] for name in ("sigma", "relative", "rho")})
    flatness = condition("flatness", Params({**how, **named}, draws=DRAWS, group=GROUP))
    in_blocks = min(images or MOST_IN_BLOCKS, MOST_IN_BLOCKS)
    initial, learnt = (
        condition("ntk", Params(state=state, block=BLOCK), in_blocks) for state in ("initial", "trained")
    )
    surface = condition("surface", Params(how, points=POINTS, extent=EXTENT, dimensions=2), some)
    neurons, norms, attention = (condition(name, Params()) for name in ("neurons", "norms", "attention"))
    return Suite(
        name=trained.name,
        version=trained.version,
        title=trained.title,
        paper=PAPER,
        track=trained.track,
        tolerance=TOLERANCE,
        protocol=Protocol(
            terms=(
                f"{trained.classes}-way",
                f"{images or 'all'} training images",
                f"mean {_LOSSES[str(settings['loss'])]}",
                f"BatchNorm in {settings['batchnorm']} mode",
                f"eigenvalues by at most {settings['steps']} products and traces by {settings['probes']} probes",
                f"{DRAWS} draws of noise {settings['sigma']} of weights and {settings['relative']} of filters",
                f"ascent {settings['rho']:g}",
            )
        ),
        scores=(
            *_curved(curvature, spectrum),
            *_flat(trained.name, flatness, settings),
            Score(metric=landscape.NTK_CONDITION, conditions=(initial,), column="NTK at init"),
            Score(metric=landscape.NTK_CONDITION, conditions=(learnt,), column="NTK"),
            Score(metric=landscape.ACTIVE_FIRST, conditions=(neurons,), column="active first"),
            Score(metric=landscape.ACTIVE, conditions=(neurons,)),
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
    for name, least in (("steps", 2), ("probes", 2)):
        if int(settings[name] or 0) < least:
            raise BenchError(f"{name} of suite {suite!r} must be at least {least}, not {settings[name]}.")
    if not 0 < float(settings["rho"] or 0) < math.inf:
        raise BenchError(f"rho of suite {suite!r} must be more than 0, not {settings['rho']}.")
    for name, known in (("loss", tuple(_LOSSES)), ("batchnorm", ("eval", "train"))):
        if settings[name] not in known:
            raise BenchError(f"{name} of suite {suite!r} must be {' or '.join(known)}, not {settings[name]!r}.")


def _curved(condition: Condition, spectrum: Condition) -> tuple[Score, ...]:
    """The curvature of the whole on all images, and of the blocks on some of them."""
    return (
        Score(metric=landscape.LAMBDA_MAX, conditions=(condition,), column="lambda max"),
        Score(metric=landscape.CARRYING, conditions=(condition,), column="images of 90%"),
        Score(metric=landscape.TRACE, conditions=(condition,), column="trace"),
        Score(metric=landscape.LAMBDA_MIN, conditions=(condition,)),
        Score(metric=landscape.LAMBDA_MAX_ERROR, conditions=(condition,)),
        Score(metric=landscape.TRACE_ERROR, conditions=(condition,)),
        *(
            Score(metric=landscape.EIGENVALUE.given(place=place), conditions=(condition,), at=Params(place=place))
            for place in _EIGENVALUES
        ),
        *(
            Score(metric=metric.given(kind=kind), conditions=(spectrum,), at=Params(kind=kind))
            for metric in (landscape.BLOCK_LAMBDA_MAX, landscape.BLOCK_TRACE)
            for kind in landscape.KINDS
        ),
    )


def _flat(suite: str, condition: Condition, settings: Params) -> tuple[Score, ...]:
    """The loss where the weights are moved; the largest sizes on the board."""
    scores = [Score(metric=landscape.LOSS, conditions=(condition,), column="loss")]
    for name, relative in (("relative", True), ("sigma", False)):
        sizes = amounts(str(settings[name]), f"{name} of suite {suite!r}")
        for place, size in enumerate(sizes):
            loss, rise = landscape.noise(place, relative=relative)
            at = Params({"size": f"{size:g}"})
            column = f"{'filter ' * relative}noise {size:g}" if size == sizes[-1] else ""
            scores.append(Score(metric=loss, conditions=(condition,), at=at))
            scores.append(Score(metric=rise, conditions=(condition,), at=at, column=column))
    for (loss, rise), column in (
        (landscape.ASCENT, f"ascent {settings['rho']:g}"),
        (landscape.GROUP_ASCENT, ""),
    ):
        scores.append(Score(metric=loss, conditions=(condition,)))
        scores.append(Score(metric=rise, conditions=(condition,), column=column))
    return tuple(scores)
