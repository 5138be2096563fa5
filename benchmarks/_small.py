"""Small smooth networks, and their whole Hessian: what the curvature of large ones is held against."""

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from timm.layers.norm import GroupNorm1
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from bench.landscape import Objective

CLASSES, SIZE = 10, 16
"""Of the networks, and the side of their images in pixels."""


def vit() -> nn.Module:
    return timm.models.VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=6, depth=2, num_heads=2, mlp_ratio=1, num_classes=CLASSES
    )


def mixer() -> nn.Module:
    return timm.models.MlpMixer(
        img_size=SIZE, patch_size=8, embed_dim=6, num_blocks=2, mlp_ratio=(0.5, 1), num_classes=CLASSES
    )


def resnet(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return timm.models.ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm means the class and annotates an instance
        (1, 1, 1, 1),
        channels=(3, 3, 3, 3),
        stem_type="deep",
        stem_width=1,
        output_stride=8,
        num_classes=CLASSES,
        act_layer=nn.SiLU,
        norm_layer=norm,
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": vit,
    "mixer": mixer,
    "batchnorm": resnet,
    "groupnorm": lambda: resnet(GroupNorm1),
}
"""Each with another normalisation, and with activations that have second derivatives everywhere."""


def network(name: str, seed: int = 0, spread: float = 0.2) -> nn.Module:
    """One of the networks, all of whose weights (gains, too, and heads that begin at 0) are moved at random.

    Args:
        name: of NETWORKS.
        seed: of the weights.
        spread: standard deviation of what is added to each.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NETWORKS[name]()
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(torch.randn_like(weight), alpha=spread)
            for norm in module.modules():
                if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
                    norm.running_mean += 0.1
    return module.eval()


def images(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(n, 3, 16, 16) float32 in [0, 1] and labels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    return F.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1), torch.arange(n) % CLASSES


def train(module: nn.Module, images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """Train with Adam on all images at once, so that the Hessian looks like a trained model's."""
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(images), labels))
        optimiser.step()
    return module.eval()


def dense(objective: Objective) -> Tensor:
    """(P, P): the Hessian by reverse over reverse mode, a row a weight."""
    weights, total = objective.leaves(), torch.zeros(())
    for rows in objective.pieces:
        parts = objective.gradients_of(objective.piece(rows), weights, keep_graph=True)
        gradient_P = torch.cat([part.reshape(-1) for part in parts])
        found = [
            torch.autograd.grad(
                gradient_P, weights, unit_BP, retain_graph=True, materialize_grads=True, is_grads_batched=True
            )
            for unit_BP in torch.split(torch.eye(len(gradient_P), dtype=gradient_P.dtype), 256)
        ]
        total = total + torch.cat([torch.cat([part.flatten(1) for part in batch], dim=1) for batch in found])
    return total


def differences(objective: Objective, vector_P: Tensor, step: float = 1e-4) -> Tensor:
    """(P,): the Hessian's product with a vector by central differences of the gradient, to the fourth order."""
    length = vector_P.norm()

    def gradient(times: int) -> Tensor:
        return objective.gradient(objective.weights_P + times * step * vector_P / length)

    near_P, far_P = gradient(1) - gradient(-1), gradient(2) - gradient(-2)
    product_P: Tensor = (8 * near_P - far_P) / (12 * step) * length
    return product_P
