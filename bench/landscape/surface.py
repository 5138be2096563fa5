"""Loss surfaces: along a direction, over a plane, and on the straight way from one checkpoint to another.

Directions are drawn by lot and scaled to the filters (Li et al. 2018, arXiv 1712.09913). Everything is a loss an image.
Legend: N images, P weights, T points of a line, G points of each side of a plane.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.landscape.batchnorm import statistics_of, take_anew
from bench.landscape.directions import filter_scaled, gaussian
from bench.landscape.objective import Objective


def axis(extent: float, points: int) -> list[float]:
    """Points from -extent to extent, evenly spaced, 0 exactly among them where their number is odd."""
    middle = (points - 1) / 2
    return [extent * (i - middle) / middle for i in range(points)]


def line_losses(objective: Objective, ts: Sequence[float], *, seed: int) -> Tensor:
    """(N, T) nats: the losses at w + t d, with d a direction scaled to the filters; the plane's first.

    Args:
        objective: of the images.
        ts: 0 is the module itself, 1 a step as long as every filter.
        seed: of the run.
    """
    direction_P = filter_scaled(objective, gaussian(objective, seed, "surface 0"))
    return torch.stack([_losses(objective, objective.weights_P + t * direction_P) for t in ts], dim=1)


def plane_losses(objective: Objective, ts: Sequence[float], *, seed: int) -> Tensor:
    """(N, G²) nats: the losses at w + s d + t e, with d and e two directions scaled to the filters, t the faster one.

    Args:
        objective: of the images.
        ts: G values of s, and of t.
        seed: of the run.
    """
    down_P, right_P = (filter_scaled(objective, gaussian(objective, seed, f"surface {i}")) for i in range(2))
    here_P = objective.weights_P
    return torch.stack([_losses(objective, here_P + s * down_P + t * right_P) for s in ts for t in ts], dim=1)


def path_losses(first: Objective, second: Objective, ts: Sequence[float], *, anew: bool) -> Tensor:
    """(N, T) nats: the losses on the straight way from one module's weights to another's.

    Args:
        first: at t = 0; its module's buffers are put back in the end.
        second: at t = 1, of the same images and architecture.
        ts: any.
        anew: whether BatchNorm takes its statistics anew at each point, of the images; else they are interpolated as
            the weights are.

    Raises:
        BenchError: the two are not of one architecture.
    """
    if first.shapes != second.shapes:
        raise BenchError(f"there is no straight way from {first.name} to {second.name}: their weights differ in shape.")
    here, there = statistics_of(first.module), statistics_of(second.module)
    kept = [tensor.clone() for tensor in here]
    losses = []
    try:
        for t in ts:
            for tensor, own, other in zip(here, kept, there, strict=True):
                tensor.copy_(own.lerp(other, t))
            weights_P = first.weights_P.lerp(second.weights_P, t)
            if anew:
                take_anew(first, weights_P)
            losses.append(_losses(first, weights_P))
    finally:
        for tensor, own in zip(here, kept, strict=True):
            tensor.copy_(own)
    return torch.stack(losses, dim=1)


def _losses(objective: Objective, weights_P: Tensor) -> Tensor:
    return objective.losses(weights_P).cpu()
