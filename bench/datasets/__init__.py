"""Data sets: samples with stable ids and labels in a named class space."""

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from bench.datasets.class_groups import ClassGroups
from bench.datasets.identity import fingerprint as fingerprint
from bench.datasets.readers.passed_over import PassedOver
from bench.errors import AbsentError, BenchError
from bench.foreign.faults import blamed, is_interrupt
from bench.foreign.sources import modules_of, source_of
from bench.foreign.state import undisturbed_by
from bench.metrics.attributes import Attribute, Grouping
from bench.metrics.contract import LABEL_SET
from bench.records import Array, ClassSpace, digest
from bench.registry import Registry
from bench.text import some


class Samples(Protocol):
    """One opened split. Must be picklable: worker processes read from copies of it.

    May also have `content`, a digest of all images, where these are at hand and their sizes do not tell them apart;
    `uncompressed`, whether some are of a format without compression; and `stamps`, (n,) uint64, those of all samples as
    they were when the split was opened, to which `read` then holds; `passed_over`, a `PassedOver`, where something
    looks like an image of theirs and is none; `remark`, text, where a user must know how they were read; and
    `label_sets`, (n, S) int64, where an image may have several right labels: all of each, its `labels` first, then -1;
    and `oddity`, from an index to what `bench data verify` is to count such samples as, empty for nothing.
    """

    ids: Array
    """(n,) text, unique, the same on every machine."""
    labels: Array
    """(n,) int64, indices into the data set's class space."""
    sizes: Array
    """(n,) int64, stored bytes of each sample."""

    def read(self, index: int) -> Array | bytes:
        """The sample as (h, w, 3) uint8, or as the bytes of an image file."""
        ...

    def stamp(self, index: int) -> int:
        """A number that changes when the sample's bytes do; 64 bits. A run is held to it, and so is the crop cache."""
        ...


OfLabels: TypeAlias = Literal["top1", "mean_per_class_accuracy"]
"""Metrics of sets with one label an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What the whole of a split has."""

    images: int
    classes: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that a data set's authors publish, free for everyone to fetch."""

    address: str
    """https; the last part is the file's name."""
    md5: str
    """As published, 32 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Of the file."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A registered data set; opening it is left until it is needed."""

    name: str
    class_space: ClassSpace
    open: Callable[[str, Path | None], Samples]
    """From a split's name, and the place that the user gave, to its samples; torch-free."""
    splits: tuple[str, ...] = ("test",)
    fit: tuple[str, ...] = ()
    """Splits that the transfer suites learn from: train, then the authors' validation split where they give one. Empty
    keeps the set out of these suites."""
    metric: OfLabels | Literal["mean_iou"] = "top1"
    """What its authors score it by; `mean_iou` of sets whose labels are masks."""
    expected: Mapping[str, Whole] = field(default_factory=dict)
    """By split, where that is known."""
    about: str = ""
    """One sentence: what it is, how many images."""
    licence: str = ""
    source: str = ""
    """Where to obtain it; empty for what ships with the package."""
    size: str = ""
    """Of what is to be downloaded, for people: `6.3 GB`."""
    archives: tuple[Archive, ...] = ()
    """What `bench data fetch` brings, read as they are; empty where terms must be accepted or no digest is known."""
    layout: str = ""
    """How its files must lie in the place that the user gives; for listings and messages."""
    hub: str = ""
    """OWNER/NAME of the data set on the Hugging Face hub, where it is there."""
    attributes: tuple[Attribute, ...] = ()
    """What is known of its images beside their labels."""
    grouping: Grouping | None = None
    """What cuts its images to the groups of which the worst counts."""
    label_sets: bool = False
    """Whether an image may have several right labels."""
    groups: ClassGroups | None = None
    """The groups of finer classes that it is labelled with, where it is a user's."""

    @property
    def has_masks(self) -> bool:
        """Whether each pixel has a label, and images have none: see `bench.datasets.segmentation.MaskedSamples`."""
        return self.metric == "mean_iou"


