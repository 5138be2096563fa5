"""The function that attacks climb, made quicker: every BatchNorm in the convolution before it."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NEAR = 1e-4
"""Of the largest logit and the largest gradient: rounding moves them by a hundredth of that."""


def folded(module: nn.Module, images_NCHW: Tensor) -> nn.Module:
    """The module with each BatchNorm folded into the convolution before it, or the module itself.

    In eval mode a BatchNorm scales and shifts by fixed numbers, which a convolution's weights can do as well; then a
    gradient of a small ResNet takes three quarters of the time. A module without such pairs stays as it is, and so does
    one whose logits or gradients on the images are others afterwards, as where more than the BatchNorm sees what a
    convolution gives.

    Args:
        module: images to logits, in eval mode; left as it is.
        images_NCHW: some that it takes.
    """
    if not any(type(part) in _BATCHNORMS and not part.training for part in module.modules()):
        return module
    try:
        found = copy.deepcopy(module).requires_grad_(False)
        names = {part: name for name, part in found.named_modules()}
        for convolution, norm in _pairs(found, images_NCHW):
            whole = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = whole.weight, whole.bias
            found.set_submodule(names[norm], nn.Identity())
        found.requires_grad_(False)
        shown = zip(_shown(found, images_NCHW), _shown(module, images_NCHW), strict=True)
        same = all(torch.allclose(one, other, rtol=0, atol=_NEAR * float(other.abs().max())) for one, other in shown)
    except Exception:  # of whatever a model's own code does, which the attack will meet as well
        return module
    return found if same else module


def _pairs(module: nn.Module, images_NCHW: Tensor) -> list[tuple[Any, Any]]:
    """Convolutions and the BatchNorms that take what they give, where each is called once."""
    made: list[tuple[nn.Module, Tensor]] = []
    pairs: list[tuple[nn.Module, nn.Module]] = []
    calls: Counter[nn.Module] = Counter()

    def convolved(part: nn.Module, given: object, output: Tensor) -> None:
        calls[part] += 1
        made.append((part, output))

    def normalising(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[part] += 1
        pairs.extend((convolution, part) for convolution, output in made if output is given[0])

    hooks = [part.register_forward_hook(convolved) for part in module.modules() if type(part) in _CONVOLUTIONS]
    norms = [part for part in module.modules() if type(part) in _BATCHNORMS and not part.training]
    hooks += [part.register_forward_pre_hook(normalising) for part in norms]
    try:
        with torch.no_grad():
            module(images_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return [(convolution, norm) for convolution, norm in pairs if calls[convolution] == calls[norm] == 1]


def _shown(module: nn.Module, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of the sum of their squares."""
    with torch.enable_grad():
        images_NCHW = images_NCHW.detach().requires_grad_()
        logits_NK = module(images_NCHW).float()
        (gradient_NCHW,) = torch.autograd.grad(logits_NK.square().sum(), images_NCHW)
    return logits_NK.detach(), gradient_NCHW
