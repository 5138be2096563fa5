"""What an update rule is told."""

from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.balls import Ball


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Where n images stand when an attack takes its next step; a row each, all on one device.

    Images of several eps, and at several steps, stand side by side.
    """

    images_NCHW: Tensor
    """As they were, in [0, 1]."""
    at_NCHW: Tensor
    """Where the attack has brought them; within eps and [0, 1]."""
    gradient_NCHW: Tensor
    """Of the loss, there."""
    eps_N: Tensor
    length_N: Tensor
    """Of a step: the attack's `step_size` times eps / steps."""
    taken_N: Tensor
    """int64: steps behind each."""
    ball: Ball
    """The norm."""
    memory: MutableMapping[str, Tensor]

    def remember(self, name: str) -> Tensor:
        """(n, C, H, W) that the rule may change in place and finds again at the next step; zeros at first."""
        if name not in self.memory:
            self.memory[name] = torch.zeros_like(self.at_NCHW)
        return self.memory[name]
