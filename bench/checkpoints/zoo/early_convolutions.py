"""The vision transformers of Xiao et al. 2021, "Early Convolutions Help Transformers See Better" (arXiv 2106.14881).

ViT_P embeds patches by one convolution as ViT does, ViT_C by a small stack of them and has one block fewer. Sizes are
those of table 1, stems those of section 3; what neither says (first values, norms) is as in the authors' code, pycls.
"""

import functools
from dataclasses import dataclass
from typing import Literal

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.norm import LayerNorm
from timm.layers.patch_embed import PatchEmbed
from timm.models import VisionTransformer, generate_default_cfgs

from bench.checkpoints.zoo.stems import ConvStem
from bench.checkpoints.zoo.teaching import teach_timm

PATCH_SIZE = 16  # pixels
_STEMS: tuple[Literal["p", "c"], ...] = ("p", "c")
_NORMALISED = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A row of table 1, with its stem."""

    width: int
    """Of a token: "hidden size"."""
    mlp_ratio: int
    """Width of an MLP in widths of a token."""
    heads: int
    depth: int
    """Blocks of ViT_P; ViT_C has one fewer."""
    stem_widths: tuple[int, ...]
    """Channels after each 3×3 convolution of ViT_C's stem."""

    @property
    def stem_strides(self) -> tuple[int, ...]:
        """A convolution that widens the image, as the first does, halves its sides; one that does not keeps them."""
        before = (0, *self.stem_widths)
        return tuple(1 if width == last else 2 for last, width in zip(before, self.stem_widths, strict=False))


_LARGE_STEM = (64, 128, 128, 256, 256, 512)
SIZES = {
    "1gf": Size(width=192, mlp_ratio=3, heads=3, depth=12, stem_widths=(24, 48, 96, 192)),
    "4gf": Size(width=384, mlp_ratio=3, heads=6, depth=12, stem_widths=(48, 96, 192, 384)),
    "18gf": Size(width=768, mlp_ratio=4, heads=12, depth=12, stem_widths=_LARGE_STEM),
    "36gf": Size(width=1024, mlp_ratio=4, heads=16, depth=14, stem_widths=_LARGE_STEM),
}
"""By the multiply-adds of an image of 224×224, as the paper calls them."""


def vit(
    size: str,
    stem: Literal["p", "c"],
    *,
    num_classes: int = 1000,
    img_size: int = 224,
    layer_scale: float | None = None,
    drop_path: float = 0.0,
) -> VisionTransformer:
    """Return an untrained ViT_P or ViT_C.

    Args:
        size: A key of `SIZES`.
        stem: `p` embeds patches by one convolution; `c` by a convolutional stem, which takes the place of a block.
        num_classes: Logits.
        img_size: Height and width of the images, a multiple of 16 pixels.
        layer_scale: First value of LayerScale's gains; None leaves LayerScale out.
        drop_path: Stochastic depth: the share of images for which the last block is skipped; of earlier blocks it is
            smaller, in a straight line from 0.
    """
    of = SIZES[size]
    embed = functools.partial(ConvStem, widths=of.stem_widths, strides=of.stem_strides)
    return VisionTransformer(
        img_size=img_size,
        patch_size=PATCH_SIZE,
        num_classes=num_classes,
        embed_dim=of.width,
        depth=of.depth if stem == "p" else of.depth - 1,
        num_heads=of.heads,
        mlp_ratio=of.mlp_ratio,
        init_values=layer_scale,
        drop_path_rate=drop_path,
        norm_layer=functools.partial(LayerNorm, eps=1e-5),
        weight_init="jax",  # pycls': zeros in the head, Xavier's in queries, keys, values and MLPs
        embed_layer=PatchEmbed if stem == "p" else embed,
    )


_NAMES = {f"vit_{stem}_{size}": functools.partial(vit, size, stem) for stem in _STEMS for size in SIZES}
default_cfgs = generate_default_cfgs(
    {name: {"fixed_input_size": True, "crop_pct": 0.875, "interpolation": "bilinear", **_NORMALISED} for name in _NAMES}
)
"""How images are fed, under the name by which timm looks for it: as pycls tests on ImageNet, by no weights yet."""
for _name, _build in _NAMES.items():
    teach_timm(_name, _build, module=__name__)
