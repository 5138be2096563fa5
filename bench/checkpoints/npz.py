"""Google's checkpoints of ViT and MLP-Mixer: arrays of Flax in NumPy's npz, given timm's names and layouts.

The names are those of `vit_jax/models_vit.py` and `models_mixer.py` in google-research/vision_transformer, with the
variants that its loader and big_vision's (`models/vit.py`, `fix_old_checkpoints`) read: the buckets `vit_models` and
`mixer_models` hold files of several generations. Their code computes GELU by its tanh approximation, timm exactly: an
entry with `act_layer = "gelu_tanh"` among its `arch_args` has the original.

Legend: D width, H heads, d width of a head, I and O channels in and out.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.checkpoints.state_dicts import select
from bench.errors import BenchError, RunError, one_line
from bench.text import some

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFIXES = ("opt/target/", "params/")
"""What stands before every parameter's name where a whole training state was saved."""
TRAINING_STATE = "opt/state/"
"""Under this `flax.optim` kept momentum and step beside `opt/target/`: no weights, passed over."""

_BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16 and writes it as two bytes without a meaning
_POSITIONS = ("Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding", "pos_embedding")
_QKV = ("query", "key", "value")


def is_npz(members: Iterable[str]) -> bool:
    """Whether a zip archive with these members is NumPy's."""
    names = list(members)
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path, content: bytes, state_dict: str = "") -> "dict[str, torch.Tensor]":
    """The arrays of an npz file by name, without one of `PREFIXES` and what is under `TRAINING_STATE`.

    Args:
        path: the file, for messages.
        content: what is in it, known to be a zip archive of `.npy` members.
        state_dict: what the names of the arrays that are meant begin with; empty for all, or those under a prefix.

    Returns:
        Arrays on the CPU in the precision of the file; two bytes without a type are bfloat16.

    Raises:
        BenchError: the file holds objects, which only pickle could read, arrays that torch has no type for, or
            arrays beside those under the prefix.
        RunError: the file is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [name for name in archive.namelist() if not name.startswith(TRAINING_STATE)]
        arrays = {name.removesuffix(".npy"): _read_member(path, archive, name) for name in members}
    if state_dict:
        return select(path, arrays, state_dict)
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in arrays):
            return _without_prefix(path, arrays, prefix)
    return arrays


def _read_member(path: Path, archive: zipfile.ZipFile, member: str) -> "torch.Tensor":
    import torch

    try:
        with archive.open(member) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if "allow_pickle" in str(error):
            raise BenchError(
                f"loading {path} would run code (its {member} is a pickle), and rtbench loads nothing but arrays; "
                "save numbers with numpy.savez."
            ) from None
        raise RunError(
            f"weights file {path} is damaged or cut short ({member}: {one_line(error)}); download or copy it again."
        ) from None
    if array.dtype == _BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        raise BenchError(
            f"numbers that torch has a type for were wanted, but {member} in {path} is of NumPy's {array.dtype}; "
            "save it as float32."
        ) from None


def _without_prefix(path: Path, arrays: "dict[str, torch.Tensor]", prefix: str) -> "dict[str, torch.Tensor]":
    beside = sorted(name for name in arrays if not name.startswith(prefix))
    if beside:
        raise BenchError(
            f"{path} has unused arrays beside those under {prefix} ({some(beside)}); say in the entry which are meant, "
            f'as in state_dict = "{prefix.rstrip("/")}".'
        )
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def is_flax(names: Iterable[str]) -> bool:
    """Whether arrays carry names of Flax (`head/kernel`); torch's never have a last part `kernel` after a slash."""
    return any(name.endswith("/kernel") for name in names)


def to_timm(arrays: "Mapping[str, torch.Tensor]", model: "nn.Module") -> "dict[str, torch.Tensor]":
    """Arrays of a Google checkpoint under the names and in the layouts of timm's state dict.

    Args:
        arrays: by Flax name, without prefix. Kernels of convolutions are (height, width, I, O), dense ones (I, O),
            queries, keys and values (D, H, d), the layer after attention (H, d, D).
        model: the `VisionTransformer` or `MlpMixer` of timm that they are for.

    Returns:
        Each array exactly once: converted, under timm's name (query, key and value in one), or, where the model has
        no use for it, as it was, under its own name. What the file lacks is not there.

    Raises:
        ValueError: this can't be done; the message goes on after "the file does not fit the model: it".
    """
    wanted = model.state_dict().keys()
    rest = dict(arrays)
    converted = {}
    for own, names in _sources(arrays, model):
        if own in wanted and all(name in rest for name in names):
            parts = {name: rest.pop(name) for name in names}
            converted[own] = _joined(parts, model) if len(parts) > 1 else _converted(*parts.popitem(), model)
    twice = sorted(converted.keys() & rest.keys())
    if twice:
        raise ValueError(f"holds {twice[0]} twice, under timm's name and under Flax's")
    return converted | rest


