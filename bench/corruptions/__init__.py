"""Image corruptions: registered by name, each a function of (images, severity, keys) alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.registry import Registry

if TYPE_CHECKING:
    import torch

    from bench.rng import Keys

CorruptFunction: TypeAlias = "Callable[[torch.Tensor, int, Keys], torch.Tensor]"
"""(images_NCHW uint8, severity 1 to 5, keys of the N samples) to images_NCHW uint8 of the same shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption:
    """A registered corruption; the function is imported when it is first applied."""

    name: str
    version: int
    """Part of every cell's key: bumped whenever a picture changes."""
    load: Callable[[], CorruptFunction]
    seeded: bool = True
    """Whether its pictures depend on the seed."""
    group: str = "other"
    """noise, blur, weather or digital; `extra` for the four that mCE leaves out."""
    about: str = ""


corruptions: Registry[Corruption] = Registry("corruption")


def corrupt(
    corruption: Corruption, images_NCHW: torch.Tensor, severity: int, *, seed: int, ids: list[str]
) -> torch.Tensor:
    """Corrupt a batch; each sample's random draws depend on (seed, corruption, severity, id) alone.

    Args:
        corruption: the registered record.
        images_NCHW: uint8.
        severity: 1 to 5.
        seed: of the run.
        ids: N sample ids.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: the function gave another shape or type.
    """
    import torch

    from bench.rng import keys

    sample_keys = keys(seed, f"corruption/{corruption.name}/{severity}", ids)
    corrupted = corruption.load()(images_NCHW, severity, sample_keys)
    if corrupted.dtype != torch.uint8 or corrupted.shape != images_NCHW.shape:
        raise ValueError(
            f"corruption {corruption.name!r} must give uint8 {tuple(images_NCHW.shape)}, "
            f"not {corrupted.dtype} {tuple(corrupted.shape)}"
        )
    return corrupted
