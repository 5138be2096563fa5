"""The forms in which people have ImageNet and its relatives: folders, tar files as downloaded, and tables of the hub.

Whatever the form, labels are indices into ImageNet's 1000 classes, and a tar file gives the ids that its folders would.
"""

import functools
import glob
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.datasets import Samples, datasets
from bench.datasets.readers import tars
from bench.datasets.readers.folder import FolderSamples, Place, folder_at, listed_files
from bench.datasets.readers.hub import HubSource, open_stream
from bench.datasets.readers.hub_tables import HUB
from bench.datasets.readers.parquet import ParquetSamples, parquet_files, split_files
from bench.datasets.readers.remote_shards import address_of
from bench.datasets.readers.shards import LABELS, ShardSamples
from bench.datasets.readers.tar_folder import SUFFIX, TarFolder
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError, BenchError
from bench.records import Array, ClassSpace
from bench.text import some

VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})[._]", re.IGNORECASE)
_IN_ORDER = Path(__file__).parent / "embedded" / "imagenet-val-labels.npz"
_LOOKED_AT = 100
"""Members of a tar file, to tell whether each image has a label beside it."""
_WEBP = (b"RIFF", b"WEBP")
SPLITS_OF = {
    "ILSVRC/imagenet-1k": "validation",
    "timm/imagenet-1k-wds": "validation",
    "axiong/imagenet-r": "test",
    "barkermrl/imagenet-a": "train",
    "songweig/imagenet_sketch": "train",
    "taesiri/imagenet-hard": "validation",
}
"""What some data sets of the hub call the split that is scored."""


def absent(name: str) -> AbsentError:
    """The complaint that a data set was never given a place."""
    record = datasets.get(name)
    size = f" ({record.size})" if record.size else ""
    return AbsentError(
        f"data set {name!r} is not on this machine as far as rtbench knows: obtain it from {record.source}{size}, then "
        f"give --data {name}=FOLDER, or name the folder under [data] in bench.toml."
    )


class TableSamples:
    """Samples of a table (Parquet, the hub, shards) labelled with ImageNet's classes. May be copied to processes.

    Args:
        samples: as they are read.
        labels: (n,) int64, indices into ImageNet's classes.
        remark: what a user must know of them; empty for nothing.
    """

    def __init__(self, samples: Samples, labels: Array, remark: str) -> None:
        self._samples = samples
        self.labels = labels
        self.ids: Array = samples.ids
        self.sizes: Array = samples.sizes
        self.stamps: Array | None = getattr(samples, "stamps", None)
        self.label_sets: Array | None = getattr(samples, "label_sets", None)
        self.passed_over = getattr(samples, "passed_over", None)
        self.remark = remark

    def read(self, index: int) -> Array | bytes:
        """See `bench.datasets.Samples`."""
        return self._samples.read(index)

    def stamp(self, index: int) -> int:
        """See `bench.datasets.Samples`."""
        return self._samples.stamp(index)


def table_at(
    place: Path, splits: Sequence[str], space: ClassSpace, subject: str, *, several: bool = False
) -> TableSamples | None:
    """A copy that is a table; None where the place is a folder of classes, or a tar file of such.

    Args:
        place: `hf://OWNER/NAME`, a Parquet file or a folder of them, or shards: a tar file, a folder of such,
            a pattern, or an address.
        splits: names that the split may go by, the likeliest first.
        space: ImageNet's classes, or the part of them that the set has: numbers below its size are then places in it.
        subject: the data set's name, for messages.
        several: whether a row has a list of right labels, which shards cannot have.

    Raises:
        AbsentError: it is not there, or the hub does not give it to this user.
        BenchError: a column or a label is not as needed.
        RunError: a file is damaged.
    """
    if place.parts[:1] == (HUB,):
        parts = place.parts[2:] if place.parts[1:2] == ("datasets",) else place.parts[1:]
        repo = "/".join(parts)
        source = HubSource(repo=repo, split=SPLITS_OF.get(repo, splits[0]), several=several)
        return _labelled(lambda classes: open_stream(source, classes, subject), space, subject)
    if _is_parquet(place):
        split = next((name for name in splits if _has(place, name, subject)), splits[0])
        return _labelled(
            lambda classes: ParquetSamples(place, classes, split, subject, several=several), space, subject
        )
    if not several and _is_shards(place):
        return _labelled(lambda classes: ShardSamples(place, classes, subject), space, subject)
    return None


def _is_parquet(place: Path) -> bool:
    if place.is_dir():
        return bool(parquet_files(place))
    return place.suffix == ".parquet"


def _has(place: Path, split: str, subject: str) -> bool:
    try:
        return bool(split_files(place, split, subject))
    except AbsentError:
        return False


