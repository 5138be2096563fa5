"""What suites of attacks have in common: conditions, scores, warnings and protocol, from a data set and its eps."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.attacks import STANDARD, attacks
from bench.attacks.epsilon import NORMS, parse_eps, parse_grid
from bench.errors import BenchError
from bench.metrics import Alarm, Metric, robustness
from bench.metrics.classification import TOP1
from bench.metrics.robustness import ACCURACY_AFTER, ROBUST_ACCURACY, ROBUST_AREA
from bench.records import Condition, Data, Estimate, Measurement, Params, Protocol
from bench.suite import Score, Suite

LINF_GRID = "0.5/255+1/255+2/255+4/255+8/255"
TOLERANCE = 0.01
"""Of robust accuracy: attacks follow gradients, in which what another machine rounds differently grows."""
_LOSSES = ("ce", "dlr")
_UNITS = {"linf": ("255ths", 1 / 255), "l2": ("L2", 1.0)}
"""Of a median eps, in tables."""


def _sign(function: Callable[..., Estimate], above: float, says: str, images: int = 1) -> Metric:
    alarm = Alarm(above=above, images=images, says=says)
    return Metric(name=function.__name__, function=function, higher_is_better=False, alarm=alarm)


# Thresholds: a sign that should never show warns at once; one that a few honest images may show, above their share.
_UNSTEADY = _sign(
    robustness.unsteady_logits,
    0.0,
    "of the images have other logits among other images: the model is random, or in training mode.",
)
SIGNS = (
    _sign(
        robustness.zero_gradients,
        0.01,
        "of the images have a gradient of zero: attacks that go by gradients cannot see the model's errors.",
    ),
    _sign(
        robustness.loss_not_raised,
        0.05,
        "of the images withstand the largest eps while the steps do not raise the loss: the gradients mislead.",
        images=2,
    ),
    _sign(
        robustness.not_converged,
        0.15,  # ordinary checkpoints show up to 0.07
        "of the images withstand an eps, and fall there to five times the steps: give more (--set steps=100).",
        images=2,
    ),
    _sign(
        robustness.unbounded_withstood,
        0.0,
        "of the images withstand an attack that may turn them into any picture: the attack fails, not the images.",
    ),
    _sign(
        robustness.rising_with_eps,
        0.0,
        "more of the images withstand a larger eps than a smaller one: the attack is misled.",
    ),
    _sign(
        robustness.square_beats_white_box,
        0.03,  # an honest checkpoint showed 1 image of 33
        "of the images fall to Square, which sees no gradients, where the attack fails: gradients may be masked.",
        images=2,
    ),
    _UNSTEADY,
)
SQUARE_LAST = _sign(
    robustness.square_after_white_box,
    0.002,  # as AutoAttack's own check has it
    "of the images fall to Square alone, after all attacks by gradients: these may be masked; try an adaptive attack.",
)
FLAGS = _sign(
    robustness.autoattack_flags,
    0.0,
    "of the images are in a block on which AutoAttack warned; `bench outcomes` has why.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacked:
    """What an attack suite is of."""

    name: str
    version: int
    title: str
    track: str
    data: Data
    classes: int
    linf: str
    """The eps of the headline, as it is written."""
    l2: str
    """That of the other norm's column."""


def _robust(conditions: tuple[Condition, ...], eps: str, norm: str, column: str = "") -> Score:
    return Score(
        metric=ROBUST_ACCURACY.given(eps=parse_eps(eps, norm)),
        conditions=conditions,
        column=column,
        at=Params(eps=eps),
    )


# -- FGSM and PGD ------------------------------------------------------------------------------------------------


def pgd_suite(attacked: Attacked, *, l2_grid: str) -> Suite:
    """FGSM, and PGD with two losses, over a grid of eps in each norm.

    Args:
        attacked: the suite's data, and the eps of its columns, each one of a grid.
        l2_grid: ascending, joined by `+`.
    """
    defaults = Params(attack="pgd", steps=20, restarts=1, step_size=2.5, eps=LINF_GRID, eps_l2=l2_grid)
    return _pgd(attacked, defaults)


