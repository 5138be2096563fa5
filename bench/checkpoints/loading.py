"""From a checkpoint to the module that is measured: images in [0, 1] in, logits out.

Legend: N images, height H and width W in pixels, K classes. Importing this, and `model_digest`, stay free of
torch: plans are made without it.
"""

import contextlib
import functools
import importlib
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkpoints.fetch import check_digest, checked_digest, locate
from bench.checkpoints.filling import fill
from bench.checkpoints.memory import held_digest, held_module
from bench.checkpoints.weights import forget_digests, keeps_order, read_weights, weights_digest
from bench.errors import BenchError, UnknownNameError
from bench.foreign.faults import blamed, fault, is_interrupt
from bench.foreign.sources import remember, source_of
from bench.foreign.state import undisturbed_by
from bench.machine.torch_defaults import torch_defaults
from bench.records import Checkpoint, digest

if TYPE_CHECKING:
    import torch
    from torch import nn


def model_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of all that decides a checkpoint's logits: weights, architecture, preprocessing and classes.

    Raises:
        AbsentError: the weights lie elsewhere and are not on this machine yet.
        BenchError: the weights file is missing, or is not the one that the checkpoint's entry states.
    """
    return _model_digest(checkpoint, held_digest(checkpoint) or checked_digest(checkpoint))


def _model_digest(checkpoint: Checkpoint, weights: str) -> str:
    source = source_of(*builder_of(checkpoint), now=True)
    return digest(
        {
            "weights": weights,
            **({"state_dict": checkpoint.state_dict} if checkpoint.state_dict else {}),
            **({"rename": dict(checkpoint.rename)} if checkpoint.rename else {}),
            **({"in_order": True} if checkpoint.in_order else {}),
            "arch": checkpoint.arch,
            "builder": checkpoint.builder,
            **({"loader": checkpoint.loader} if checkpoint.loader else {}),
            "arch_args": dict(checkpoint.arch_args),
            "classes": checkpoint.class_space.digest,
            "input_size": checkpoint.input_size,
            "crop_ratio": float(checkpoint.crop_ratio),  # 1 and 1.0 are written differently in JSON
            "interpolation": checkpoint.interpolation,
            **({"crop_mode": checkpoint.crop_mode} if checkpoint.crop_mode != "center" else {}),
            **({"transform": checkpoint.transform} if checkpoint.transform else {}),
            **({"head": checkpoint.head.digest} if checkpoint.head else {}),
            "mean": [float(m) for m in checkpoint.mean],
            "std": [float(s) for s in checkpoint.std],
            **({"source": source} if source else {}),  # of a builder that is not ours
        }
    )


def builder_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The name of the code, other than timm's, that makes a checkpoint's module: empty where there is none."""
    if code := checkpoint.builder or checkpoint.loader:
        return (code,)
    if "timm" not in sys.modules:  # so nobody taught it an architecture yet
        return ()
    from timm.models import is_model, model_entrypoint

    made = model_entrypoint(checkpoint.arch).__module__ if is_model(checkpoint.arch) else "timm"
    return () if made.partition(".")[0] == "timm" else (made,)


@torch_defaults()
def load(
    checkpoint: Checkpoint, device: "str | torch.device", input_size: int | None = None, planned: str = ""
) -> "nn.Module":
    """Build a checkpoint's architecture and fill it with its weights.

    Args:
        checkpoint: the entry; every array of its file must fit and every parameter must be filled.
        device: where the module shall run.
        input_size: side of the images, pixels, where it is not the checkpoint's own. Position embeddings are
            interpolated by timm (`set_input_size`).
        planned: the model digest that it must have, by the bytes that are loaded; empty where any will do.

    Returns:
        A module in eval mode, fp32, without gradients, from images (N, 3, H, W) in [0, 1] to logits (N, K).
        The bare model, which takes normalised images, is its attribute `model`; `macs` are those of one image;
        `untrained` loads the same as `load_untrained` does.

    Raises:
        BenchError: the entry, the file and the architecture don't go together; the message says where. Or it is
            another model than the one that was planned.
    """
    if held_digest(checkpoint):
        return _assemble(held_module(checkpoint), checkpoint, device, input_size)
    path = locate(checkpoint)

    def check(weights: str) -> None:
        check_digest(checkpoint, weights, path)
        if planned and _model_digest(checkpoint, weights) != planned:
            forget_digests()
            raise BenchError("its weights have changed since this run was planned; run the same command again.")

    if checkpoint.loader:
        check(weights_digest(path))
        return _assemble(_load_by_code(checkpoint, path), checkpoint, device, input_size)
    if checkpoint.in_order and not keeps_order(path):
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {path} is safetensors, which sorts its arrays, so in_order can't be; say "
            "by rename what they are called."
        )
    arrays = read_weights(path, checkpoint.state_dict, check)
    model = _build(checkpoint)
    fill(model, arrays, checkpoint)
    return _assemble(model, checkpoint, device, input_size)


