"""Which arrays of a file are the weights: training scripts save raw weights, their average and more side by side."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.text import some

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts save the state dict beside an optimiser and the like."""
ADVICE = "save its state dict with safetensors.torch.save_file and name that file instead"

_OPTIMISER = "param_groups"
"""Torch's optimisers save this key; the arrays beside it are no weights."""


def select(path: Path, content: object, name: str = "") -> "dict[str, torch.Tensor]":
    """The state dict that is meant, checked to be one.

    Args:
        path: the file, for messages.
        content: what is in it, of any kind.
        name: a key of the file (`model_ema`), keys of keys (`ema.module`), or what the names of the arrays begin with
            before a dot or a slash. Empty takes the only one: the file itself or what is under one of `WRAPPERS`.

    Raises:
        BenchError: there is no such state dict, it holds more than arrays, or there are others and none is named.
    """
    state = _named(path, content, name) if name else _only(path, content)
    if not isinstance(state, Mapping):
        raise BenchError(f"a state dict was wanted, but {path} holds {_describe(state)}; {ADVICE}.")
    if not state:
        raise BenchError(f"the state dict in {path} is empty; {ADVICE}.")
    for key, array in state.items():
        if not isinstance(key, str) or not _is_array(array):
            raise BenchError(
                f"a state dict (arrays by name) was wanted, but {path} holds {_describe(array)} under {key!r}; "
                f"{ADVICE}."
            )
    return dict(state)


def _named(path: Path, content: object, name: str) -> object:
    found = _under(content, name)
    if found is None:
        raise BenchError(
            f"{path} has no state dict {name!r}; it has {some(_alternatives(content), most=8) or 'none'}. "
            "Correct the entry's state_dict, or take it out."
        )
    return found


def _under(content: object, name: str) -> object | None:
    """What stands under a name: a key, a key of what is under a key, or arrays whose names begin so."""
    if not isinstance(content, Mapping):
        return None
    if name in content:
        inside: object = content[name]
        return inside
    for key in content:
        if isinstance(key, str) and name.startswith(f"{key}."):
            inside = _under(content[key], name.removeprefix(f"{key}."))
            if inside is not None:
                return inside
    beginnings = (f"{name}.", f"{name}/")
    texts = [key for key in content if isinstance(key, str)]
    return {key[len(name) + 1 :]: content[key] for key in texts if key.startswith(beginnings)} or None


def _only(path: Path, content: object) -> object:
    """The state dict where no other arrays stand beside it."""
    if not isinstance(content, Mapping):
        return content
    wrapped = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    if not wrapped and any(map(_is_tensor, content.values())):
        return content
    names = _alternatives(content)
    if not names or names == wrapped[:1]:
        return content[wrapped[0]] if wrapped else content
    what = "several state dicts" if len(names) > 1 else "its arrays under a key"
    raise BenchError(
        f"{path} holds {what} ({some(names, most=8)}); "
        f'say in the entry which is meant, as in state_dict = "{names[-1]}".'
    )


def _alternatives(content: object) -> list[str]:
    """Names that an entry may give, in the order of the file."""
    if not isinstance(content, Mapping):
        return []
    names: list[str] = []
    for key, value in content.items():
        if isinstance(key, str) and not _is_tensor(value) and _holds_arrays(value):
            names += [".".join([key, *keys]) for keys, _ in _state_dicts(value)] or [key]
    return names


def _state_dicts(value: object) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The mappings of arrays in a value, each with the keys that lead to it."""
    waiting: list[tuple[tuple[str, ...], object]] = [((), value)]
    seen: set[int] = set()  # a pickle may hold itself
    while waiting:
        keys, item = waiting.pop(0)
        if not isinstance(item, Mapping) or id(item) in seen or _OPTIMISER in item:
            continue
        seen.add(id(item))
        if any(map(_is_tensor, item.values())):
            yield keys, item
        else:
            waiting += [((*keys, key), inside) for key, inside in item.items() if isinstance(key, str)]


def _holds_arrays(value: object) -> bool:
    """Whether there are arrays of weights anywhere in a value; what an optimiser keeps is none, nor are counters."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if _is_tensor(item):
            return True
        if isinstance(item, Mapping):
            waiting += [] if _OPTIMISER in item else item.values()
        elif isinstance(item, list | tuple):
            waiting += item
    return False


def _is_tensor(value: object) -> bool:
    """Whether it may be weights: a tensor, whatever its layout, of more than one counted thing."""
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0


def _is_array(value: object) -> bool:
    """A dense tensor with its values: not sparse, nested, quantised or a mere shape."""
    import torch

    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and not (value.is_quantized or value.is_meta or value.is_nested)


def _describe(value: object) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a value of type {type(value).__name__}"
    return "an array" if _is_array(value) else "a sparse, quantised or empty tensor"
