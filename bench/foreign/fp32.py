"""How torch multiplies numbers of fp32: its older and its newer settings, read and set as one.

Torch raises where an older setting is read that the newer ones have made untrue; here nothing raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fp32:
    """All that decides whether TF32 or bfloat16 stands in the place of fp32."""

    products: str
    """As `set_float32_matmul_precision` takes it."""
    convolutions: bool
    """Whether CUDA's may go by TF32, as `cudnn.allow_tf32` has it."""
    newer: tuple[str, ...]
    """What each of the newer settings has of its own; nothing in torch 2.8, which has none."""


def plain(*, tf32_convolutions: bool) -> Fp32:
    """Products in fp32 itself; CUDA's convolutions too or, as torch starts, in TF32."""
    convolutions = "tf32" if tf32_convolutions else "none"
    newer = ("none", "none", convolutions, convolutions, "none", "none", "none", "none")
    return Fp32("highest", tf32_convolutions, newer)


def fp32_settings() -> Fp32:
    """What torch goes by now."""
    import torch

    general, special = _newer_settings()
    seen = [setting.fp32_precision for setting in [*general, *special]]
    own = []
    for setting in general:
        own.append(setting.fp32_precision)
        setting.fp32_precision = "none"
    own += [setting.fp32_precision for setting in special]  # as there is nothing general now
    # What torch starts with also shows as a setting's own, and gives way to what is general.
    newer = [one if one == shown else "none" for one, shown in zip(own, seen, strict=True)]
    products = _unless_untrue(torch.get_float32_matmul_precision)
    convolutions = _unless_untrue(lambda: torch.backends.cudnn.allow_tf32)
    if products is None or convolutions is None:
        for setting in special:
            setting.fp32_precision = "none"
        products = torch.get_float32_matmul_precision()
        convolutions = _unless_untrue(lambda: torch.backends.cudnn.allow_tf32) is not False
    _set_newer(newer)
    return Fp32(products, convolutions, tuple(newer))


def set_fp32_settings(wanted: Fp32) -> None:
    """Have torch go by other settings; what is so already is not touched."""
    import torch

    for setting in _newer_settings()[0]:
        setting.fp32_precision = "none"
    # The older ones change some of the newer ones.
    if wanted.products != _unless_untrue(torch.get_float32_matmul_precision):
        torch.set_float32_matmul_precision(wanted.products)
    if wanted.convolutions != _unless_untrue(lambda: torch.backends.cudnn.allow_tf32):
        torch.backends.cudnn.allow_tf32 = wanted.convolutions
    _set_newer(wanted.newer)


def _set_newer(precisions: Sequence[str]) -> None:
    """Set each of its own; nothing general may be set before."""
    general, special = _newer_settings()
    for setting, precision in [*zip([*general, *special], precisions, strict=False)][::-1]:  # the general ones last
        if setting.fp32_precision != precision:  # torch tells what was set from what was not
            setting.fp32_precision = precision


def _newer_settings() -> tuple[list[Any], list[Any]]:
    """Those that others take their precision from, and these others."""
    import torch

    everywhere: Any = torch.backends  # its types lack what it has
    if not hasattr(everywhere, "fp32_precision"):
        return [], []
    cuda, cpu = everywhere.cudnn, everywhere.mkldnn
    return [everywhere, cuda], [cuda.conv, cuda.rnn, everywhere.cuda.matmul, cpu.conv, cpu.rnn, cpu.matmul]


def _unless_untrue(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except RuntimeError:
        return None
