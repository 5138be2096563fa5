"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as they are found: Python's and the binary version, and Parquet files."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets import Dataset, Samples, Whole, datasets
from bench.datasets.readers.columns import class_places
from bench.datasets.readers.files import contents
from bench.datasets.readers.hub_tables import HUB, no_place, open_table, refuse_packed
from bench.datasets.readers.pickles import ForeignNameError, read_pickle
from bench.datasets.spaces import CIFAR10, CIFAR100
from bench.errors import AbsentError, BenchError, RunError, one_line
from bench.records import Array, ClassSpace

SIDE = 32  # pixels
_PIXELS = SIDE * SIDE * 3  # bytes of an image: its red, green and blue plane, each row by row
_MOST_BYTES = 2**29
"""Of a file: the largest, CIFAR-100's training set, has 155 MB."""
_UNPACK = "unpack the whole archive again"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Version:
    """What the authors' archives of one of the two sets hold."""

    class_space: ClassSpace
    python: str
    """Folder of the Python version."""
    binary: str
    """Folder of the binary version."""
    files: dict[str, tuple[str, ...]]
    """Split to files; the binary version's end in `.bin`."""
    meta: str
    """File of the Python version that names the classes."""
    names_key: bytes
    labels_key: bytes
    label_bytes: int
    """Before each image of the binary version; the last of them is the label."""


_CIFAR10 = _Version(
    class_space=CIFAR10,
    python="cifar-10-batches-py",
    binary="cifar-10-batches-bin",
    files={"test": ("test_batch",), "train": tuple(f"data_batch_{number}" for number in range(1, 6))},
    meta="batches.meta",
    names_key=b"label_names",
    labels_key=b"labels",
    label_bytes=1,
)
_CIFAR100 = _Version(
    class_space=CIFAR100,
    python="cifar-100-python",
    binary="cifar-100-binary",
    files={"test": ("test",), "train": ("train",)},
    meta="meta",
    names_key=b"fine_label_names",
    labels_key=b"fine_labels",
    label_bytes=2,
)


class CifarSamples:
    """Samples of the authors' files, numbered in their order, as the hub's Parquet files number them.

    Args:
        split: the first part of every id.
        labels: (n,) int64.
        planes: (n, 3072) uint8; red, green and blue one after another.
    """

    def __init__(self, split: str, labels: Array, planes: Array) -> None:
        self.ids: Array = np.array([f"{split}/{row:08d}" for row in range(len(labels))], dtype=np.str_)
        self.labels = labels
        self.sizes: Array = np.full(len(labels), _PIXELS, dtype=np.int64)
        self._planes = planes
        self.content = hashlib.blake2b(planes.tobytes(), digest_size=16).hexdigest()

    def read(self, index: int) -> Array:
        """(32, 32, 3) uint8."""
        planes: Array = self._planes[index].reshape(3, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def stamp(self, index: int) -> int:
        """A hash of the pixels themselves, which are at hand."""
        return int.from_bytes(hashlib.blake2b(self._planes[index].tobytes(), digest_size=8).digest())


def open_cifar10(split: str, place: Path | None) -> Samples:
    """CIFAR-10 from a folder of either version (or the folder around it), from Parquet files, or from the hub.

    Raises:
        AbsentError: it is not there.
        BenchError: a file is not CIFAR-10's.
        RunError: a file is damaged.
    """
    return _open(_CIFAR10, "cifar10", split, place)


def open_cifar100(split: str, place: Path | None) -> Samples:
    """CIFAR-100 with its 100 fine labels; as `open_cifar10`."""
    return _open(_CIFAR100, "cifar100", split, place)


def _open(version: _Version, name: str, split: str, place: Path | None) -> Samples:
    if place is None:
        raise no_place(name, _SOURCES[name], f"uoft-cs/{name}")
    refuse_packed(place)
    for folder in (place, place / version.python):
        if (folder / version.meta).is_file() or (folder / version.files["test"][0]).is_file():
            return _open_python(version, split, folder)
    for folder in (place, place / version.binary):
        if (folder / f"{version.files['test'][0]}.bin").is_file():
            return _open_binary(version, split, folder)
    try:
        return open_table(place, (split,), version.class_space, name)
    except AbsentError as error:
        if place.parts[:1] == (HUB,):
            raise
        raise AbsentError(
            f"{str(error).rstrip('.')}; nor is it, or does it hold, {version.python}/ or {version.binary}/."
        ) from None


def _open_python(version: _Version, split: str, folder: Path) -> CifarSamples:
    batches = [_unpickle(folder / file) for file in version.files[split]]
    labels, planes = [], []
    for batch, file in zip(batches, version.files[split], strict=True):
        data, numbers = batch.get(b"data"), batch.get(version.labels_key)
        if (
            not isinstance(data, np.ndarray)
            or not isinstance(numbers, list)
            or data.shape != (len(numbers), _PIXELS)
            or not all(isinstance(label, int) and abs(label) < 2**31 for label in numbers)
        ):
            raise BenchError(
                f"{folder / file} is not a batch of {version.class_space.name}: `data` (n, {_PIXELS}) of uint8 and n "
                f"numbers in `{version.labels_key.decode()}` were wanted; obtain it again."
            )
        planes.append(data)
        labels.append(np.array(numbers, dtype=np.int64))
    return CifarSamples(split, _checked(np.concatenate(labels), version, folder), np.concatenate(planes))


def _checked(labels: Array, version: _Version, folder: Path) -> Array:
    """The labels as indices into our class space: by the names in the file of names, where it is there."""
    places = np.arange(len(version.class_space.classes))
    if (folder / version.meta).is_file():
        named = _unpickle(folder / version.meta).get(version.names_key)
        if not isinstance(named, list):
            raise BenchError(f"{folder / version.meta} names no classes; obtain it again.")
        names = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in named]
        places = class_places(names, version.class_space, str(folder / version.meta))
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(places):
        raise RunError(
            f"{folder} has labels from {labels.min()} to {labels.max()}, but {version.class_space.name} has "
            f"{len(places)} classes; it is damaged, so obtain it again."
        )
    return places[labels]


