"""Segmentation as a measure: a linear head on frozen patch tokens learns the masks of the training split."""

from collections.abc import Mapping

import numpy as np
import torch

from bench.errors import BenchError, RunError
from bench.measure import Loader, Pace, PictureLoader
from bench.records import Array
from bench.transfer.features import FeatureMap
from bench.transfer.segmentation import Examples, Schedule, counts, learn, segment


class Segmented:
    """The checkpoint measure `segment`.

    Args:
        steps: of the training.
        batch_size: crops in a step.
        learning_rate: the largest.

    Raises:
        BenchError: a number is not possible.
    """

    def __init__(self, steps: int, batch_size: int, learning_rate: float) -> None:
        if steps < 1 or batch_size < 1 or not 0 < learning_rate < float("inf"):
            raise BenchError(
                "segment wants at least one step of at least one crop, and a learning rate of more than 0, not "
                f"{steps} of {batch_size} at {learning_rate:g}."
            )
        self._schedule = Schedule(steps=steps, batch_size=batch_size, learning_rate=learning_rate)

    def run(
        self, module: torch.nn.Module, loader: PictureLoader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Learn a head on the training split, and count the pixels of each test image by class.

        Returns:
            `intersection`, `target` and `predicted` (N, K) int32, see `bench.transfer.segmentation.counts`.

        Raises:
            BenchError: the model gives no grid of tokens.
            RunError: a picture or a mask cannot be read, a mask has other classes, or the loss is not finite.
        """
        classes = loader.source.samples.classes  # type: ignore[attr-defined]  # of a set whose labels are masks
        size, interpolation = _input_size(loader), loader.source.crop.interpolation
        examples, tests, n = _examples(fit["train"]), _examples(loader), len(loader.ids)
        pace.note(f"segment: {self._schedule.steps:,} steps of {self._schedule.batch_size} crops")
        model = learn(
            FeatureMap(module),
            examples,
            self._schedule,
            classes=classes,
            size=size,
            interpolation=interpolation,
            seed=seed,
            device=next(module.buffers()).device,
        )
        rows = []
        for index in range(n):
            picture, mask = tests.read(index)
            predicted = segment(model, picture, mask.shape, size, interpolation, pace.batch_size)
            rows.append(counts(predicted, mask, classes))
            pace.done(1)
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _input_size(loader: Loader) -> int:
    # That of the model, which is not the crop's where a condition sets another.
    size: int = next(iter(loader.at(np.arange(1)))).images_NCHW.shape[-1]
    return size


def _examples(loader: PictureLoader) -> Examples:
    samples = loader.source.samples

    def read(row: int) -> tuple[Array, Array]:
        index = int(loader.indices[row])
        picture, mask = loader.source.picture(index), samples.mask(index)  # type: ignore[attr-defined]
        if mask.shape != picture.shape[:2]:
            raise RunError(
                f"{samples.ids[index]} has {picture.shape[0]}×{picture.shape[1]} pixels, and its mask "
                f"{mask.shape[0]}×{mask.shape[1]}; obtain both again."
            )
        return picture, mask

    return Examples(count=len(loader.ids), read=read)
