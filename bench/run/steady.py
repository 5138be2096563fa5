"""Whether models and parts that are not ours give the same twice: looked at on a few images, and said.

A part that draws from a global generator, or a model whose dropout is left on, gives numbers that nobody can repeat. It
is measured all the same: a warning names it, once.
"""

import contextlib
import copy
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.corruptions import corruptions
from bench.corruptions.makers import corruption_of
from bench.errors import BenchError, BenchWarning
from bench.foreign.faults import blamed
from bench.foreign.sources import modules_of
from bench.foreign.state import undisturbed
from bench.measure import BatchMeasure, Labelled, Pace
from bench.records import Array, Perturbation, Precision
from bench.run.prepare import perturb
from bench.run.rows import columns_of

_T = TypeVar("_T")
FEW = 4
"""Images that are looked at."""
_LEARNT = 256
"""Samples that a way to learn is tried on."""
_ROUNDING: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Of the largest logit, by which an image's may change among others: batches of other sizes are summed otherwise."""


def look_at_model(name: str, module: nn.Module, images_NCHW: Tensor, precision: Precision) -> None:
    """Show a model the same images twice, and one of them alone.

    Args:
        name: of the checkpoint.
        module: images in [0, 1] to logits.
        images_NCHW: at most `FEW`.
        precision: that it runs in.
    """
    with _looking():
        first_NK, second_NK = (_stirred(number, lambda: module(images_NCHW).float()) for number in (1, 2))
        alone_1K = module(images_NCHW[:1]).float()
        largest = first_NK.abs().max()
        allowed = 0.0 if first_NK.is_cpu else 1e-3 * largest
        if not torch.isfinite(largest) or not torch.isfinite(second_NK).all():
            return  # what is said of it elsewhere
        if (first_NK - second_NK).abs().max() > allowed:
            _say(
                f"checkpoint {name!r} gives other logits when it is shown the same images again, so its scores cannot "
                "be repeated: look for dropout or other random draws that its module leaves on."
            )
        elif (first_NK[:1] - alone_1K).abs().max() > _ROUNDING[precision] * largest:
            _say(
                f"checkpoint {name!r} gives an image other logits among other images, so its scores depend on the "
                "batch size: look for normalisation by the batch that its module leaves on."
            )


def look_at_corruption(perturbation: Perturbation, images_NCHW: Tensor, ids: list[str], seed: int) -> None:
    """Corrupt the same images twice, and the last of them alone; nothing where the corruption is ours.

    Args:
        perturbation: what is done to them.
        images_NCHW: at most `FEW`, uint8.
        ids: of the samples.
        seed: of the run.
    """
    name = perturbation.corruption
    if not modules_of(corruptions.origin(name), corruption_of(perturbation).load):
        return
    plain = replace(perturbation, jpeg_quality=None)
    with _looking():

        def made(start: int) -> Tensor:
            return perturb(images_NCHW[start:], plain, seed=seed, ids=ids[start:]).cpu().int()

        first_NCHW, second_NCHW = (_stirred(number, lambda: made(0)) for number in (1, 2))
        last_1CHW = made(-1)
        if not torch.equal(first_NCHW, second_NCHW):
            _say(
                f"corruption {name!r} gives other pictures of the same images, so its scores cannot be repeated: draw "
                "from the `draws` that it is given, and from no generator of its own."
            )
        elif (first_NCHW[-1:] - last_1CHW).abs().max() > 1:  # a level, for rounding
            _say(
                f"corruption {name!r} gives an image another picture among other images, so its scores depend on the "
                "batch size: let each picture depend on its image and its draws alone."
            )


def look_at_rows(name: str, measure: BatchMeasure, module: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> None:
    """Have a batch measure describe the same images twice.

    Args:
        name: of the measure.
        measure: which is not ours.
        module: images in [0, 1] to logits.
        images_NCHW: at most `FEW`.
        labels_N: of them.
    """

    def describe() -> Mapping[str, Array]:
        return columns_of(name, measure.rows(module, images_NCHW.clone(), labels_N.clone()), len(images_NCHW))

    _compare(name, describe, exactly=images_NCHW.is_cpu)


def look_at_run(name: str, measure: Any, module: nn.Module, loader: Any, seed: int) -> None:
    """Have a measure that owns its loop measure the same images twice.

    Args:
        name: of the measure.
        measure: a CheckpointMeasure, which is not ours.
        module: images in [0, 1] to logits.
        loader: of a split, of which it is shown a few samples.
        seed: of the run.
    """
    few = loader.at(np.arange(min(FEW, len(loader.ids))))
    pace = Pace(batch_size=FEW, fixed=False, done=lambda count: None)
    device = next(iter(module.state_dict().values())).device

    def describe() -> Mapping[str, Array]:
        return columns_of(name, measure.run(copy.deepcopy(module), few, {}, seed, pace), len(few.ids))

    _compare(name, describe, exactly=device.type == "cpu")


def look_at_learning(
    name: str, measure: Any, train: Labelled, validation: Labelled, test_ND: Tensor, classes: int, seed: int
) -> None:
    """Have a feature measure learn twice from the same samples; the arguments are those of `FeatureMeasure.run`."""
    few = [_first(samples) for samples in (train, validation)]

    def describe() -> Mapping[str, Array]:
        own = copy.deepcopy(few)
        predicted = measure.run(*own, test_ND[:FEW].clone(), classes, seed)
        return {"scores": predicted.scores_NK.cpu().numpy()}

    _compare(name, describe, exactly=test_ND.is_cpu)


def _first(samples: Labelled) -> Labelled:
    ids, labels_N = samples.ids[:_LEARNT], samples.labels_N[:_LEARNT]
    return Labelled(ids=ids, labels_N=labels_N, features_ND=samples.features_ND[:_LEARNT])


def _compare(name: str, describe: Callable[[], Mapping[str, Array]], *, exactly: bool) -> None:
    with _looking():
        first, second = (_stirred(number, describe) for number in (1, 2))
        if any(not _alike(first[column], second[column], exactly=exactly) for column in first):
            _say(
                f"measure {name!r} gives other rows when it is shown the same images again, so its scores cannot be "
                "repeated: draw from generators that the seed is given to."
            )


def _alike(first: Array, second: Array, *, exactly: bool) -> bool:
    if first.dtype.kind != "f" or first.shape != second.shape:
        return bool(np.array_equal(first, second))
    if exactly:
        return bool(np.array_equal(first, second, equal_nan=True))
    return bool(np.allclose(first, second, rtol=1e-3, atol=1e-3, equal_nan=True))


def _stirred(number: int, make: Callable[[], _T]) -> _T:
    """What is made after the global generators were set to something else each time."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    return make()


@contextlib.contextmanager
def _looking() -> Iterator[None]:
    """Nothing that is met here is a fault: where it is one, measuring will meet it too."""
    with contextlib.suppress(BenchError), undisturbed(), blamed("looking"):
        yield


def _say(text: str) -> None:
    warnings.warn(text, BenchWarning, stacklevel=2)
