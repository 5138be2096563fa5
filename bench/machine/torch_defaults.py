"""Torch as it starts: what a notebook has set for all of its process decides no number here."""

import contextlib
import warnings
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
        cudnn = torch.backends.cudnn
        _set(stack, lambda on: setattr(cudnn, "benchmark", on), cudnn.benchmark, False)
        _set(stack, lambda on: setattr(cudnn, "deterministic", on), cudnn.deterministic, False)
        stack.enter_context(products_of_fp32(tf32_convolutions=True))
        yield


@contextlib.contextmanager
def products_of_fp32(*, tf32_convolutions: bool) -> Iterator[None]:
    """Run with matrix products in fp32 itself: without the TF32 or bfloat16 that a caller may have allowed.

    Torch has older settings and newer ones for this, and raises where an older one is read that the newer ones have
    made untrue. Here both say the same, and are as they were afterwards.

    Args:
        tf32_convolutions: whether CUDA's convolutions may go by TF32, as torch starts; if not, they are in fp32 too.
    """
    import torch

    newer = _newer_settings()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions advise against the older ones, which the first one has alone
        before = _cleared(newer)
        older = torch.get_float32_matmul_precision(), _tf32_by_the_older_setting()
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = tf32_convolutions
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]
        for setting, own in zip(newer, before, strict=True):
            setting.fp32_precision = own


def _newer_settings() -> list[Any]:
    """What has a precision of its own, or takes that of what stands before it; torch 2.8 has none."""
    import torch

    everywhere: Any = torch.backends  # its types lack what it has
    if not hasattr(everywhere, "fp32_precision"):
        return []
    cuda, cpu = everywhere.cudnn, everywhere.mkldnn
    return [everywhere, cuda, cuda.conv, cuda.rnn, everywhere.cuda.matmul, cpu.conv, cpu.rnn, cpu.matmul]


def _cleared(settings: list[Any]) -> list[str]:
    """Set precisions to `none`; what each had of its own, and did not take from those before it."""
    seen = [setting.fp32_precision for setting in settings]
    own = []
    for setting in settings:  # with those before it cleared, each shows its own, or what torch starts with
        own.append(setting.fp32_precision)
        setting.fp32_precision = "none"
    return [one if one == shown else "none" for one, shown in zip(own, seen, strict=True)]


def _tf32_by_the_older_setting() -> bool:
    """Whether CUDA's convolutions may go by TF32 as far as the older setting goes, while the newer ones say no."""
    import torch

    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:  # it says otherwise
        return True


def _set(stack: contextlib.ExitStack, change: Callable[[_T], object], before: _T, wanted: _T) -> None:
    """Make a change until the stack is closed, where it is one: some cost an import."""
    if before != wanted:
        change(wanted)
        stack.callback(change, before)
