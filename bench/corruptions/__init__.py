"""Image corruptions: registered by name, each a function of (images, severity, draws) alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.errors import BenchError
from bench.registry import Registry

if TYPE_CHECKING:
    import torch

    from bench.rng import Draws

CorruptFunction: TypeAlias = "Callable[[torch.Tensor, int, Draws], torch.Tensor]"
"""(images_NCHW uint8, severity 1 to 5, draws of the N samples) to images_NCHW uint8 of the same shape."""

SEVERITIES = (1, 2, 3, 4, 5)

_CPU_PIECE, _GPU_PIECE = 1 << 20, 1 << 26
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
    """Whether its pictures depend on the seed; where they do not, its draws are those of seed 0."""
    batched: bool = True
    """Whether it takes whole batches, on whatever device and in threads; if not, runs make it in worker processes."""
    smallest: int = 1
    """Side of the smallest images that it takes, pixels."""
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

    severity = _check(corruption, images_NCHW, severity, ids)
    if images_NCHW.is_floating_point():
        images = images_NCHW.detach().mul(255).round_().to(torch.uint8)
        return corrupt(corruption, images, severity, seed=seed, ids=ids).to(images_NCHW.dtype).div_(255)
    if not corruption.batched and not images_NCHW.is_cpu:
        return corrupt(corruption, images_NCHW.cpu(), severity, seed=seed, ids=ids).to(images_NCHW.device)
    # Whatever the caller's modes: in half precision these would be other pictures.
    with torch.inference_mode(False), torch.autocast(images_NCHW.device.type, enabled=False):
        return _corrupt_pieces(corruption, images_NCHW, severity, seed, ids)


def _corrupt_pieces(
    corruption: Corruption, images_NCHW: torch.Tensor, severity: int, seed: int, ids: list[str]
) -> torch.Tensor:
    import numpy as np
    import torch

    from bench.machine.threads import in_threads, pieces
    from bench.rng import Draws, keys

    function, condition = corruption.load(), f"corruption/{corruption.name}/{severity}"
    corrupted = torch.empty_like(images_NCHW)

    def corrupt_piece(piece: slice) -> None:
        images = images_NCHW[piece].clone()  # which it may work on in place
        draws = Draws(keys(seed if corruption.seeded else 0, condition, ids[piece], images_NCHW.device))
        with np.errstate():  # of this thread, in which others follow
            made = function(images, severity, draws)
        shape = tuple(images_NCHW[piece].shape)
        if not isinstance(made, torch.Tensor) or made.dtype != torch.uint8 or tuple(made.shape) != shape:
            kind = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise ValueError(f"corruption {corruption.name!r} must give uint8 {shape}, not {kind}")
        corrupted[piece] = made

    n, values = len(ids), max(1, math.prod(images_NCHW.shape[1:]))
    if images_NCHW.is_cpu and corruption.batched:
        in_threads(corrupt_piece, pieces(n, max(1, _CPU_PIECE // values)))
        return corrupted
    # What is not batched may use NumPy's global generator, as imagecorruptions does: no two at once.
    most = max(1, (_CPU_PIECE if images_NCHW.is_cpu else _GPU_PIECE) // values)
    for start in range(0, n, most):
        corrupt_piece(slice(start, start + most))
    return corrupted


def _check(corruption: Corruption, images_NCHW: torch.Tensor, severity: int, ids: list[str]) -> int:
    import torch

    if not isinstance(corruption, Corruption):
        raise BenchError(f"corrupt takes a record, such as corruptions.get({corruption!r}), not {corruption!r}.")
    if not isinstance(images_NCHW, torch.Tensor) or not all(isinstance(name, str) for name in ids):
        raise BenchError("corrupt takes images as a tensor and their ids as texts; torch.from_numpy and str make them.")
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise BenchError(f"a severity is a whole number from 1 to 5, not {severity!r}.")
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
    if images_NCHW.is_floating_point() and not bool(((images_NCHW >= 0) & (images_NCHW <= 1)).all()):
        raise BenchError(
            "corruptions take floats in [0, 1], and these hold others or NaN; divide by 255, or give uint8."
        )
    return int(severity)