@torch_defaults()
def load_untrained(checkpoint: Checkpoint, device: "str | torch.device", input_size: int | None = None) -> "nn.Module":
    """Load as `load` does, with the architecture's first values in place of weights: to time what is not here yet."""
    if held_digest(checkpoint):
        return load(checkpoint, device, input_size)
    model = _load_by_code(checkpoint, None) if checkpoint.loader else _build(checkpoint)
    return _assemble(model, checkpoint, device, input_size)


def _assemble(
    model: "nn.Module", checkpoint: Checkpoint, device: "str | torch.device", input_size: int | None
) -> "nn.Module":
    """Set the input size, put normalisation in front, and try the module out."""
    size = input_size or checkpoint.input_size
    if size != checkpoint.input_size:
        _resize(model, size, checkpoint)
    if not held_digest(checkpoint):  # the caller's is run as it is
        model = model.float()
    module = _pixel_model_class()(model, checkpoint.mean, checkpoint.std, _places(checkpoint))
    module.to(device).eval().requires_grad_(False)
    module.macs = _try_out(module, size, checkpoint)  # type: ignore[assignment]  # torch types attributes as modules
    module.untrained = functools.partial(load_untrained, checkpoint, device, input_size)  # type: ignore[assignment]
    return module


@functools.cache
def _pixel_model_class() -> "Callable[..., nn.Module]":
    """The class around every model; made here because its base needs torch."""
    import torch
    from torch import nn

    class PixelModel(nn.Module):
        """Normalises images in [0, 1] and runs `model` on them, so that an epsilon is always in pixels."""

        mean: torch.Tensor
        std: torch.Tensor
        macs: int
        """Multiply-accumulates for one image: half of the floating-point operations that torch counts."""
        untrained: Callable[[], nn.Module]
        """Loads the architecture once more, with first values by torch's global generator in place of weights."""

        places: torch.Tensor | None
        """Where the classes stand among the outputs of `model`; None where they are its outputs."""

        def __init__(
            self, model: nn.Module, mean: Collection[float], std: Collection[float], places: Collection[int] | None
        ) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("places", None if places is None else torch.tensor(places), persistent=False)
            self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            # Divided in place: on a CPU the pages of one more fresh batch cost more than the division.
            logits_NK: torch.Tensor = self.model((images_NCHW - self.mean).div_(self.std))
            return logits_NK if self.places is None else logits_NK[:, self.places]

    return PixelModel


def _places(checkpoint: Checkpoint) -> tuple[int, ...] | None:
    """Where each of a checkpoint's classes stands among its module's outputs; None where they are all of these."""
    if checkpoint.head is None or checkpoint.head.digest == checkpoint.class_space.digest:
        return None
    place = {name: index for index, name in enumerate(checkpoint.head.classes)}
    return tuple(place[name] for name in checkpoint.class_space.classes)


def _build(checkpoint: Checkpoint) -> "nn.Module":
    """The architecture with values that don't count."""
    import torch
    from torch import nn

    make, arguments = _builder(checkpoint) if checkpoint.builder else _timm(checkpoint)
    source = checkpoint.builder or f"timm architecture {checkpoint.arch!r}"
    says = f"checkpoint {checkpoint.name!r}: {source} can't be built with {arguments} (correct arch_args)"
    with blamed(says, BenchError), undisturbed_by(*builder_of(checkpoint)), torch.random.fork_rng(devices=[]):
        # First values come from torch's global generator: it is put back.
        model = make(**arguments)
    if not isinstance(model, nn.Module):
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {source} must return a torch module, "
            f"not a value of type {type(model).__name__}."
        )
    _check_new(model, checkpoint)
    return model


_built: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""The parts with weights of their own of every model that was built and is still held by somebody."""


def _check_new(model: "nn.Module", checkpoint: Checkpoint) -> None:
    """A model that a builder gives twice would hold the weights of the second checkpoint in both."""
    parts = {part for part in model.modules() if part._parameters or part._buffers}
    if not parts.isdisjoint(_built):
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {checkpoint.builder or checkpoint.arch} gives a module, or a part of "
            "one, that it gave before and that may be in use; it must build a new one at each call."
        )
    _built.update(parts)


def _builder(checkpoint: Checkpoint) -> tuple[Callable[..., object], dict[str, Any]]:
    module, _, function = checkpoint.builder.partition(":")
    builder = (
        f"checkpoint {checkpoint.name!r}: builder {checkpoint.builder!r}, which must be `package.module:function`,"
    )
    with blamed(f"{builder} can't be imported", BenchError), undisturbed_by(module):
        make = getattr(importlib.import_module(module), function)
        remember(module)
    return make, dict(checkpoint.arch_args)


def _load_by_code(checkpoint: Checkpoint, path: Path | None) -> "nn.Module":
    """What a loader makes of a checkpoint's file; None gives first values in the place of weights."""
    import torch
    from torch import nn

    name, _, function = checkpoint.loader.partition(":")
    says = f"checkpoint {checkpoint.name!r} can't be loaded by {checkpoint.loader}"
    with blamed(says, BenchError), undisturbed_by(name), torch.random.fork_rng(devices=[]):
        made = getattr(importlib.import_module(name), function)(checkpoint, path)
        remember(name)
    if not isinstance(made, nn.Module):
        raise BenchError(f"{says}: it must return a torch module, not a value of type {type(made).__name__}.")
    return made


