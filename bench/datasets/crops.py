"""Crops of a split: from the cache where they stand there, else decoded, cropped and kept."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.datasets import Samples
from bench.errors import BenchError, RunError
from bench.foreign.faults import blamed
from bench.images.cache import CropFile
from bench.images.crop import crop_image
from bench.images.decode import decode
from bench.records import Array, Crop


@dataclass
class CropSource:
    """Gives the crop of any sample, as it was when its split was opened. May be copied to worker processes."""

    samples: Samples
    crop: Crop
    cache: CropFile | None = None
    stamps: Array | None = None
    """(n,) uint64: the samples' stamps when their split was opened; None takes those of the moment."""

    def get(self, index: int) -> Array:
        """(size, size, 3) uint8."""
        image = np.empty((self.crop.size, self.crop.size, 3), dtype=np.uint8)
        self.fill([index], image[None])
        return image

    def fill(self, indices: Iterable[int], images_NHWC: Array) -> None:
        """Put crops where they are wanted.

        Args:
            indices: n samples.
            images_NHWC: (n, size, size, 3) uint8, contiguous; written.

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
        with blamed(f"looking at the sample {str(self.samples.ids[index])!r} failed"):
            return self.samples.stamp(index)

    def original_shape(self, index: int) -> tuple[int, int]:
        """(height, width) of the sample before it is cropped.

        Raises:
            RunError: it does not decode.
        """
        height, width = self.picture(index).shape[:2]
        return height, width

    def _make(self, index: int) -> Array:
        return crop_image(self.picture(index), self.crop)

    def picture(self, index: int) -> Array:
        """The sample as it is, (h, w, 3) uint8.

        Raises:
            RunError: it cannot be read, does not decode, is no picture, or is another one than was planned.
        """
        name, stamp = str(self.samples.ids[index]), self._stamp(index)
        with blamed(f"reading the sample {name!r} failed"):
            data = self.samples.read(index)
            changed = self.samples.stamp(index) != stamp
        if changed:
            raise RunError(f"{name} has changed since this run began; run again.")
        if isinstance(data, bytes):
            return decode(data, name)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 3 or data.shape[2] != 3:
            kind = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else f"of type {type(data).__name__}"
            raise RunError(
                f"the sample {name!r} is {kind}; its data set must give bytes of a file, or uint8 (h, w, 3)."
            )
        return data
