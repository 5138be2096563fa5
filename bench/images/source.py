"""Crops of a split: from the cache where they stand there, else decoded, cropped and kept."""

from dataclasses import dataclass

from bench.datasets import Samples
from bench.images.cache import CropFile
from bench.images.crop import crop_image
from bench.images.decode import decode
from bench.records import Array, Crop


@dataclass
class CropSource:
    """Gives the crop of any sample. May be copied to worker processes."""

    samples: Samples
    crop: Crop
    cache: CropFile | None = None

    def get(self, index: int) -> Array:
        """(size, size, 3) uint8."""
        if self.cache is None:
            return self._make(index)
        stamp = self.samples.stamp(index)
        image = self.cache.get(index, stamp)
        if image is None:
            image = self._make(index)
            self.cache.put(index, stamp, image)
        return image

    def _make(self, index: int) -> Array:
        data = self.samples.read(index)
        image = decode(data, str(self.samples.ids[index])) if isinstance(data, bytes) else data
        return crop_image(image, self.crop)
