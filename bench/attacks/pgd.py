"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): steps of one length, each the steepest way."""

from torch import Tensor

from bench.attacks.balls import column
from bench.attacks.steps import Step


def pgd(step: Step) -> Tensor:
    """One step."""
    return step.at_NCHW + column(step.length_N) * step.ball.steepest(step.gradient_NCHW)
