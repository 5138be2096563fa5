"""How flat a minimum is: the loss at weights that are moved, by noise and by the steps that SAM takes.

L^N of Chen, Hsieh & Gong 2022 (arXiv 2106.01548) is the mean loss under Gaussian noise of the weights, the ascent is
that of Foret et al. 2021 (arXiv 2010.01412, section 2), its worst case over groups of m images their m-sharpness. Every
function gives a loss an image, so that differences can be tested on the same images. Legend: N images, P weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.errors import RunError
from bench.landscape.directions import filter_scaled, gaussian
from bench.landscape.objective import Objective


def noise_losses(objective: Objective, sigma: float, *, scaled: bool, draws: int, seed: int) -> Tensor:
    """(N,) nats: each image's loss under noise of the weights, the mean over draws.

    Args:
        objective: of the images; its weights stay what they are.
        sigma: the standard deviation of each weight's noise; or, where it is scaled, the length of a filter's noise as
            a share of the filter's own.
        scaled: whether noise goes by the filters, see `bench.landscape.directions.filter_scaled`. Noise of one size
            compares lengths of weights: networks of larger weights feel it less.
        draws: of the noise; the same for every sigma, and for every module of an architecture.
        seed: of the run.

    Raises:
        RunError: a loss is NaN or infinite.
    """
    total_N = torch.zeros(len(objective), dtype=torch.float64)
    for draw in range(draws):
        noise_P = gaussian(objective, seed, f"noise {draw}")
        if scaled:
            noise_P = filter_scaled(objective, noise_P)
        total_N += objective.losses(objective.weights_P + sigma * noise_P).double().cpu()
    return total_N / draws


def ascent_losses(objective: Objective, rho: float) -> Tensor:
    """(N,) nats: each image's loss at the weights where SAM takes its gradient, of all images together.

    These are w + rho g / |g| with g the gradient of the mean loss. The mean of what this gives, less the loss at w, is
    SAM's own sharpness, to first order the worst within rho.

    Args:
        objective: of the images.
        rho: distance, as an L2 norm over all weights.

    Raises:
        RunError: the gradient vanishes, or a loss is NaN or infinite.
    """
    gradient_P = objective.gradient()
    length = torch.linalg.vector_norm(gradient_P)
    if not (length > 0 and torch.isfinite(length)):
        raise RunError(f"the gradient of the loss has a length of {float(length):g}, so there is no way up.")
    return objective.losses(objective.weights_P + gradient_P * (rho / length))


def group_ascent_losses(objective: Objective, rho: float, groups: Sequence[Tensor]) -> Tensor:
    """(N,) nats: as `ascent_losses`, each image's at the weights that are worst for its own group.

    Args:
        objective: of the images.
        rho: distance, as an L2 norm over all weights.
        groups: rows of the images, each image's in one of them.

    Raises:
        RunError: the gradient of a group vanishes, or a loss is NaN or infinite.
    """
    losses_N = torch.empty(len(objective), dtype=objective.dtype)
    for rows in groups:
        losses_N[rows] = ascent_losses(objective.at(rows), rho).cpu()
    return losses_N