def _sources(arrays: "Mapping[str, torch.Tensor]", model: "nn.Module") -> Iterator[tuple[str, tuple[str, ...]]]:
    """The parameters of the model, each with the names of the arrays that make it."""
    from timm.models import MlpMixer, VisionTransformer

    if isinstance(model, VisionTransformer):
        if any(name.startswith("pre_logits/") for name in arrays):
            raise ValueError(
                "has a layer pre_logits before its head, as Google's files of ImageNet-21k do, and timm's "
                "VisionTransformer has none; the fine-tuned files have none either"
            )
        yield "cls_token", ("cls",)
        yield "pos_embed", (next((name for name in _POSITIONS if name in arrays), _POSITIONS[0]),)
        layers = _vit_layers(arrays, len(model.blocks))
    elif isinstance(model, MlpMixer):
        layers = _mixer_layers(len(model.blocks))
    else:
        raise ValueError(
            "has Flax's names, which can be read into timm's VisionTransformer and MlpMixer, "
            f"not into {type(model).__name__}"
        )
    for layer, sources in layers:
        weight = "scale" if "norm" in layer.rsplit(".", 1)[-1] else "kernel"
        yield f"{layer}.weight", tuple(f"{source}/{weight}" for source in sources)
        yield f"{layer}.bias", tuple(f"{source}/bias" for source in sources)


def _vit_layers(arrays: Iterable[str], depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "patch_embed.proj", ("embedding",)
    # Before Linen, Flax counted the layers in a block; since then it counts those of each class.
    linen = any("/LayerNorm_1/" in name for name in arrays)
    norm, attention, mlp = (1, 0, 0) if linen else (2, 1, 3)
    for i in range(depth):
        own, block = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        heads = f"{block}/MultiHeadDotProductAttention_{attention}"
        yield f"{own}.norm1", (f"{block}/LayerNorm_0",)
        yield f"{own}.attn.qkv", tuple(f"{heads}/{part}" for part in _QKV)
        yield f"{own}.attn.proj", (f"{heads}/out",)
        yield f"{own}.norm2", (f"{block}/LayerNorm_{norm}",)
        yield f"{own}.mlp.fc1", (f"{block}/MlpBlock_{mlp}/Dense_0",)
        yield f"{own}.mlp.fc2", (f"{block}/MlpBlock_{mlp}/Dense_1",)
    # Not `fc_norm`: these models normalise before they pool.
    yield "norm", ("Transformer/encoder_norm",)
    yield "head", ("head",)


def _mixer_layers(depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "stem.proj", ("stem",)
    for i in range(depth):
        own, block = f"blocks.{i}", f"MixerBlock_{i}"
        yield f"{own}.norm1", (f"{block}/LayerNorm_0",)
        yield f"{own}.norm2", (f"{block}/LayerNorm_1",)
        for mlp, source in (("mlp_tokens", "token_mixing"), ("mlp_channels", "channel_mixing")):
            yield f"{own}.{mlp}.fc1", (f"{block}/{source}/Dense_0",)
            yield f"{own}.{mlp}.fc2", (f"{block}/{source}/Dense_1",)
    yield "norm", ("pre_head_layer_norm",)
    yield "head", ("head",)


def _converted(name: str, array: "torch.Tensor", model: "nn.Module") -> "torch.Tensor":
    if not name.endswith("/kernel"):
        return array
    if name.endswith("/out/kernel"):
        _check_heads(name, array, model, heads_at=0)
        return array.flatten(0, 1).T  # (H, d, D) to (D, H · d)
    if array.dim() == 4:
        return array.permute(3, 2, 0, 1)
    return array.T if array.dim() == 2 else array


def _joined(parts: "Mapping[str, torch.Tensor]", model: "nn.Module") -> "torch.Tensor":
    """Query, key and value: kernels (D, H, d) to (3 · H · d, D), biases (H, d) to (3 · H · d)."""
    import torch

    for name, array in parts.items():
        _check_heads(name, array, model, heads_at=1 if name.endswith("/kernel") else 0)
    if len({array.shape for array in parts.values()}) > 1:
        raise ValueError(f"holds {' and '.join(parts)} of different shapes")
    # A kernel's transpose puts its outputs first; a bias has nothing else.
    return torch.cat([a.flatten(1).T if a.dim() == 3 else a.flatten() for a in parts.values()])


def _check_heads(name: str, array: "torch.Tensor", model: "nn.Module", heads_at: int) -> None:
    """Another number of heads would fit once flattened, and compute something else."""
    heads: int = model.blocks[0].attn.num_heads  # type: ignore[index, union-attr]
    if array.dim() != (3 if name.endswith("/kernel") else 2) or array.shape[heads_at] != heads:
        shape = " x ".join(map(str, array.shape)) or "one number"
        raise ValueError(f"holds {name} of {shape}, where the model has {heads} heads")
