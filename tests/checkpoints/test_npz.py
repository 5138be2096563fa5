"""Google's npz against the original Flax code: fixtures/README.md says how its logits were made."""

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models import MlpMixer, VisionTransformer, register_model
from torch import nn

from bench.checkpoints.loading import load
from bench.checkpoints.npz import is_flax, to_timm
from bench.checkpoints.weights import read_weights
from bench.errors import BenchError, RunError
from bench.records import Checkpoint, ClassSpace, Params

FIXTURES = Path(__file__).parent / "fixtures"
CLASSES = ClassSpace(name="twelve", classes=tuple("abcdefghijkl"))
HALF = (0.5, 0.5, 0.5)  # the original code takes images in [-1, 1]
TINY_VIT = Params(patch_size=4, embed_dim=24, depth=2, num_heads=3)
TANH = {"act_layer": "gelu_tanh"}
TOLERANCE = 1e-5  # of logits of size 3; fp32 in two frameworks gave 2.4e-6

Arrays = dict[str, np.ndarray]

NUMBERINGS = {"MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0"}
NUMBERINGS |= {"LayerNorm_2": "LayerNorm_1", "MlpBlock_3": "MlpBlock_0"}
ATTENTION = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
POSITIONS = "Transformer/posembed_input/pos_embedding"


@register_model
def npz_test_mixer(num_classes: int, act_layer: type[nn.Module] = nn.GELU, **_: object) -> MlpMixer:
    """A small one: the sizes of timm's own can't be set from outside."""
    return MlpMixer(num_classes, img_size=16, patch_size=4, embed_dim=24, num_blocks=2, act_layer=act_layer)


def entry(path: Path, arch: str, **args: Any) -> Checkpoint:
    """An entry for a file, with the images that the original code takes."""
    settings = {"input_size": 16, "mean": HALF, "std": HALF, "arch_args": Params(args)}
    return Checkpoint(name="google", class_space=CLASSES, weights=str(path), arch=arch, **settings)


VIT = entry(FIXTURES / "vit.npz", "vit_tiny_patch16_224", **TINY_VIT, **TANH)
MEAN_OF_TOKENS = {"class_token": False, "global_pool": "avg", "fc_norm": False}
GAP = entry(FIXTURES / "vit-gap.npz", "vit_tiny_patch16_224", **TINY_VIT, **TANH, **MEAN_OF_TOKENS)
MIXER = entry(FIXTURES / "mixer.npz", "npz_test_mixer", **TANH)
ENTRIES = {"vit": VIT, "vit-gap": GAP, "mixer": MIXER}


def exact(checkpoint: Checkpoint) -> Checkpoint:
    """The entry as one who knows nothing of activations writes it."""
    args = {name: value for name, value in checkpoint.arch_args.items() if name != "act_layer"}
    return replace(checkpoint, arch_args=Params(args))


def stored(name: str) -> Arrays:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def logits(checkpoint: Checkpoint, name: str) -> np.ndarray:
    """Ours, on the images of a fixture."""
    pixels = torch.from_numpy(stored(f"{name}-logits")["images"]).permute(0, 3, 1, 2).float() / 255
    found: np.ndarray = load(checkpoint, "cpu")(pixels).numpy()
    return found


def assert_original(checkpoint: Checkpoint, name: str) -> None:
    wanted, found = stored(f"{name}-logits")["logits"], logits(checkpoint, name)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))


def written(path: Path, arrays: Arrays, checkpoint: Checkpoint) -> Checkpoint:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return replace(checkpoint, weights=str(path))


def changed(path: Path, checkpoint: Checkpoint, **arrays: np.ndarray | None) -> Checkpoint:
    """The entry of a file with some arrays replaced, or taken out where None."""
    found = {**stored(Path(checkpoint.weights).stem), **arrays}
    return written(path, {name: array for name, array in found.items() if array is not None}, checkpoint)


