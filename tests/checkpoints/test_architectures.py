"""The architectures of ours: as large as they say, built from what timm knows, and taken by every tool."""

import functools
import math

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.checkpoints.zoo.architectures import ARCHITECTURES, timm_name
from bench.checkpoints.zoo.early_convolutions import SIZES
from bench.checkpoints.zoo.stems import ConvStem
from bench.landscape.attention import attention_of
from bench.landscape.blocks import blocks_of
from bench.training.recipes import load_recipes
from bench.transfer.features import Backbone

TABLE_1 = {
    # arXiv 2106.14881, table 1: flops in billions, parameters in millions, blocks
    "vit_p_1gf": (1.1, 4.8, 12),
    "vit_p_4gf": (3.9, 18.5, 12),
    "vit_p_18gf": (17.5, 86.7, 12),
    "vit_p_36gf": (35.9, 178.4, 14),
    "vit_c_1gf": (1.1, 4.6, 11),
    "vit_c_4gf": (4.0, 17.8, 11),
    "vit_c_18gf": (17.7, 81.6, 11),
    "vit_c_36gf": (35.0, 167.8, 13),
}
VITS = ("vit", "vit_conv", "cifar10_vit", "cifar10_vit_conv")


def made(name: str, **arguments: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, **arguments).eval()


@functools.cache
def on_paper(name: str) -> nn.Module:
    """Without memory for its weights."""
    with torch.device("meta"):
        return timm.create_model(name).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@functools.cache
def multiply_adds(name: str) -> float:
    """Of one image of the architecture's own size."""
    module = on_paper(name)
    image = torch.zeros(1, 3, *module.patch_embed.img_size, device="meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(image)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", TABLE_1)
def test_sizes_are_those_of_the_paper(name: str) -> None:
    flops, millions, blocks = TABLE_1[name]
    module = on_paper(name)
    assert parameters(module) / 1e6 == pytest.approx(millions, rel=0.01)
    # The table rounds to a tenth, which is more than 1% of 1.1.
    assert multiply_adds(name) / 1e9 == pytest.approx(flops, rel=0.01, abs=0.05)
    assert len(module.blocks) == blocks


@pytest.mark.parametrize("name", TABLE_1)
def test_multiply_adds_are_those_of_the_authors_formula(name: str) -> None:
    """`complexity` of pycls' models/vit.py, without its biases."""
    _, stem, key = name.split("_")
    size, tokens = SIZES[key], 197
    of_stem, channels, side = 0, 3, 224
    for width in size.stem_widths:
        side = side if width == channels else side // 2
        of_stem += 9 * channels * width * side**2
        channels = width
    of_stem += channels * size.width * 14**2
    of_stem = of_stem if stem == "c" else 16 * 16 * 3 * size.width * 14**2
    of_block = tokens * (4 + 2 * size.mlp_ratio) * size.width**2 + 2 * tokens**2 * size.width
    wanted = of_stem + TABLE_1[name][2] * of_block + 1000 * size.width
    assert multiply_adds(name) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_stem_costs_about_a_block(size: str) -> None:
    conv, patches = (multiply_adds(f"vit_{stem}_{size}") for stem in "cp")
    assert conv == pytest.approx(patches, rel=0.03)


@pytest.mark.parametrize(("patches", "conv"), [("digits_vit", "digits_vit_conv"), ("cifar10_vit", "cifar10_vit_conv")])
def test_the_small_twins_cost_the_same(patches: str, conv: str) -> None:
    assert multiply_adds(conv) == pytest.approx(multiply_adds(patches), rel=0.06)
    assert len(on_paper(conv).blocks) == len(on_paper(patches).blocks) - 1


def test_the_largest_patchify_twin_of_vit_base_is_timms() -> None:
    ours, theirs = on_paper("vit_p_18gf"), on_paper("vit_base_patch16_224")
    assert {name: array.shape for name, array in ours.state_dict().items()} == {
        name: array.shape for name, array in theirs.state_dict().items()
    }


@pytest.mark.parametrize("name", ["vit_c_4gf", "digits_vit_conv"])
def test_the_stem_begins_as_in_the_paper(name: str) -> None:
    convolutions = [part for part in made(name).patch_embed.modules() if isinstance(part, nn.Conv2d)]
    assert [part.kernel_size for part in convolutions] == [*[(3, 3)] * (len(convolutions) - 1), (1, 1)]
    for part in convolutions:
        wanted = math.sqrt((2 if part.kernel_size == (3, 3) else 1) / part.out_channels)
        draws = part.weight.numel()
        assert part.weight.std().item() == pytest.approx(wanted, rel=4 / math.sqrt(2 * draws))
        assert part.weight.mean().item() == pytest.approx(0, abs=4 * wanted / math.sqrt(draws))
        assert (part.bias is not None) == (part.kernel_size == (1, 1))
    assert not convolutions[-1].bias.any()


