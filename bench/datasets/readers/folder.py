"""Image files in class folders. A class is found by its folder's name, never by its position."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bench.datasets.readers.passed_over import PassedOver, has_image_name, images_below, looks_like_image
from bench.datasets.readers.stamps import read_planned, stamp_of
from bench.errors import BenchError, RunError
from bench.records import Array, ClassSpace
from bench.text import some

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")
"""Of image files; other files in a class folder are passed over, and counted if they look like images."""
_IGNORED = ("__MACOSX", "lost+found")
Found: TypeAlias = tuple[int, int]
"""Size and stamp of a file, as they were when its split was opened."""


class FolderSamples:
    """Image files below a folder.

    Args:
        root: the folder.
        ids: (n,) text.
        files: paths below `root`, one a sample; None where they are the ids.
        labels: (n,) indices into the class space.
        found: (n,) size and stamp of each file, as it is now.

    Attributes:
        passed_over: what looks like an image of these and is none.
    """

    passed_over: PassedOver | None = None

    def __init__(
        self, root: Path, ids: Sequence[str], files: Sequence[str] | None, labels: Iterable[int], found: Iterable[Found]
    ) -> None:
        sizes, stamps = zip(*found, strict=True)
        self.root = root
        self.ids: Array = _shared(np.array(ids))
        self._files: Array | None = None if files is None else np.array(files)
        self.labels: Array = np.fromiter(labels, dtype=np.int64)
        self.sizes: Array = np.array(sizes, dtype=np.int64)
        self.stamps: Array = np.array(stamps, dtype=np.uint64)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / str((self.ids if self._files is None else self._files)[index])

    def read(self, index: int) -> bytes:
        """The bytes of the file that was there when the split was opened.

        Raises:
            RunError: it has changed since, or can no longer be read.
        """
        return read_planned(self.path(index), int(self.stamps[index]))

    def stamp(self, index: int) -> int:
        """The stamp of the file that was there when the split was opened."""
        return int(self.stamps[index])


_id_arrays: dict[bytes, Array] = {}


def _shared(ids: Array) -> Array:
    """The same array for the same ids: the 95 folders of ImageNet-C would take 0.7 GB for theirs."""
    return _id_arrays.setdefault(hashlib.blake2b(ids.tobytes(), digest_size=16).digest(), ids)


def class_folders(
    root: Path, class_space: ClassSpace, subject: str, label_of: Callable[[str], int | None] | None = None
) -> FolderSamples:
    """Read a folder of class folders.

    Args:
        root: the folder; its folders bear the names of classes, any subset of them.
        class_space: of the labels.
        subject: the data set's name, for messages.
        label_of: gives a folder's label by its name, None where it is no class; by default the place of the name in
            `class_space`.

    Returns:
        The samples, in the order of their ids; an id is `CLASS/FILE`, the class by its name in the class space.

    Raises:
        BenchError: there is no such folder, it has no class folders, or one of them is not a class or is empty.
        RunError: it has links to nothing.
    """
    label_of = label_of or {name: index for index, name in enumerate(class_space.classes)}.get
    listing = _listing(root, subject)
    labels = {name: label_of(name) for name in listing.folders}
    others = [*(name for name, _ in listing.pictures), *listing.others]
    _check_folders(root, class_space, subject, labels, len(others))
    broken = [name for name in listing.broken if label_of(name) is not None]
    rows = []
    for name, label in labels.items():
        inside = _listing(root / name, subject)
        pictures = inside.pictures
        broken += [f"{name}/{file}" for file in inside.broken if has_image_name(file)]
        others += [f"{name}/{file}" for file in inside.others]
        for folder in inside.folders:
            others += images_below(root / name / folder, root)
        if not pictures and not inside.broken:
            raise BenchError(
                f"{root / name} holds no images, so this copy of {subject} is not whole: obtain it again, or remove "
                "the folder to evaluate without that class."
            )
        assert label is not None  # of _check_folders
        rows += [(f"{class_space.classes[label]}/{file}", f"{name}/{file}", label, found) for file, found in pictures]
    if broken:
        raise RunError(
            f"{root} has {len(broken):,} links to files that are not there ({some(broken)}), so this copy of {subject} "
            "is not whole: obtain what they lead to, or remove them."
        )
    ids, files, numbers, founds = zip(*sorted(rows), strict=True)
    samples = FolderSamples(root, ids, None if files == ids else files, numbers, founds)
    if others:
        samples.passed_over = PassedOver(
            tuple(sorted(others)), f"files that lie in a class's folder itself and end in {', '.join(SUFFIXES)}"
        )
    return samples


def existing_folder(place: Path, subject: str) -> Path:
    """The place, if it is a folder.

    Raises:
        BenchError: it is not.
    """
    if not place.is_dir():
        came = "is a file" if place.exists() else "does not exist"
        raise BenchError(f"{subject} must be a folder, but {place} {came}; correct the path.")
    return place


@dataclass(slots=True)
class _Listing:
    """What a folder holds. Hidden files and folders are none of it."""

    folders: list[str]
    pictures: list[tuple[str, Found]]
    """Each image file by name."""
    others: list[str]
    """What looks like an image, and is read from a class's folder only or not at all."""
    broken: list[str]
    """Links to nothing."""


def _listing(folder: Path, subject: str) -> _Listing:
    listing = _Listing([], [], [], [])
    with os.scandir(existing_folder(folder, subject)) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _IGNORED:
                continue
            image = entry.name.lower().endswith(SUFFIXES)
            if entry.is_symlink() and not os.path.exists(entry.path):
                listing.broken.append(entry.name)
            elif image and entry.is_file():
                listing.pictures.append((entry.name, found(entry.stat())))
            elif entry.is_dir():
                listing.folders.append(entry.name)
            elif image or looks_like_image(entry):
                listing.others.append(entry.name)
    listing.folders.sort()
    return listing


def _check_folders(
    root: Path, class_space: ClassSpace, subject: str, labels: Mapping[str, int | None], loose: int
) -> None:
    if loose and not labels:
        raise BenchError(
            f"{root} holds {loose:,} image files and no class folders; {subject} needs one folder a class, such as "
            f"{class_space.classes[0]}/, for that is what labels are read from: sort the files into folders."
        )
    if not labels:
        raise BenchError(
            f"{root} holds no class folders; {subject} needs one a class, such as {class_space.classes[0]}/."
        )
    unknown = [name for name, label in labels.items() if label is None]
    if unknown:
        raise BenchError(
            f"{root} is not {subject}: {len(unknown):,} of its {len(labels):,} folders ({some(unknown)}) are not named "
            f"after one of its classes, such as {class_space.classes[0]}; is it another data set, or the folder above?"
        )


def found(status: os.stat_result) -> Found:
    """Size and stamp of a file."""
    return status.st_size, stamp_of(status)
