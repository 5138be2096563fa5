"""From crops to what models are shown: corrupted, saved as JPEG and resized, once for all models, on their device."""

from collections.abc import Iterable, Sequence

import torch

from bench.corruptions import corrupt, corruption_of
from bench.device import is_out_of_memory
from bench.errors import BenchError, RunError, one_line
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.records import Perturbation


def perturb(images_NCHW: torch.Tensor, perturbation: Perturbation, *, seed: int, ids: Sequence[str]) -> torch.Tensor:
    """Corrupt crops, and save them as JPEG where the condition says so.

    Args:
        images_NCHW: uint8.
        perturbation: what to do.
        seed: of the run.
        ids: of the samples.

    Returns:
        uint8 of the same shape, on the same device.

    Raises:
        RunError: the corruption fails.
    """
    try:
        images_NCHW = corrupt(corruption_of(perturbation), images_NCHW, perturbation.severity, seed=seed, ids=list(ids))
    except BenchError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(
            f"making images under {perturbation.corruption!r} failed: {type(error).__name__}: {one_line(error)}"
        ) from error
    return images_NCHW if perturbation.jpeg_quality is None else round_trip(images_NCHW, perturbation.jpeg_quality)


def prepare(
    crops_NCHW: torch.Tensor,
    perturbation: Perturbation | None,
    *,
    seed: int,
    ids: Sequence[str],
    sizes: Iterable[int],
    device: str,
) -> dict[int, torch.Tensor]:
    """What models of each size are shown; in halves of halves where the device's memory runs out.

    Args:
        crops_NCHW: uint8, square, on the CPU.
        perturbation: what is still to be done to them.
        seed: of the run.
        ids: of the samples.
        sizes: sides that models take, pixels.
        device: where to work.

    Returns:
        Size to uint8 images; on the device if anything was done to them.

    Raises:
        RunError: the corruption fails, or a single image does not fit.
    """
    sizes = sorted(set(sizes))
    if perturbation is None and sizes == [crops_NCHW.shape[2]]:
        return {sizes[0]: crops_NCHW}  # brought to the device as models take it, piece by piece
    try:
        images_NCHW = crops_NCHW.to(device, non_blocking=True)
        if perturbation is not None:
            images_NCHW = perturb(images_NCHW, perturbation, seed=seed, ids=ids)
        return {size: resize(images_NCHW, size) for size in sizes}
    except BenchError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(crops_NCHW) == 1:
            raise RunError("out of memory with 1 image at once; free some of the device's.") from error
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    half = len(crops_NCHW) // 2
    parts = [
        prepare(crops_NCHW[part], perturbation, seed=seed, ids=ids[part], sizes=sizes, device=device)
        for part in (slice(None, half), slice(half, None))
    ]
    return {size: torch.cat([part[size] for part in parts]) for size in sizes}
