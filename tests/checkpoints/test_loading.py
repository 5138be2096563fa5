import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.checkpoints.loading import load, load_untrained, model_digest
from bench.checkpoints.weights import weights_digest
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint, ClassSpace, Params

CLASSES = ClassSpace(name="trio", classes=("a", "b", "c"))
TINY = Params(embed_dim=12, depth=1, num_heads=2, patch_size=8)
BUILDERS = __name__  # the builders below are named as `package.module:function`


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, BUILDERS, sys.modules[__name__])


def small(classes: int = 3, width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def mixer() -> nn.Module:
    from timm.models import MlpMixer

    return MlpMixer(img_size=16, patch_size=8, embed_dim=8, num_blocks=1, num_classes=3)


def no_module() -> int:
    return 3


def two_outputs() -> nn.Module:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    return Two()


def hungry() -> nn.Module:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("no memory left")

    return Hungry()


def stubborn() -> nn.Module:
    model = small()
    model.set_input_size = lambda size: 1 / 0  # type: ignore[assignment]
    return model


def saved(path: Path, arrays: dict[str, torch.Tensor], **fields: Any) -> Checkpoint:
    save_file(arrays, path)
    made = {"name": "mine", "class_space": CLASSES, "weights": str(path), "input_size": 16, **fields}
    return Checkpoint(**made)


@pytest.fixture
def built(tmp_path: Path) -> Checkpoint:
    """A checkpoint of `small`, with statistics that are not the first ones."""
    model = small()
    model[1].running_mean.fill_(0.1)  # type: ignore[index, operator, union-attr]
    return saved(tmp_path / "w.safetensors", model.state_dict(), builder=f"{BUILDERS}:small")


@pytest.fixture
def vit(tmp_path: Path) -> Checkpoint:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=16, **TINY)
    return saved(tmp_path / "vit.safetensors", model.state_dict(), arch="vit_tiny_patch16_224", arch_args=TINY)


def with_arrays(checkpoint: Checkpoint, **arrays: torch.Tensor | None) -> Checkpoint:
    """The checkpoint with some arrays of its file replaced, or taken out where None."""
    from safetensors.torch import load_file

    found = {**load_file(checkpoint.weights), **{name.replace("__", "."): a for name, a in arrays.items()}}
    path = Path(checkpoint.weights).with_name("changed.safetensors")
    save_file({name: array for name, array in found.items() if array is not None}, path)
    return replace(checkpoint, weights=str(path))


def test_the_module_takes_pixels_and_normalises_them_itself(built: Checkpoint) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    module = load(replace(built, mean=mean, std=std), "cpu")
    bare = small()
    from safetensors.torch import load_file

    bare.load_state_dict(load_file(built.weights))
    bare.eval()
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.equal(module(images), bare(normalised))
    assert module(images).shape == (5, 3)


