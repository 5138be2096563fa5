"""Torch as it starts: what a notebook has set for all of its process decides no number here."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from bench.foreign.fp32 import fp32_settings, plain, set_fp32_settings

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
        cudnn = torch.backends.cudnn
        _set(stack, lambda on: setattr(cudnn, "benchmark", on), cudnn.benchmark, False)
        _set(stack, lambda on: setattr(cudnn, "deterministic", on), cudnn.deterministic, False)
        stack.enter_context(products_of_fp32(tf32_convolutions=True))
        yield


@contextlib.contextmanager
def products_of_fp32(*, tf32_convolutions: bool) -> Iterator[None]:
    """Run with matrix products in fp32 itself: without the TF32 or bfloat16 that a caller may have allowed.

    Args:
        tf32_convolutions: whether CUDA's convolutions may go by TF32, as torch starts; if not, they are in fp32 too.
    """
    before = fp32_settings()
    set_fp32_settings(plain(tf32_convolutions=tf32_convolutions))
    try:
        yield
    finally:
        set_fp32_settings(before)


def _set(stack: contextlib.ExitStack, change: Callable[[_T], object], before: _T, wanted: _T) -> None:
    """Make a change until the stack is closed, where it is one: some cost an import."""
    if before != wanted:
        change(wanted)
        stack.callback(change, before)
