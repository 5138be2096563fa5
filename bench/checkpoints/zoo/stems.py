"""The convolutional stem of Xiao et al. 2021, "Early Convolutions Help Transformers See Better" (arXiv 2106.14881)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from timm.layers.patch_embed import PatchEmbed
from torch import nn


class ConvStem(PatchEmbed):
    """Patch tokens by 3×3 convolutions, each with batch norm and ReLU, and one 1×1 convolution after them.

    Takes the place of timm's `PatchEmbed`, so that whatever works on a `VisionTransformer` works on one with this stem.

    Args:
        widths: Channels after each 3×3 convolution.
        strides: Of each; their product is the size of a patch.
        patch_size: As the `VisionTransformer` states it, in pixels.
        in_chans: Channels of an image.
        embed_dim: Width of a token.
        others: Arguments of `PatchEmbed`.

    Raises:
        ValueError: If the strides do not make the size of a patch, or are not as many as the widths.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        strides: Sequence[int],
        patch_size: int,
        in_chans: int = 3,
        embed_dim: int,
        **others: Any,
    ) -> None:
        if len(widths) != len(strides) or math.prod(strides) != patch_size:
            raise ValueError(
                f"a convolutional stem wants a stride for each of its {len(widths)} widths, whose product is the patch "
                f"size {patch_size}; the strides are {tuple(strides)}."
            )
        super().__init__(patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, **others)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise((in_chans, *widths)), strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        # timm knows one convolution here.
        self.proj = nn.Sequential(*layers, nn.Conv2d(widths[-1], embed_dim, 1))  # type: ignore[assignment]
        self.init_weights()

    def init_weights(self) -> None:
        """Draw first weights as the paper's code does, pycls' `init_weights_vit`; timm calls this after its own."""
        for layer in self.proj.children():
            if isinstance(layer, nn.Conv2d):
                gain = 2.0 if layer.kernel_size == (3, 3) else 1.0  # a ReLU follows, or none
                nn.init.normal_(layer.weight, std=math.sqrt(gain / layer.out_channels))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
