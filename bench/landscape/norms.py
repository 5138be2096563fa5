"""How long the weights are: the L2 norm of each layer's parameters, and of all together."""

from dataclasses import dataclass

import torch
from torch import nn

from bench.errors import RunError


@dataclass(frozen=True, kw_only=True, slots=True)
class Norms:
    """Lengths of the parameters of a module."""

    layers: tuple[str, ...]
    """Names of the parts that hold parameters themselves, in the module's order."""
    by_layer: tuple[float, ...]
    """L2 norm of all that each holds."""
    total: float
    """L2 norm of all parameters together."""


@torch.no_grad()
def norms_of(module: nn.Module) -> Norms:
    """The norms of a module's parameters, in float64; buffers such as running statistics are none.

    Raises:
        RunError: it has no parameters.
    """
    lengths: dict[str, float] = {}
    seen: set[nn.Parameter] = set()
    for name, part in module.named_modules():
        own = [parameter for parameter in part.parameters(recurse=False) if parameter not in seen]
        seen.update(own)  # one that two parts share counts once
        if own:
            lengths[name] = float(torch.stack([p.double().square().sum() for p in own]).sum().sqrt())
    if not lengths:
        raise RunError("this architecture has no parameters, so nothing has a norm.")
    total = sum(length**2 for length in lengths.values()) ** 0.5
    return Norms(layers=tuple(lengths), by_layer=tuple(lengths.values()), total=total)
