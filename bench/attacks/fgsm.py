"""The fast gradient (sign) method (Goodfellow et al. 2015, arXiv 1412.6572): all of eps in one step from the image."""

from torch import Tensor

from bench.attacks.balls import column
from bench.attacks.steps import Step


def fgsm(step: Step) -> Tensor:
    """The only step."""
    return step.images_NCHW + column(step.eps_N) * step.ball.steepest(step.gradient_NCHW)
