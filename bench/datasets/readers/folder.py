"""Image files in class folders. A class is found by its folder's name, never by its position."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bench.datasets.readers import tars
from bench.datasets.readers.listing import SUFFIXES, Found, Listing, is_hidden
from bench.datasets.readers.passed_over import PassedOver, has_image_name, images_below, looks_like_image
from bench.datasets.readers.stamps import read_planned, stamp_of
from bench.datasets.readers.tar_folder import SUFFIX, TarFolder
from bench.errors import BenchError, RunError
from bench.records import Array, ClassSpace
from bench.text import some

Place: TypeAlias = Path | TarFolder
"""A folder, wherever it lies."""


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
        remark: what a user must know of them; empty for nothing.
        label_sets: see `bench.datasets.Samples`.
    """

    passed_over: PassedOver | None = None
    remark: str = ""
    label_sets: Array | None = None

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


class TarSamples(FolderSamples):
    """Image files in a tar file, read by offset. An id, a label and a size are as if it were unpacked.

    Args:
        folder: in the tar file.
        ids: (n,) text.
        files: paths below `folder`, one a sample; None where they are the ids.
        labels: (n,) indices into the class space.
        found: (n,) size and stamp of each file.
    """

    def __init__(
        self,
        folder: TarFolder,
        ids: Sequence[str],
        files: Sequence[str] | None,
        labels: Iterable[int],
        found: Iterable[Found],
    ) -> None:
        super().__init__(folder.as_path(), ids, files, labels, found)
        self._tar, self._tar_stamp = folder.path, folder.tar_stamp
        self._offsets = folder.offsets(ids if files is None else files)

    def read(self, index: int) -> bytes:
        """The bytes of the file that was there when the split was opened.

        Raises:
            RunError: the tar file has changed since, or can no longer be read.
        """
        return read_planned(self._tar, self._tar_stamp, int(self._offsets[index]), int(self.sizes[index]))


_id_arrays: dict[bytes, Array] = {}


def _shared(ids: Array) -> Array:
    """The same array for the same ids: the 95 folders of ImageNet-C would take 0.7 GB for theirs."""
    return _id_arrays.setdefault(hashlib.blake2b(ids.tobytes(), digest_size=16).digest(), ids)


def class_folders(
    root: Place,
    class_space: ClassSpace,
    subject: str,
    label_of: Callable[[str], int | None] | None = None,
    *,
    others_known: bool = False,
) -> FolderSamples:
    """Read a folder of class folders.

    Args:
        root: the folder; its folders bear the names of classes, any subset of them.
        class_space: of the labels.
        subject: the data set's name, for messages.
        label_of: gives a folder's label by its name, None where it is no class; by default the place of the name in
            `class_space`.
        others_known: whether the set has folders of other classes too, which are left out.

    Returns:
        The samples, in the order of their ids; an id is `CLASS/FILE`, the class by its name in the class space.

    Raises:
        BenchError: there is no such folder, it has no class folders, or one of them is not a class or is empty.
        RunError: it has links to nothing.
    """
    label_of = label_of or {name: index for index, name in enumerate(class_space.classes)}.get
    listing = _listing(root, subject)
    labels = {name: label_of(name) for name in listing.folders}
    left_out = [name for name, label in labels.items() if label is None] if others_known else []
    if len(left_out) < len(labels):  # where no folder is known, it is another data set
        labels = {name: label for name, label in labels.items() if name not in set(left_out)}
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
            others += _images_below(root, f"{name}/{folder}")
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
    samples = samples_in(root, ids, files, numbers, founds)
    if left_out:
        samples.remark = f"folders of classes that are not asked for: {len(left_out):,} ({some(left_out)})"
    if others:
        samples.passed_over = PassedOver(
            tuple(sorted(others)), f"files that lie in a class's folder itself and end in {', '.join(SUFFIXES)}"
        )
    return samples


def listed_files(
    root: Place, class_space: ClassSpace, label_of: Callable[[str], int | None], subject: str
) -> FolderSamples:
    """Read a flat folder, whose files say by their names what they are labelled.

    Args:
        root: the folder.
        class_space: of the labels.
        label_of: gives a file's label by its name, None where that says none; such files are passed over.
        subject: the data set's name, for messages.

    Returns:
        The samples, in the order of their ids; an id is `CLASS/FILE`, as if the files lay in folders of their classes.

    Raises:
        BenchError: there is no such folder, or no file that has a label.
    """
    listing = _listing(root, subject)
    others = [*listing.others]
    rows = []
    for file, of_file in listing.pictures:
        label = label_of(file)
        if label is None:
            others.append(file)
        else:
            rows.append((f"{class_space.classes[label]}/{file}", file, label, of_file))
    if not rows:
        raise BenchError(f"{root} holds no image file of {subject}; give the folder that does.")
    samples = samples_in(root, *zip(*sorted(rows), strict=True))
    if others:
        samples.passed_over = PassedOver(tuple(sorted(others)), f"files that are named as those of {subject} are")
    return samples


def samples_in(
    root: Place, ids: Sequence[str], files: Sequence[str], labels: Iterable[int], found: Iterable[Found]
) -> FolderSamples:
    """The samples of files below a folder; see `FolderSamples`."""
    named = None if tuple(files) == tuple(ids) else files
    if isinstance(root, TarFolder):
        return TarSamples(root, ids, named, labels, found)
    return FolderSamples(root, ids, named, labels, found)


def _images_below(root: Place, folder: str) -> Iterator[str]:
    """Paths, from `root`, of what looks like an image in a folder and those within."""
    if isinstance(root, TarFolder):
        return (f"{folder}/{name}" for name in (root / folder).images_below())
    return images_below(root / folder, root)


def folder_at(place: Path, subject: str) -> Place:
    """A folder of the disk, or what a tar file holds.

    Raises:
        BenchError: there is neither, or the tar file is compressed.
        RunError: the tar file is damaged.
    """
    if place.is_file() and place.name.endswith((SUFFIX, *tars.PACKED)):
        return TarFolder(place)
    return existing_folder(place, subject)


def existing_folder(place: Path, subject: str) -> Path:
    """The place, if it is a folder.

    Raises:
        BenchError: it is not.
    """
    if not place.is_dir():
        came = "is a file" if place.exists() else "does not exist"
        raise BenchError(f"{subject} must be a folder, but {place} {came}; correct the path.")
    return place


def _listing(folder: Place, subject: str) -> Listing:
    if isinstance(folder, TarFolder):
        return folder.listing()
    listing = Listing()
    with os.scandir(existing_folder(folder, subject)) as entries:
        for entry in entries:
            if is_hidden(entry.name):
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
    root: Place, class_space: ClassSpace, subject: str, labels: Mapping[str, int | None], loose: int
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
