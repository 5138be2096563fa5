"""The attack of adversarial training: steps along the sign of the gradient, from a random start.

One step: Wong, Rice and Kolter, ICLR 2020, "Fast is better than free: revisiting adversarial training",
https://arxiv.org/abs/2001.03994, algorithm 3. Several: Madry et al., ICLR 2018, https://arxiv.org/abs/1706.06083.

Legend: N images, C channels, H height, W width, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.training.recipe import Attack


def noise(images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return where attacks of some images start, uniform in [-1, 1]: in multiples of eps.

    Args:
        images_NCHW: Floats in [0, 1].
        generator: On the CPU wherever the images are, so that every device starts from the same noise.
    """
    return torch.rand(images_NCHW.shape, generator=generator).to(images_NCHW) * 2 - 1


def perturb(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    images_NCHW: Tensor,
    targets_N: Tensor,
    noise_NCHW: Tensor,
    attack: Attack,
) -> Tensor:
    r"""Move each image to where the model's loss is higher.

    From $x + \delta$ with $\delta$ uniform in $[-\epsilon, \epsilon]$, steps along $\mathrm{sign} \nabla_x L$; after
    each back into $\lVert x' - x \rVert_\infty \le \epsilon$ and $[0, 1]$. The model's mode is kept; its parameters,
    gradients and buffers end bit for bit as they were.

    Args:
        model: What is attacked.
        loss_of: From images in [0, 1] and targets to the model's losses, summed.
        images_NCHW: Floats in [0, 1].
        targets_N: (N, …): what the loss compares the outputs with.
        noise_NCHW: Where it starts; see `noise`.
        attack: The recipe's numbers.

    Returns:
        Images of the same shape, detached.
    """
    at_NCHW = (images_NCHW + attack.eps * noise_NCHW).clamp(0, 1)
    # A model in training is attacked as it trains, with the statistics of the batch, as in the paper. The running
    # statistics are put back (the paper's move here too), so that they see each batch once: the one of the step.
    with _buffers_put_back(model):
        for _ in range(attack.steps):
            at_NCHW = at_NCHW.detach().requires_grad_()
            (gradient_NCHW,) = torch.autograd.grad(loss_of(at_NCHW, targets_N), at_NCHW)
            stepped_NCHW = at_NCHW.detach() + attack.step * attack.eps * gradient_NCHW.sign()
            at_NCHW = stepped_NCHW.clamp(images_NCHW - attack.eps, images_NCHW + attack.eps).clamp(0, 1)
    return at_NCHW


@contextmanager
def _buffers_put_back(model: nn.Module) -> Iterator[None]:
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, copy in before:
                buffer.copy_(copy)
