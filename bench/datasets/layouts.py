"""What the authors' archives of the transfer data sets unpack to, and torchvision leaves on a disk.

Each reader gives the images of one split with their labels, matched by file name or number and never by order. Their
sources: the archives' own descriptions, and torchvision's readers of them.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from bench.datasets.readers.folder import FolderSamples, found
from bench.errors import AbsentError, BenchError, RunError, one_line
from bench.records import Array, ClassSpace

Listing: TypeAlias = list[tuple[int, str]]
"""Label, an index into the class space, and path below the root of each image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How one data set lies on a disk."""

    folders: tuple[str, ...]
    """What the archives unpack to, or torchvision makes, in the folder that the user may give instead."""
    files: dict[str, tuple[str, ...]]
    """Split to the file that lists its images; several where it is found in several places."""
    read: Callable[[Path, Path, str, ClassSpace], Listing]
    """From the root, the split's file of `files`, the split and the class space to its images."""

    def root(self, place: Path) -> Path | None:
        """The folder that has this layout: the place itself, or one in it; None where there is none."""
        roots = (place, *(place / folder for folder in self.folders))
        names = [name for several in self.files.values() for name in several]
        return next((root for root in roots if any((root / name).is_file() for name in names)), None)

    def samples(self, root: Path, split: str, space: ClassSpace, subject: str) -> FolderSamples:
        """The images of a split, in the order of their ids `CLASS/FILE`, as class folders of them would have.

        Raises:
            AbsentError: the file that lists the split is not there.
            BenchError: it is not as it must be, or names a class that there is not.
            RunError: it is damaged, or images that it lists are missing.
        """
        file = next((root / name for name in self.files[split] if (root / name).is_file()), None)
        if file is None:
            raise AbsentError(
                f"split {split!r} of {subject} is not at {root}: {' or '.join(self.files[split])} was looked for "
                "there; unpack it there too."
            )
        listing = self.read(root, file, split, space)
        if not listing:
            raise BenchError(f"{file} lists no images; obtain it again.")
        return _listed(root, listing, space, file)


def _listed(root: Path, listing: Listing, space: ClassSpace, source: Path) -> FolderSamples:
    rows, missing = [], []
    for label, file in listing:
        if not 0 <= label < len(space.classes):
            raise RunError(
                f"{source} gives {file} the class number {label}, counted from 0, but {space.name} has "
                f"{len(space.classes)} classes; it is damaged, so obtain it again."
            )
        try:
            status = os.stat(root / file)
        except OSError:
            missing.append(file)
            continue
        rows.append((f"{space.classes[label]}/{PurePosixPath(file).name}", file, label, found(status)))
    if missing:
        raise RunError(
            f"{len(missing):,} of the {len(listing):,} images that {source} lists are not in {root} (the first is "
            f"{missing[0]}); unpack the archive of the images there again."
        )
    ids, files, labels, founds = zip(*sorted(rows), strict=True)
    return FolderSamples(root, ids, files, labels, founds)


def folded(name: str) -> str:
    """A class name without its capitals, signs and spaces, in which copies of a data set differ.

    >>> folded("Ram C/V Cargo Van"), folded("British_Shorthair")
    ('ram c v cargo van', 'british shorthair')
    """
    return " ".join(re.findall("[0-9a-z]+", name.lower()))


def label_by_name(space: ClassSpace) -> Callable[[str], int | None]:
    """The index in the class space of a class's name, however it is spelt; None where it is no class."""
    labels = {folded(name): index for index, name in enumerate(space.classes)}
    return lambda name: labels.get(folded(name))


def _labelled(names: Iterable[tuple[str, str]], space: ClassSpace, source: Path) -> Listing:
    """The listing of (class name, path) pairs."""
    label_of = label_by_name(space)
    listing = []
    for name, file in names:
        label = label_of(name)
        if label is None:
            raise BenchError(
                f"{source} lists {file} of the class {name!r}, which is none of {space.name} (such as "
                f"{space.classes[0]!r}); is it another data set's?"
            )
        listing.append((label, file))
    return listing


def _lines(source: Path) -> list[str]:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RunError(f"{source} is damaged ({one_line(error)}); obtain it again.") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _json(source: Path) -> Any:
    try:
        return json.loads(source.read_bytes())
    except ValueError as error:
        raise RunError(f"{source} is damaged or cut short ({one_line(error)}); obtain it again.") from None


