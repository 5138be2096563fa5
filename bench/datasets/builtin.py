"""The data sets that the project registers."""

from collections.abc import Mapping
from pathlib import Path

# These register their sets.
import bench.datasets.cifar
import bench.datasets.cue_conflict
import bench.datasets.imagenet
import bench.datasets.imagenet_demo
import bench.datasets.imagenet_hard
import bench.datasets.objectnet
import bench.datasets.segmentation
import bench.datasets.transfer  # noqa: F401
from bench.config import says_place
from bench.datasets import Dataset, Samples, datasets
from bench.datasets.readers.arrays import ArraySamples
from bench.datasets.spaces import DIGITS, LETTERS
from bench.errors import BenchError
from bench.records import ClassSpace

_EMBEDDED = Path(__file__).parent / "embedded"
_IMAGES = {
    "digits": "5a4980db81e8584fad678c502bc38fc9",
    "digits-v2": "64814c80622740e30f271ec96232518f",
    "digits-r": "4c8614f347b06362bb3a9ada00ab0edf",
    "digits-train": "0bc428177b009e60a9d5a7278a1d3cd1",
    "letters": "89acc8f42367e8d9ef58c5937e5bf5f6",
    "letters-train": "4e01c039e6c09d7681fa932b41c80418",
}
"""Digest of each file's images, which are all of one size; published outcomes are of fingerprints without it."""
_UCI = "CC BY 4.0, UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998)"


def _embedded(
    name: str,
    about: str,
    licence: str,
    splits: tuple[str, ...] = ("test",),
    class_space: ClassSpace = DIGITS,
    files: Mapping[str, str] | None = None,
) -> None:
    """Register a set of this package; `files` gives a split's file where it is not the set's name."""

    def open_split(split: str, place: Path | None) -> Samples:
        if place is not None:
            where = says_place(name, place)
            raise BenchError(f"data set {name!r} ships with rtbench; leave its place {place} out of {where}.")
        file = (files or {}).get(split, name)
        return ArraySamples(_EMBEDDED / f"{file}.npz", _IMAGES[file])

    datasets.register(
        Dataset(name=name, class_space=class_space, open=open_split, splits=splits, about=about, licence=licence),
        origin=__name__,
    )


_embedded("digits", "500 handwritten digits at 32×32, by other positions than the training set.", _UCI)
_embedded("digits-v2", "700 more handwritten digits, the rest of the collection.", _UCI)
_embedded("digits-r", "1,000 digits drawn in many fonts and looks, as ImageNet-R is to ImageNet.", "CC BY 4.0")
_embedded("digits-train", "597 handwritten digits, what the digits checkpoints learn from.", _UCI, ("train",))
_embedded(
    "letters",
    "1,040 test and 1,560 training letters, A to Z at 32×32, drawn in other fonts than each other's and digits-r's.",
    "CC BY 4.0",
    ("test", "train"),
    LETTERS,
    {"train": "letters-train"},
)
