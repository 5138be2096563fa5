"""The update rules of the attacks: where images go next, given the gradient."""

from torch import Tensor

from bench.attacks.balls import column
from bench.attacks.steps import Step


def fgsm(step: Step) -> Tensor:
    """The fast gradient (sign) method (Goodfellow et al. 2015, arXiv 1412.6572): all of eps in one step.

    Args:
        step: the only one; it starts at the images.

    Returns:
        Where the images go, (n, C, H, W); the engine brings what leaves the ball or [0, 1] back.
    """
    return step.images_NCHW + column(step.eps_N) * step.ball.steepest(step.gradient_NCHW)


def pgd(step: Step) -> Tensor:
    """Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): steps of one length, each the steepest way.

    Args:
        step: one of several.

    Returns:
        Where the images go, (n, C, H, W); the engine brings what leaves the ball or [0, 1] back.
    """
    return step.at_NCHW + column(step.length_N) * step.ball.steepest(step.gradient_NCHW)
