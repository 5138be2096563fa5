"""Sharpness-Aware Minimisation: the gradient at the worst point nearby, for a step from where one stands.

Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Keeps a zero gradient from dividing by zero; far below any norm met in training, so it changes no step.
SMALLEST_NORM = 1e-12


def sam_gradient(model: nn.Module, loss_of: Callable[[], Tensor], rho: float) -> Tensor:
    r"""Leave the gradient of the sharpness-aware loss in every `.grad` of the model.

    With $g = \nabla L(w)$ it is $\nabla L$ at $w + \rho \, g / \lVert g \rVert_2$; as in the paper, how that
    point itself moves with $w$ is left out. Weights and buffers end bit for bit as one plain pass at $w$
    leaves them, so the running statistics of batch norm see each batch once, at weights that are kept.

    Args:
        model: The module whose parameters are moved and put back. Gradients that it holds are discarded.
        loss_of: Computes the scalar loss of one fixed batch at the model's present weights.
        rho: Distance to the worst point, at least 0, as an L2 norm over all parameters with a gradient
            together; 0 gives the plain gradient at the cost of one pass.

    Returns:
        The loss at $w$, detached: a scalar.

    Raises:
        ValueError: If `rho` is negative.
    """
    if rho < 0:
        raise ValueError(f"SAM wants rho to be at least 0, it is {rho}; 0 trains without SAM.")
    loss = _backward(model, loss_of)
    if rho > 0:
        with _at_worst_point(model, rho):
            _backward(model, loss_of)
    return loss


def _backward(model: nn.Module, loss_of: Callable[[], Tensor]) -> Tensor:
    """Replace every gradient by the one at the present weights; return the loss there, detached."""
    model.zero_grad(set_to_none=True)
    loss = loss_of()
    torch.autograd.backward(loss)
    return loss.detach()


@contextmanager
def _at_worst_point(model: nn.Module, rho: float) -> Iterator[None]:
    """Move the parameters by `rho` along their gradient; then put them and the buffers back exactly."""
    climbed = {p: p.grad for p in model.parameters() if p.grad is not None}
    # Copies: adding a step and subtracting it again does not always give the same floating-point number.
    before = {tensor: tensor.detach().clone() for tensor in (*climbed, *model.buffers())}
    length = torch.stack([gradient.norm() for gradient in climbed.values()]).norm()
    with torch.no_grad():
        for parameter, gradient in climbed.items():
            parameter.add_(gradient * (rho / (length + SMALLEST_NORM)))
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in before.items():
                tensor.copy_(copy)