def _is_shards(place: Path) -> bool:
    """Whether there are tar files in which each image has its label beside it."""
    if address_of(place):
        return True
    if place.is_dir():
        files = sorted(place.glob(f"*{SUFFIX}"))
    elif glob.has_magic(str(place)) or "{" in place.name:
        return not place.exists()
    else:
        files = [place] if place.name.endswith(SUFFIX) and place.is_file() else []
    return bool(files) and any(
        member.isfile() and member.name.endswith(tuple(f".{ending}" for ending in LABELS))
        for _, member in itertools.islice(tars.members(files[0]), _LOOKED_AT)
    )


def _labelled(open_as: Callable[[ClassSpace], Samples], space: ClassSpace, subject: str) -> TableSamples:
    """Labels as ImageNet's, whether the table counts the classes of the set or all 1000.

    A set of 200 classes is found labelled 0 to 199 and 0 to 999. The first is tried first: of a whole copy labelled by
    the 1000, some are beyond.
    """
    samples, indices = _opened(open_as, space)
    outside = set(indices.tolist()) - set(_indices(space))
    if outside:
        names = some(IMAGENET.classes[index] for index in sorted(outside))
        raise BenchError(f"{subject} is labelled with classes that it does not have ({names}); is it another data set?")
    first = samples.read(0)
    webp = isinstance(first, bytes) and (first[:4], first[8:12]) == _WEBP
    remark = "its images were saved again as WebP: other pixels than the published files have, and other numbers" * webp
    return TableSamples(samples, indices, remark)


def _opened(open_as: Callable[[ClassSpace], Samples], space: ClassSpace) -> tuple[Samples, Array]:
    """Samples, and their labels as indices into ImageNet's classes."""
    if space is not IMAGENET:
        try:
            samples = open_as(space)
        except AbsentError:
            raise
        except BenchError as error:
            try:
                samples = open_as(IMAGENET)
            except BenchError:
                raise error from None
            return samples, samples.labels
        return samples, np.array(_indices(space), dtype=np.int64)[samples.labels]
    samples = open_as(IMAGENET)
    return samples, samples.labels


def _indices(space: ClassSpace) -> tuple[int, ...]:
    return tuple(range(len(IMAGENET.classes))) if space is IMAGENET else space.indices


def folder_of(place: Path, subject: str, inner: Sequence[str], archives: Sequence[str] = ()) -> Place:
    """The folder of classes of a copy.

    Args:
        place: that the user gave: this folder, one above, or a tar file.
        subject: the data set's name, for messages.
        inner: names of the folder in what archives unpack to, or torchvision and Kaggle lay out.
        archives: names of tar files that hold it, where the folder above has nothing else.

    Raises:
        BenchError: there is no such folder.
        RunError: the tar file is damaged.
    """
    root = folder_at(place, subject)
    found = next((root / name for name in inner if (root / name).is_dir()), None)
    if found is not None:
        return found
    if isinstance(root, Path):
        archive = next((root / name for name in archives if (root / name).is_file()), None)
        if archive is not None:
            return folder_of(archive, subject, inner)
    return root


def validation_files(root: Place, subject: str) -> FolderSamples | None:
    """The samples of a flat folder of ILSVRC2012's validation files; None where it is none.

    They have the ids that they would have in folders of their classes, so that both are the same data.
    """
    pictures, folders = _look(root)
    if folders or not any(VAL_NAME.match(name) for name in pictures):
        return None
    samples = listed_files(root, IMAGENET, validation_label, subject)
    samples.remark = (
        "its files lie flat, without labels: they are labelled by their numbers, ILSVRC2012_val_00000001 and on, in "
        "the order that the challenge published"
    )
    return samples


def _look(root: Place) -> tuple[list[str], bool]:
    """Names of files in a folder, and whether there are folders too."""
    if isinstance(root, TarFolder):
        listing = root.listing()
        return [name for name, _ in listing.pictures], bool(listing.folders)
    entries = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    return [entry.name for entry in entries], any(entry.is_dir() for entry in entries)


def validation_label(file: str) -> int | None:
    """The class of one of ILSVRC2012's validation files, by the number in its name; None where it is none of them."""
    match = VAL_NAME.match(file)
    number = int(match[1]) if match else 0
    labels = validation_labels()
    return int(labels[number - 1]) if 1 <= number <= len(labels) else None


@functools.cache
def validation_labels() -> Array:
    """Of the validation files 1 to 50,000, (50000,) uint16: ILSVRC2012's ground truth, see embedded/ATTRIBUTION.md."""
    with np.load(_IN_ORDER, allow_pickle=False) as file:
        labels: Array = file["labels"]
    return labels