def test_the_module_is_ready_to_be_measured(built: Checkpoint) -> None:
    module = load(built, "cpu")
    assert not any(part.training for part in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    module(images).sum().backward()  # attacks need the gradient of the images
    assert images.grad is not None


def test_a_timm_architecture_is_built_for_the_input_size_and_classes(vit: Checkpoint) -> None:
    module = load(vit, "cpu")
    assert module(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_a_timm_architecture_of_any_size_gets_no_image_size(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=3)
    checkpoint = saved(tmp_path / "r", model.state_dict(), arch="test_resnet")
    assert load(checkpoint, "cpu", input_size=32)(torch.rand(1, 3, 32, 32)).shape == (1, 3)


def test_loading_leaves_the_global_random_state_alone(vit: Checkpoint) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    load(vit, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_to_fp32(built: Checkpoint, dtype: torch.dtype) -> None:
    module = load(with_arrays(built, **{"5__bias": torch.ones(3, dtype=dtype)}), "cpu")
    bias = module.get_parameter("model.5.bias")
    assert bias.dtype == torch.float32
    assert torch.equal(bias, torch.ones(3))


def test_another_input_size_interpolates_the_position_embeddings(vit: Checkpoint) -> None:
    own, larger = load(vit, "cpu"), load(vit, "cpu", input_size=32)
    assert larger(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert own.get_parameter("model.pos_embed").shape == (1, 5, 12)
    embedding = larger.get_parameter("model.pos_embed")
    assert embedding.shape == (1, 17, 12)
    assert not embedding.requires_grad


def test_an_input_size_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "m", mixer().state_dict(), builder=f"{BUILDERS}:mixer")
    with pytest.raises(
        BenchError, match=r"mixer' does not take images of every size asked for, as it is built for 16x16"
    ):
        load(checkpoint, "cpu", input_size=32)


def test_a_failing_change_of_the_input_size_is_told(built: Checkpoint) -> None:
    with pytest.raises(BenchError, match=r"stubborn' does not take images of every size asked for, .* 16x16"):
        load(replace(built, builder=f"{BUILDERS}:stubborn"), "cpu", input_size=8)


def test_missing_and_unused_arrays_are_named(built: Checkpoint) -> None:
    extra = {f"extra__{i}": torch.zeros(1) for i in range(7)}
    wrong = with_arrays(built, **{"5__bias": None}, **extra)
    message = (
        r"changed\.safetensors does not fit .*small: it lacks 5\.bias and has unused "
        r"extra\.0, extra\.1, extra\.2, extra\.3 and 3 more\. Correct arch"
    )
    with pytest.raises(BenchError, match=message):
        load(wrong, "cpu")


def test_an_unfilled_buffer_is_an_error(built: Checkpoint) -> None:
    with pytest.raises(BenchError, match=r"it lacks 1\.running_mean\. Correct"):
        load(with_arrays(built, **{"1__running_mean": None}), "cpu")


def test_wrong_shapes_are_named_with_both(built: Checkpoint) -> None:
    wrong = with_arrays(built, **{"0__weight": torch.zeros(8, 3, 3, 3), "1__num_batches_tracked": torch.zeros(2)})
    message = r"has 0\.weight of 8 x 3 x 3 x 3 instead of 4 x 3 x 3 x 3, 1\.num_batches_tracked of 2 instead"
    with pytest.raises(BenchError, match=message):
        load(wrong, "cpu")


def test_a_head_for_other_classes_is_told_as_such(vit: Checkpoint) -> None:
    head = {"head__weight": torch.zeros(1000, 12), "head__bias": torch.zeros(1000)}
    with pytest.raises(BenchError, match=r"has 1000 outputs, but class space 'trio' has 3; name the data set"):
        load(with_arrays(vit, **head), "cpu")


def test_integers_where_weights_belong_are_refused(built: Checkpoint) -> None:
    wrong = with_arrays(built, **{"5__bias": torch.zeros(3, dtype=torch.int8)})
    with pytest.raises(BenchError, match=r"holds 5\.bias as torch\.int8, not torch\.float32"):
        load(wrong, "cpu")


def alternating(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([1, 0, 1]).to(dtype)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (torch.tensor([0, torch.nan, 0]), r"holds NaN or infinite numbers in 5\.bias; its training diverged"),
        (torch.tensor([0, -torch.inf, 0]), r"holds NaN or infinite numbers in 5\.bias"),
        (torch.tensor([0, 1e300, 0], dtype=torch.float64), r"in 5\.bias; .* too large for fp32"),
        (alternating(torch.bool), r"holds 5\.bias as torch\.bool, not torch\.float32"),
        (alternating(torch.int64), r"holds 5\.bias as torch\.int64, not torch\.float32"),
        (alternating(torch.complex64), r"holds 5\.bias as torch\.complex64, not torch\.float32"),
        (torch.zeros(0), r"the head in .* has 0 outputs"),
        (torch.zeros(1).expand(2**40), r"the head in .* has 1099511627776 outputs"),
        (torch.tensor(1.0), r"has 5\.bias of one number instead of 3"),
        (torch.zeros(3, device="meta"), "holds a sparse, quantised or empty tensor under '5.bias'"),
        (torch.zeros(3).to_sparse(), "holds a sparse, quantised or empty tensor under '5.bias'"),
        (torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "can't be copied|holds 5.bias as|damaged"),
    ],
)
def test_arrays_that_are_no_weights_are_told(built: Checkpoint, bias: torch.Tensor, message: str) -> None:
    from safetensors.torch import load_file

    path = Path(built.weights).with_suffix(".pth")
    torch.save({**load_file(built.weights), "5.bias": bias}, path)
    with pytest.raises(BenchError, match=message) as raised:
        load(replace(built, weights=str(path)), "cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_floats_are_what_they_say(built: Checkpoint, dtype: torch.dtype) -> None:
    module = load(with_arrays(built, **{"5__bias": alternating(dtype)}), "cpu")
    assert torch.equal(module.get_parameter("model.5.bias"), torch.tensor([1.0, 0.0, 1.0]))


def test_prefixes_of_some_names_are_told(built: Checkpoint) -> None:
    from safetensors.torch import load_file

    arrays = load_file(built.weights)
    mixed = {f"module.{name}" if name.startswith("5") else name: array for name, array in arrays.items()}
    save_file(mixed, built.weights)
    with pytest.raises(BenchError, match=r"it lacks 5\.bias, 5\.weight and has unused module\.5\.bias, module\.5"):
        load(built, "cpu")


def tied() -> nn.Module:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.Linear(3, 3))
    model[3].weight = model[2].weight  # type: ignore[union-attr]
    return model


def test_an_array_of_two_names_is_filled_by_either(tmp_path: Path) -> None:
    arrays = dict(tied().state_dict())
    weight = arrays.pop("3.weight")
    entry = saved(tmp_path / "w", arrays, builder=f"{BUILDERS}:tied")
    assert torch.equal(load(entry, "cpu").get_parameter("model.3.weight"), weight)
    differently = saved(tmp_path / "w", {**arrays, "3.weight": weight + 1}, builder=f"{BUILDERS}:tied")
    with pytest.raises(
        BenchError, match=r"holds 2\.weight and 3\.weight, which are one array in the model, differently"
    ):
        load(differently, "cpu")


def test_an_infinite_mask_is_no_fault(tmp_path: Path) -> None:
    entry = saved(tmp_path / "w", masked().state_dict(), builder=f"{BUILDERS}:masked")
    assert load(entry, "cpu").get_buffer("model.0.mask").isinf().all()


def masked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    model[0].register_buffer("mask", torch.full((2,), -torch.inf))
    return model


class Attends(nn.Module):
    """Five ways to attend over N tokens of width 8, and a head; all of torch's own fused kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.many = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(1)[:, : 8 * 12].view(-1, 12, 8)
        heads = tokens.view(-1, 12, 2, 4).transpose(1, 2)
        tokens = nn.functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)
        tokens = self.many(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(self.layer(tokens).mean(1))


def attends() -> nn.Module:
    return Attends()


def attention(tokens: int, width: int) -> int:
    """Multiply-accumulates of queries by keys, and of their weights by values."""
    return 2 * tokens * tokens * width


def block(tokens: int, width: int, hidden: int) -> int:
    """Of a transformer's: query, key and value, attention, what follows it, and two layers."""
    return tokens * width * 4 * width + attention(tokens, width) + 2 * tokens * width * hidden


def test_attention_is_counted_however_it_is_called(tmp_path: Path) -> None:
    entry = saved(tmp_path / "w", Attends().state_dict(), builder=f"{BUILDERS}:attends")
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    by_hand = attention(12, 8) + (12 * 8 * 4 * 8 + attention(12, 8)) + block(12, 8, 16) + 8 * 3
    assert load(entry, "cpu").macs == by_hand
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()) == before


def conv(side: int, into: int, out: int, kernel: int) -> int:
    return side * side * into * out * kernel * kernel


BY_HAND = {
    "vit_tiny_patch16_224": conv(14, 3, 192, 16) + 12 * block(197, 192, 4 * 192) + 192 * 1000,
    "deit3_small_patch16_384": conv(24, 3, 384, 16) + 12 * block(577, 384, 4 * 384) + 384 * 1000,
    "mixer_s32_224": (
        conv(7, 3, 512, 32) + 8 * (2 * 512 * 49 * 256 + 2 * 49 * 512 * 2048) + 512 * 1000
    ),
    "resnet18": (
        conv(112, 3, 64, 7)
        + 4 * conv(56, 64, 64, 3)
        + sum(
            conv(side, half, 2 * half, 3) + 3 * conv(side, 2 * half, 2 * half, 3) + conv(side, half, 2 * half, 1)
            for side, half in ((28, 64), (14, 128), (7, 256))
        )
        + 512 * 1000
    ),
}  # fmt: skip


@pytest.mark.parametrize("arch", BY_HAND)
def test_multiply_accumulates_are_those_counted_by_hand(arch: str) -> None:
    thousand = ClassSpace(name="thousand", classes=tuple(map(str, range(1000))))
    size = int(arch.rsplit("_", maxsplit=1)[-1]) if "_" in arch else 224
    entry = Checkpoint(name="x", class_space=thousand, arch=arch, input_size=size)
    assert load_untrained(entry, "cpu").macs == BY_HAND[arch]


def test_an_unknown_architecture_offers_the_nearest(built: Checkpoint) -> None:
    with pytest.raises(UnknownNameError, match=r"no timm architecture 'resnet_50'\. Did you mean .*'resnet50'"):
        load(replace(built, builder="", arch="resnet_50"), "cpu")


def test_an_unknown_tag_of_an_architecture_offers_the_nearest(built: Checkpoint) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'resnet18\.a1_in1k'"):
        load(replace(built, builder="", arch="resnet18.a1_in"), "cpu")


@pytest.mark.parametrize("source", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp"])
def test_timm_is_never_asked_to_fetch(built: Checkpoint, source: str) -> None:
    with pytest.raises(UnknownNameError, match="no timm architecture"):
        load(replace(built, builder="", arch=source), "cpu")


@pytest.mark.parametrize("name", ["pretrained", "pretrained_cfg", "checkpoint_path", "num_classes", "cache_dir"])
def test_arguments_that_bring_other_weights_are_refused(vit: Checkpoint, name: str) -> None:
    with pytest.raises(BenchError, match=f"arch_args must not set '{name}'"):
        load(replace(vit, arch_args=Params({name: "x"})), "cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"arch_args": Params(nonsense=1)},
            r"timm architecture 'vit_tiny.* can't be built with .*nonsense.*arch_args",
        ),
        ({"builder": f"{BUILDERS}:small"}, r":small can't be built with .*unexpected keyword"),
        ({"builder": "no.such:thing"}, r"builder 'no\.such:thing'.*can't be imported: ModuleNotFoundError"),
        ({"builder": f"{BUILDERS}:nothing"}, r":nothing'.*can't be imported: AttributeError"),
        (
            {"builder": f"{BUILDERS}:no_module", "arch_args": Params()},
            "must return a torch module, not a value of type int",
        ),
    ],
)
def test_a_model_that_cannot_be_built_is_told(vit: Checkpoint, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        load(replace(vit, **fields), "cpu")


def test_outputs_of_another_number_than_the_classes_are_refused(tmp_path: Path) -> None:
    five = saved(tmp_path / "w", small(5).state_dict(), builder=f"{BUILDERS}:small", arch_args=Params(classes=5))
    with pytest.raises(BenchError, match=r"of shape \(1, 3\) .*'trio' has 3 classes; it gives \(1, 5\)"):
        load(five, "cpu")


def test_a_module_that_gives_no_tensor_is_refused(tmp_path: Path) -> None:
    two = saved(tmp_path / "w", {"scale": torch.ones(1)}, builder=f"{BUILDERS}:two_outputs")
    with pytest.raises(BenchError, match="it gives tuple"):
        load(two, "cpu")


def test_running_out_of_memory_is_not_held_against_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "w", {"scale": torch.ones(1)}, builder=f"{BUILDERS}:hungry")
    with pytest.raises(torch.OutOfMemoryError):
        load(checkpoint, "cpu")


