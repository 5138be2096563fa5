"""Objectives: what is minimised. Each gives the losses of some images, summed.

Legend: B images, C channels, H height, W width, K classes, T patch tokens.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.model import Normalised
from bench.training.recipe import Objective


def ce(model: Normalised, images_BCHW: Tensor, targets: Tensor, given: Objective) -> Tensor:
    """Cross-entropy, with smoothed labels (Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567, section 7).

    Args:
        model: What is trained.
        images_BCHW: Floats in [0, 1].
        targets: Classes (B,), or shares of them (B, K).
        given: The recipe's numbers.
    """
    return F.cross_entropy(model(images_BCHW).float(), targets, reduction="sum", label_smoothing=given.smoothing)


def bce(model: Normalised, images_BCHW: Tensor, targets: Tensor, given: Objective) -> Tensor:
    """Binary cross-entropy of each class by itself, a mean over classes, with targets that are 0 or 1.

    Wightman et al. 2021, https://arxiv.org/abs/2110.00476, and DeiT III, https://arxiv.org/abs/2204.07118: of a mixed
    image both classes are there, whatever their shares. Arguments as of `ce`.
    """
    logits_BK = model(images_BCHW).float()
    there_BK = (_shares(targets, logits_BK.shape[1], given.smoothing) > given.threshold).float()
    return F.binary_cross_entropy_with_logits(logits_BK, there_BK, reduction="none").mean(1).sum()


def supcon(model: Normalised, images_BCHW: Tensor, targets: Tensor, given: Objective) -> Tensor:
    """Supervised contrast: images of a class come together, and apart from others. The head learns nothing.

    Khosla et al., NeurIPS 2020, https://arxiv.org/abs/2004.11362, equation 2 (the logarithm within the sum), over the
    images of one process. An image that has no other of its class has no loss. Arguments as of `ce`, classes (B,).
    """
    projected_BD = model.projected(images_BCHW)
    itself_BB = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    logits_BB = (projected_BD @ projected_BD.T / given.temperature).masked_fill(itself_BB, -torch.inf)
    alike_BB = (targets[:, None] == targets) & ~itself_BB
    chances_BB = logits_BB.log_softmax(1).masked_fill(~alike_BB, 0)
    return -(chances_BB.sum(1) / alike_BB.sum(1).clamp(min=1)).sum()


def tokens(model: Normalised, images_BCHW: Tensor, targets: Tensor, given: Objective) -> Tensor:
    """Cross-entropy of the image, and a weight times that of its tokens, each with labels of its own.

    Jiang et al., NeurIPS 2021, https://arxiv.org/abs/2104.10858, equation 3. Without a teacher that labels places, a
    token's class is that of the image it was cut from (`mix_tokens`). Arguments as of `ce`, but targets (B,) or the
    image's and its tokens' (B, 1 + T, K).
    """
    logits_BTK = model.token_logits(images_BCHW).float()
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits_BTK.shape[2]).float()[:, None].expand_as(logits_BTK)
    losses_BT = F.cross_entropy(
        logits_BTK.flatten(0, 1), targets.flatten(0, 1), reduction="none", label_smoothing=given.smoothing
    ).view(logits_BTK.shape[:2])
    return (losses_BT[:, 0] + given.token_weight * losses_BT[:, 1:].mean(1)).sum()


def _shares(targets: Tensor, classes: int, smoothing: float) -> Tensor:
    shares_BK = F.one_hot(targets, classes).float() if targets.ndim == 1 else targets
    return shares_BK * (1 - smoothing) + smoothing / classes


OBJECTIVES: Mapping[str, Callable[[Normalised, Tensor, Tensor, Objective], Tensor]] = {
    "ce": ce,
    "bce": bce,
    "supcon": supcon,
    "tokens": tokens,
}
"""By the names that recipes use."""