datasets: Registry[Dataset] = Registry("dataset")
class_spaces: Registry[ClassSpace] = Registry("class space")
"""Those that have a name of their own; a user's data set or checkpoint may name one."""


def subset(ids: Array, limit: int | None) -> Array:
    """Indices of the samples that a limit keeps, ascending.

    The choice depends on the ids alone and is nested: the subset of a smaller limit lies in that of a larger.

    Args:
        ids: (n,) text.
        limit: samples to keep; None keeps all.

    Returns:
        (min(limit, n),) int64.
    """
    if limit is None or limit >= len(ids):
        return np.arange(len(ids))
    return np.sort(nested_order(ids)[:limit])


def subset_by_class(ids: Array, labels: Array, limit: int | None) -> Array:
    """Indices of the samples to learn from that a limit keeps, ascending: every class in turn, as none may lack.

    The choice depends on ids and labels alone and is nested, as that of `subset` is.

    Args:
        ids: (n,) text.
        labels: (n,) int64.
        limit: samples to keep; None keeps all.

    Returns:
        (min(limit, n),) int64.

    >>> subset_by_class(np.array(["a", "b", "c", "d", "e"]), np.array([0, 0, 0, 0, 1]), 2).tolist()
    [3, 4]
    """
    if limit is None or limit >= len(ids):
        return np.arange(len(ids))
    order = nested_order(ids)
    by_class = np.argsort(labels[order], kind="stable")
    first_of_class = np.searchsorted(labels[order][by_class], labels[order][by_class])
    turns = np.empty(len(ids), dtype=np.int64)
    turns[by_class] = np.arange(len(ids)) - first_of_class
    return np.sort(order[np.argsort(turns, kind="stable")][:limit])


