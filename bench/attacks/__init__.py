"""Attacks by gradients: registered by name, each an update rule alone.

The engine (`bench.attacks.engine`) does the rest for all of them: random starts, keeping to [0, 1] and within eps,
restarts, the grid of eps, checks, and the plain forward pass that decides. Epsilon is in pixels of [0, 1]; models
normalise inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.registry import Registry

if TYPE_CHECKING:
    import torch

    from bench.attacks.steps import Step

UpdateRule: TypeAlias = "Callable[[Step], torch.Tensor]"
"""Where n images go next, (n, C, H, W); the engine brings what leaves the ball or [0, 1] back."""

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of AutoAttack `standard`, in turn (Croce & Hein 2020, arXiv 2003.01690, section 5)."""

ENGINE_VERSION = 1
"""Part of every attacked cell's key, beside the attack's own version: bumped whenever the engine changes a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """A registered attack; its rule is imported when it is first used."""

    name: str
    version: int
    """Part of every cell's key: bumped whenever the rule changes."""
    load: Callable[[], UpdateRule]
    steps: int = 20
    """Where nobody asks for another number."""
    step_size: float = 2.5
    """Length of a step, in units of eps / steps."""
    random_start: bool = True
    """Whether it begins anywhere in the ball, rather than at the image."""
    about: str = ""

    @property
    def iterative(self) -> bool:
        """Whether more steps, or a larger eps, must make it stronger: what its signs of false security rest on."""
        return self.steps > 1


attacks: Registry[Attack] = Registry("attack")
