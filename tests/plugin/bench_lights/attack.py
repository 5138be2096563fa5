"""The attack `drift`: PGD with momentum, MI-FGSM of Dong et al. 2018, arXiv 1710.06081.

All that it takes to add an attack is here: the update rule of one step, and a record. Random starts, eps, restarts,
checks and the grid are the engine's.
"""

from typing import TYPE_CHECKING

from bench.attacks import Attack, UpdateRule
from bench.measure import register_attack

if TYPE_CHECKING:
    import torch

    from bench.attacks.steps import Step

DECAY = 1.0
"""Of the velocity, each step: mu, section 4.1."""


def drift(step: "Step") -> "torch.Tensor":
    """One step, equations 6 and 7: gradients of L1 norm 1 add up to a velocity, and the image goes its way."""
    gradient_NCHW = step.gradient_NCHW
    sum_N111 = gradient_NCHW.abs().sum(dim=(1, 2, 3), keepdim=True)
    velocity_NCHW = step.remember("velocity")
    velocity_NCHW.mul_(DECAY).add_(gradient_NCHW / sum_N111.clamp_min(1e-12))  # a gradient of 0 adds nothing
    return step.at_NCHW + step.length_N[:, None, None, None] * step.ball.steepest(velocity_NCHW)


def load() -> UpdateRule:
    """Return the rule."""
    return drift


register_attack(
    Attack(
        name="drift",
        version=1,
        load=load,
        steps=10,
        step_size=1.0,
        random_start=False,
        about="steps along a velocity that gradients add up to",
    )
)
