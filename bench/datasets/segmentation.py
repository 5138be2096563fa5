"""The data sets whose labels are masks: the class of each pixel, in a picture of its own beside each photograph.

Each is found as its authors' archive unpacks. Sources of counts, classes and layouts: the archives and their pages.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest

from bench.datasets import Dataset, Samples, Whole, class_spaces, datasets
from bench.datasets.readers.files import contents
from bench.datasets.readers.folder import FolderSamples, existing_folder, found
from bench.datasets.readers.listing import Found
from bench.datasets.readers.stamps import read_planned
from bench.datasets.spaces import listed
from bench.errors import AbsentError, BenchError, RunError
from bench.images.decode import IGNORED, decode_mask
from bench.records import Array, ClassSpace
from bench.text import some

ADE20K = ClassSpace(
    name="ade20k",
    classes=listed(
        """
        wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth,
        door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug,
        field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column,
        signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path,
        stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind,
        coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer,
        swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning,
        streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman,
        bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool,
        stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name,
        microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
        traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass,
        clock, flag
        """
    ),
)
"""In the order of `objectInfo150.txt`, the first of each class's names (Zhou et al. 2017)."""
VOC2012 = ClassSpace(
    name="voc2012",
    classes=tuple(
        """
        background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
        pottedplant sheep sofa train tvmonitor
        """.split()  # noqa: SIM905 - a list of quoted words would hide the order
    ),
)
"""In the order of the numbers in its masks (Everingham et al. 2015)."""
_MOST_BYTES = 2**24
"""Of a file that lists images: VOC's have some 20 kB."""


class MaskedSamples(FolderSamples):
    """Image files below a folder, each with a mask. All labels are 0: what a picture shows stands in its mask.

    Args:
        root: the folder.
        files: (n,) images below it; their names are the ids.
        masks: (n,) masks below it.
        founds: (n,) size and stamp of each image, and of its mask.
        classes: masks hold numbers below it, or `IGNORED`.
        shift: subtracted from the numbers in the files; what is then below 0 is of no class.

    Attributes:
        mask_sizes: (n,) int64 bytes: part of what the split is.
    """

    def __init__(
        self,
        root: Path,
        files: list[str],
        masks: list[str],
        founds: list[tuple[Found, Found]],
        *,
        classes: int,
        shift: int,
    ) -> None:
        ids = [file.rpartition("/")[2] for file in files]
        super().__init__(root, ids, files, [0] * len(files), [image for image, _ in founds])
        self.classes, self._shift = classes, shift
        self._masks: Array = np.array(masks)
        self.mask_sizes: Array = np.array([mask[0] for _, mask in founds], dtype=np.int64)
        self._of_images, self._of_masks = self.stamps, np.array([mask[1] for _, mask in founds], dtype=np.uint64)
        both = np.stack([self._of_images, self._of_masks], axis=1)
        self.stamps = np.array([xxh3_64_intdigest(pair.tobytes()) for pair in both], dtype=np.uint64)

    def read(self, index: int) -> bytes:
        """See `FolderSamples`."""
        return read_planned(self.path(index), int(self._of_images[index]))

    def read_mask(self, index: int) -> bytes:
        """The bytes of the mask that was there when the split was opened.

        Raises:
            RunError: it has changed since, or can no longer be read.
        """
        return read_planned(self.root / str(self._masks[index]), int(self._of_masks[index]))

    def mask(self, index: int) -> Array:
        """(h, w) uint8: the class of each pixel, or `IGNORED`.

        Raises:
            RunError: as `read_mask`, or it is no mask, or has a number of no class.
        """
        name = str(self._masks[index])
        pixels = decode_mask(self.read_mask(index), name)
        shifted = pixels.astype(np.int16) - self._shift
        mask = np.where((shifted < 0) | (pixels == IGNORED), IGNORED, shifted).astype(np.uint8)
        strange = pixels[(mask >= self.classes) & (mask != IGNORED)]
        if len(strange):
            raise RunError(
                f"{name} has pixels of the number {strange[0]}, and the classes are {self._shift} to "
                f"{self._shift + self.classes - 1}; is it a mask of another data set?"
            )
        return mask


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """How one data set lies on a disk."""

    folders: tuple[str, ...]
    """What the archives unpack to, in the folder that the user may give instead."""
    marks: str
    """A folder that its root has."""
    files: Callable[[Path, str], list[tuple[str, str]]]
    """From the root and a split to the image and the mask of each sample, below the root."""
    shift: int
    """See `MaskedSamples`."""


