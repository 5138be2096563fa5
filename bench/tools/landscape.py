"""What figures of a landscape need beside what is stored: pictures that a checkpoint saw, and the way between two.

Legend: N images, T points of the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.attacks.losses import loss_of
from bench.checkpoints.loading import load
from bench.datasets import Library, subset
from bench.datasets.crops import CropSource
from bench.errors import BenchError
from bench.landscape.batchnorm import norms_of
from bench.landscape.objective import LOSSES, Objective
from bench.landscape.surface import path_losses
from bench.machine.torch_defaults import torch_defaults
from bench.records import Array, Checkpoint, Condition
from bench.run.device import to_unit_range

POINTS = 21
"""Of a way."""


def crops(checkpoint: Checkpoint, condition: Condition, library: Library, n: int, count: int) -> Array:
    """(count, size, size, 3) uint8: the crops of the first samples that a checkpoint was shown under a condition.

    Args:
        checkpoint: which.
        condition: without a perturbation.
        library: opens its data.
        n: samples that were measured.
        count: of them, at most n.

    Raises:
        RunError: one does not decode.
    """
    opened = library.open(condition.data.dataset, condition.data.split)
    indices = subset(opened.samples.ids, n)[:count]
    crop = condition.resolve_crop(checkpoint)
    source = CropSource(opened.samples, crop, None, opened.stamps)
    made = source.empty(len(indices))
    source.fill(indices, made)
    return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """The mean loss on the straight way from one checkpoint's weights to another's."""

    names: tuple[str, str]
    at_T: tuple[float, ...]
    """From 0 to 1."""
    losses: dict[str, tuple[float, ...]]
    """Nats, (T,), by what becomes of BatchNorm's statistics."""


@torch_defaults()
def way_between(
    first: Checkpoint, second: Checkpoint, condition: Condition, library: Library, n: int, device: str
) -> Way:
    """Take the loss on the straight way between two checkpoints, with BatchNorm in eval mode.

    Args:
        first: where it begins.
        second: where it ends.
        condition: of a measure of the landscape: its data, and its loss.
        library: opens the data.
        n: samples, those that a limit of this number would take.
        device: where to run.

    Raises:
        BenchError: the two do not share an architecture, or are shown other crops.
        RunError: a loss is NaN or infinite.
    """
    if condition.resolve_crop(first) != condition.resolve_crop(second):
        raise BenchError(f"there is no way from {first.name} to {second.name}: they are shown other crops.")
    opened = library.open(condition.data.dataset, condition.data.split)
    images_NCHW = torch.from_numpy(crops(first, condition, library, n, n)).permute(0, 3, 1, 2)
    labels_N = torch.from_numpy(opened.samples.labels[subset(opened.samples.ids, n)])
    start, end = (
        Objective(
            load(checkpoint, device),
            to_unit_range(images_NCHW, "cpu"),
            labels_N,
            loss=loss_of(str(condition.measure.params["loss"]), LOSSES),
        )
        for checkpoint in (first, second)
    )
    at_T = tuple(i / (POINTS - 1) for i in range(POINTS))
    kinds = {"statistics interpolated": False, "statistics taken anew": True} if norms_of(start.module) else {"": False}
    return Way(
        names=(first.name, second.name),
        at_T=at_T,
        losses={kind: _means(path_losses(start, end, at_T, anew=anew)) for kind, anew in kinds.items()},
    )


def _means(losses_NT: torch.Tensor) -> tuple[float, ...]:
    return tuple(losses_NT.double().mean(dim=0).tolist())


def pairs_of(checkpoints: Sequence[Checkpoint]) -> list[tuple[Checkpoint, Checkpoint]]:
    """Those that name each other as partners, without SAM first; where only two are given, these."""
    found = [
        (first, second)
        for second in checkpoints
        for first in checkpoints
        if first.sam == "none" != second.sam and (second.pairs_with == first.name or first.pairs_with == second.name)
    ]
    return found or ([(checkpoints[0], checkpoints[1])] if len(checkpoints) == 2 else [])
