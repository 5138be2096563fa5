"""What torch would do on a CUDA device, counted on tensors that hold no data: no device is needed.

    with fake_cuda():
        images = torch.empty(256, 3, 224, 224, dtype=torch.uint8, device="cuda")
        with Counts() as counts:
            corrupt(corruption, images, 3, seed=0, ids=ids)
    print(counts.kernels, counts.bytes, counts.transfers)

Every operation runs for its shapes, types and devices alone. One that takes tensors of two devices fails as it would on
a device; so does one whose shape depends on values (a mask's rows). What is copied to or from the device is noted, and
so is each value that is read back: it is then taken for 0.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.machine import tables

aten = torch.ops.aten
_NO_KERNEL = {
    aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty, aten.new_empty_strided, aten.detach, aten.alias,
    aten.lift_fresh, aten._reshape_alias, aten.resize_, aten.set_, aten.record_stream,
}  # fmt: skip
_PER_AXIS = {aten._fft_r2c, aten._fft_c2c, aten._fft_c2r}
"""One kernel for each axis, which reads and writes everything."""


@dataclass
class Counts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What was asked of the device while it is entered."""

    kernels: int = 0
    bytes: int = 0
    """Read and written by kernels; what they keep in a cache is read once."""
    flops: int = 0
    """Of matrix products and convolutions."""
    transfers: list[str] = field(default_factory=list)
    """Copies between host and device, in words."""
    truth: bool = False
    """What a truth value that is read back is taken for."""
    by_operation: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # such as to ask for a tensor's device
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return self._read_back(args[0])
        if func.overloadpacket not in flop_registry and func._can_decompose():
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        self._note(func, args, kwargs, made)
        return made

    def _read_back(self, tensor: Tensor) -> bool | float:
        if tensor.device.type == "cuda":
            self.transfers.append(f"a value of {tensor.dtype} to the host")
        return self.truth if tensor.dtype == torch.bool else _zero(tensor)

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
        read, written = _tensors((args, kwargs)), _tensors(made)
        devices = {tensor.device.type for tensor in (*read, *written)}
        if "cuda" not in devices:
            return
        packet = func.overloadpacket
        if packet in (aten._to_copy, aten.copy_) and "cpu" in devices:
            target = (written or read)[0]
            source = read[-1]
            if target.device.type != source.device.type:
                way = "to the device" if target.device.type == "cuda" else "to the host"
                self.transfers.append(f"{tuple(source.shape)} {source.dtype} {way}")
                return
        if packet in _NO_KERNEL or _is_view(func):
            return
        passes = len(args[1]) if packet in _PER_AXIS else 1
        changed = _changed(func, args, kwargs)
        # What is called `out` is not read.
        new = {id(tensor) for name, tensor in changed if name.startswith("out")}
        moved = {(id(tensor), "read"): tensor for tensor in read if id(tensor) not in new}
        moved |= {(id(tensor), "written"): tensor for tensor in (*written, *(tensor for _, tensor in changed))}
        self.kernels += passes
        self.bytes += passes * sum(_size(tensor) for tensor in moved.values())
        self.by_operation[str(func)] += passes
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=made)


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The tensors that an operation writes into, under the names that it has for them."""
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    writes = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [(name, tensor) for name in writes if name in given for tensor in _tensors(given[name])]


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _size(tensor: Tensor) -> int:
    """Bytes that a tensor's values take in memory: what is repeated by a stride of 0 counts once."""
    shape = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(shape) * tensor.element_size() if tensor.numel() else 0


def _zero(tensor: Tensor) -> bool | float:
    if tensor.dtype == torch.bool:
        return False
    return 0.0 if tensor.is_floating_point() else 0


def _listed(tensor: Tensor) -> Any:
    """`Tensor.tolist` without data: zeros, by one copy to the host."""
    tensor.cpu()
    values: Any = [_zero(tensor)] * tensor.numel()
    for size in reversed(tensor.shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values if tensor.dim() else values[0]


@contextlib.contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within, tensors hold no data, and those made on "cuda" need no device."""
    before = FakeTensor.tolist
    tables._kept.cache_clear()
    FakeTensor.tolist = _listed  # type: ignore[method-assign, assignment]
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            yield mode
    finally:
        FakeTensor.tolist = before  # type: ignore[method-assign]
        tables._kept.cache_clear()
