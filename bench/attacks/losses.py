"""What attacks raise: one number an image, larger where the label is less likely to win.

Legend: N images, K classes.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import RunError, UnknownNameError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits_NK, labels_N) to (N,)."""

_FEWEST = 3
"""Classes that DLR needs: it divides by the distance from the first logit to the third."""


def cross_entropy(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """-log p of the label, in nats. Its gradient vanishes where the model is very sure."""
    return F.cross_entropy(logits_NK, labels_N, reduction="none")


def dlr(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690, section 4.1): no scale of the logits changes it.

    -(z_y - the largest other z) / (z_1st - z_3rd), with z in falling order.

    Raises:
        RunError: fewer than three classes.
    """
    if logits_NK.shape[1] < _FEWEST:
        raise RunError(
            f"the loss dlr needs at least {_FEWEST} classes, not {logits_NK.shape[1]}; attack with the loss ce."
        )
    top_N3, order_N3 = logits_NK.topk(3, dim=1)
    label_N = logits_NK.gather(1, labels_N[:, None])[:, 0]
    other_N = torch.where(order_N3[:, 0] == labels_N, top_N3[:, 1], top_N3[:, 0])
    return -(label_N - other_N) / (top_N3[:, 0] - top_N3[:, 2] + 1e-12)  # as the authors keep it from dividing by 0


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr}


def loss_of(name: str, losses: Mapping[str, Loss] = LOSSES) -> Loss:
    """A loss by its name.

    Args:
        name: of the loss.
        losses: those that there are.

    Raises:
        UnknownNameError: it is none of them.
    """
    if name not in losses:
        raise UnknownNameError("loss", name, losses)
    return losses[name]
