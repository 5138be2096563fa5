"""Neurons, norms and attention against what plain hooks and plain products give."""

import math

import pytest
import timm
import torch
from torch import nn

from bench.errors import RunError
from bench.landscape.attention import attention_of
from bench.landscape.neurons import joined, layers_of
from bench.landscape.norms import norms_of

ARCHITECTURES = ("digits_vit", "digits_mixer", "digits_resnet")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(name: str, **arguments) -> nn.Module:
    import bench.checkpoints.zoo.architectures  # noqa: F401 - timm then knows ours

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return timm.create_model(name, **arguments).eval().requires_grad_(False)


# -- neurons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_active_shares_are_what_a_plain_hook_counts(name, images):
    module, outputs = made(name), []
    for part in module.modules():
        if isinstance(part, nn.ReLU | nn.GELU):
            part.register_forward_hook(lambda part, given, output: outputs.append(output.detach().clone()))
    with torch.no_grad():
        module(images)
    activity = joined([layers_of(module, images)])
    assert activity.active_NL.shape == (6, len(activity.layers))
    wanted = [
        [float((output[i] > 0).sum()) / output[i].numel() for output in outputs[: len(activity.layers)]]
        for i in range(6)
    ]
    torch.testing.assert_close(activity.active_NL, torch.tensor(wanted, dtype=torch.float64))


def test_images_in_pieces_show_what_they_show_together(images):
    module = made("digits_resnet")
    together = joined([layers_of(module, images)])
    pieces = joined([layers_of(module, piece) for piece in images.split(4)])
    assert together.layers == pieces.layers
    torch.testing.assert_close(together.active_NL, pieces.active_NL)
    assert together.never_L.equal(pieces.never_L)


class OneActive(nn.Module):
    """Five units, of which the first is active for all images, the second for the first image, the others never."""

    def __init__(self, channels_first: bool) -> None:
        super().__init__()
        self.units = nn.Conv2d(1, 5, 1) if channels_first else nn.Linear(1, 5)
        self.act = nn.ReLU()
        with torch.no_grad():
            self.units.weight.zero_()
            self.units.weight[1] = 1.0
            self.units.bias.copy_(torch.tensor([1.0, -5.0, -1.0, -1.0, 0.0]))

    def forward(self, images):
        return self.act(self.units(images)).flatten(1)


@pytest.mark.parametrize("channels_first", [True, False])
def test_a_unit_is_a_channel_wherever_it_stands(channels_first):
    images = torch.zeros(2, 1, 3, 3) if channels_first else torch.zeros(2, 3, 3, 1)
    images[0].reshape(-1)[0] = 9.0  # at one place of the first image
    activity = joined([layers_of(OneActive(channels_first), images)])
    assert activity.never_L.tolist() == pytest.approx([3 / 5])
    assert activity.active_NL[:, 0].tolist() == pytest.approx([10 / 45, 9 / 45])


def test_an_activation_that_is_called_twice_is_two_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, images):
            return self.act(-self.act(images)).flatten(1)

    activity = joined([layers_of(Twice(), torch.ones(1, 1, 2, 2))])
    assert activity.layers == ("act", "act#2")
    assert activity.active_NL.tolist() == [[1.0, 0.0]]


def test_gates_are_no_neurons_and_a_model_without_activations_says_so(images):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.Sigmoid())
    with pytest.raises(RunError, match="no activation of this architecture is a module of its own"):
        layers_of(module, images)


@pytest.mark.parametrize("name", ["convnext_atto", "efficientnet_b0", "resnetv2_18", "swin_tiny_patch4_window7_224"])
def test_neurons_of_other_architectures_of_timm(name):
    size = 224 if "swin" in name else 64
    activity = joined([layers_of(made(name, num_classes=3), torch.rand(2, 3, size, size))])
    assert len(activity.layers) > 8
    assert ((activity.active_NL > 0) & (activity.active_NL <= 1)).all()
    assert (activity.never_L < 1).all()


# -- norms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_norms_are_those_of_the_parameters(name):
    module = made(name)
    norms = norms_of(module)
    assert norms.total == pytest.approx(float(nn.utils.parameters_to_vector(module.parameters()).double().norm()))
    assert math.hypot(*norms.by_layer) == pytest.approx(norms.total)
    for layer, norm in zip(norms.layers, norms.by_layer, strict=True):
        own = list(module.get_submodule(layer).parameters(recurse=False))
        assert norm == pytest.approx(float(nn.utils.parameters_to_vector(own).double().norm()))