def test_other_weights_under_a_known_digest_are_refused(built: Checkpoint) -> None:
    right = weights_digest(Path(built.weights))
    load(replace(built, weights_digest=right), "cpu")
    wrong = replace(built, weights_digest="0" * 64)
    for use in (lambda: load(wrong, "cpu"), lambda: model_digest(wrong)):
        with pytest.raises(BenchError, match=rf"wants weights with SHA-256 000000000000…, but .*has {right[:12]}…"):
            use()


def test_another_model_than_the_planned_one_is_refused(built: Checkpoint) -> None:
    planned = model_digest(built)
    load(built, "cpu", planned=planned)
    changed = with_arrays(built, **{"5__bias": torch.ones(3)})
    with pytest.raises(BenchError, match="its weights have changed since this run was planned; run the same command"):
        load(changed, "cpu", planned=planned)


SHARED = small()


def shared() -> nn.Module:
    return SHARED


def wrapped() -> nn.Module:
    return nn.Sequential(SHARED, nn.Softmax(1))


@pytest.mark.parametrize("builder", ["shared", "wrapped"])
def test_a_builder_that_gives_the_same_module_again_is_refused(built: Checkpoint, tmp_path: Path, builder: str) -> None:
    made = {"shared": shared, "wrapped": wrapped}[builder]()
    entry = saved(tmp_path / "s", made.state_dict(), builder=f"{BUILDERS}:{builder}")
    from bench.checkpoints import loading

    loading._built.clear()
    first = load(entry, "cpu")
    with pytest.raises(BenchError, match=rf"{builder} gives a module, or a part of one, that it gave before and"):
        load(replace(entry, name="second"), "cpu")
    del first