def test_what_the_paper_does_not_change_begins_as_in_its_code() -> None:
    module = made("vit_c_1gf")
    assert not module.head.weight.any()
    assert module.norm.eps == 1e-5
    hidden = module.blocks[0].mlp.fc1.weight
    assert hidden.abs().max().item() == pytest.approx(math.sqrt(6 / sum(hidden.shape)), rel=1e-3)


def test_each_3x3_convolution_has_batch_norm_and_relu_and_the_1x1_has_none() -> None:
    layers = [type(part).__name__ for part in made("vit_c_1gf").patch_embed.proj]
    assert layers == ["Conv2d", "BatchNorm2d", "ReLU"] * 4 + ["Conv2d"]


def test_tokens_of_a_stem_stand_in_the_order_of_patches() -> None:
    stem = ConvStem(widths=(8, 16), strides=(2, 2), img_size=32, patch_size=4, embed_dim=12).eval()
    grey = torch.zeros(1, 3, 32, 32)
    bright = grey.clone()
    bright[..., 8:12, 20:24] = 1  # row 2, column 5 of 8 by 8
    with torch.no_grad():
        changed = (stem(bright) - stem(grey)).norm(dim=-1)
    assert changed.shape == (1, 64)
    # Two 3×3 convolutions of stride 2 reach 3 pixels to each side of every fourth one.
    assert changed[0].nonzero().flatten().tolist() == [row * 8 + column for row in (2, 3) for column in (5, 6)]


@pytest.mark.parametrize(("widths", "strides"), [((8, 16), (2, 2)), ((8, 16), (2, 2, 2))])
def test_a_stem_whose_strides_do_not_fit_is_refused(widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a stride for each of its 2 widths, whose product is the patch size 8"):
        ConvStem(widths=widths, strides=strides, img_size=32, patch_size=8, embed_dim=12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_take_less_than_a_megabyte(name: str) -> None:
    assert sum(array.numel() * array.element_size() for array in ARCHITECTURES[name]().state_dict().values()) < 1e6


@pytest.mark.parametrize("name", [*ARCHITECTURES, "vit_c_1gf"])
def test_timm_makes_what_the_builder_makes(name: str) -> None:
    module = made(name if name.startswith("vit_c_") else timm_name(name), num_classes=7, drop_path=0.5)
    size = 224 if name.startswith("vit_c_") else 32
    assert module(torch.zeros(2, 3, size, size)).shape == (2, 7)
    assert any(type(part).__name__ == "DropPath" and part.drop_prob == 0.5 for part in module.modules())


@pytest.mark.parametrize("name", [*ARCHITECTURES, "vit_p_1gf"])
def test_an_argument_that_an_architecture_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="droppath"):
        made(name if name.startswith("vit_p_") else timm_name(name), droppath=0.5)


@pytest.mark.parametrize("name", VITS)
def test_layer_scale_begins_at_its_value(name: str) -> None:
    module = ARCHITECTURES[name](layer_scale=1e-4)
    assert all((block.ls1.gamma == 1e-4).all() and (block.ls2.gamma == 1e-4).all() for block in module.blocks)
    assert not hasattr(ARCHITECTURES[name]().blocks[0].ls1, "gamma")


@pytest.mark.parametrize("name", VITS)
def test_another_size_of_images_is_built_or_set(name: str) -> None:
    small, images = ARCHITECTURES[name](img_size=24).eval(), torch.zeros(1, 3, 32, 32)
    assert small(images[..., :24, :24]).shape == (1, 10)
    small.set_input_size((32, 32))
    assert small(images).shape == (1, 10)


@pytest.mark.parametrize("name", VITS)
def test_tools_take_a_convolutional_stem_as_they_take_patches(name: str) -> None:
    model = ARCHITECTURES[name]().eval()
    assert isinstance(model, VisionTransformer)
    images = torch.rand(2, 3, 32, 32)
    tokens, depth = model.patch_embed.num_patches, len(model.blocks)

    attention = attention_of(model, images)
    assert attention is not None
    assert attention.entropy_NA.shape == (2, 4 * depth)
    assert attention.rollout_NP.shape == (2, tokens)

    cut = blocks_of(model, [name for name, _ in model.named_parameters()])
    kinds = ["embedding", *["attention", "mlp"] * depth, "head"]
    assert [block.kind for block in cut] == kinds
    stem = {name for name, _ in model.named_parameters() if name.startswith("patch_embed.")}
    assert stem <= set(cut[0].parameters)

    model.reset_classifier(3)
    assert model(images).shape == (2, 3)

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.mean, self.std = model, torch.zeros(1), torch.ones(1)

    assert Backbone(Pixels(), "patches")(images).shape == (2, tokens * 64)


def test_every_recipe_has_an_architecture() -> None:
    names = {recipe.architecture for recipe in load_recipes().values()}
    assert all(name in ARCHITECTURES or timm.is_model(name) for name in names)