def test_a_weight_that_two_parts_share_counts_once():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    assert norms_of(nn.Sequential(first, second)).total == pytest.approx(float(first.weight.detach().norm()), rel=1e-6)


def test_a_module_without_parameters_says_so():
    with pytest.raises(RunError, match="has no parameters"):
        norms_of(nn.Flatten())


# -- attention --------------------------------------------------------------------------------------------------------


def by_hand(module: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The weights of each block of a VisionTransformer, from its queries and keys."""
    weights = []

    def keep(part, given):
        tokens = given[0]
        n, count, width = tokens.shape
        query, key, _ = part.qkv(tokens).reshape(n, count, 3, part.num_heads, -1).permute(2, 0, 3, 1, 4)
        scores = (
            torch.einsum("nhqd,nhkd->nhqk", part.q_norm(query), part.k_norm(key)) / (width // part.num_heads) ** 0.5
        )
        weights.append(scores.softmax(-1).detach())

    handles = [block.attn.register_forward_pre_hook(keep) for block in module.blocks]
    with torch.no_grad():
        module(images)
    for handle in handles:
        handle.remove()
    return weights


@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_that_of_queries_and_keys(fused, images):
    module = made("digits_vit")
    weights = by_hand(module, images)
    for block in module.blocks:
        block.attn.fused_attn = fused
    attention = attention_of(module, images)
    assert attention.heads == tuple(f"{layer}.{head}" for layer in range(4) for head in range(4))
    entropies = torch.cat([-(w * w.log()).sum(-1).mean(-1) for w in weights], dim=1)
    torch.testing.assert_close(attention.entropy_NA, entropies)
    torch.testing.assert_close(attention.distance_NA, torch.cat([reach(w) for w in weights], dim=1))
    torch.testing.assert_close(attention.rollout_NP, rolled_out(weights))


def reach(weights: torch.Tensor) -> torch.Tensor:
    """(N, H): loops over the 16 patches, after one class token; a quarter of the image is from one to the next."""
    total = torch.zeros(weights.shape[:2])
    for query in range(16):
        for_query = torch.zeros(weights.shape[:2])
        for key in range(16):
            apart = math.hypot(query // 4 - key // 4, query % 4 - key % 4) / 4
            for_query += weights[:, :, 1 + query, 1 + key] * apart
        total += for_query / weights[:, :, 1 + query, 1:].sum(-1)
    return total / 16


def rolled_out(weights: list[torch.Tensor]) -> torch.Tensor:
    flow = torch.eye(17).expand(len(weights[0]), 17, 17)
    for layer in weights:
        mixed = 0.5 * layer.mean(1) + 0.5 * torch.eye(17)
        flow = torch.bmm(mixed, flow)
    return flow[:, 0, 1:] / flow[:, 0, 1:].sum(-1, keepdim=True)


@pytest.mark.parametrize("name", ["digits_mixer", "digits_resnet"])
def test_a_model_without_attention_has_none(name, images):
    assert attention_of(made(name), images) is None


@pytest.mark.parametrize(
    ("name", "arguments", "tokens"),
    [
        ("deit_tiny_distilled_patch16_224", {"img_size": 64}, "a class and a distillation token"),
        ("vit_tiny_patch16_224", {"img_size": 64, "class_token": False, "global_pool": "avg"}, "patches alone"),
        ("vit_tiny_patch16_224", {"img_size": 64, "reg_tokens": 4}, "registers"),
    ],
)
def test_tokens_that_are_no_patches_have_no_place(name, arguments, tokens):
    attention = attention_of(made(name, **arguments), torch.rand(2, 3, 64, 64))
    assert attention.rollout_NP.shape == (2, 16), tokens
    torch.testing.assert_close(attention.rollout_NP.sum(1), torch.ones(2))
    assert (attention.distance_NA < 1).all()
    assert attention.entropy_NA.shape == (2, 36)


def test_attention_between_channels_is_none():
    assert attention_of(made("xcit_nano_12_p16_224"), torch.rand(2, 3, 64, 64)) is None


def test_attention_of_torchs_own_encoder_is_seen():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    module = nn.Sequential(nn.Flatten(2), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).eval()
    attention = attention_of(module, torch.rand(2, 9, 2, 4))
    assert attention.heads == ("0.0", "0.1", "1.0", "1.1")
    assert attention.rollout_NP.shape == (2, 9)
