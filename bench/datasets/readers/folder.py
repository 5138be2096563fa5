"""Image files in class folders. A class is found by its folder's name, never by its position."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bench.datasets.readers.stamps import read_planned, stamp_of
from bench.errors import BenchError
from bench.records import Array, ClassSpace
from bench.text import some

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")
"""Of image files; other files in a class folder are passed over."""
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
    """

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
    """
    label_of = label_of or {name: index for index, name in enumerate(class_space.classes)}.get
    folders, loose = _listing(root, subject)
    labels = {name: label_of(name) for name in folders}
    _check_folders(root, class_space, subject, labels, loose)
    rows = []
    for name, label in labels.items():
        pictures = _images(root / name)
        if not pictures:
            raise BenchError(
                f"{root / name} holds no images, so this copy of {subject} is not whole: obtain it again, or remove "
                "the folder to evaluate without that class."
            )
        assert label is not None  # of _check_folders
        rows += [(f"{class_space.classes[label]}/{file}", f"{name}/{file}", label, found) for file, found in pictures]
    ids, files, numbers, founds = zip(*sorted(rows), strict=True)
    return FolderSamples(root, ids, None if files == ids else files, numbers, founds)


def existing_folder(place: Path, subject: str) -> Path:
    """The place, if it is a folder.

    Raises:
        BenchError: it is not.
    """
    if not place.is_dir():
        came = "is a file" if place.exists() else "does not exist"
        raise BenchError(f"{subject} must be a folder, but {place} {came}; correct the path.")
    return place


def _listing(root: Path, subject: str) -> tuple[list[str], int]:
    """Names of the folders in `root`, and how many image files lie beside them."""
    folders, loose = [], 0
    with os.scandir(existing_folder(root, subject)) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(SUFFIXES):
                loose += 1
    return sorted(name for name in folders if not name.startswith(".") and name not in _IGNORED), loose


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


def _images(folder: Path) -> list[tuple[str, Found]]:
    """Each image file by name."""
    with os.scandir(folder) as entries:
        return [(e.name, found(e.stat())) for e in entries if e.name.lower().endswith(SUFFIXES) and e.is_file()]


def found(status: os.stat_result) -> Found:
    """Size and stamp of a file."""
    return status.st_size, stamp_of(status)
