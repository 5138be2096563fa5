"""The three small architectures of the shipped checkpoints: 32×32 RGB images in, ten logits out.

Each is a timm class, so the weights in this folder carry timm's own parameter names. Each takes less than
1 MB in fp32 and 0.1 to 0.2 ms an image on one CPU core: tests of the whole benchmark can afford to run it.
"""

from collections.abc import Callable

from timm.models import MlpMixer, ResNet, VisionTransformer, register_model
from timm.models.resnet import BasicBlock
from torch import nn

IMAGE_SIZE = 32  # pixels, height and width


def vit(num_classes: int = 10) -> VisionTransformer:
    """Return a vision transformer of 16 tokens: patch 8, width 64, 4 blocks of 4 heads (0.72 MB)."""
    return VisionTransformer(
        img_size=IMAGE_SIZE,
        patch_size=8,
        embed_dim=64,
        depth=4,
        num_heads=4,
        mlp_ratio=3,
        num_classes=num_classes,
    )


def mixer(num_classes: int = 10) -> MlpMixer:
    """Return an MLP-Mixer of 16 tokens: patch 8, width 88, 4 blocks (0.85 MB)."""
    return MlpMixer(
        img_size=IMAGE_SIZE,
        patch_size=8,
        embed_dim=88,
        num_blocks=4,
        mlp_ratio=(0.5, 3),
        num_classes=num_classes,
    )


def resnet(num_classes: int = 10) -> ResNet:
    """Return a ResNet of four basic blocks, 16 to 96 channels wide, after three convolutions (0.79 MB)."""
    return ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm means the class and annotates an instance
        (1, 1, 1, 1),
        channels=(16, 32, 48, 96),
        stem_width=16,
        stem_type="deep",
        num_classes=num_classes,
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"vit": vit, "mixer": mixer, "resnet": resnet}
"""By the names that recipes use."""


# timm knows them by these names once this module is imported, so that a registry entry needs no builder.


@register_model
def digits_vit(pretrained: bool = False, num_classes: int = 10, **_: object) -> VisionTransformer:
    """`vit` for `timm.create_model`."""
    return vit(num_classes)


@register_model
def digits_mixer(pretrained: bool = False, num_classes: int = 10, **_: object) -> MlpMixer:
    """`mixer` for `timm.create_model`."""
    return mixer(num_classes)


@register_model
def digits_resnet(pretrained: bool = False, num_classes: int = 10, **_: object) -> ResNet:
    """`resnet` for `timm.create_model`."""
    return resnet(num_classes)
