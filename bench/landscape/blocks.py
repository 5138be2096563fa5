"""A module's weights by block: embedding, each attention or token mixing, each MLP or channel mixing, head.

Models whose elements are no such pairs are cut by stage (ResNets), or else by the elements of their longest parts.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from bench.errors import BenchError

Kind = Literal["embedding", "attention", "tokens", "mlp", "channels", "stage", "head"]
"""What a block does; a `stage` is any part between embedding and head that is not cut further."""

_PAIRS: dict[str, tuple[Kind, Kind]] = {"mlp_channels": ("tokens", "channels"), "attn": ("attention", "mlp")}
"""The child that a transformer's or Mixer's layer is known by, and what its two halves are."""
_HALVES = (re.compile(r"attn\w*|\w+_tokens|\w*1"), re.compile(r"mlp|mlp_channels|\w*2"))
"""A layer's children that belong to its first and second half: norms and scales are numbered."""
_NUMBERED = re.compile(r"\w*\d")
_NO_STACK = re.compile(r"(stem|patch_embed|head|classifier)\w*")
"""How timm calls what stands before and after the layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Weights that belong together."""

    name: str
    """Unique in its module, such as `embedding`, `blocks.3.attention`, `layer2` or `head`."""
    kind: Kind
    parameters: tuple[str, ...]
    """Their names in the module."""


def blocks_of(module: nn.Module, names: Collection[str]) -> list[Block]:
    """Cut a module's weights into blocks, each weight into one, in the module's order.

    What comes before the first stack of layers is the embedding, as are weights of the module itself (class tokens,
    positions), and what comes after the last is the head, with its norm. A module without stacks has a block a child.

    Args:
        module: any; one that only wraps another, as that of a checkpoint does, is looked into.
        names: of the weights that count.

    Raises:
        BenchError: none of them is the module's.
    """
    path, model = _unwrapped(module)
    counted = [name for name, _ in module.named_parameters() if name in names]
    if not counted:
        raise BenchError(f"{type(model).__name__} has none of the weights that were to be cut into blocks.")
    places = [(label, kind, path + prefix) for label, kind, prefix in _places(model)]
    found: dict[tuple[str, Kind], list[str]] = {}
    for name in counted:
        label, kind = next((label, kind) for label, kind, prefix in places if _within(name, prefix))
        found.setdefault((label, kind), []).append(name)
    return [Block(name=label, kind=kind, parameters=tuple(names)) for (label, kind), names in found.items()]


def _within(name: str, prefix: str) -> bool:
    return prefix in ("", name) or name.startswith(prefix if prefix.endswith(".") else f"{prefix}.")


def _unwrapped(module: nn.Module) -> tuple[str, nn.Module]:
    """The innermost module that holds all weights by itself or in several children, and its prefix."""
    path = ""
    while True:
        children = [(name, child) for name, child in module.named_children() if _has_weights(child)]
        if len(children) != 1 or any(True for _ in module.parameters(recurse=False)):
            return path, module
        ((name, child),) = children
        path, module = f"{path}{name}.", child


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _places(model: nn.Module) -> Iterator[tuple[str, Kind, str]]:
    """Name, kind and prefix of each block, the more special prefixes first; the last takes what is left."""
    children = list(model.named_children())
    stacks = [place for place, (name, child) in enumerate(children) if _is_stack(name, child)]
    for place, (name, child) in enumerate(children):
        if not stacks:
            yield name, "stage", name
        elif place > stacks[-1]:
            yield "head", "head", name
        elif place >= stacks[0]:
            yield from _stack(name, child)
    yield "embedding", "embedding", ""


def _is_stack(name: str, child: nn.Module) -> bool:
    """Whether it is a stage or a sequence of layers, which are made of others: a stem's layers are single ones."""
    several = isinstance(child, nn.Sequential | nn.ModuleList) or _NUMBERED.fullmatch(name) is not None
    deep = any(_has_weights(part) for layer in child.children() for part in layer.children())
    return several and deep and not _NO_STACK.fullmatch(name)


def _stack(name: str, child: nn.Module) -> Iterator[tuple[str, Kind, str]]:
    """The blocks of a child between the first stack and the last.

    A stack whose name is numbered (`layer1` … `layer4`) is one of several stages; another one is a list of them.
    """
    if _NUMBERED.fullmatch(name) or not _is_stack(name, child):
        yield name, "stage", name
        return
    for number, layer in child.named_children():
        halves = _halves(layer)
        for part, kind in halves:
            yield f"{name}.{number}.{kind}", kind, f"{name}.{number}.{part}"
        if not halves:
            yield f"{name}.{number}", "stage", f"{name}.{number}"


def _halves(layer: nn.Module) -> list[tuple[str, Kind]]:
    """Each child and weight of a transformer's layer with its half's kind; empty where the layer is no such pair."""
    kinds = next((kinds for child, kinds in _PAIRS.items() if hasattr(layer, child)), None)
    if kinds is None:
        return []
    halves: list[tuple[str, Kind]] = []
    for part in dict.fromkeys(name.partition(".")[0] for name, _ in layer.named_parameters()):
        for pattern, kind in zip(_HALVES, kinds, strict=True):
            if pattern.fullmatch(part):
                halves.append((part, kind))
                break
        else:
            return []
    return halves if {kind for _, kind in halves} == set(kinds) else []