def nested_order(ids: Array) -> Array:
    """(n,) int64: indices in the order in which growing limits take the samples."""
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(str(ids[i]).encode()).digest())
    return np.array(order, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class OpenedSplit:
    """Samples with what a plan must know of them."""

    dataset: Dataset
    split: str
    samples: Samples
    fingerprint: str
    stamps: Array | None
    """(n,) uint64: of all samples as they were when the split was opened; None where one could not be told."""

    def columns(self, indices: Array) -> dict[str, Array]:
        """What outcomes keep of samples beside ids and labels, whatever is measured: label sets, if there are any.

        Args:
            indices: (m,) int64, which samples.
        """
        sets: Array | None = getattr(self.samples, "label_sets", None)
        return {} if sets is None else {LABEL_SET: sets[indices]}


_MANY = 10
"""Splits; to list a folder of 50,000 files takes a third of a second locally, and far longer on a remote disk."""


class Library:
    """Opens splits once, with the places that the user's configuration gives.

    Args:
        places: data set name to folder or file.
        note: told before a data set is opened that takes a while.
    """

    def __init__(
        self, places: Mapping[str, Path] | None = None, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.places = dict(places or {})
        self._note = note
        for name in self.places:
            datasets.get(name)
        self._opened: dict[tuple[str, str], OpenedSplit | AbsentError] = {}
        self._noted: set[str] = set()

    def open(self, name: str, split: str) -> OpenedSplit:
        """A split, opened once.

        Raises:
            AbsentError: it is not on this machine.
            BenchError: it cannot be opened, or its samples are not as they must be.
        """
        if (name, split) not in self._opened:
            self._announce(name)
            try:
                self._opened[name, split] = self._open(name, split)
            except AbsentError as error:
                self._opened[name, split] = error
        opened = self._opened[name, split]
        if isinstance(opened, AbsentError):
            raise opened
        return opened

    def _announce(self, name: str) -> None:
        splits = len(datasets.get(name).splits)
        first = not any(opened == name for opened, _ in self._opened)
        if first and splits > _MANY and name in self.places:
            self._note(f"listing the {splits} folders of {name} in {self.places[name]}")

    def _open(self, name: str, split: str) -> OpenedSplit:
        dataset = datasets.get(name)
        if split not in dataset.splits:
            raise BenchError(f"data set {name!r} has no split {split!r}; it has {', '.join(dataset.splits)}.")
        with (
            blamed(f"data set {name!r}, split {split!r}, cannot be opened", BenchError),
            undisturbed_by(*modules_of(dataset.open)),
        ):
            samples = dataset.open(split, self.places.get(name))
            _check(dataset, split, samples)
            self._tell_of_samples(name, samples)
            seen = fingerprint(samples, lambda text: self._note(f"{name}: {text}"))
            stamps = _stamps(samples)
        source = source_of(datasets.origin(name), dataset.open)  # what a plug-in's reader gives is its code's as well
        seen = digest([seen, source]) if source else seen
        return OpenedSplit(dataset=dataset, split=split, samples=samples, stamps=stamps, fingerprint=seen)

    def _tell_of_samples(self, name: str, samples: Samples) -> None:
        """What was passed over, and what a user must know of how the rest was read."""
        remark: str = getattr(samples, "remark", "")
        if remark and remark not in self._noted:
            self._noted.add(remark)
            self._note(f"{name}: {remark}.")
        passed: PassedOver | None = getattr(samples, "passed_over", None)
        if passed is not None and name not in self._noted:
            self._noted.add(name)  # once a data set, however many splits it has
            self._note(
                f"{name}: files that look like images and are passed over: {len(passed.names):,} "
                f"({some(passed.names)}); samples are {passed.read}."
            )


def _stamps(samples: Samples) -> Array | None:
    """See `OpenedSplit`."""
    stamps: Array | None = getattr(samples, "stamps", None)
    if stamps is not None:
        return stamps
    try:
        return np.array([samples.stamp(index) for index in range(len(samples.ids))], dtype=np.uint64)
    except BaseException as error:  # code of a plug-in; what can't be read is reported when it is measured
        if is_interrupt(error):
            raise
        return None


def _check(dataset: Dataset, split: str, samples: Samples) -> None:
    where = f"data set {dataset.name!r}, split {split!r}"
    n = len(samples.ids)
    if n == 0:
        raise BenchError(f"{where} holds no samples; no score can come from it.")
    if len(set(samples.ids.tolist())) != n:
        raise BenchError(f"{where} has {n - len(set(samples.ids.tolist()))} ids twice; ids must be unique.")
    if not n == len(samples.labels) == len(samples.sizes):
        raise BenchError(
            f"{where} has {n} ids, {len(samples.labels)} labels and {len(samples.sizes)} sizes; "
            "every sample needs one of each."
        )
    whole = dataset.expected.get(split)
    if whole is not None and n > whole.images:
        raise BenchError(
            f"{where} has {whole.images:,} images, but {n:,} were found: this is another set (the training set?), or "
            "files lie there twice; give the folder of this set alone."
        )
    strange = next((sample_id for sample_id in map(str, samples.ids.tolist()) if not _is_plain(sample_id)), None)
    if strange is not None:
        raise BenchError(
            f"{where} has a sample named {strange!a}, and names must be text in UTF-8 without line breaks and other "
            "control characters; rename that file."
        )
    labels: Any = np.asarray(samples.labels)
    classes = len(dataset.class_space.classes)
    if labels.min() < 0 or labels.max() >= classes:
        raise BenchError(
            f"{where} has labels from {labels.min()} to {labels.max()}, "
            f"but its class space {dataset.class_space.name!r} has {classes} classes (0 to {classes - 1})."
        )
    _check_label_sets(where, samples, classes)


def _check_label_sets(where: str, samples: Samples, classes: int) -> None:
    sets: Array | None = getattr(samples, "label_sets", None)
    if sets is None:
        return
    fits = sets.ndim == 2 and len(sets) == len(samples.labels) and np.array_equal(sets[:, 0], samples.labels)
    if not fits or sets.min() < -1 or sets.max() >= classes:
        raise BenchError(
            f"{where} must give a row of labels a sample, its label first, then others of the {classes} classes, then "
            f"-1; it gives an array of shape {sets.shape}."
        )


def _is_plain(name: str) -> bool:
    """Whether a name is text. Python writes bytes that are in no encoding as halves of characters (`Cs`)."""
    if name.isascii() and name.isprintable():
        return True
    return not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
