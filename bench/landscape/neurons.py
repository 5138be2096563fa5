"""Which neurons are active: the share of units above zero after each activation, layer by layer.

After Chen, Hsieh & Gong 2022 (arXiv 2106.01548, section 4.4), who hold that SAM leaves fewer neurons active in the
first layers of ViTs and Mixers. A unit is a channel; its values at all tokens or places of an image are counted.
Legend: N images, L layers, U units of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import RunError

# By name: timm has classes of its own beside torch's. Gates (Sigmoid, Tanh) are never at rest, so they don't count.
_ACTIVATIONS = frozenset(
    name.casefold()
    for name in (
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish"),
        *("GELUTanh", "QuickGELU", "Swish", "SwishMe", "MishMe", "HardSwishMe", "HardMish", "HardMishMe"),
    )
)
_CHANNELS_LAST, _CHANNELS_FIRST = -1, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """What the units after one activation do on some images."""

    name: str
    """Of the activation's module; of one that is called several times, with the number of the call."""
    active_N: Tensor
    """float64 in [0, 1]: the share of the image's values above zero."""
    fired_U: Tensor
    """bool: units that some image activates at some token or place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What the units of a module do on all images."""

    layers: tuple[str, ...]
    """In the order in which they are run."""
    active_NL: Tensor
    """float64 in [0, 1], on the CPU: the share of the image's values above zero."""
    never_L: Tensor
    """float64 in [0, 1], on the CPU: the share of the layer's units that no image activates anywhere."""


@torch.no_grad()
def layers_of(module: nn.Module, images_NCHW: Tensor) -> list[Layer]:
    """Run some images and watch every activation.

    Args:
        module: images to logits.
        images_NCHW: as it takes them.

    Raises:
        RunError: it runs no activation that is a module of its own.
    """
    watch = _Watch(len(images_NCHW))
    handles = [part.register_forward_hook(watch.hook(name, part)) for name, part in module.named_modules()]
    try:
        module(images_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    if not watch.layers:
        raise RunError("no activation of this architecture is a module of its own, so its neurons cannot be watched.")
    return watch.layers


class _Watch:
    """Collects the layers of one forward pass."""

    def __init__(self, images: int) -> None:
        self.layers: list[Layer] = []
        self._images = images
        self._calls: dict[str, int] = {}
        self._channels = _CHANNELS_FIRST

    def hook(self, name: str, part: nn.Module) -> Any:
        """A forward hook for a part."""

        def note_channels(*_: Any) -> None:
            self._channels = _CHANNELS_LAST if isinstance(part, nn.Linear) else _CHANNELS_FIRST

        def note_units(_: nn.Module, __: Any, output: Any) -> None:
            self._add(name, output)

        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            return note_channels
        return note_units if type(part).__name__.casefold() in _ACTIVATIONS else lambda *_: None

    def _add(self, name: str, values: Tensor) -> None:
        if values.ndim < 2 or len(values) % self._images:
            return
        calls = self._calls[name] = self._calls.get(name, 0) + 1
        active = values > 0
        # Windows and patches may stand in the batch: an image's are one after another.
        by_image_N = active.reshape(self._images, -1).double().mean(dim=1)
        fired_U = active.movedim(self._channels, 0).flatten(1).any(dim=1)
        self.layers.append(Layer(name=f"{name}#{calls}" if calls > 1 else name, active_N=by_image_N, fired_U=fired_U))


def joined(pieces: Sequence[Sequence[Layer]]) -> Activity:
    """What pieces of all images, one after another, show together.

    Args:
        pieces: at least one; the layers of each as `layers_of` gives them.

    Raises:
        RunError: a module ran other layers for some images than for others.
    """
    names = [tuple(layer.name for layer in piece) for piece in pieces]
    if len(set(names)) > 1:
        raise RunError("this architecture runs other layers for some images than for others; its neurons have no rows.")
    by_layer = list(zip(*pieces, strict=True))
    never = [1 - torch.stack([layer.fired_U for layer in layers]).any(dim=0).double().mean() for layers in by_layer]
    active = [torch.cat([layer.active_N for layer in layers]) for layers in by_layer]
    return Activity(layers=names[0], active_NL=torch.stack(active, dim=1).cpu(), never_L=torch.stack(never).cpu())
