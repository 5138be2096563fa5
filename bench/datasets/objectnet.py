"""ObjectNet (Barbu et al. 2019): photographs of objects in odd places, turned and seen from odd sides.

Of its 313 folders 113 show classes of ImageNet. Its pictures have a red border of two pixels, so that nobody trains on
them unawares; it is cut off before anything else.
"""

from pathlib import Path

import numpy as np

from bench.datasets import Dataset, Samples, Whole, datasets
from bench.datasets.copies import absent
from bench.datasets.groups import OBJECTNET
from bench.datasets.imagenet_hard import named_folders
from bench.datasets.readers.folder import FolderSamples, folder_at
from bench.datasets.spaces import IMAGENET
from bench.images.decode import decode
from bench.records import Array

BORDER = 2
"""Pixels."""
_INNER = ("objectnet-1.0/images", "images", "objectnet-1.0")
_STRAY = 32
"""Levels by which a border may be off pure red: of copies that were saved again with loss."""


class Bordered:
    """Samples whose pictures have a red border, which is cut off. May be copied to processes.

    Args:
        samples: image files.

    Attributes:
        uncompressed: False: pictures are given as pixels, but their files are compressed.
    """

    uncompressed = False

    def __init__(self, samples: FolderSamples) -> None:
        self._samples = samples
        self.ids, self.labels, self.sizes = samples.ids, samples.labels, samples.sizes
        self.stamps, self.label_sets = samples.stamps, samples.label_sets
        self.passed_over, self.remark = samples.passed_over, samples.remark

    def read(self, index: int) -> Array:
        """The picture within the border, (h, w, 3) uint8; all of it where there is none.

        Raises:
            RunError: the file does not decode, has changed since the split was opened, or can no longer be read.
        """
        pixels_HWC = self._picture(index)
        return pixels_HWC[BORDER:-BORDER, BORDER:-BORDER] if has_border(pixels_HWC) else pixels_HWC

    def stamp(self, index: int) -> int:
        """See `bench.datasets.Samples`."""
        return self._samples.stamp(index)

    def oddity(self, index: int) -> str:
        """What `bench data verify` counts; see `bench.datasets.Samples`."""
        return "" if has_border(self._picture(index)) else "without the red border, which is cut off already"

    def _picture(self, index: int) -> Array:
        return decode(self._samples.read(index), str(self.ids[index]))


def has_border(pixels_HWC: Array) -> bool:
    """Whether a picture has the red border.

    Args:
        pixels_HWC: uint8.
    """
    if min(pixels_HWC.shape[:2]) <= 2 * BORDER:
        return False
    inside = np.zeros(pixels_HWC.shape[:2], dtype=bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    away = np.abs(pixels_HWC[~inside].astype(np.int16) - (255, 0, 0)).max(axis=1)
    return bool((away <= _STRAY).mean() > 0.95)


def _open(split: str, place: Path | None) -> Samples:
    if place is None:
        raise absent("objectnet")
    root = folder_at(place, "objectnet")
    root = next((root / name for name in _INNER if (root / name).is_dir()), root)
    return Bordered(named_folders(root, OBJECTNET, "objectnet", others_known=True))


datasets.register(
    Dataset(
        name="objectnet",
        class_space=IMAGENET,
        open=_open,
        expected={"test": Whole(images=18_514, classes=113)},
        label_sets=True,
        about="Photographs of objects in odd places and poses (Barbu et al. 2019); of its 50,000 the 18,514 whose 113 "
        "folders show classes of ImageNet.",
        licence="its authors' terms, which forbid training on it",
        source="https://objectnet.dev/",
        layout="one folder a name (alarm_clock/…), PNG with the red border; other folders are left out",
    ),
    origin=__name__,
)