def test_a_checkpoint_without_weights_is_refused(built: Checkpoint) -> None:
    with pytest.raises(BenchError, match="'mine' names no weights file"):
        model_digest(replace(built, weights=""))
    with pytest.raises(BenchError, match="there is no weights file"):
        model_digest(replace(built, weights=built.weights + "x"))


def test_the_digest_covers_what_decides_the_logits_and_nothing_else(built: Checkpoint, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"weights": with_arrays(built, **{"5__bias": torch.ones(3)}).weights},
        {"arch": "x"},
        {"state_dict": "model_ema"},
        {"builder": "x:y"},
        {"arch_args": Params(a=1)},
        {"class_space": ClassSpace(name="trio", classes=("a", "b", "d"))},
        {"input_size": 8},
        {"crop_ratio": 1.0},
        {"interpolation": "nearest"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
    ]
    digests = {model_digest(replace(built, **change)) for change in changes}
    assert len(digests | {model_digest(built)}) == len(changes) + 1

    moved = tmp_path / "moved"
    moved.write_bytes(Path(built.weights).read_bytes())
    renamed = replace(
        built, name="other", weights=str(moved), family="x", sam="sam", recipe="y", pairs_with="z", seed=3
    )
    assert model_digest(renamed) == model_digest(built)
    assert model_digest(replace(built, mean=(0, 1, 0))) == model_digest(replace(built, mean=(0.0, 1.0, 0.0)))


def test_the_digest_is_taken_without_torch(built: Checkpoint) -> None:
    code = (
        "import sys; from bench.checkpoints.loading import model_digest;"
        "from bench.records import Checkpoint, ClassSpace;"
        f"print(model_digest(Checkpoint(name='', class_space=ClassSpace(name='', classes=('a', 'b', 'c')), "
        f"weights={built.weights!r}, builder={built.builder!r}, input_size=16)));"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert ran.stdout.strip() == model_digest(built)