def _pgd(attacked: Attacked, settings: Params) -> Suite:
    for name in ("steps", "restarts", "step_size"):
        if not 0 < float(settings[name] or 0) < float("inf"):
            raise BenchError(f"{name} of suite {attacked.name!r} must be more than 0, not {settings[name]}.")
    attack = attacks.get(str(settings["attack"])).name if settings["attack"] != "pgd" else "pgd"
    numbers = Params({name: settings[name] for name in ("steps", "restarts", "step_size")})
    grids = {norm: parse_grid(str(settings[name]), norm).names for norm, name in (("linf", "eps"), ("l2", "eps_l2"))}
    fgsm = _condition(attacked, "fgsm", Params(norm="linf", grid="+".join(grids["linf"]), loss="ce"))
    pgd = {
        norm: tuple(
            _condition(attacked, attack, Params(numbers, norm=norm, grid="+".join(grid), loss=loss)) for loss in _LOSSES
        )
        for norm, grid in grids.items()
    }
    every = {"linf": (fgsm, *pgd["linf"]), "l2": pgd["l2"]}
    on_board = {
        norm: eps if eps in grids[norm] else grids[norm][-1]
        for norm, eps in (("linf", attacked.linf), ("l2", attacked.l2))
    }
    restarts = f"{settings['restarts']} random start{'s' * (settings['restarts'] != 1)}"
    return Suite(
        name=attacked.name,
        version=attacked.version,
        title=attacked.title,
        tolerance=TOLERANCE,
        paper="Madry et al. 2018, arXiv 1706.06083; Goodfellow et al. 2015, arXiv 1412.6572",
        track=attacked.track,
        protocol=Protocol(
            terms=(
                f"{attacked.classes}-way",
                f"Linf {'+'.join(grids['linf'])} and L2 {'+'.join(grids['l2'])} in pixels of [0, 1]",
                f"FGSM and {attack.upper()} of {settings['steps']} steps of {settings['step_size']:g} eps / steps from "
                f"{restarts}",
                "losses ce and dlr",
                "fooled once counts at every larger eps",
                "perturbed images not rounded",
            )
        ),
        scores=(
            _robust(every["linf"], on_board["linf"], "linf", f"Linf {on_board['linf']}"),
            _area(every["linf"], grids["linf"], "linf", "Linf area"),
            _median(every["linf"], "linf", "Linf median/255"),
            _robust((fgsm,), on_board["linf"], "linf", f"FGSM {on_board['linf']}"),
            _robust(every["l2"], on_board["l2"], "l2", f"L2 {on_board['l2']}"),
            _area(every["l2"], grids["l2"], "l2", "L2 area"),
            _median(every["l2"], "l2", "L2 median"),
            Score(metric=TOP1, conditions=pgd["linf"][:1], column="clean", clean=True),
            *(score for norm in every for score in _curves(every[norm], grids[norm], norm)),
            *(Score(metric=sign, conditions=(c,)) for norm in pgd for c in pgd[norm] for sign in SIGNS),
        ),
        settings=settings,
        remake=functools.partial(_pgd, attacked),
        curve="eps",
    )


def _condition(attacked: Attacked, measure: str, params: Params) -> Condition:
    return Condition(data=attacked.data, measure=Measurement(name=measure, params=params))


def _curves(conditions: tuple[Condition, ...], grid: Sequence[str], norm: str) -> list[Score]:
    """Robust accuracy at each eps, under all attacks together and under each."""
    sets = [conditions, *((condition,) for condition in conditions)]
    return [_robust(attacks, eps, norm) for attacks in sets for eps in grid]


def _area(conditions: tuple[Condition, ...], grid: Sequence[str], norm: str, column: str) -> Score:
    metric = ROBUST_AREA.given(grid=parse_grid("+".join(grid), norm).values)
    return Score(metric=metric, conditions=conditions, column=column)


def _median(conditions: tuple[Condition, ...], norm: str, column: str) -> Score:
    unit, size = _UNITS[norm]
    metric = Metric(name="median_eps", function=robustness.median_eps, unit=unit).given(unit=size)
    return Score(metric=metric, conditions=conditions, column=column)


# -- AutoAttack --------------------------------------------------------------------------------------------------


def autoattack_suite(attacked: Attacked) -> Suite:
    """AutoAttack `standard` in each norm, at the eps of `what`."""
    return _autoattack(attacked, Params(eps=attacked.linf, eps_l2=attacked.l2))


def _autoattack(attacked: Attacked, settings: Params) -> Suite:
    eps = {"linf": str(settings["eps"]), "l2": str(settings["eps_l2"])}
    for norm, text in eps.items():
        parse_eps(text, norm)
    conditions = {
        norm: _condition(attacked, "autoattack", Params(norm=norm, eps=text, block=100)) for norm, text in eps.items()
    }
    few = () if attacked.data.samples is None else (f"{attacked.data.samples} of the images, as a limit takes them",)
    return Suite(
        name=attacked.name,
        version=attacked.version,
        title=attacked.title,
        tolerance=TOLERANCE,
        paper="Croce & Hein 2020, arXiv 2003.01690",
        track=attacked.track,
        protocol=Protocol(
            terms=(
                f"{attacked.classes}-way",
                f"AutoAttack standard at Linf {eps['linf']} and L2 {eps['l2']} in pixels of [0, 1]",
                "blocks of 100 images in the order of limits",
                *few,
                "perturbed images not rounded",
            )
        ),
        scores=(
            *(_robust((c,), eps[norm], norm, f"{NORMS[norm]} {eps[norm]}") for norm, c in conditions.items()),
            Score(metric=TOP1, conditions=(conditions["linf"],), column="clean", clean=True),
            *(_after(c, STANDARD[: count + 1]) for c in conditions.values() for count in range(len(STANDARD))),
            *(
                Score(metric=sign, conditions=(c,))
                for c in conditions.values()
                for sign in (SQUARE_LAST, FLAGS, *SIGNS)
            ),
        ),
        settings=settings,
        remake=functools.partial(_autoattack, attacked),
    )


def _after(condition: Condition, names: Sequence[str]) -> Score:
    return Score(
        metric=ACCURACY_AFTER.given(fooled_by=names),
        conditions=(condition,),
        at=Params(attacks="+".join(names)),
    )
