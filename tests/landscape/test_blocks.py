"""Weights by block: every weight in one, of any architecture."""

import pytest
import timm
import torch
from torch import nn

from bench.errors import BenchError
from bench.landscape.blocks import blocks_of


class Wrapped(nn.Module):
    """As a loaded checkpoint is."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def cut(arch: str):
    with torch.device("meta"):
        module = Wrapped(timm.create_model(arch))
    names = [name for name, _ in module.named_parameters()]
    blocks = blocks_of(module, names)
    assert sorted(name for block in blocks for name in block.parameters) == sorted(names)
    assert len({block.name for block in blocks}) == len(blocks)
    return blocks


HALVES = {
    "vit_tiny_patch16_224": ("attention", "mlp"),
    "deit_tiny_distilled_patch16_224": ("attention", "mlp"),
    "mixer_s32_224": ("tokens", "channels"),
    "resmlp_12_224": ("tokens", "channels"),
}


@pytest.mark.parametrize("arch", HALVES)
def test_layers_are_cut_into_their_halves(arch):
    embedding, *layers, head = cut(arch)
    first, second = HALVES[arch]
    assert [block.kind for block in layers] == [first, second] * (len(layers) // 2)
    assert layers[0].name == f"blocks.0.{first}"
    assert (embedding.name, embedding.kind, head.name, head.kind) == ("embedding", "embedding", "head", "head")
    assert not any("blocks" in name for name in (*embedding.parameters, *head.parameters))


def test_norms_and_scales_go_with_their_half():
    blocks = {block.name: block.parameters for block in cut("deit3_small_patch16_224")}
    assert {"model.blocks.0.norm1.weight", "model.blocks.0.ls1.gamma"} < {*blocks["blocks.0.attention"]}
    assert {"model.blocks.0.norm2.weight", "model.blocks.0.ls2.gamma"} < {*blocks["blocks.0.mlp"]}


def test_tokens_positions_and_patches_are_the_embedding_and_what_follows_the_last_layer_the_head():
    blocks = {block.name: block.parameters for block in cut("deit_tiny_distilled_patch16_224")}
    assert {"model.cls_token", "model.dist_token", "model.pos_embed"} < {*blocks["embedding"]}
    assert {"model.norm.weight", "model.head.weight", "model.head_dist.weight"} < {*blocks["head"]}


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("resnet18", ["embedding", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("resnet18d", ["embedding", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("regnety_002", ["embedding", "s1", "s2", "s3", "s4", "head"]),
        ("convnext_atto", ["embedding", "stages.0", "stages.1", "stages.2", "stages.3", "head"]),
        ("swin_tiny_patch4_window7_224", ["embedding", "layers.0", "layers.1", "layers.2", "layers.3", "head"]),
        ("vgg11", ["features", "pre_logits", "head"]),
    ],
)
def test_other_models_are_cut_by_stage(arch, names):
    assert [block.name for block in cut(arch)] == names


def test_a_plain_sequence_has_a_block_a_layer():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh(), nn.Linear(3, 2))
    blocks = blocks_of(module, [name for name, _ in module.named_parameters()])
    assert [(block.name, block.parameters) for block in blocks] == [
        ("1", ("1.weight", "1.bias")),
        ("3", ("3.weight", "3.bias")),
    ]


def test_weights_that_do_not_count_are_in_no_block():
    module = nn.Sequential(nn.Linear(12, 3), nn.Linear(3, 2))
    [block] = blocks_of(module, ["1.weight"])
    assert block.parameters == ("1.weight",)


def test_weights_of_another_module_are_refused():
    with pytest.raises(BenchError, match="Linear has none of the weights"):
        blocks_of(nn.Linear(2, 2), ["elsewhere"])