def _timm(checkpoint: Checkpoint) -> tuple[Callable[..., object], dict[str, Any]]:
    import timm

    import bench.checkpoints.zoo.architectures  # noqa: F401 - timm then knows the shipped ones too

    # Also keeps out `hf-hub:…` and `local-dir:…`, which timm would fetch or read by itself.
    if not timm.is_model(checkpoint.arch):
        raise UnknownNameError("timm architecture", checkpoint.arch, timm.list_models())
    for name in checkpoint.arch_args:
        if name.startswith("pretrained") or name in ("num_classes", "checkpoint_path", "cache_dir"):
            raise BenchError(
                f"checkpoint {checkpoint.name!r}: arch_args must not set {name!r}; weights and classes have "
                "their own keys in the entry."
            )
    try:
        config = timm.get_pretrained_cfg(checkpoint.arch)
    except RuntimeError:  # what follows the dot is unknown
        names = timm.list_models(pretrained=True)
        raise UnknownNameError("timm architecture", checkpoint.arch, names) from None
    outputs = checkpoint.head or checkpoint.class_space
    arguments: dict[str, Any] = {"num_classes": len(outputs.classes)}
    if config is not None and config.fixed_input_size:  # timm's mark of architectures that take `img_size`
        arguments["img_size"] = checkpoint.input_size
    return functools.partial(_create, checkpoint.arch), {**arguments, **checkpoint.arch_args}


def _create(arch: str, *, act_layer: str | None = None, **arguments: Any) -> object:
    """Make timm's architecture without weights; activations go by name, which its MLP-Mixers don't take."""
    import timm
    from timm.layers.create_act import get_act_layer

    if act_layer is not None:
        arguments["act_layer"] = get_act_layer(act_layer)
    return timm.create_model(arch, pretrained=False, **arguments)


def _resize(model: "nn.Module", size: int, checkpoint: Checkpoint) -> None:
    """Set the model to another input size; one without that method takes any, or fails when tried out."""
    set_input_size: Callable[..., object] | None = getattr(model, "set_input_size", None)
    if set_input_size is None:
        return
    try:
        set_input_size((size, size))
    except BaseException as error:  # as it may be a builder's
        if is_interrupt(error):
            raise
        raise _not_its_own_size(checkpoint) from error


def _not_its_own_size(checkpoint: Checkpoint) -> BenchError:
    """The same for every size and checkpoint of an architecture: a suite may ask for many."""
    source, own = checkpoint.arch or checkpoint.builder or checkpoint.name, checkpoint.input_size
    return BenchError(
        f"architecture {source!r} does not take images of every size asked for, as it is built for {own}x{own} (its "
        "entry's input_size); what needs the others is left out."
    )


def _try_out(module: "nn.Module", size: int, checkpoint: Checkpoint) -> int:
    """Run one grey image: a wrong input size or head shows here and not in the middle of a run. Gives its MACs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    image_NCHW = torch.full((1, 3, size, size), 0.5, device=next(module.buffers()).device)
    try:
        theirs = undisturbed_by(*builder_of(checkpoint))
        with torch.no_grad(), theirs, _unfused(), FlopCounterMode(display=False) as counter:
            logits_NK = module(image_NCHW)
    except torch.OutOfMemoryError:
        raise  # says nothing against the checkpoint
    except BaseException as error:
        if is_interrupt(error):
            raise
        if size != checkpoint.input_size:
            raise _not_its_own_size(checkpoint) from error
        raise BenchError(
            f"checkpoint {checkpoint.name!r} does not run on images of {size}x{size} ({fault(error)}); "
            f"its entry says input_size {checkpoint.input_size}: run it at that size, or correct the entry."
        ) from error
    wanted = (1, len(checkpoint.class_space.classes))
    output = tuple(logits_NK.shape) if isinstance(logits_NK, torch.Tensor) else type(logits_NK).__name__
    if output != wanted:
        raise BenchError(
            f"checkpoint {checkpoint.name!r} must give logits of shape {wanted} for one image, "
            f"as class space {checkpoint.class_space.name!r} has {wanted[1]} classes; it gives {output}. "
            "Correct its class space or its architecture."
        )
    return int(counter.get_total_flops()) // 2


_fusing = threading.Lock()
"""Torch's switches are one for all threads: held while they are set for a count."""


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """With attention as products of matrices, which are counted; torch has no count of what some devices fuse it to."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with _fusing:
        fast_path = torch.backends.mha.get_fastpath_enabled()  # of nn.MultiheadAttention and nn.TransformerEncoder
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