@pytest.mark.parametrize("name", ENTRIES)
def test_logits_are_those_of_the_original_code(name: str) -> None:
    assert len(set(stored(f"{name}-logits")["logits"].argmax(1))) > 1, "equal predictions must mean something"
    assert_original(ENTRIES[name], name)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_activation_is_timms_unless_the_entry_says_the_original_one(name: str) -> None:
    off = np.abs(logits(exact(ENTRIES[name]), name) - stored(f"{name}-logits")["logits"]).max()
    assert 10 * TOLERANCE < off < 0.01  # the two GELUs differ by at most 5e-4


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
@pytest.mark.parametrize("linen", [False, True])
def test_every_prefix_and_numbering_is_the_same_vit(tmp_path: Path, prefix: str, linen: bool) -> None:
    def name(old: str) -> str:
        return prefix + "/".join(NUMBERINGS.get(part, part) if linen else part for part in old.split("/"))

    arrays = {name(old): array for old, array in stored("vit").items()}
    assert_original(written(tmp_path / "w.npz", arrays, VIT), "vit")


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
def test_every_prefix_is_the_same_mixer(tmp_path: Path, prefix: str) -> None:
    arrays = {prefix + name: array for name, array in read_mixer().items()}
    assert_original(written(tmp_path / "w.npz", arrays, MIXER), "mixer")


def read_mixer() -> Arrays:
    """The Mixer's arrays without prefix and training state."""
    found = stored("mixer").items()
    return {name.removeprefix("opt/target/"): array for name, array in found if name.startswith("opt/target/")}


@pytest.mark.parametrize("place", ["Transformer/pos_embedding", "pos_embedding"])
def test_position_embeddings_are_found_where_later_code_keeps_them(tmp_path: Path, place: str) -> None:
    moved = changed(tmp_path / "w.npz", VIT, **{POSITIONS: None, place: stored("vit")[POSITIONS]})
    assert_original(moved, "vit")


def test_a_file_may_be_compressed_and_called_anything(tmp_path: Path) -> None:
    with (tmp_path / "w.pth").open("wb") as file:
        np.savez_compressed(file, **stored("vit"))  # type: ignore[arg-type]
    assert_original(replace(VIT, weights=str(tmp_path / "w.pth")), "vit")


def test_two_bytes_without_a_type_are_bfloat16() -> None:
    found, raw = read_weights(FIXTURES / "vit-gap.npz"), stored("vit-gap")
    assert raw["params/head/bias"].dtype == np.dtype("V2")
    assert {array.dtype for array in found.values()} == {torch.bfloat16}
    # A bfloat16 is the upper half of a float32.
    wanted = (raw["params/head/bias"].view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found["head/bias"].float().numpy(), wanted)


def test_training_state_is_passed_over() -> None:
    assert "opt/state/step" in stored("mixer")
    assert read_weights(FIXTURES / "mixer.npz").keys() == read_mixer().keys()


@pytest.mark.parametrize("checkpoint", [VIT, MIXER])
def test_timms_layer_norms_have_the_epsilon_of_flax(checkpoint: Checkpoint) -> None:
    norms = [m for m in load(checkpoint, "cpu").modules() if isinstance(m, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}


def test_mixers_of_timm_take_the_activation_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **{"head/kernel": np.zeros(1)})
    with pytest.raises(BenchError, match="does not fit mixer_s32_224"):  # so it was built
        load(replace(entry(path, "mixer_s32_224", **TANH), input_size=224), "cpu")


def test_an_unknown_activation_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"can't be built with .*'act_layer': 'gelu_tan'.*correct arch_args"):
        load(entry(FIXTURES / "mixer.npz", "npz_test_mixer", act_layer="gelu_tan"), "cpu")


def test_each_array_is_used_once() -> None:
    arrays = read_weights(FIXTURES / "vit.npz")
    model = VisionTransformer(img_size=16, num_classes=12, **TINY_VIT)  # type: ignore[arg-type]
    found = to_timm(arrays, model)
    assert found.keys() == model.state_dict().keys()
    values = [torch.cat([a.flatten() for a in each.values()]).sort().values for each in (arrays, found)]
    assert torch.equal(*values)