def _unpickle(path: Path) -> dict[bytes, Any]:
    data = contents(path, _MOST_BYTES, _UNPACK)
    try:
        content = read_pickle(data)
        if isinstance(content, dict):
            # Python 3 writes the keys as text where the authors' Python 2 wrote bytes.
            return {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}
    except ForeignNameError as error:
        raise BenchError(
            f"reading {path} would run code (it names {error}), which CIFAR's own files do not need; obtain it again "
            "from its authors."
        ) from None
    except Exception as error:  # what a damaged pickle raises depends on where the damage is
        raise RunError(f"{path} is damaged or cut short ({one_line(error)}); obtain it again.") from error
    raise BenchError(f"{path} holds a {type(content).__name__}, not a batch of CIFAR; obtain it again.")


def _open_binary(version: _Version, split: str, folder: Path) -> CifarSamples:
    width = version.label_bytes + _PIXELS
    rows = []
    for file in version.files[split]:
        path = folder / f"{file}.bin"
        data = np.frombuffer(contents(path, _MOST_BYTES, _UNPACK), dtype=np.uint8)
        if len(data) == 0 or len(data) % width:
            raise RunError(
                f"{path} has {len(data):,} bytes, not a multiple of {width:,} as {version.class_space.name} needs; "
                "it is damaged or cut short, so obtain it again."
            )
        rows.append(data.reshape(-1, width))
    table = np.concatenate(rows)
    labels = table[:, version.label_bytes - 1].astype(np.int64)
    return CifarSamples(split, _checked(labels, version, folder), table[:, version.label_bytes :])


_SOURCES = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar.html, or https://huggingface.co/datasets/uoft-cs/cifar10",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar.html, or https://huggingface.co/datasets/uoft-cs/cifar100",
}


def _dataset(name: str, version: _Version, title: str, size: str) -> Dataset:
    classes = len(version.class_space.classes)
    return Dataset(
        name=name,
        class_space=version.class_space,
        open=functools.partial(_open, version, name),
        splits=("test", "train"),
        fit=("train",),
        expected={
            split: Whole(images=images, classes=classes) for split, images in (("test", 10_000), ("train", 50_000))
        },
        about=f"{title}: 10,000 test and 50,000 training photographs at 32×32 in {classes} classes (Krizhevsky 2009).",
        licence="none stated by its authors",
        source=_SOURCES[name],
        size=size,
        layout=(
            f"the unpacked archive ({version.python}/ or {version.binary}/, or the folder around it), or the hub's "
            f"Parquet files; or {HUB}//OWNER/NAME in the place of a folder, which fetches these"
        ),
    )


datasets.register(_dataset("cifar10", _CIFAR10, "CIFAR-10", "170 MB"), origin=__name__)
datasets.register(_dataset("cifar100", _CIFAR100, "CIFAR-100, fine labels", "169 MB"), origin=__name__)
