"""Where the images of a recipe's steps come from: whole in memory, or read when they are shown.

Legend: N images in all, B in one step, C channels, S height and width.
"""

import contextlib
import hashlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.machine.distributed import rank, world_size
from bench.training.augments import Scene, Shown, augmented
from bench.training.crops import ASPECT
from bench.training.pictures import Pictures, Steps, batches
from bench.training.randomness import key_of
from bench.training.recipe import Stage

_Step: TypeAlias = tuple[Shown, slice, int]
"""Images and targets, augmented; those of this process among them; how many the whole step has."""


class Cut(Protocol):
    """The images of one stage, cut into steps."""

    an_epoch: int
    """Steps."""
    shown_an_epoch: int
    """Images, augmented anew where they are repeated."""
    order_N: Tensor | None
    """Of the epoch that is under way, on the CPU, where it cannot be computed again."""

    def shown(self, start: int, draws: torch.Generator, scene: Scene) -> Generator[_Step]:
        """Yield the steps from one on, each when it is asked for.

        Args:
            start: Number of the first.
            draws: On the CPU; the training keeps its state.
            scene: What augmentations may look at.
        """
        ...


class Source(Protocol):
    """All that is trained on."""

    @property
    def size(self) -> int:
        """Side of the images as they are, or as they are cropped, pixels."""
        ...

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        ...

    @property
    def digest(self) -> str:
        """Of images and labels, or of what they are called."""
        ...

    def cut(self, stage: Stage, number: int) -> Cut:
        """Cut the images into a stage's steps.

        Raises:
            BenchError: If they cannot be shown as the stage wants them.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """Images that fit into the memory of the device, all of one size."""

    images_NCSS: Tensor
    """uint8."""
    labels_N: Tensor

    @classmethod
    def on(cls, device: torch.device, images_NCSS: Tensor, labels_N: Tensor) -> "Whole":
        """Check the images and labels, and bring all to the device.

        Raises:
            ValueError: If the images are not square, not uint8 or none, or the labels are not one an image.
        """
        shape = tuple(images_NCSS.shape)
        if images_NCSS.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3]:
            raise ValueError(
                f"training wants uint8 images of shape (N, C, S, S), they are {images_NCSS.dtype} of shape "
                f"{shape}; pass square images as they are stored, not normalised."
            )
        if tuple(labels_N.shape) != shape[:1] or not len(labels_N):
            raise ValueError(
                f"training wants one label an image and at least one image, there are {shape[0]} images and "
                f"labels of shape {tuple(labels_N.shape)}; take both from the same dataset."
            )
        return cls(images_NCSS=images_NCSS.to(device), labels_N=labels_N.to(device, torch.long))

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.images_NCSS.shape[-1]

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.labels_N.max()) + 1

    @property
    def digest(self) -> str:
        """Of images and labels."""
        parts = (part.cpu().contiguous().numpy().tobytes() for part in (self.images_NCSS, self.labels_N))
        return hashlib.sha256(b"".join(map(_sha, parts))).hexdigest()

    def cut(self, stage: Stage, number: int) -> "_CutWhole":
        """Cut the images into a stage's steps."""
        return _CutWhole(self, stage)


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class _CutWhole:
    """All processes draw the whole step, so that it is the same for any number of them."""

    def __init__(self, whole: Whole, stage: Stage) -> None:
        self._whole, self._repeats = whole, stage.repeats
        self._rows = stage.batch_size // stage.repeats
        """Different images in a step."""
        self._images = -(-len(whole.labels_N) // stage.repeats)
        """Different images in an epoch."""
        self.an_epoch = -(-self._images // self._rows)
        self.shown_an_epoch = self._images * stage.repeats
        self.order_N: Tensor | None = None

    def shown(self, start: int, draws: torch.Generator, scene: Scene) -> Generator[_Step]:
        """Yield the steps from one on."""
        own = slice(rank(), None, world_size())
        step = start
        while True:
            place = step % self.an_epoch
            if place == 0 or self.order_N is None:
                self.order_N = torch.randperm(len(self._whole.labels_N), generator=draws)[: self._images]
            rows_B = self.order_N[place * self._rows : (place + 1) * self._rows].repeat(self._repeats)
            rows_B = rows_B.to(self._whole.labels_N.device)
            images_BCSS = self._whole.images_NCSS[rows_B] / 255
            yield augmented(Shown(images_BCSS, self._whole.labels_N[rows_B]), scene), own, len(rows_B)
            step += 1


@dataclass(frozen=True, slots=True)
class Streamed:
    """Pictures of any size, read by processes: each of several trainers reads and augments its own share.

    What is drawn for a share is a function of seed, step and process, so that nothing of it needs to be kept.
    """

    pictures: Pictures
    seed: int
    readers: int
    """Processes that read; 0 reads in this one."""

    @property
    def size(self) -> int:
        """Side of the crops, pixels."""
        return self.pictures.size

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.pictures.labels.max()) + 1

    @property
    def digest(self) -> str:
        """Of ids and labels."""
        rows = zip(self.pictures.ids.tolist(), self.pictures.labels.tolist(), strict=True)
        return hashlib.sha256("\n".join(f"{i} {label}" for i, label in rows).encode()).hexdigest()

    def cut(self, stage: Stage, number: int) -> "_CutStreamed":
        """Cut the pictures into a stage's steps.

        Raises:
            BenchError: If the stage does not crop them, or repeats them.
        """
        if "inception_crop" not in stage.augment.names or stage.repeats > 1:
            raise BenchError(
                "pictures that are read as they are shown want augment inception_crop, and repeats of 1; set them, or "
                "take one of the small architectures and small pictures."
            )
        return _CutStreamed(self, stage, number)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Crops:
    """What the readers do of a stage's augmentations."""

    area: tuple[float, float]
    aspect: tuple[float, float]
    flip: bool


class _CutStreamed:
    def __init__(self, source: Streamed, stage: Stage, number: int) -> None:
        self._source, self._label = source, f"training, stage {number}"
        images = len(source.pictures.ids)
        self._steps = Steps(images=images, batch_size=stage.batch_size, total=0)
        self._epochs = stage.epochs
        self.an_epoch, self.shown_an_epoch = self._steps.an_epoch, images
        self.order_N: Tensor | None = None
        self._crops = _Crops(area=(stage.augment.area, 1.0), aspect=ASPECT, flip="flip" in stage.augment.names)
        names = tuple(name for name in stage.augment.names if name not in ("inception_crop", "flip"))
        self._augment = replace(stage.augment, names=names)

    def shown(self, start: int, draws: torch.Generator, scene: Scene) -> Generator[_Step]:
        """Yield the steps from one on."""
        steps = replace(self._steps, total=self._epochs * self.an_epoch)
        device = scene.model.mean_C11.device
        made = batches(
            replace(self._source.pictures, size=scene.size),
            steps,
            self._crops,
            seed=self._source.seed,
            start=start,
            stride=(rank(), world_size()),
            workers=self._source.readers,
            pin=device.type == "cuda",
            label=self._label,
        )
        with contextlib.closing(made):
            for step, (images_BCSS, labels_B) in enumerate(made, start):
                draws.manual_seed(key_of(self._source.seed, f"{self._label}, draws", f"{step}/{rank()}"))
                part = steps.part(step)
                shown = Shown(images_BCSS.to(device, non_blocking=True) / 255, labels_B.to(device))
                yield augmented(shown, replace(scene, given=self._augment)), slice(None), part.stop - part.start