def test_arrays_under_names_of_torch_are_a_state_dict(tmp_path: Path) -> None:
    arrays = {name: array.numpy() for name, array in to_timm_of(VIT).items()}
    assert not is_flax(arrays)
    assert_original(written(tmp_path / "w.npz", arrays, VIT), "vit")


def to_timm_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return dict(load(checkpoint, "cpu").model.state_dict())  # type: ignore[union-attr, operator]


# -- what does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoint", "change", "message"),
    [
        (VIT, {"head/bias": None}, r"w\.npz does not fit vit_tiny_patch16_224: it lacks head\.bias\. Correct"),
        (VIT, {"Transformer/extra/scale": np.zeros(2)}, r"it has unused Transformer/extra/scale\. Correct"),
        (
            VIT,
            {f"{ATTENTION}/query/bias": None},
            rf"lacks blocks\.0\.attn\.qkv\.bias and has unused {ATTENTION}/key/bias, {ATTENTION}/value/bias\.",
        ),
        (VIT, {"Transformer/encoderblock_1/LayerNorm_1/scale": np.zeros(24)}, "it lacks .* and has unused "),
        (VIT, {POSITIONS: np.zeros((1, 26, 24))}, r"has pos_embed of 1 x 26 x 24 instead of 1 x 17 x 24"),
        (VIT, {"cls": np.zeros((24,))}, r"has cls_token of 24 instead of 1 x 1 x 24"),
        (VIT, {"embedding/kernel": np.zeros((4, 4, 1, 24))}, r"patch_embed\.proj\.weight of 24 x 1 x 4 x 4 instead"),
        (
            VIT,
            {"head/kernel": np.zeros((24, 7)), "head/bias": np.zeros(7)},
            r"the head in .*w\.npz has 7 outputs, but class space 'twelve' has 12",
        ),
        (
            VIT,
            {f"{ATTENTION}/query/kernel": np.zeros((24, 2, 12))},
            rf"it holds {ATTENTION}/query/kernel of 24 x 2 x 12, where the model has 3 heads\. Correct",
        ),
        (VIT, {f"{ATTENTION}/value/bias": np.zeros(24)}, "value/bias of 24, where the model has 3 heads"),
        (VIT, {f"{ATTENTION}/out/kernel": np.zeros((24, 24))}, "out/kernel of 24 x 24, where the model has 3 heads"),
        (
            VIT,
            {f"{ATTENTION}/key/kernel": np.zeros((20, 3, 8))},
            "it holds .*/query/kernel and .*/key/kernel and .*/value/kernel of different shapes",
        ),
        (
            VIT,
            {"pre_logits/kernel": np.zeros((24, 24)), "pre_logits/bias": np.zeros(24)},
            "it has a layer pre_logits before its head, as Google's files of ImageNet-21k do, and timm's .* has none",
        ),
        (VIT, {"head.bias": np.zeros(12)}, r"it holds head\.bias twice, under timm's name and under Flax's"),
        (MIXER, {"opt/target/head/bias": None}, r"does not fit npz_test_mixer: it lacks head\.bias\. Correct"),
        (MIXER, {"opt/target/MixerBlock_2/LayerNorm_0/bias": np.zeros(24)}, "has unused MixerBlock_2/LayerNorm_0/bias"),
        (MIXER, {"opt/target/stem/kernel": np.zeros((24, 4))}, r"stem\.proj\.weight of 4 x 24 instead of 24 x 3 x 4"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, checkpoint: Checkpoint, change: dict[str, np.ndarray | None], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        load(changed(tmp_path / "w.npz", checkpoint, **change), "cpu")


def test_arrays_beside_the_prefix_are_named(tmp_path: Path) -> None:
    more = {f"ema_{i}/bias": np.zeros(1) for i in range(6)}
    with pytest.raises(BenchError, match=r"has unused arrays beside those under opt/target/ \(ema_0/bias\); say"):
        load(changed(tmp_path / "w.npz", MIXER, **{"ema_0/bias": np.zeros(1)}), "cpu")
    with pytest.raises(
        BenchError, match=r"has unused arrays .*ema_3/bias and 2 more\); say in the entry which are meant"
    ):
        load(changed(tmp_path / "w.npz", MIXER, **more), "cpu")


def test_pooling_before_the_norm_is_another_model() -> None:
    average = replace(GAP, arch_args=Params({**GAP.arch_args, "fc_norm": True}))
    with pytest.raises(BenchError, match=r"lacks fc_norm\.bias, fc_norm\.weight and has unused Transformer/encoder_no"):
        load(average, "cpu")


def test_a_vit_with_more_blocks_or_without_a_class_token_is_refused() -> None:
    deeper = replace(VIT, arch_args=Params({**VIT.arch_args, "depth": 3}))
    with pytest.raises(BenchError, match=r"it lacks blocks\.2\.attn\.proj\.bias.* and 8 more\. Correct"):
        load(deeper, "cpu")
    with pytest.raises(BenchError, match=r"it has unused cls\. Correct"):
        load(replace(VIT, arch_args=GAP.arch_args), "cpu")


@pytest.mark.parametrize(("checkpoint", "other"), [(VIT, MIXER), (MIXER, VIT)])
def test_a_mixers_file_is_no_vits(checkpoint: Checkpoint, other: Checkpoint) -> None:
    with pytest.raises(BenchError, match="does not fit .*: it lacks .* more and has unused .* more. Correct"):
        load(replace(checkpoint, weights=other.weights), "cpu")


def test_an_architecture_of_another_kind_is_refused() -> None:
    with pytest.raises(BenchError, match="it has Flax's names, which can be read into .*, not into ResNet. Correct"):
        load(entry(FIXTURES / "vit.npz", "resnet10t"), "cpu")


def test_a_file_of_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", x_train=np.zeros((3, 2)), y_train=np.zeros(3))
    with pytest.raises(BenchError, match="it lacks .* and has unused x_train, y_train"):
        load(replace(VIT, weights=str(tmp_path / "w.npz")), "cpu")


# -- damage and danger ------------------------------------------------------------------------------------------


class Attack:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_pickles_in_a_file_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    np.savez(tmp_path / "w.npz", kernel=np.array([Attack(marker)]))
    with pytest.raises(BenchError, match=r"would run code \(its kernel\.npy is a pickle\), and rtbench loads nothing"):
        read_weights(tmp_path / "w.npz")
    assert not marker.exists()


def test_a_bare_pickle_under_an_arrays_name_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("kernel.npy", pickle.dumps(Attack(marker)))
    with pytest.raises(RunError, match=r"w\.npz is damaged or cut short \(kernel\.npy: the magic string"):
        read_weights(tmp_path / "w.npz")
    assert not marker.exists()


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    path.write_bytes((FIXTURES / "vit.npz").read_bytes()[:-100])
    with pytest.raises(RunError, match=r"w\.npz \(a zip archive\) is damaged or cut short; download or copy it again"):
        read_weights(path)


def test_a_file_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "w.npz", bytearray((FIXTURES / "vit.npz").read_bytes())
    content[30_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"w\.npz is damaged or cut short \(Transformer/.*\.npy: Bad CRC-32"):
        read_weights(path)


def test_an_array_that_is_cut_is_refused(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(100))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("kernel.npy", array.getvalue()[:-8])
    with pytest.raises(RunError, match=r"is damaged or cut short \(kernel\.npy: "):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(2, dtype=">f4"), np.zeros(2, dtype="V4")])
def test_arrays_without_a_type_in_torch_are_named(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "w.npz", kernel=array)
    with pytest.raises(BenchError, match=r"but kernel\.npy in .*w\.npz is of NumPy's .*; save it as float32"):
        read_weights(tmp_path / "w.npz")
