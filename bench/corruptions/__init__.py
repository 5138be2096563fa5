"""Image corruptions: registered by name, each a function of (images, severity, draws) alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from bench.errors import BenchError
from bench.records import Perturbation
from bench.registry import Registry

if TYPE_CHECKING:
    import torch

    from bench.rng import Draws

CorruptFunction: TypeAlias = "Callable[[torch.Tensor, int, Draws], torch.Tensor]"
"""(images_NCHW uint8, severity 1 to 5, draws of the N samples) to images_NCHW uint8 of the same shape."""

SEVERITIES = (1, 2, 3, 4, 5)

_CPU_PIECE, _GPU_PIECE = 1 << 20, 1 << 25
"""Values at once: a few images on a CPU, whose caches hold them, a few hundred on a GPU. They bound the memory, and
decide no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption:
    """A registered corruption; the function is imported when it is first applied."""

    name: str
    version: int
    """Part of every cell's key: bumped whenever a picture changes."""
    load: Callable[[], CorruptFunction]
    seeded: bool = True
    """Whether its pictures depend on the seed."""
    batched: bool = True
    """Whether it takes whole batches, on whatever device; if not, on a CPU, and the more processes the better."""
    smallest: int = 1
    """Side of the smallest images that it takes, pixels."""
    group: str = "other"
    """noise, blur, weather or digital; `extra` for the four that mCE leaves out."""
    about: str = ""


corruptions: Registry[Corruption] = Registry("corruption")

_REFERENCE_VERSION = 1


def corruption_of(perturbation: Perturbation) -> Corruption:
    """What makes a perturbation: the registered corruption, or imagecorruptions-imaug under its name."""
    corruption = corruptions.get(perturbation.corruption)
    return reference_of(corruption) if perturbation.reference else corruption


def reference_of(corruption: Corruption) -> Corruption:
    """The one of imagecorruptions-imaug that goes by this name."""
    load = functools.partial(_reference, corruption.name)
    return replace(corruption, version=_REFERENCE_VERSION, load=load, batched=False)


def _reference(name: str) -> CorruptFunction:
    from bench.corruptions.reference import Reference

    return Reference(name)


def corrupt(
    corruption: Corruption, images_NCHW: torch.Tensor, severity: int, *, seed: int, ids: list[str]
) -> torch.Tensor:
    """Corrupt a batch; each sample's random draws depend on (seed, corruption, severity, id) alone.

    Args:
        corruption: the registered record.
        images_NCHW: RGB, uint8 or floating in [0, 1], on any device and in any memory format.
            Floating values are rounded to bytes first.
        severity: 1 to 5.
        seed: of the run.
        ids: N sample ids.

    Returns:
        Of the same shape, type and range.

    Raises:
        BenchError: not such a batch, or another severity.
        ValueError: the function gave another shape or type.
    """
    import torch

    from bench.rng import Draws, keys
    from bench.threads import in_threads, pieces

    _check(corruption, images_NCHW, severity, ids)
    if images_NCHW.is_floating_point():
        images = images_NCHW.clamp(0, 1).mul(255).round_().to(torch.uint8)
        return corrupt(corruption, images, severity, seed=seed, ids=ids).to(images_NCHW.dtype).div_(255)
    function, condition = corruption.load(), f"corruption/{corruption.name}/{severity}"
    corrupted = torch.empty_like(images_NCHW)

    def corrupt_piece(piece: slice) -> None:
        images = images_NCHW[piece]
        draws = Draws(keys(seed, condition, ids[piece], images_NCHW.device))
        made = function(images, severity, draws)
        if made.dtype != torch.uint8 or made.shape != images.shape:
            raise ValueError(
                f"corruption {corruption.name!r} must give uint8 {tuple(images.shape)}, "
                f"not {made.dtype} {tuple(made.shape)}"
            )
        corrupted[piece] = made

    if images_NCHW.is_cpu:
        in_threads(corrupt_piece, pieces(len(ids), max(1, _CPU_PIECE // images_NCHW[:1].numel())))
    else:
        for piece in pieces(len(ids), max(1, _GPU_PIECE // images_NCHW[:1].numel())):
            corrupt_piece(piece)
    return corrupted


def _check(corruption: Corruption, images_NCHW: torch.Tensor, severity: int, ids: list[str]) -> None:
    import torch

    shape = tuple(images_NCHW.shape)
    if not (images_NCHW.dtype == torch.uint8 or images_NCHW.is_floating_point()):
        raise BenchError(f"corruptions take uint8, or floats in [0, 1], not {images_NCHW.dtype}.")
    if len(shape) != 4 or shape[1] != 3 or len(ids) != shape[0]:
        raise BenchError(f"corruptions take RGB images (n, 3, h, w) and n ids, not {shape} and {len(ids)} ids.")
    if min(shape[2:]) < corruption.smallest:
        raise BenchError(
            f"{corruption.name} needs images of at least {corruption.smallest}×{corruption.smallest} pixels, "
            f"not {shape[3]}×{shape[2]}; enlarge them first."
        )
    if severity not in SEVERITIES:
        raise BenchError(f"a severity is a whole number from 1 to 5, not {severity!r}.")
