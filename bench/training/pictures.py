"""Training pictures: their order, and a random part of each, resized and maybe mirrored (Szegedy et al. 2015).

What is drawn is a function of (seed, epoch, sample id) alone, so that neither workers nor an interruption change a
batch.

Legend: T tries, B images of one process's share of a step, H and W pixels, C channels.
"""

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from PIL import Image

from bench.errors import BenchError, RunError, one_line
from bench.images.resample import resize_part
from bench.machine.processes import in_processes
from bench.machine.threads import one_thread
from bench.records import Array
from bench.rng import bits, keys, uniform

LABEL = "fine-tune"
"""Of a training whose keys began with no other."""
TRIES = 10
"""At a part that lies within the picture, before its middle is taken; as torchvision's RandomResizedCrop."""


class Crops(Protocol):
    """Which parts of a picture are shown."""

    @property
    def area(self) -> tuple[float, float]:
        """Least and largest share of a picture that a crop covers."""
        ...

    @property
    def aspect(self) -> tuple[float, float]:
        """Least and largest width of a crop over its height."""
        ...

    @property
    def flip(self) -> bool:
        """Whether each crop is mirrored left to right with probability a half."""
        ...


Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """What is learnt from. May be copied to worker processes."""

    ids: Array
    """(n,) text, unique."""
    labels: Array
    """(n,) int64."""
    picture: Callable[[int], Array]
    """From a row to its picture (h, w, 3) uint8, uncropped; picklable."""
    size: int
    """Side of the crops that the model takes, pixels."""
    interpolation: str
    """Pillow's filter, the one that the checkpoint is evaluated with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Which images each step takes.

    The images of an epoch are cut into steps of nearly the same size: none is left out, and no step is so small that it
    counts too much or that a BatchNorm has no statistics.
    """

    images: int
    batch_size: int
    total: int
    """Steps in all; they may end within an epoch."""

    @property
    def an_epoch(self) -> int:
        """Steps of one epoch."""
        return -(-self.images // self.batch_size)

    @property
    def epochs(self) -> int:
        """How many are begun."""
        return -(-self.total // self.an_epoch)

    def part(self, step: int) -> slice:
        """Where the images of a step lie in the order of its epoch."""
        place = step % self.an_epoch
        return slice(self.images * place // self.an_epoch, self.images * (place + 1) // self.an_epoch)

    def ends_an_epoch(self, step: int) -> bool:
        """Whether an epoch, or all, is over after this step."""
        return (step + 1) % self.an_epoch == 0 or step + 1 == self.total


def order(seed: int, epoch: int, ids: Array, label: str = LABEL) -> Array:
    """(n,) int64: the rows in the order of an epoch, by 64 random bits of each."""
    words_N2 = bits(keys(seed, f"{label}, order of epoch {epoch}", [str(i) for i in ids]), (2,)).numpy()
    return np.lexsort(words_N2.T)


def crop_box(height: int, width: int, draws_T4: Array, crops: Crops) -> Box:
    """A random part of a picture: its area uniform, its aspect uniform on a logarithmic scale, its place uniform.

    Args:
        height: of the picture, pixels.
        width: likewise.
        draws_T4: uniform in [0, 1), float64: area, aspect, top, left of each try; the first that lies within counts.
        crops: gives the ranges.
    """
    (least, most), (narrow, wide) = crops.area, crops.aspect
    area_T = (least + (most - least) * draws_T4[:, 0]) * height * width
    aspect_T = narrow * (wide / narrow) ** draws_T4[:, 1]
    heights_T, widths_T = np.rint(np.sqrt(area_T / aspect_T)), np.rint(np.sqrt(area_T * aspect_T))
    fits_T = (heights_T >= 1) & (heights_T <= height) & (widths_T >= 1) & (widths_T <= width)
    if not fits_T.any():
        # The largest part in the middle that has such an aspect.
        h, w = max(1, min(height, round(width / narrow))), max(1, min(width, round(height * wide)))
        return (height - h) // 2, (width - w) // 2, h, w
    first = int(fits_T.argmax())
    h, w = int(heights_T[first]), int(widths_T[first])
    down, across = draws_T4[first, 2:]
    return math.floor(down * (height - h + 1)), math.floor(across * (width - w + 1)), h, w


def crop(picture_HWC: Array, box: Box, size: int, interpolation: str) -> Array:
    """A part of a picture, resized.

    Args:
        picture_HWC: (h, w, 3) uint8.
        box: the part.
        size: side wanted, pixels.
        interpolation: Pillow's filter.

    Returns:
        (size, size, 3) uint8.
    """
    top, left, h, w = box
    part_HWC = picture_HWC[top : top + h, left : left + w]
    if interpolation == "nearest":
        return np.asarray(Image.fromarray(part_HWC).resize((size, size), Image.Resampling.NEAREST))
    return resize_part(part_HWC, (size, size), (0, 0), size, interpolation)


def augmented(pictures: Pictures, rows: Array, epoch: int, seed: int, crops: Crops, label: str = LABEL) -> Array:
    """Training crops of some rows, as an epoch shows them.

    Returns:
        (b, size, size, 3) uint8.
    """
    sample_keys = keys(seed, f"{label}, crops of epoch {epoch}", [str(i) for i in pictures.ids[rows]])
    boxes_BT4 = uniform(sample_keys, (TRIES, 4), stream=0).double().numpy()
    mirrored_B = uniform(sample_keys, (1,), stream=1)[:, 0].numpy() < 0.5
    images_BHWC = np.empty((len(rows), pictures.size, pictures.size, 3), np.uint8)
    for image_HWC, row, draws_T4, mirrored in zip(images_BHWC, rows, boxes_BT4, mirrored_B, strict=True):
        picture_HWC = pictures.picture(int(row))
        height, width = picture_HWC.shape[:2]
        box = crop_box(height, width, draws_T4, crops)
        shown_HWC = crop(picture_HWC, box, pictures.size, pictures.interpolation)
        image_HWC[:] = shown_HWC[:, ::-1] if crops.flip and mirrored else shown_HWC
    return images_BHWC


_Made: TypeAlias = tuple[Array, Array, str]
"""Images (B, H, W, C) uint8 and labels (B,); and where they could not be made, why."""
_Task: TypeAlias = tuple[int, Array]
"""An epoch, and the rows that are wanted."""


def _tasks(
    pictures: Pictures, steps: Steps, seed: int, start: int, stride: tuple[int, int], label: str
) -> Iterator[_Task]:
    """What is to be made, step by step."""
    rank, world = stride
    rows, ordered = np.empty(0, np.int64), -1
    for step in range(start, steps.total):
        epoch = step // steps.an_epoch
        if epoch != ordered:
            rows, ordered = order(seed, epoch, pictures.ids, label), epoch
        yield epoch, rows[steps.part(step)][rank::world]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Runs in the processes. Gives faults back as values, which say of which kind they are."""

    pictures: Pictures
    seed: int
    crops: Crops
    label: str

    def __call__(self, task: _Task) -> _Made:
        epoch, rows = task
        labels_B = self.pictures.labels[rows]
        try:
            return augmented(self.pictures, rows, epoch, self.seed, self.crops, self.label), labels_B, ""
        except BenchError as error:
            return np.empty(0, np.uint8), labels_B, str(error)
        except Exception as error:
            return np.empty(0, np.uint8), labels_B, f"making images failed: {type(error).__name__}: {one_line(error)}"


def batches(
    pictures: Pictures,
    steps: Steps,
    crops: Crops,
    *,
    seed: int,
    start: int,
    stride: tuple[int, int],
    workers: int,
    pin: bool,
    label: str = LABEL,
) -> Generator[tuple[torch.Tensor, torch.Tensor]]:
    """The images of one step after another.

    Args:
        pictures: what is learnt from.
        steps: which of them each step takes.
        crops: how they are cut.
        seed: of the run.
        start: the first step that is wanted.
        stride: (rank, processes): this process takes every so many-th image of a step.
        workers: processes that make them; 0 makes them when they are asked for.
        label: of the training, in the keys that order and crops are drawn by.
        pin: put batches into page-locked memory, from which they travel to a CUDA device faster.

    Yields:
        Images (B, C, H, W) uint8, channels last in memory, and labels (B,).

    Raises:
        RunError: a picture does not decode, or a process died.
    """
    made = in_processes(
        _Maker(pictures, seed, crops, label),
        _tasks(pictures, steps, seed, start, stride, label),
        workers,
        doing="makes images",
        begin=one_thread,
        advice="give fewer --workers (0 makes them in this process)",
    )
    for images_BHWC, labels_B, error in made:
        if error:
            raise RunError(error)
        images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
        yield images_BCHW.pin_memory() if pin else images_BCHW, torch.from_numpy(labels_B)
