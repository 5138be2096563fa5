"""From crops to what models are shown: corrupted, saved as JPEG and resized, once for all models, on their device."""

import sys
from collections.abc import Iterable, Sequence

import torch

from bench.corruptions import corrupt, corruptions
from bench.corruptions.makers import corruption_of
from bench.foreign.faults import blamed
from bench.foreign.sources import modules_of
from bench.foreign.state import undisturbed_by
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.machine.memory import in_pieces, is_out_of_memory
from bench.records import Perturbation


def perturb(images_NCHW: torch.Tensor, perturbation: Perturbation, *, seed: int, ids: Sequence[str]) -> torch.Tensor:
    """Corrupt crops, and save them as JPEG where the condition says so.

    Args:
        images_NCHW: uint8, or floating in [0, 255], which is rounded.
        perturbation: what to do.
        seed: of the run.
        ids: of the samples.

    Returns:
        uint8 of the same shape, on the same device.

    Raises:
        RunError: the corruption fails.
    """
    if images_NCHW.is_floating_point():
        images_NCHW = images_NCHW.round().clamp_(0, 255).to(torch.uint8)
    corruption = corruption_of(perturbation)
    with (
        blamed(f"making images under {perturbation.corruption!r} failed", but=is_out_of_memory),
        undisturbed_by(*modules_of(corruptions.origin(corruption.name), corruption.load)),
    ):
        images_NCHW = corrupt(corruption, images_NCHW, perturbation.severity, seed=seed, ids=list(ids))
    return images_NCHW if perturbation.jpeg_quality is None else round_trip(images_NCHW, perturbation.jpeg_quality)


class Preparer:
    """Makes of crops what models are shown; in smaller pieces where the device's memory runs out, for good.

    Args:
        device: of the run. Only CUDA's does the work; elsewhere (MPS lacks float64) the CPU does.
        seed: of the run.
    """

    def __init__(self, device: str, seed: int) -> None:
        self._device = device if device.startswith("cuda") else "cpu"
        self._seed = seed
        self._at_once = sys.maxsize  # the whole batch

    def __call__(
        self,
        crops_NCHW: torch.Tensor,
        perturbation: Perturbation | None,
        *,
        ids: Sequence[str],
        sizes: Iterable[int],
    ) -> dict[int, torch.Tensor]:
        """Prepare a batch.

        Args:
            crops_NCHW: square, on the CPU; uint8, or a transform's numbers in [0, 255].
            perturbation: what is still to be done to them.
            ids: of the samples.
            sizes: sides that models take, pixels.

        Returns:
            Size to images; on the device if anything was done to them.

        Raises:
            RunError: the corruption fails, or a single image does not fit.
        """
        sizes = sorted(set(sizes))
        if perturbation is None and sizes == [crops_NCHW.shape[2]]:
            return {sizes[0]: crops_NCHW}  # brought to the device as models take it, piece by piece

        def prepare(crops_NCHW: torch.Tensor, ids: Sequence[str]) -> dict[int, torch.Tensor]:
            images_NCHW = crops_NCHW.to(self._device, non_blocking=True)
            if perturbation is not None:
                images_NCHW = perturb(images_NCHW, perturbation, seed=self._seed, ids=ids)
            return {size: resize(images_NCHW, size) for size in sizes}

        with blamed("preparing images failed"):
            made = in_pieces(prepare, crops_NCHW, ids, at_once=self._at_once)
        self._at_once, parts = made.at_once, made.parts
        return parts[0] if len(parts) == 1 else {size: torch.cat([part[size] for part in parts]) for size in sizes}
