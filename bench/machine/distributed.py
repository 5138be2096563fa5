"""Several processes that measure one cell together, as `torchrun` starts them; alone where it did not.

What they are is read from the environment, without torch or numpy, so that a command knows at once whether it is the
one that plans.
Every function that waits for the others must be called by all of them, in the same order.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from bench.errors import BenchError, RunError, one_line

if TYPE_CHECKING:
    from torch import Tensor

    from bench.records import Array

_T = TypeVar("_T")
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_DIGITS = 6
"""Of a number of processes, at most."""
_PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for the others: the first may measure other cells meanwhile. One that dies ends all: its
connections close, and torchrun stops the rest."""


def rank() -> int:
    """Which of the processes this is, from 0."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many processes there are."""
    return _number("WORLD_SIZE", 1)


def is_main() -> bool:
    """Whether this process is the one that plans, stores and prints."""
    return rank() == 0


@contextlib.contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the other processes for a while; nothing where there is no other.

    Args:
        device: that the run was given, `cpu` or `cuda`.

    Yields:
        This process's own device: `cuda:1` of the second process on a machine, say.
    """
    if world_size() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if device.startswith("cuda"):
        # What is agreed on in words and numbers goes over the CPU, gradients over NCCL.
        device, backend = f"cuda:{_number('LOCAL_RANK', 0)}", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    with _among_others():
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _among_others() -> Iterator[None]:
    """Turn what torch raises where another process is gone into one sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"another process of this run cannot be reached ({one_line(error)}); what it wrote before says why. "
            "Finished cells are stored, and the same command goes on from there."
        ) from error


def broadcast(value: _T) -> _T:
    """What the first process has as `value`, in all of them."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    with _among_others():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def together(work: Callable[[], _T]) -> _T:
    """Do what each process does by itself, and go on only if all of them could.

    Without this, one that fails would leave the others waiting for it.

    Args:
        work: waits for no other process.

    Raises:
        RunError: the work of another process failed.
    """
    if world_size() == 1:
        return work()
    import torch
    import torch.distributed as dist

    done: list[_T] = []
    fault: Exception | None = None
    try:
        done.append(work())
    except Exception as error:
        fault = error
    failed = torch.tensor(int(fault is not None))
    with _among_others():
        dist.all_reduce(failed, dist.ReduceOp.MAX)
    if failed:
        messages = gather("" if fault is None else one_line(fault))
        if fault is not None:
            raise fault
        first = next(number for number, message in enumerate(messages) if message)
        raise RunError(f"process {first} of this run failed: {messages[first]}")
    return done[0]


def gather(value: _T) -> list[_T]:
    """The values of all processes, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[_T] = [value] * world_size()
    with _among_others():
        dist.all_gather_object(values, value)
    return values


def sum_(tensors: Sequence["Tensor"]) -> None:
    """Replace tensors of one device and floating type, (…) each, by their sums over all processes."""
    if world_size() == 1 or not tensors:
        return
    import torch
    import torch.distributed as dist

    # One message for all: hundreds of small ones would each wait for the network.
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    with _among_others():
        dist.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def own_rows(count: int) -> "Array":
    """(m,) int64: the rows of `count` that this process takes. A stride, so that none is padded or seen twice."""
    import numpy as np

    return np.arange(rank(), count, world_size())


def gather_rows(columns: Mapping[str, "Array"]) -> dict[str, "Array"]:
    """Join what the processes have for their `own_rows`.

    Args:
        columns: name to an array (m, …); a process without rows may give none.

    Returns:
        Name to an array (n, …), in the order of all rows.
    """
    import numpy as np

    parts = gather(dict(columns))
    first = next((part for part in parts if part), {})
    joined = {}
    for name, column in first.items():
        pieces = [part.get(name, column[:0]) for part in parts]
        joined[name] = np.empty((sum(map(len, pieces)), *column.shape[1:]), column.dtype)
        for number, piece in enumerate(pieces):
            joined[name][number :: len(pieces)] = piece
    return joined


def _number(variable: str, alone: int) -> int:
    """A number of the environment; clusters set some of these without torchrun, so all must be there.

    Raises:
        BenchError: it is no number.
    """
    if not all(name in os.environ for name in _VARIABLES):
        return alone
    text = os.environ[variable]
    if not (text.isdecimal() and text.isascii() and len(text) <= _DIGITS):
        raise BenchError(
            f"the environment has {variable}={text!r}, and torchrun sets a number; unset it, or use torchrun."
        )
    return int(text)
