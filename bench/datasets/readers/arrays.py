"""Samples kept as one array in an npz file, such as the embedded sets."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from bench.errors import RunError
from bench.records import Array


class ArraySamples:
    """Samples of an npz file with `images` (n, h, w) or (n, h, w, 3) uint8, `labels` (n,) and `ids` (n,).

    Args:
        path: the file; never unpickled.
        published: digest of the images that it must have; these are then left out of its fingerprint.

    Raises:
        RunError: the file is missing or damaged, or has other images.
    """

    def __init__(self, path: Path, published: str = "") -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                self.ids: Array = file["ids"]
                self.labels: Array = file["labels"].astype(np.int64)
                self._images: Array = file["images"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{path} is not a readable set of images, labels and ids ({error}); reinstall rtbench."
            ) from error
        self.sizes: Array = np.full(len(self.ids), self._images[0].nbytes, dtype=np.int64)
        self.content = hashlib.blake2b(self._images.tobytes(), digest_size=16).hexdigest()
        if published:
            if self.content != published:
                raise RunError(f"{path} has other images than the set that ships with rtbench; reinstall rtbench.")
            self.content = ""

    def read(self, index: int) -> Array:
        """(h, w, 3) uint8; grey is repeated."""
        image = self._images[index]
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image

    def stamp(self, index: int) -> int:
        """A hash of the pixels themselves, which are at hand."""
        return int.from_bytes(hashlib.blake2b(self._images[index].tobytes(), digest_size=8).digest())
