r"""Ascents: from which point near the weights a step takes its gradient.

Each is a function that leaves the gradient to step along in every `.grad`, and the weights bit for bit where they were.
Notation of the docstrings: weights $w$, gradient $g = \nabla L(w)$, radius $\rho$, norms over all parameters together.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.training.recipe import Ascent

# Keeps a zero gradient from dividing by zero; far below any norm met in training, so it changes no step.
SMALLEST_NORM = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What an ascent sees of one step of a training."""

    parameters: Mapping[str, nn.Parameter]
    """What is trained, by name."""
    only: Callable[[], Tensor]
    """Leaves the gradient at the present weights, for a step without an ascent; returns the loss, detached."""
    first: Callable[[], Tensor]
    """Leaves the gradient to climb along, and lets batch norm see the images; returns the loss, detached."""
    last: Callable[[], Tensor]
    """Leaves the gradient at the present weights, once climbed, and every buffer as it was; returns the loss there."""
    shared: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """From `first`'s gradients to those of the whole step, where each process climbs along its own."""
    ascent: Ascent
    """Its numbers."""
    rate_share: float
    """The step's learning rate over the largest of the schedule, from 0 to 1."""
    number: int
    """Of the step, from 0."""
    memory: MutableMapping[str, Tensor]
    """What it keeps from step to step; a training that goes on gets it back."""

    def gradients(self) -> dict[str, Tensor]:
        """Return the present gradients, by name: the tensors themselves."""
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}


def none(step: Step) -> Tensor:
    """Take the gradient where the weights are: $g$."""
    return step.only()


def sam(step: Step) -> Tensor:
    r"""Take it at the worst point nearby: $g_s = \nabla L(w + \rho \, g / \lVert g \rVert)$.

    Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, https://arxiv.org/abs/2010.01412, algorithm 1. As there, how that
    point itself moves with $w$ is left out.
    """
    return _sam(step, step.ascent.rho)


def gsam(step: Step) -> Tensor:
    r"""Take SAM's, less $\alpha$ times what of $g$ is orthogonal to it: that lowers the gap of the two losses too.

    Zhuang et al., ICLR 2022, https://arxiv.org/abs/2203.08065, algorithm 1 with its section 4.3: the radius falls from
    `rho` to `rho_min` as the learning rate does from its largest to 0. The rate is the one that the step is taken with:
    an unscaled one made trainings diverge (https://github.com/google-research/big_vision/issues/8).
    """
    given, plain = step.ascent, dict[str, Tensor]()
    loss = _sam(step, given.rho_min + (given.rho - given.rho_min) * step.rate_share, plain)
    sharp = step.gradients()
    for name, across in _across(plain, sharp).items():
        sharp[name].sub_(given.alpha * across)
    return loss


def asam(step: Step) -> Tensor:
    r"""Take it at the worst point within a ball that scales with the weights: $w + \rho \, T^2 g / \lVert T g \rVert$.

    Kwon, Kim, Park and Choi, ICML 2021, https://arxiv.org/abs/2102.11600, algorithm 1; as in the authors' code,
    $T = |w| + \eta$ for what is called a weight, and 1 for biases and the like.
    """
    loss = step.first()
    gradients = step.gradients()
    scales = {
        name: p.detach().abs() + step.ascent.eta if "weight" in name else torch.ones_like(p)
        for name, p in step.parameters.items()
        if name in gradients
    }
    scaled = {name: scales[name] * gradient for name, gradient in gradients.items()}
    with moved(step.parameters, {name: scales[name] * up for name, up in _uphill(scaled, step.ascent.rho).items()}):
        step.last()
    return loss


def looksam(step: Step) -> Tensor:
    r"""Take SAM's every few steps, and in between add to $g$ what of SAM's was orthogonal to it.

    Liu, Mai, Chen, Hsieh and You, CVPR 2022, https://arxiv.org/abs/2203.02714, algorithm 1: of SAM's gradient its part
    $g_v$ orthogonal to $g$ is kept, and the steps in between go along
    $g + \alpha \, (\lVert g \rVert / \lVert g_v \rVert) \, g_v$.
    """
    if step.number % step.ascent.every == 0 or not step.memory:
        plain: dict[str, Tensor] = {}
        loss = _sam(step, step.ascent.rho, plain)
        kept = _across(step.gradients(), plain)
        step.memory.clear()
        if norm(kept).isfinite():  # half precision may have overflowed; then the next step asks again
            step.memory.update(kept)
        return loss
    loss = step.only()
    gradients = step.gradients()
    length = step.ascent.alpha * norm(gradients) / (norm(step.memory) + SMALLEST_NORM)
    for name, gradient in gradients.items():
        gradient.add_(length * step.memory[name])
    return loss


ASCENTS: Mapping[str, Callable[[Step], Tensor]] = {
    "none": none,
    "sam": sam,
    "gsam": gsam,
    "asam": asam,
    "looksam": looksam,
}
"""By the names that recipes use."""


def norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the L2 norm of tensors together, as a tensor without axes."""
    lengths: list[Tensor] = [tensor.norm() for tensor in tensors.values()]
    together: Tensor = torch.stack(lengths).norm()
    return together


@contextmanager
def moved(parameters: Mapping[str, nn.Parameter], by: Mapping[str, Tensor]) -> Iterator[None]:
    """Move parameters, and put them back exactly.

    Args:
        parameters: All of them, by name.
        by: What is added to those that move.
    """
    # Copies: adding a step and subtracting it again does not always give the same floating-point number.
    before = {name: parameters[name].detach().clone() for name in by}
    with torch.no_grad():
        for name, way in by.items():
            parameters[name].add_(way)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, copy in before.items():
                parameters[name].copy_(copy)


def _sam(step: Step, rho: float, plain: MutableMapping[str, Tensor] | None = None) -> Tensor:
    """Leave SAM's gradient at a radius; put the whole step's own gradient into `plain`."""
    loss = step.first()
    if plain is not None:
        plain.update(step.shared(step.gradients()))
    with moved(step.parameters, _uphill(step.gradients(), rho)):
        step.last()
    return loss


def _uphill(gradients: Mapping[str, Tensor], rho: float) -> dict[str, Tensor]:
    r"""Return $\rho \, g / \lVert g \rVert$."""
    length = rho / (norm(gradients) + SMALLEST_NORM)
    return {name: gradient * length for name, gradient in gradients.items()}


def _across(vectors: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what of a vector is orthogonal to a direction; both have the same names."""
    along = sum((vectors[name] * way).sum() for name, way in direction.items())
    share = along / (norm(direction) ** 2 + SMALLEST_NORM**2)
    return {name: vectors[name] - share * way for name, way in direction.items()}