def _mat(source: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # type: ignore[import-untyped]  # imported here: it takes a tenth of a second

    if not source.is_file():
        raise AbsentError(f"{source} is missing; obtain it too.")
    try:
        content: dict[str, Any] = loadmat(source, squeeze_me=True)
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise RunError(f"{source} is damaged or cut short ({one_line(error)}); obtain it again.") from error
    return content


def _field(content: Any, key: str, source: Path) -> Array:
    """One variable of a .mat file, or one field of its structs, one-dimensional."""
    try:
        return np.atleast_1d(content[key])
    except (KeyError, ValueError, IndexError):
        raise BenchError(f"{source} has no {key!r}, so it is not what its name says; obtain it again.") from None


def _flowers(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """Image numbers of each split in `setid.mat`, the class number of each image, from 1, in `imagelabels.mat`."""
    key = {"train": "trnid", "validation": "valid", "test": "tstid"}[split]
    numbers = _field(_mat(source), key, source).astype(np.int64)
    labels = _field(_mat(root / "imagelabels.mat"), "labels", root / "imagelabels.mat").astype(np.int64)
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(labels):
        raise RunError(
            f"{source} has images numbered {numbers.min()} to {numbers.max()}, but {root / 'imagelabels.mat'} labels "
            f"{len(labels):,}; one of them is damaged, so obtain both again."
        )
    return [(int(labels[number - 1]) - 1, f"jpg/image_{number:05d}.jpg") for number in numbers.tolist()]


def _pets(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """Lines `Egyptian_Mau_12 12 1 5`: the file's name, which is the class's and a number, comes first."""
    stems = [line.split()[0] for line in _lines(source)]
    return _labelled(((stem.rpartition("_")[0], f"images/{stem}.jpg") for stem in stems), space, source)


def _cars(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """A struct an image, whose `class` counts from 1 in the order of `cars_meta.mat`, and whose `fname` is its file."""
    annotations = np.atleast_1d(_field(_mat(source), "annotations", source))
    labels, files = (_field(annotations, key, source) for key in ("class", "fname"))
    folder = f"cars_{split}"
    if (root / folder / folder).is_dir():  # the archive has the folder in it, and was unpacked into one of its name
        folder = f"{folder}/{folder}"
    return [(int(label) - 1, f"{folder}/{file}") for label, file in zip(labels, files, strict=True)]


def _dtd(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """Lines `banded/banded_0002.jpg`."""
    return _labelled(((line.partition("/")[0], f"images/{line}") for line in _lines(source)), space, source)


def _food(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """Class to paths without their suffix: `{"apple_pie": ["apple_pie/1005649", …], …}`."""
    content = _json(source)
    if not isinstance(content, dict) or not all(isinstance(stems, list) for stems in content.values()):
        raise BenchError(f"{source} must hold a list of images for each class; obtain it again.")
    pairs = ((name, f"images/{stem}.jpg") for name, stems in content.items() for stem in stems)
    return _labelled(pairs, space, source)


def _inat(root: Path, source: Path, split: str, space: ClassSpace) -> Listing:
    """COCO's form: `images` with `id` and `file_name`, `annotations` with `image_id` and `category_id`."""
    content = _json(source)
    try:
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        pairs = [(str(note["category_id"]), files[note["image_id"]]) for note in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise BenchError(
            f"{source} must hold images and annotations, with a category_id for each image ({one_line(error)}); "
            "the file of the test set holds none: give that of train or val."
        ) from None
    # torchvision renames `train_val2018`, with which the paths begin, to `2018`.
    begins = pairs[0][1].partition("/")[0] if pairs else ""
    year = begins.removeprefix("train_val")
    if (root / year).is_dir() and not (root / begins).is_dir():
        pairs = [(name, file.replace(begins, year, 1)) for name, file in pairs]
    return _labelled(pairs, space, source)


FLOWERS = Layout(
    folders=("flowers-102",), files=dict.fromkeys(("train", "validation", "test"), ("setid.mat",)), read=_flowers
)
PETS = Layout(
    folders=("oxford-iiit-pet",),
    files={"train": ("annotations/trainval.txt",), "test": ("annotations/test.txt",)},
    read=_pets,
)
CARS = Layout(
    folders=("stanford_cars",),
    files={
        "train": ("devkit/cars_train_annos.mat", "cars_train_annos.mat"),
        "test": ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
    },
    read=_cars,
)
DTD = Layout(
    folders=("dtd", "dtd/dtd"),
    files={"train": ("labels/train1.txt",), "validation": ("labels/val1.txt",), "test": ("labels/test1.txt",)},
    read=_dtd,
)
FOOD = Layout(folders=("food-101",), files={"train": ("meta/train.json",), "test": ("meta/test.json",)}, read=_food)
INAT18, INAT19 = (
    Layout(folders=(), files={"train": (f"train{year}.json",), "test": (f"val{year}.json",)}, read=_inat)
    for year in (2018, 2019)
)