def _open(space: ClassSpace, layout: _Layout, split: str, place: Path | None) -> Samples:
    source = datasets.get(space.name).source
    if place is None:
        raise AbsentError(
            f"nobody said where {space.name} is; obtain it from {source} and give --data {space.name}=FOLDER."
        )
    existing_folder(place, space.name)
    roots = (place, *(place / folder for folder in layout.folders))
    root = next((root for root in roots if (root / layout.marks).is_dir()), None)
    if root is None:
        raise AbsentError(f"{space.name} is not at {place}: a folder {layout.marks}/ was looked for; see {source}.")
    pairs = sorted(layout.files(root, split))
    if not pairs:
        raise BenchError(f"{root} has no images of split {split!r} of {space.name}; obtain it again from {source}.")
    founds = [tuple(_found(root / file) for file in pair) for pair in pairs]
    missing = [
        file for pair, seen in zip(pairs, founds, strict=True) for file, f in zip(pair, seen, strict=True) if not f
    ]
    if missing:
        raise RunError(
            f"{len(missing):,} files of split {split!r} of {space.name} are not in {root} ({some(missing)}): every "
            "image needs its mask; unpack the archive again."
        )
    images, masks = (list(files) for files in zip(*pairs, strict=True))
    return MaskedSamples(root, images, masks, founds, classes=len(space.classes), shift=layout.shift)  # type: ignore[arg-type]  # none is missing


def _found(path: Path) -> Found | None:
    try:
        return found(os.stat(path))
    except OSError:
        return None


def _ade20k(root: Path, split: str) -> list[tuple[str, str]]:
    folder = {"train": "training", "validation": "validation"}[split]
    names = [entry.name for entry in os.scandir(existing_folder(root / "images" / folder, "ADE20K"))]
    stems = [Path(name).stem for name in names if name.endswith(".jpg") and not name.startswith(".")]
    return [(f"images/{folder}/{stem}.jpg", f"annotations/{folder}/{stem}.png") for stem in stems]


def _voc2012(root: Path, split: str) -> list[tuple[str, str]]:
    name = {"train": "train", "validation": "val"}[split]
    listed = contents(root / "ImageSets" / "Segmentation" / f"{name}.txt", _MOST_BYTES)
    stems = listed.decode("utf-8", errors="replace").split()
    return [(f"JPEGImages/{stem}.jpg", f"SegmentationClass/{stem}.png") for stem in dict.fromkeys(stems)]


def _register(
    space: ClassSpace, layout: _Layout, *, images: Mapping[str, int], about: str, licence: str, source: str, size: str
) -> None:
    class_spaces.register(space, origin=__name__)
    datasets.register(
        Dataset(
            name=space.name,
            class_space=space,
            open=functools.partial(_open, space, layout),
            splits=("validation", "train"),
            fit=("train",),
            metric="mean_iou",
            expected={split: Whole(images=count, classes=len(space.classes)) for split, count in images.items()},
            about=about,
            licence=licence,
            source=source,
            size=size,
            layout=f"the unpacked archive, {layout.folders[-1]}/",
        ),
        origin=__name__,
    )


_register(
    ADE20K,
    _Layout(
        folders=("ADEChallengeData2016",),
        marks="annotations",
        files=_ade20k,
        shift=1,  # 0 is what has no class
    ),
    images={"train": 20_210, "validation": 2_000},
    about="ADE20K, scene parsing: 2,000 validation and 20,210 training photographs with masks of 150 classes (Zhou et "
    "al. 2017).",
    licence="non-commercial research and education, by its authors",
    source="http://sceneparsing.csail.mit.edu/ (ADEChallengeData2016.zip)",
    size="923 MB",
)
_register(
    VOC2012,
    _Layout(folders=("VOC2012", "VOCdevkit/VOC2012"), marks="SegmentationClass", files=_voc2012, shift=0),
    images={"train": 1_464, "validation": 1_449},
    about="PASCAL VOC 2012, segmentation: 1,449 validation and 1,464 training photographs with masks of 20 classes and "
    "the background (Everingham et al. 2015).",
    licence="the photographs are Flickr's, under its terms of use",
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)",
    size="1.9 GB",
)
