"""BatchNorm's statistics taken anew, where weights are not those that they were taken with."""

import torch
from torch import Tensor, nn

from bench.landscape.objective import Objective
from bench.training.gradients import batch_norms


def norms_of(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The parts that normalise by statistics which they keep."""
    return [norm for norm in batch_norms(module) if norm.running_mean is not None]


def statistics_of(module: nn.Module) -> list[Tensor]:
    """The means and variances that a module's BatchNorm keeps: its own buffers, no copies."""
    kept = [(norm.running_mean, norm.running_var) for norm in norms_of(module)]
    return [tensor for pair in kept for tensor in pair if tensor is not None]


def take_anew(objective: Objective, weights_P: Tensor | None = None) -> None:
    """Let BatchNorm keep the mean of the statistics of an objective's pieces at some weights.

    Args:
        objective: whose module's buffers change; nothing happens where it has no BatchNorm.
        weights_P: where; None stands for the objective's own.
    """
    norms = norms_of(objective.module)
    if not norms:
        return
    weights = objective.split(objective.weights_P if weights_P is None else weights_P)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over pieces
        norm.train()
    try:
        with torch.no_grad():
            for rows in objective.pieces:
                objective.losses_of(objective.piece(rows), weights)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
