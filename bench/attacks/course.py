"""What one image goes through, as a plain sequence of trials: the protocol of the attack suites, in code.

A course is a generator: it asks for a trial, is sent how it ended, and returns what was found. The engine runs many
side by side, so that a course reads as if its image were alone.
"""

from collections.abc import Generator
from dataclasses import dataclass, field

_LONGER = 5
"""Times the steps, for the trial that tells whether more would have helped; Madry's 20 against 100."""

NOT_TRIED, WITHSTOOD = -1, 0
"""In findings, where 1 says that it was fooled (or showed a sign)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """An attack with all its numbers."""

    name: str
    """Of the attack; random starts go by it."""
    norm: str
    loss: str
    grid: tuple[float, ...]
    """Ascending, in pixels of [0, 1]."""
    steps: int
    restarts: int
    """Random starts at each eps."""
    step_size: float
    """Units of eps / steps."""
    random_start: bool
    iterative: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of an attack from one start."""

    eps: float
    steps: int
    start: str
    """Names its random draws; empty where it begins at the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a trial ended; of the perturbed image that fools, else of the last one."""

    fooled: bool
    """By a plain forward pass."""
    prediction: int
    loss: float
    """Cross-entropy, nats."""
    norm: float
    """Of the change."""
    steps: int
    """Gradients taken."""
    rise: float
    """Of the attack's own loss, from the first gradient to the last."""
    flat: bool
    """Whether the first gradient was zero in every value."""


@dataclass(kw_only=True, slots=True)
class Finding:
    """What became of one image."""

    first: int
    """Index into the grid of the smallest eps that fools; the grid's length if none does."""
    ending: Ending | None = None
    """Of the trial that fools, else of the last one at the largest eps."""
    steps: int = 0
    """Gradients taken over the grid; what was tried afresh or beyond it is not counted."""
    flat: int = NOT_TRIED
    fresh: list[int] = field(default_factory=list)
    """For each eps whether an attack that knew nothing of the others fools."""
    stuck: int = NOT_TRIED
    """Whether at the largest eps the attack failed without raising the loss."""
    longer: int = NOT_TRIED
    """At the largest eps that it withstood: whether five times the steps fool it."""
    unbounded: int = NOT_TRIED
    """Whether the attack fools it where it may turn it into any picture."""


Course = Generator[Trial, Ending, Finding]


def course(spec: Spec, whole: float, *, afresh: bool) -> Course:
    """The course of an image that the model has right.

    Args:
        spec: the attack.
        whole: the eps within which any picture can become any other.
        afresh: whether it is attacked at every eps, whatever fooled it before, and beyond the grid.
    """
    finding = Finding(first=len(spec.grid))
    for place, eps in enumerate(spec.grid):
        counted = finding.first == len(spec.grid)
        if not counted and not afresh:
            break
        ending, steps = yield from _at(spec, eps)
        if counted:
            finding.ending, finding.steps = ending, finding.steps + steps
            finding.first = place if ending.fooled else finding.first
        if finding.flat == NOT_TRIED:
            finding.flat = int(ending.flat)
        finding.fresh.append(int(ending.fooled))
        # Of a single gradient nothing is known of the loss after it.
        finding.stuck = int(not ending.fooled and ending.rise <= 0) if spec.steps > 1 else NOT_TRIED
    if not afresh:
        finding.fresh, finding.stuck = [NOT_TRIED] * len(spec.grid), NOT_TRIED
    elif spec.iterative:
        withstood = [eps for eps, fooled in zip(spec.grid, finding.fresh, strict=True) if not fooled]
        if withstood:
            finding.longer = int((yield _trial(spec, max(withstood), _LONGER * spec.steps, "longer")).fooled)
        finding.unbounded = int((yield _trial(spec, whole, spec.steps, "unbounded")).fooled)
    return finding


def _at(spec: Spec, eps: float) -> Generator[Trial, Ending, tuple[Ending, int]]:
    """All restarts at one eps, until one fools; how the last one ended, and the gradients of all."""
    steps = 0
    for restart in range(spec.restarts):
        ending = yield _trial(spec, eps, spec.steps, str(restart))
        steps += ending.steps
        if ending.fooled:
            break
    return ending, steps


def _trial(spec: Spec, eps: float, steps: int, which: str) -> Trial:
    start = f"attack/{spec.name}/{spec.loss}/{spec.norm}/{eps:.9g}/{which}" if spec.random_start else ""
    return Trial(eps=eps, steps=steps, start=start)
