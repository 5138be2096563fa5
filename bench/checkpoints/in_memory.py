"""What a model in memory is: the digest of what decides its logits, and a module that runs it as it is."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from bench.errors import BenchError
from bench.foreign.sources import source_of
from bench.records import digest

_WRAPPERS = ("module", "_orig_mod")
"""Where DataParallel, DistributedDataParallel and torch.compile keep what they run."""
_PLAIN = (str, int, float, complex, bytes, bool, type(None))
_DEEPEST = 6
"""Steps from a function to a module or an array that it uses."""


class InMemory(nn.Module):
    """Runs a model as it is, in its own precision and under its owner's default device, and gives its logits alone.

    Args:
        model: a module or another callable, from normalised images (N, 3, H, W) to logits (N, K), or to an output that
            has them as `logits` or as its first part.
    """

    def __init__(self, model: Callable[[Tensor], Any]) -> None:
        super().__init__()
        if isinstance(model, nn.Module):
            self.inner = model
        else:
            object.__setattr__(self, "inner", model)
        self._dtype = dtype_of(model)
        self._device = torch.get_default_device()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # such as timm's forward_features
            if name == "inner":
                raise
            return getattr(self.inner, name)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, K) logits in fp32."""
        with self._device if self._device.type != "cpu" else contextlib.nullcontext():
            output = self.inner(images_NCHW.to(self._dtype))
        if not isinstance(output, Tensor):
            output = _logits_of(output)
        return output.float()


def _logits_of(output: Any) -> Tensor:
    for logits in (getattr(output, "logits", None), output.get("logits") if isinstance(output, dict) else None):
        if isinstance(logits, Tensor):
            return logits
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise BenchError(f"the model gives a value of type {type(output).__name__}, in which there are no logits.")


def dtype_of(model: object) -> torch.dtype:
    """The precision of a model's parameters; fp32 where it has none."""
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def device_of(model: object) -> str | None:
    """Where a model's parameters are, as torch names it; None where it has none."""
    modules = [model] if isinstance(model, nn.Module) else _inside(model)[0]
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            return str(tensor.device)
    return None


@contextlib.contextmanager
def borrowed(model: object) -> Iterator[None]:
    """Put a model back as it was: the mode of each of its parts, and which parameters have gradients."""
    modules = [model] if isinstance(model, nn.Module) else _inside(model)[0]
    modes = {part: part.training for module in modules for part in module.modules()}
    wanted = {parameter: parameter.requires_grad for module in modules for parameter in module.parameters()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
        for parameter, requires in wanted.items():
            parameter.requires_grad_(requires)


# -- identity -----------------------------------------------------------------------------------------------------


def identity_of(model: object) -> str:
    """Digest of what decides a model's logits: its arrays, its parts with their settings, and its source.

    A function's arrays are those of the modules and tensors that it uses: in closures, attributes and globals.
    """
    modules, tensors = ([_bare(model)], []) if isinstance(model, nn.Module) else _inside(model)
    code: list[object] = [] if isinstance(model, nn.Module) else [model]
    described: list[object] = [_array(tensor) for tensor in tensors]
    for module in modules:
        described.append([[name, _array(tensor)] for name, tensor in _arrays(module)])
        for name, part in module.named_modules():
            described.append([name, f"{type(part).__module__}.{type(part).__qualname__}", _settings(part)])
            code += [type(part), *_functions(part)]
    # Classes come by the hundred, and each is looked at once.
    return digest([described, source_of(*dict.fromkeys(code)), getattr(modules[0], "code", "") if modules else ""])


def _bare(model: nn.Module) -> nn.Module:
    """The module in what only runs it elsewhere or faster: the same model."""
    for name in _WRAPPERS:
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and type(model).__module__.startswith("torch."):
            return _bare(inner)
    return model


def _arrays(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and all buffers, by name; and tensors that are plain attributes."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{name}.{attribute}", value


def _array(tensor: Tensor) -> list[str]:
    whole = tensor.detach().cpu().contiguous()
    content = whole.flatten().view(torch.uint8) if whole.numel() else whole
    return [str(whole.dtype), str(tuple(whole.shape)), xxhash.xxh3_128_hexdigest(content.numpy().tobytes())]


def _settings(part: nn.Module) -> list[list[str]]:
    """Attributes that are plain values: strides, heads, rates; not whether it is in training."""
    return [
        [name, repr(value)] for name, value in sorted(vars(part).items()) if name != "training" and _is_plain(value)
    ]


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return bool(value) and all(map(_is_plain, (*value.keys(), *value.values())))
    return isinstance(value, (*_PLAIN, torch.dtype))


def _functions(part: nn.Module) -> list[object]:
    """What a part calls that is no part: activations that are functions, hooks, a forward of its own."""
    hooks = (*part._forward_pre_hooks.values(), *part._forward_hooks.values())
    return [*(value for value in vars(part).values() if isinstance(value, FunctionType | functools.partial)), *hooks]


def _inside(called: object) -> tuple[list[nn.Module], list[Tensor]]:
    """The modules and tensors that a callable uses, as far as closures, attributes, arguments and globals tell."""
    modules: dict[int, nn.Module] = {}
    tensors: dict[int, Tensor] = {}
    seen: set[int] = set()
    waiting = [(called, 0)]
    while waiting:
        part, depth = waiting.pop()
        if id(part) in seen or depth > _DEEPEST or isinstance(part, (*_PLAIN, type)):
            continue
        seen.add(id(part))
        if isinstance(part, nn.Module):
            modules[id(part)] = _bare(part)
        elif isinstance(part, Tensor):
            tensors[id(part)] = part
        elif isinstance(part, np.ndarray) and part.dtype != object:
            tensors[id(part)] = torch.from_numpy(part.copy())
        else:
            waiting += [(inner, depth + 1) for inner in _used_by(part)]
    return list(modules.values()), list(tensors.values())


def _used_by(part: object) -> list[object]:
    match part:
        case FunctionType():
            cells = [cell.cell_contents for cell in part.__closure__ or () if _is_bound(cell)]
            named = [part.__globals__[name] for name in part.__code__.co_names if name in part.__globals__]
            defaults = [*(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values()]
            return [*cells, *named, *defaults, getattr(part, "__wrapped__", None)]
        case MethodType():
            return [part.__func__, part.__self__]
        case functools.partial():
            return [part.func, *part.args, *part.keywords.values()]
        case dict():
            return list(part.values())
        case list() | tuple():
            return list(part)
    module = type(part).__module__
    if module.partition(".")[0] in ("builtins", "torch", "numpy"):
        return []
    return [*vars(part).values(), vars(type(part)).get("__call__")] if hasattr(part, "__dict__") else []


def _is_bound(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - which raises where it is not
    except ValueError:
        return False
    return True
