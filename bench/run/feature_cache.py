"""Features kept between runs: a file for each checkpoint, split, crop, token, device type and precision.

All that decides the features is in the file's name, so that a change of any of it misses; behind the array stands its
checksum. Nothing here imports torch: plans count what is kept.
"""

import contextlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from xxhash import xxh3_64

from bench import images
from bench.errors import DISK_FULL, RunError
from bench.machine import files
from bench.records import Array, Cell, Crop, digest
from bench.text import size
from bench.transfer import FEATURES_VERSION

FOLDER = "features"
"""Below the cache's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSet:
    """The features of some samples of a split, and all that decides them."""

    model: str
    """Model digest: weights, architecture, preprocessing."""
    input_size: int | None
    """Where the condition sets one."""
    dataset: str
    split: str
    fingerprint: str
    n: int
    """Samples: all of the split, or those that a limit of this number takes."""
    crop: Crop
    token: str
    device: str
    precision: str

    @property
    def file(self) -> str:
        """Its name: readable parts, and a hash of all of them in full."""
        crop = f"{self.crop.size}px-{float(self.crop.ratio)!r}-{self.crop.interpolation}"
        whole = digest([getattr(self, name) for name in self.__slots__ if name != "crop"] + [crop, self._versions])[:20]
        dataset, split = (_NOT_IN_NAMES.sub("-", name) for name in (self.dataset, self.split))
        return (
            f"{dataset}_{split}_{self.n}_{self.fingerprint[:12]}_{self.model[:12]}_{crop}_{self.token}_"
            f"{self.device}-{self.precision}_v{self._versions}_{whole}{_SUFFIX}"
        )

    @property
    def _versions(self) -> str:
        return f"{images.VERSION}.{FEATURES_VERSION}"


def feature_sets(cell: Cell) -> dict[str, FeatureSet]:
    """What a cell of a feature measure needs: split to its features; first the one that is measured."""
    data, numerics = cell.condition.data, cell.numerics
    measured = FeatureSet(
        model=cell.model_digest,
        input_size=cell.condition.model.input_size,
        dataset=data.dataset,
        split=data.split,
        fingerprint=cell.fingerprints[0],
        n=cell.n,
        crop=cell.condition.resolve_crop(cell.checkpoint),
        token=str(cell.condition.measure.params.get("token", "pre_logits")),
        device=numerics.device,
        precision=numerics.precision,
    )
    learnt = zip(data.fit, cell.fingerprints[1:], cell.fit_n, strict=True)
    return {data.split: measured} | {
        split: replace(measured, split=split, fingerprint=fingerprint, n=n) for split, fingerprint, n in learnt
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFeatures:
    """One file of features, as `bench cache ls` shows it."""

    path: Path
    dataset: str
    bytes: int
    used: float
    """When a run last read it, seconds since the epoch."""


class FeatureCache:
    """A folder of features within a size budget.

    Args:
        root: the cache's folder; made when needed.
        budget: bytes; the least recently used files go when it is passed, but for those that are in use here.
    """

    def __init__(self, root: Path, budget: int) -> None:
        self._folder = root / FOLDER
        self._budget = budget
        self._in_use: set[Path] = set()

    def read(self, features: FeatureSet) -> Array | None:
        """(n, D) float32, mapped from the disk; None where there is none, or not whole."""
        path = self._folder / features.file
        try:
            mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                file.seek(-_CHECKSUM_BYTES, os.SEEK_END)
                checksum = file.read()
        except (OSError, ValueError, EOFError):
            return None
        whole = mapped.dtype == np.float32 and mapped.ndim == 2 and len(mapped) == features.n
        if not whole or xxh3_64(mapped.data).digest() != checksum:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # of a cache that is only to be read
            os.utime(path)
        self._in_use.add(path)
        return mapped

    def has(self, features: FeatureSet) -> bool:
        """Whether a file is there; only `read` can tell whether it is whole."""
        return (self._folder / features.file).exists()

    def write(self, features: FeatureSet) -> "FeatureFile":
        """A file to be filled; room is made for what was written before it."""
        self._tidy()
        return FeatureFile(self._folder / features.file, features.n, self._budget)

    def entries(self) -> list[KeptFeatures]:
        """What is kept, the least recently used first."""
        entries = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another run removes it
                status = path.stat()
                dataset = path.name.split("_", 1)[0]
                entries.append(KeptFeatures(path=path, dataset=dataset, bytes=status.st_size, used=status.st_mtime))
        return sorted(entries, key=lambda entry: entry.used)

    def clear(self) -> int:
        """Remove everything; the bytes freed."""
        entries = self.entries()
        for entry in entries:
            entry.path.unlink(missing_ok=True)
        return sum(entry.bytes for entry in entries)

    def _tidy(self) -> None:
        """Remove what killed runs left half-written, and what is over the budget."""
        files.tidy(self._folder)
        entries = self.entries()
        excess = sum(entry.bytes for entry in entries) - self._budget
        for entry in entries:
            if excess > 0 and entry.path not in self._in_use:
                entry.path.unlink(missing_ok=True)
                excess -= entry.bytes


def can_write(root: Path) -> bool:
    """Whether features can be kept in a cache's folder, which is made where it is not there."""
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9.+-]")
_SUFFIX = ".features"
_CHECKSUM_BYTES = 8


class FeatureFile:
    """Features that are being written: an npy file with a checksum behind its array.

    Args:
        path: where it shall stand once it is whole.
        n: rows that it will have.
        most: bytes that it may take.
    """

    def __init__(self, path: Path, n: int, most: int) -> None:
        self._path, self._n, self._most = path, n, most
        self._writing = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._rows = 0
        self._hash = xxh3_64()

    def append(self, features_BD: Array) -> None:
        """Write the next rows, float32.

        Raises:
            RunError: the disk is full, the folder cannot be written, or the whole would be over the budget.
        """
        whole = self._n * features_BD.shape[1] * 4
        if whole > self._most:
            raise RunError(
                f"the features would take {size(whole)}, over the budget of {size(self._most)}; take others "
                "(--set token=pre_logits), or raise cache_budget_gb in bench.toml."
            )
        try:
            if self._file is None:
                half = self._writing.enter_context(files.replacing(self._path))
                self._file = self._writing.enter_context(half.open("wb"))
                head = {"descr": "<f4", "fortran_order": False, "shape": (self._n, features_BD.shape[1])}
                np.lib.format.write_array_header_1_0(self._file, head)
            data = np.ascontiguousarray(features_BD, dtype="<f4").data
            self._file.write(data)
            self._hash.update(data)
            self._rows += len(features_BD)
        except OSError as error:
            advice = "make room" if error.errno in DISK_FULL else "make it writable"
            raise RunError(
                f"features cannot be kept in {self._path.parent} ({error.strerror}); {advice}, or give another folder "
                "with --cache DIR."
            ) from error

    def close(self) -> None:
        """Bring the file into place if it has all of its rows, and the disk takes its end; else remove it."""
        if self._file is None:
            return
        with contextlib.suppress(OSError, EOFError), self._writing:
            if self._rows < self._n:
                raise EOFError("rows are lacking: the file is not brought into place")
            self._file.write(self._hash.digest())
