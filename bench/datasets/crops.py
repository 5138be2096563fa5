"""Crops of a split: from the cache where they stand there, else decoded, cropped and kept."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.datasets import Samples
from bench.errors import BenchError, RunError
from bench.foreign.faults import blamed
from bench.images.cache import CropFile
from bench.images.crop import crop_image
from bench.images.decode import check_bytes, decode
from bench.images.transform import Transform, find
from bench.records import Array, Crop


@dataclass
class CropSource:
    """Gives the crop of any sample, as it was when its split was opened. May be copied to worker processes."""

    samples: Samples
    crop: Crop
    cache: CropFile | None = None
    stamps: Array | None = None
    """(n,) uint64: the samples' stamps when their split was opened; None takes those of the moment."""
    transform: Transform | None = field(init=False)
    """What makes the crops where the recipe names one."""

    def __post_init__(self) -> None:
        self.transform = find(self.crop.transform) if self.crop.transform else None

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of the crops: bytes, or what a transform makes of pictures."""
        return np.dtype(np.uint8) if self.transform is None else self.transform.dtype

    def empty(self, count: int) -> Array:
        """(count, size, size, 3) without values, for `fill`."""
        return np.empty((count, self.crop.size, self.crop.size, 3), dtype=self.dtype)

    def get(self, index: int) -> Array:
        """(size, size, 3), uint8 but where a transform makes other numbers."""
        images = self.empty(1)
        self.fill([index], images)
        return images[0]  # type: ignore[no-any-return]

    def fill(self, indices: Iterable[int], images_NHWC: Array) -> None:
        """Put crops where they are wanted.

        Args:
            indices: n samples.
            images_NHWC: (n, size, size, 3) as `empty` gives it; written.

        Raises:
            RunError: a sample does not decode, or is another one than was planned.
        """
        for index, image_HWC in zip(indices, images_NHWC, strict=True):
            self._fill(int(index), image_HWC)

    def holds(self, indices: Iterable[int]) -> bool:
        """Whether every one of these crops stands in the cache, as far as its records tell; reads no crop."""
        if self.cache is None:
            return False
        try:
            return all(self.cache.holds(int(index), self._stamp(int(index))) for index in indices)
        except BenchError:  # a sample that has gone is reported when it is read
            return False

    def _fill(self, index: int, image_HWC: Array) -> None:
        if self.cache is None:
            image_HWC[:] = self._make(index)
            return
        stamp = self._stamp(index)
        if not self.cache.read(index, stamp, image_HWC):
            image_HWC[:] = self._make(index)
            self.cache.put(index, stamp, image_HWC)

    def _stamp(self, index: int) -> int:
        if self.stamps is not None:
            return int(self.stamps[index])
        with _reading(self.samples, index):
            return self.samples.stamp(index)

    def original_shape(self, index: int) -> tuple[int, int]:
        """(height, width) of the sample before it is cropped.

        Raises:
            RunError: it does not decode.
        """
        height, width = self.picture(index).shape[:2]
        return height, width

    def _make(self, index: int) -> Array:
        picture, name = self.picture(index), str(self.samples.ids[index])
        return crop_image(picture, self.crop, name) if self.transform is None else self.transform(picture, name)

    def picture(self, index: int) -> Array:
        """The sample as it is, (h, w, 3) uint8.

        Raises:
            RunError: it cannot be read, does not decode, is no picture, or is another one than was planned.
        """
        stamp = self._stamp(index)
        data = stored(self.samples, index)
        with _reading(self.samples, index):
            changed = self.samples.stamp(index) != stamp
        if changed:
            raise RunError(f"{self.samples.ids[index]} has changed since this run began; run again.")
        return _pixels(self.samples, index, data)


def picture_of(samples: Samples, index: int) -> Array:
    """A sample's pixels, (h, w, 3) uint8.

    Raises:
        RunError: it cannot be read, or does not decode.
    """
    return _pixels(samples, index, stored(samples, index))


def _pixels(samples: Samples, index: int, data: Array | bytes) -> Array:
    return decode(data, str(samples.ids[index])) if isinstance(data, bytes) else data


def stored(samples: Samples, index: int) -> Array | bytes:
    """A sample as it is stored: an image file's bytes, or its pixels, (h, w, 3) uint8.

    Raises:
        RunError: it cannot be read, is neither, or has more than `MOST_BYTES`.
    """
    check_bytes(int(samples.sizes[index]), str(samples.ids[index]))
    with _reading(samples, index):
        data = samples.read(index)
    if isinstance(data, bytes):
        return data
    pixels = np.asarray(data)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise RunError(
            f"{samples.ids[index]} came as {pixels.dtype} of the shape {pixels.shape}; (h, w, 3) of uint8, or the "
            "bytes of an image file, was wanted."
        )
    return pixels


def _reading(samples: Samples, index: int) -> contextlib.AbstractContextManager[None]:
    """Whatever a reader raises, which may be a plug-in's, names the sample."""
    return blamed(f"{samples.ids[index]} cannot be read; obtain it again")
