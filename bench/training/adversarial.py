"""The attack of adversarial training: one step along the sign of the gradient, from a random start.

Wong, Rice and Kolter, ICLR 2020, "Fast is better than free: revisiting adversarial training",
https://arxiv.org/abs/2001.03994, algorithm 3.

Legend: N images, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP = 1.25
"""Length of the step as a multiple of eps: alpha of section 5 of the paper."""


def perturb(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    r"""Move each image to where the model's loss is higher.

    From $x + \delta$ with $\delta$ uniform in $[-\epsilon, \epsilon]$, a step of $1.25 \epsilon$ along
    $\mathrm{sign} \nabla_x L$; then back into $\lVert x' - x \rVert_\infty \le \epsilon$ and $[0, 1]$. The model's
    mode is kept; its parameters, gradients and buffers end bit for bit as they were.

    Args:
        model: From images in [0, 1] to logits (N, K).
        images_NCHW: Floats in [0, 1].
        labels_N: Their classes, integers in [0, K).
        eps: Farthest that a pixel moves, in [0, 1].
        generator: On the CPU wherever the images are, so that every device starts from the same noise.

    Returns:
        Images of the same shape, detached.
    """
    noise_NCHW = torch.rand(images_NCHW.shape, generator=generator).to(images_NCHW) * 2 - 1
    start_NCHW = (images_NCHW + eps * noise_NCHW).clamp(0, 1).requires_grad_()
    # A model in training is attacked as it trains, with the statistics of the batch, as in the paper. The running
    # statistics are put back (the paper's move here too), so that they see each batch once: the one of the step.
    with _buffers_put_back(model):
        loss = F.cross_entropy(model(start_NCHW), labels_N)
        (gradient_NCHW,) = torch.autograd.grad(loss, start_NCHW)
    stepped_NCHW = start_NCHW.detach() + STEP * eps * gradient_NCHW.sign()
    return stepped_NCHW.clamp(images_NCHW - eps, images_NCHW + eps).clamp(0, 1)


@contextmanager
def _buffers_put_back(model: nn.Module) -> Iterator[None]:
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, copy in before:
                buffer.copy_(copy)
