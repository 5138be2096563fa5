"""Optimisers: how a gradient becomes a step. The core sets the learning rate before each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from timm.optim.lamb import Lamb
from torch import nn

from bench.training.recipe import Optimizer

_Groups = list[dict[str, Any]]


def adamw(groups: _Groups) -> torch.optim.Optimizer:
    """AdamW with torch's defaults (Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101)."""
    return torch.optim.AdamW(groups)


def sgd(groups: _Groups) -> torch.optim.Optimizer:
    """Stochastic gradient descent with a Nesterov momentum of 0.9."""
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True)


def lamb(groups: _Groups) -> torch.optim.Optimizer:
    """LAMB, timm's (You et al., ICLR 2020, https://arxiv.org/abs/1904.00962); gradients are clipped by the core."""
    optimizer: torch.optim.Optimizer = Lamb(groups, max_grad_norm=None)
    return optimizer


OPTIMIZERS: Mapping[str, Callable[[_Groups], torch.optim.Optimizer]] = {"adamw": adamw, "sgd": sgd, "lamb": lamb}
"""By the names that recipes use."""


def optimizer_of(parameters: Iterable[nn.Parameter], given: Optimizer) -> torch.optim.Optimizer:
    """Return a recipe's optimiser.

    Args:
        parameters: What it moves; those that need no gradient are left out.
        given: The recipe's numbers.
    """
    learnt = [p for p in parameters if p.requires_grad]
    if given.decay_norms:
        return OPTIMIZERS[given.name]([{"params": learnt, "weight_decay": given.weight_decay}])
    decayed = [p for p in learnt if p.ndim > 1]
    others = [p for p in learnt if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": given.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return OPTIMIZERS[given.name]([group for group in groups if group["params"]])
