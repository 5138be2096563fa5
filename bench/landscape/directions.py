"""Directions in the space of the weights: drawn by lot, scaled to the filters, the same on every device.

Legend: P weights, as `bench.landscape.objective.Objective` has them in a vector.
"""

import torch
from torch import Tensor

from bench.landscape.objective import Objective
from bench.rng import keys, normal


def gaussian(objective: Objective, seed: int, name: str) -> Tensor:
    """(P,): independent draws of the standard normal law, by the names of the weights.

    Args:
        objective: whose weights they are for; another of the same architecture gets the same.
        seed: of the run.
        name: tells draws of one seed apart.
    """
    parts = []
    for weight, shape in objective.shapes.items():
        key = keys(seed, f"landscape {name}", [weight], objective.device)
        parts.append(normal(key, [shape.numel()])[0])
    return torch.cat(parts).to(objective.dtype)


def filter_scaled(objective: Objective, direction_P: Tensor) -> Tensor:
    """(P,): each filter of a direction as long as the filter of the weights (Li et al. 2018, arXiv 1712.09913).

    A filter is all that makes one output: a row of a weight's first axis. Weights of one axis (biases, gains of norms)
    and filters of zeros are not moved. No scale that the next layer undoes then changes what the direction does.

    Args:
        objective: at its own weights.
        direction_P: any.
    """
    scaled = []
    for weight, part in zip(objective.split(objective.weights_P), objective.split(direction_P), strict=True):
        if weight.ndim < 2:
            scaled.append(torch.zeros_like(part))
            continue
        rows, lengths = part.flatten(1), part.flatten(1).norm(dim=1, keepdim=True)
        wanted = weight.flatten(1).norm(dim=1, keepdim=True)
        scaled.append((rows * (wanted / lengths.clamp_min(torch.finfo(part.dtype).tiny))).view_as(part))
    return objective.flat(scaled)
