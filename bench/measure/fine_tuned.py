"""Fine-tuning as a measure: all weights learn the training split, and the test split is shown once, in the end."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.machine.distributed import is_main, own_rows, together
from bench.measure import Loader, Pace, PictureLoader
from bench.measure.classify import Classify
from bench.records import Array
from bench.training.pictures import Pictures
from bench.transfer.evaluate import evaluate
from bench.transfer.finetune import Means, fine_tune
from bench.transfer.recipes import DEFAULT, check_changes, check_name, recipe_for
from bench.transfer.split import check_held_out, validation_rows


class FineTuned:
    """The checkpoint measure `fine-tune`.

    Args:
        recipe: its name; `default` goes by the number of training images.
        epochs: passes over the training images; 0 takes as many as the recipe.
        learning_rate: the largest; 0 takes the recipe's.
        batch_size: images in a step, whatever fits into memory at once; 0 takes the recipe's.

    Raises:
        BenchError: there is no such recipe, or a number is not possible.
    """

    def __init__(self, recipe: str = DEFAULT, epochs: int = 0, learning_rate: float = 0.0, batch_size: int = 0) -> None:
        check_name(recipe)
        check_changes(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size)
        self._recipe = recipe
        self._changes: dict[str, Any] = {
            **({"epochs": epochs, "steps": 0} if epochs else {}),
            **({"learning_rate": float(learning_rate)} if learning_rate else {}),
            **({"batch_size": batch_size} if batch_size else {}),
        }

    def run(
        self, module: torch.nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Fine-tune a copy, choose the best epoch on validation, and show it the test images.

        Returns:
            The columns of `bench.measure.classify.describe`, of the logits over the training split's classes; and, the
            same in every row, `validation_accuracy` float32 and `best_epoch` int32, from 1.

        Raises:
            BenchError: the model's head cannot be replaced, or nothing can be held out to choose by.
            RunError: the loss or a logit is not finite, a picture does not decode, or a single image does not fit.
        """
        learnt, held_out = _learnt_and_held_out(fit)
        recipe = replace(recipe_for(self._recipe, len(learnt.ids)), **self._changes)
        steps, length = recipe.steps_of(len(learnt.ids)), f"steps of {recipe.batch_size} images"
        pace.note(f"fine-tune: recipe {recipe.name}, {steps:,} {length}, {steps * recipe.batch_size:,} in all")
        reporter = _Told(pace, len(loader.ids))
        tuned = fine_tune(
            module,
            together(lambda: _pictures(learnt, held_out)),
            _Own(held_out),
            held_out.ids,
            recipe,
            classes=1 + max(int(learnt.labels.max()), int(held_out.labels.max())),
            seed=seed,
            means=Means(
                batch_size=pace.batch_size,
                fixed=pace.fixed,
                workers=pace.workers,
                state=pace.state,
                note=pace.note,
                done=reporter.done,
            ),
        )
        columns = evaluate(tuned.module, Classify().rows, _Own(loader), at_once=pace.batch_size, fixed=pace.fixed)
        n, best = len(loader.ids), tuned.history[tuned.best_epoch - 1]
        return {
            **columns,
            "validation_accuracy": np.full(n, best.validation_accuracy, np.float32),
            "best_epoch": np.full(n, tuned.best_epoch, np.int32),
        }


def _learnt_and_held_out(fit: Mapping[str, PictureLoader]) -> tuple[PictureLoader, PictureLoader]:
    """What is learnt from and what is chosen by: the authors' own splits, or a tenth of train held out."""
    train = fit["train"]
    if "validation" in fit:
        return train, fit["validation"]
    held = validation_rows(train.ids, train.labels)
    check_held_out(len(held))
    return train.at(np.setdiff1d(np.arange(len(train.ids)), held)), train.at(held)


def _pictures(learnt: PictureLoader, held_out: Loader) -> Pictures:
    # The size that the model is shown, which is not the crop's where a condition sets another.
    batch = next(iter(held_out.at(np.arange(1))))
    return Pictures(
        ids=learnt.ids,
        labels=learnt.labels,
        picture=_Picture(learnt),
        size=batch.images_NCHW.shape[-1],
        interpolation=learnt.source.crop.interpolation,
    )


class _Picture:
    """Turns a row of a loader into its uncropped picture; unlike the loader, it may be copied to worker processes."""

    def __init__(self, loader: PictureLoader) -> None:
        self._source, self._indices = loader.source, loader.indices

    def __call__(self, row: int) -> Array:
        """(h, w, 3) uint8."""
        return self._source.picture(int(self._indices[row]))


class _Own:
    """The batches of a split that this process shows: all of them, where it is alone."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader.at(own_rows(len(loader.ids)))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._loader:
            yield batch.images_NCHW, batch.labels_N


class _Told:
    """Tells the run of a training's progress in samples of the test split: the only ones that it counts."""

    def __init__(self, pace: Pace, samples: int) -> None:
        self._pace, self._samples, self._count = pace, samples, 0

    def done(self, share: float) -> None:
        """A share of the training is through; the last sample is left to the test."""
        count = int(share * (self._samples - 1))
        if count > self._count and is_main():
            self._pace.done(count - self._count)
            self._count = count
