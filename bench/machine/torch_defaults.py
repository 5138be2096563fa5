"""Torch as it starts: what a notebook has set for all of its process decides no number here."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Run with the settings that torch starts with, and put those of the caller back afterwards.

    These are the default dtype and device, gradients, inference mode, autocast, deterministic algorithms, and the
    precisions and choices of matrix products and convolutions. It may decorate a function, but no generator.
    """
    import torch

    with contextlib.ExitStack() as stack:
        _set(stack, torch.set_default_dtype, torch.get_default_dtype(), torch.float32)
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        deterministic = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        _set(
            stack, lambda how: torch.use_deterministic_algorithms(how[0], warn_only=how[1]), deterministic, (False,) * 2
        )
        _set(stack, lambda on: setattr(torch.backends.cudnn, "benchmark", on), torch.backends.cudnn.benchmark, False)
        cpu: Any = torch.backends.mkldnn  # its types lack what it has
        for products in (torch.backends.cuda.matmul, cpu.matmul, cpu.conv):
            _keep_fp32(stack, products)
        yield


def _set(stack: contextlib.ExitStack, change: Callable[[_T], object], before: _T, wanted: _T) -> None:
    """Make a change until the stack is closed, where it is one: some cost an import."""
    if before != wanted:
        change(wanted)
        stack.callback(change, before)


def _keep_fp32(stack: contextlib.ExitStack, products: Any) -> None:
    """Without TF32 or bfloat16 in the place of fp32, which `set_float32_matmul_precision` allows."""
    before = getattr(products, "fp32_precision", "none")  # torch 2.8 has none
    if before not in ("none", "ieee"):
        _set(stack, lambda how: setattr(products, "fp32_precision", how), before, "ieee")
