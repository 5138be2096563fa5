"""The arrays of a file into the model that is made for them: each must fit, and none may be left over."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.checkpoints.npz import is_flax, to_timm
from bench.errors import BenchError, one_line
from bench.records import Checkpoint
from bench.text import some

if TYPE_CHECKING:
    import torch
    from torch import nn

_WRAPPED = "model."
"""What stands before every name where the model is an attribute of what was trained, as Lightning's are."""


def fill(model: "nn.Module", arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint) -> None:
    """Copy the arrays of a checkpoint's file into its model, casting them to the model's precision.

    Args:
        model: the architecture with values that don't count.
        arrays: of the file, by name.
        checkpoint: the entry.

    Raises:
        BenchError: an array does not fit, is left over or is missing, or holds what no training gives.
    """
    if is_flax(arrays):
        try:
            arrays = to_timm(arrays, model)
        except ValueError as error:
            raise _misfit(checkpoint, str(error)) from None
    own = model.state_dict()
    arrays = _with_ties(own, _named_alike(own, arrays, checkpoint), checkpoint)
    missing, extra = sorted(own.keys() - arrays.keys()), sorted(arrays.keys() - own.keys())
    if missing or extra:
        parts = [f"lacks {some(missing)}"] * bool(missing) + [f"has unused {some(extra)}"] * bool(extra)
        raise _misfit(checkpoint, " and ".join(parts))
    _check_shapes(own, arrays, checkpoint)
    for name, array in arrays.items():
        if _kind(array) != _kind(own[name]):
            raise _misfit(checkpoint, f"holds {name} as {array.dtype}, not {own[name].dtype}")
    try:
        model.load_state_dict(dict(arrays))
    except RuntimeError as error:  # of a type that torch can store and not convert
        raise _misfit(checkpoint, f"can't be copied ({one_line(error)})") from None
    _check_finite(model, checkpoint)


def _named_alike(
    own: "Mapping[str, torch.Tensor]", arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint
) -> "Mapping[str, torch.Tensor]":
    """The arrays under the model's names: as the entry says, or as timm or Lightning would have written them."""
    if checkpoint.in_order:
        return _in_order(own, arrays, checkpoint)
    if checkpoint.rename:
        return _renamed(arrays, checkpoint)
    if _fits(own, arrays):
        return arrays
    bare = {name.removeprefix(_WRAPPED): array for name, array in arrays.items()}
    if len(bare) == len(arrays) and all(name.startswith(_WRAPPED) for name in arrays) and bare.keys() & own.keys():
        return bare
    converted = _as_timm_reads(arrays, checkpoint)
    return converted if converted is not None and _fits(own, converted) else arrays


def _fits(own: "Mapping[str, torch.Tensor]", arrays: "Mapping[str, torch.Tensor]") -> bool:
    return own.keys() == arrays.keys() and all(own[name].shape == arrays[name].shape for name in own)


def _renamed(arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint) -> "dict[str, torch.Tensor]":
    renamed: dict[str, torch.Tensor] = {}
    unused = set(checkpoint.rename)
    for name, array in arrays.items():
        begins = max((old for old in checkpoint.rename if name.startswith(old)), key=len, default=None)
        unused.discard(begins or "")
        new = name if begins is None else f"{checkpoint.rename[begins]}{name.removeprefix(begins)}"
        if new in renamed:
            raise _misfit(checkpoint, f"holds two arrays that rename calls {new}")
        renamed[new] = array
    if unused:
        raise _misfit(checkpoint, f"has no names that begin with {some(sorted(unused))}, which rename has")
    return renamed


def _in_order(
    own: "Mapping[str, torch.Tensor]", arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint
) -> "dict[str, torch.Tensor]":
    if len(own) != len(arrays):
        raise _misfit(checkpoint, f"holds {len(arrays)} arrays, and in order {len(own)} were wanted")
    for (name, mine), (theirs, array) in zip(own.items(), arrays.items(), strict=True):
        if mine.shape != array.shape:
            raise _misfit(
                checkpoint, f"holds {theirs} of {_shape(array)} in the place of {name} of {_shape(mine)}, in order"
            )
    return dict(zip(own, arrays.values(), strict=True))


def _as_timm_reads(arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint) -> "dict[str, torch.Tensor] | None":
    """The arrays as timm converts those that it publishes under other names; None where it does not."""
    import timm

    if not checkpoint.arch or not timm.is_model(checkpoint.arch):
        return None
    outputs = len((checkpoint.head or checkpoint.class_space).classes)
    try:
        config = timm.get_pretrained_cfg(checkpoint.arch)
        if config is None or config.num_classes != outputs:  # timm would leave the classifier as it is, at random
            return None
        model = timm.create_model(
            checkpoint.arch, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(arrays), "source": None}
        )
        return dict(model.state_dict())
    except Exception:  # files of others than timm's: what does not fit is said of the file as it is
        return None


def _with_ties(
    own: "Mapping[str, torch.Tensor]", arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint
) -> "Mapping[str, torch.Tensor]":
    """The arrays, under every name that the model has for one: safetensors keeps such an array under a single name."""
    names: dict[object, list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel():
            names.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    whole = dict(arrays)
    for tied in names.values():
        there = [name for name in tied if name in arrays]
        for name in there[1:]:
            if not arrays[name].equal(arrays[there[0]]):
                raise _misfit(checkpoint, f"holds {there[0]} and {name}, which are one array in the model, differently")
        if there:
            whole |= {name: arrays[there[0]] for name in tied if name not in arrays}
    return whole


def _kind(tensor: "torch.Tensor") -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _check_finite(model: "nn.Module", checkpoint: Checkpoint) -> None:
    """No NaN, and no infinity in what was learnt; a buffer may be a mask of infinities."""
    wrong = [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]
    wrong += [name for name, tensor in model.named_buffers() if tensor.isnan().any()]
    if wrong:
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {checkpoint.weights} holds NaN or infinite numbers in {some(wrong)}; its "
            "training diverged, or its numbers are too large for fp32: name other weights."
        )


def _check_shapes(
    own: "Mapping[str, torch.Tensor]", arrays: "Mapping[str, torch.Tensor]", checkpoint: Checkpoint
) -> None:
    wrong = [name for name in own if own[name].shape != arrays[name].shape]
    if not wrong:
        return
    space = checkpoint.class_space
    heads = {_head_size(arrays[name], own[name], len(space.classes)) for name in wrong}
    if len(heads) == 1 and None not in heads:
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: the head in {checkpoint.weights} has {heads.pop()} outputs, "
            f"but class space {space.name!r} has {len(space.classes)}; name the data set or the "
            "classes that it was trained on."
        )
    shapes = [f"{name} of {_shape(arrays[name])} instead of {_shape(own[name])}" for name in wrong]
    raise _misfit(checkpoint, f"has {some(shapes)}")


def _head_size(array: "torch.Tensor", own: "torch.Tensor", classes: int) -> int | None:
    """How many classes `array` is for, if it differs from the model's own in the number of classes alone."""
    if own.dim() == 0 or own.shape[0] != classes or array.shape[1:] != own.shape[1:]:
        return None
    return array.shape[0] if array.dim() == own.dim() else None


def _misfit(checkpoint: Checkpoint, how: str) -> BenchError:
    source = checkpoint.builder or checkpoint.arch
    return BenchError(
        f"checkpoint {checkpoint.name!r}: {checkpoint.weights} does not fit {source}: it {how}. "
        "Correct arch or arch_args, or name the right file."
    )


def _shape(array: "torch.Tensor") -> str:
    return " x ".join(map(str, array.shape)) or "one number"
