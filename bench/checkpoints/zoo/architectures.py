"""The small architectures, of checkpoints that ship and of recipes: 32×32 RGB images in, ten logits out.

Each is made of timm's classes, so that weights carry timm's own parameter names. Each takes less than 1 MB in fp32.
Those of digits take 0.1 to 0.2 ms an image on one CPU core: tests of the whole benchmark can afford to run them.
"""

import functools
from collections.abc import Callable

from timm.layers.patch_embed import PatchEmbed
from timm.models import MlpMixer, ResNet, VisionTransformer
from timm.models.resnet import BasicBlock
from torch import nn

import bench.checkpoints.zoo.early_convolutions  # noqa: F401 - whoever wants timm to know ours imports this module
from bench.checkpoints.zoo.stems import ConvStem
from bench.checkpoints.zoo.teaching import teach_timm

IMAGE_SIZE = 32  # pixels, height and width


def vit(
    num_classes: int = 10, *, img_size: int = IMAGE_SIZE, layer_scale: float | None = None, drop_path: float = 0.0
) -> VisionTransformer:
    """Return a vision transformer of 16 tokens: patch 8, width 64, 4 blocks of 4 heads (0.72 MB).

    Args:
        num_classes: Logits.
        img_size: Height and width of the images, a multiple of the patch's.
        layer_scale: First value of LayerScale's gains; None leaves LayerScale out.
        drop_path: Stochastic depth: the share of images for which the last block is skipped; of earlier blocks it is
            smaller, in a straight line from 0.
    """
    return _vit(8, 4, PatchEmbed, num_classes, img_size, layer_scale, drop_path)


def vit_conv(
    num_classes: int = 10, *, img_size: int = IMAGE_SIZE, layer_scale: float | None = None, drop_path: float = 0.0
) -> VisionTransformer:
    """Return `vit` with a convolutional stem in place of its patches and one block (0.62 MB); see `ConvStem`."""
    stem = functools.partial(ConvStem, widths=(16, 32, 64), strides=(2, 2, 2))
    return _vit(8, 3, stem, num_classes, img_size, layer_scale, drop_path)


def cifar10_vit(
    num_classes: int = 10, *, img_size: int = IMAGE_SIZE, layer_scale: float | None = None, drop_path: float = 0.0
) -> VisionTransformer:
    """Return a vision transformer of 64 tokens: patch 4, width 64, 5 blocks of 4 heads (0.87 MB); see `vit`."""
    return _vit(4, 5, PatchEmbed, num_classes, img_size, layer_scale, drop_path)


def cifar10_vit_conv(
    num_classes: int = 10, *, img_size: int = IMAGE_SIZE, layer_scale: float | None = None, drop_path: float = 0.0
) -> VisionTransformer:
    """Return `cifar10_vit` with a convolutional stem in place of its patches and one block (0.88 MB)."""
    # These widths make the stem's multiply-adds those of the block, as in the paper.
    stem = functools.partial(ConvStem, widths=(28, 56, 56), strides=(2, 2, 1))
    return _vit(4, 4, stem, num_classes, img_size, layer_scale, drop_path)


def _vit(
    patch_size: int,
    depth: int,
    embed_layer: Callable[..., PatchEmbed],
    num_classes: int,
    img_size: int,
    layer_scale: float | None,
    drop_path: float,
) -> VisionTransformer:
    return VisionTransformer(
        img_size=img_size,
        patch_size=patch_size,
        embed_dim=64,
        depth=depth,
        num_heads=4,
        mlp_ratio=3,
        num_classes=num_classes,
        init_values=layer_scale,
        drop_path_rate=drop_path,
        embed_layer=embed_layer,
    )


def mixer(num_classes: int = 10, *, img_size: int = IMAGE_SIZE, drop_path: float = 0.0) -> MlpMixer:
    """Return an MLP-Mixer of 16 tokens: patch 8, width 88, 4 blocks (0.85 MB).

    Args:
        num_classes: Logits.
        img_size: Height and width of the images; weights of one size do not fit another.
        drop_path: Stochastic depth: the share of images for which a block is skipped, the same in all.
    """
    return _mixer(8, num_classes, img_size, drop_path)


def cifar10_mixer(num_classes: int = 10, *, img_size: int = IMAGE_SIZE, drop_path: float = 0.0) -> MlpMixer:
    """Return an MLP-Mixer of 64 tokens: patch 4, width 88, 4 blocks (0.87 MB); the arguments of `mixer`."""
    return _mixer(4, num_classes, img_size, drop_path)


def _mixer(patch_size: int, num_classes: int, img_size: int, drop_path: float) -> MlpMixer:
    return MlpMixer(
        img_size=img_size,
        patch_size=patch_size,
        embed_dim=88,
        num_blocks=4,
        mlp_ratio=(0.5, 3),
        num_classes=num_classes,
        drop_path_rate=drop_path,
    )


def resnet(num_classes: int = 10, *, drop_path: float = 0.0) -> ResNet:
    """Return a ResNet of four basic blocks, 16 to 96 channels wide, after three convolutions (0.79 MB).

    Args:
        num_classes: Logits.
        drop_path: Stochastic depth: the share of images for which the last block is skipped; of earlier blocks it is
            smaller, in a straight line from 0.
    """
    return ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm means the class and annotates an instance
        (1, 1, 1, 1),
        channels=(16, 32, 48, 96),
        stem_width=16,
        stem_type="deep",
        num_classes=num_classes,
        drop_path_rate=drop_path,
    )


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "vit": vit,
    "vit_conv": vit_conv,
    "mixer": mixer,
    "resnet": resnet,
    "cifar10_vit": cifar10_vit,
    "cifar10_vit_conv": cifar10_vit_conv,
    "cifar10_mixer": cifar10_mixer,
}
"""By the names that recipes use. All may be called without arguments."""


def timm_name(architecture: str) -> str:
    """Return what timm calls an architecture that recipes call so: those that do not name their data are of digits."""
    return architecture if architecture.startswith("cifar10_") else f"digits_{architecture}"


def family(architecture: str) -> str:
    """Return what leaderboards group checkpoints of an architecture by: `vit-conv` is another than `vit`.

    >>> family("cifar10_vit_conv"), family("mixer")
    ('vit-conv', 'mixer')
    """
    return architecture.removeprefix("cifar10_").replace("_", "-")


for _architecture, _build in ARCHITECTURES.items():
    teach_timm(timm_name(_architecture), _build, module=__name__)
