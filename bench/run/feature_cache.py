"""Features kept between runs: a file for each checkpoint, split, crop, token, device type and precision.

All that decides the features is in the file's name, so that a change of any of it misses; behind the array stands its
checksum. Nothing here imports torch: plans count what is kept.

    NAME.features               the whole
    NAME_b64_640-1280.part      rows 640 to 1279 of an extraction in batches of 64 that is under way, or was stopped

Parts are written every few moments, so that a run that is stopped loses little: the next one in batches of the same
size goes on from there, and ends with the same bytes.
"""

import contextlib
import glob
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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
    by_class: bool = False
    """Whether it takes them class by class, as it does of samples to learn from."""
    crop: Crop
    token: str
    device: str
    precision: str

    @property
    def file(self) -> str:
        """Its name: readable parts, and a hash of all of them in full."""
        crop = self.crop.name
        told = [getattr(self, name) for name in self.__slots__ if name not in ("crop", "by_class")]
        told += [crop, self._versions, *(["by class"] if self.by_class else [])]
        whole = digest(told)[:20]
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
    learnt = zip(data.fit, cell.fingerprints[1:], cell.fit_n, cell.fit_of or cell.fit_n, strict=True)
    return {data.split: measured} | {
        split: replace(measured, split=split, fingerprint=fingerprint, n=n, by_class=n < of)
        for split, fingerprint, n, of in learnt
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFeatures:
    """Features of one set, whole or in parts, as `bench cache ls` shows them."""

    name: str
    """That of the whole file."""
    dataset: str
    files: tuple[Path, ...]
    whole: bool
    """Whether all of them are there."""
    bytes: int
    used: float
    """When a run last read or wrote them, seconds since the epoch."""


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9.+-]")
_SUFFIX = ".features"
_PART_SUFFIX = ".part"
_NAME = re.compile(r"([^_]+)_[^_]+_\d+_[0-9a-f]{12}_[0-9a-f]{12}_\d+px-.+_v[\d.]+_[0-9a-f]{20}")
"""As `FeatureSet.file` makes it, without the suffix."""
_ROWS = re.compile(r"_b(\d+)_(\d+)-(\d+)")
"""Behind the name of a part: size of the batches, first row, and row after the last."""
_MAGIC = b"\x93NUMPY"
_CHECKSUM_BYTES = 8
_SECONDS = 20.0
"""Between two parts."""
_MOST_HELD = 64 * 2**20
"""Bytes that wait to be written as a part."""


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
        mapped = _read(path, features.n)
        if mapped is not None:
            with contextlib.suppress(OSError):  # of a cache that is only to be read
                os.utime(path)
            self._in_use.add(path)
        return mapped

    def has(self, features: FeatureSet) -> bool:
        """Whether a file is there; only `read` can tell whether it is whole."""
        return (self._folder / features.file).exists()

    def write(self, wanted: Iterable[FeatureSet], batch_size: int) -> "list[FeatureFile]":
        """A file each to be filled, with the parts that stopped runs left; then room is made for them.

        Args:
            wanted: what is to be extracted.
            batch_size: samples that the model is shown at once; parts of other batches may differ in their last bits.
        """
        made = [FeatureFile(self._folder / features.file, features.n, batch_size, self._budget) for features in wanted]
        self._in_use |= {path for file in made for path in file.parts}
        self._tidy()
        return made

    def entries(self) -> list[KeptFeatures]:
        """What is kept, the least recently used first; files that this cache did not make are none of it."""
        found: dict[tuple[str, bool], list[tuple[Path, os.stat_result]]] = {}
        for path in (*self._folder.glob(f"*{_SUFFIX}"), *self._folder.glob(f"*{_PART_SUFFIX}")):
            with contextlib.suppress(OSError):  # another run removes it
                if (name := _name_of(path)) is not None and _is_array(path):
                    found.setdefault((name, path.suffix == _SUFFIX), []).append((path, path.stat()))
        entries = [
            KeptFeatures(
                name=f"{name}{_SUFFIX}",
                dataset=name.split("_", 1)[0],
                files=tuple(path for path, _ in files),
                whole=whole,
                bytes=sum(status.st_size for _, status in files),
                used=max(status.st_mtime for _, status in files),
            )
            for (name, whole), files in found.items()
        ]
        return sorted(entries, key=lambda entry: entry.used)

    def clear(self) -> int:
        """Remove everything; the bytes freed."""
        entries = self.entries()
        for entry in entries:
            _remove(entry.files)
        return sum(entry.bytes for entry in entries)

    def _tidy(self) -> None:
        """Remove what killed runs left half-written, parts of what is whole by now, and what is over the budget."""
        files.tidy(self._folder)
        entries = self.entries()
        whole = {entry.name for entry in entries if entry.whole}
        excess = sum(entry.bytes for entry in entries) - self._budget
        for entry in entries:
            spare = excess > 0 or (not entry.whole and entry.name in whole)
            if spare and not self._in_use & set(entry.files):
                _remove(entry.files)
                excess -= entry.bytes


def can_write(root: Path) -> bool:
    """Whether features can be kept in a cache's folder, which is made where it is not there."""
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


class FeatureFile:
    """Features that are being written, in parts until all are there.

    Args:
        path: where the whole shall stand.
        n: rows that it will have.
        batch_size: of the extraction.
        most: bytes that it may take.
    """

    def __init__(self, path: Path, n: int, batch_size: int, most: int) -> None:
        self._path, self._n, self._batch_size, self._most = path, n, batch_size, most
        self._there = np.zeros(n, dtype=np.bool_)
        self._held: list[Array] = []
        self._start = 0  # row of the first that is held
        self._written = time.monotonic()
        self.parts: dict[Path, int] = {}
        """Those that are whole, to their first rows."""
        for part, start, stop in self._left():
            if _read(part, stop - start) is not None:
                self.parts[part] = start
                self._there[start:stop] = True
        self.kept = int(self._there.sum())
        """Rows that stopped runs left."""

    def _left(self) -> Iterator[tuple[Path, int, int]]:
        """Parts of these features in batches of this size, with their first row and the row after their last."""
        for path in self._path.parent.glob(f"{glob.escape(self._path.stem)}_b{self._batch_size}_*{_PART_SUFFIX}"):
            rows = _ROWS.fullmatch(path.stem.removeprefix(self._path.stem))
            if rows and int(rows[2]) < int(rows[3]) <= self._n:
                yield path, int(rows[2]), int(rows[3])

    def lacks(self, start: int, count: int) -> bool:
        """Whether one of `count` rows from `start` on is not there yet."""
        return not self._there[start : start + count].all()

    def append(self, start: int, features_BD: Array) -> None:
        """Take the rows from `start` on, float32.

        Raises:
            RunError: the disk is full, the folder cannot be written, or the whole would be over the budget.
        """
        whole = self._n * features_BD.shape[1] * 4
        if whole > self._most:
            raise RunError(
                f"the features would take {size(whole)}, over the budget of {size(self._most)}; take others "
                "(--set token=pre_logits), or raise cache_budget_gb in bench.toml."
            )
        held = sum(map(len, self._held))
        due = time.monotonic() - self._written > _SECONDS or held * features_BD.shape[1] * 4 > _MOST_HELD
        try:
            if held and (due or start != self._start + held):
                self._write_part()
            if not self._held:
                self._start = start
            self._held.append(np.ascontiguousarray(features_BD, dtype="<f4"))
            self._there[start : start + len(features_BD)] = True
        except OSError as error:
            advice = "make room" if error.errno in DISK_FULL else "make it writable"
            raise RunError(
                f"features cannot be kept in {self._path.parent} ({error.strerror}); {advice}, or give another folder "
                "with --cache DIR."
            ) from error

    def close(self) -> None:
        """Bring the file into place if all of its rows are there, and the disk takes them; else keep what there is."""
        with contextlib.suppress(OSError, EOFError):
            if self._held:
                self._write_part()
            if self._there.all():
                self._join()

    def _write_part(self) -> None:
        rows_ND, self._held = np.concatenate(self._held), []
        self._written = time.monotonic()
        stop = self._start + len(rows_ND)
        path = self._path.with_name(f"{self._path.stem}_b{self._batch_size}_{self._start}-{stop}{_PART_SUFFIX}")
        _write(path, rows_ND.shape, [rows_ND])
        self.parts[path] = self._start

    def _join(self) -> None:
        """Make the whole of the parts.

        Raises:
            EOFError: one is lacking by now, or damaged.
        """
        ordered = sorted(self.parts, key=lambda path: self.parts[path])
        width = np.load(ordered[0], mmap_mode="r", allow_pickle=False).shape[1]
        _write(self._path, (self._n, width), self._rows(ordered))
        _remove(ordered)

    def _rows(self, ordered: Iterable[Path]) -> Iterator[Array]:
        done = 0
        for path in ordered:
            start, stop = map(int, path.stem.rsplit("_", 1)[1].split("-"))
            if stop <= done:
                continue
            rows_ND = _read(path, stop - start)
            if rows_ND is None or start > done:
                raise EOFError(path)
            yield rows_ND[done - start :]
            done = stop


def _name_of(path: Path) -> str | None:
    """The name of the features that a file holds, without the suffix; None where it is no file of this cache."""
    stem = path.stem
    if path.suffix == _PART_SUFFIX:
        rows = re.fullmatch(f"(.+){_ROWS.pattern}", stem)
        stem = rows[1] if rows else ""
    return stem if _NAME.fullmatch(stem) and not path.is_symlink() else None


def _is_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (_MAGIC, b"")  # empty: a full disk


def _read(path: Path, n: int) -> Array | None:
    """(n, D) float32, mapped from the disk; None where there is no such file. One that is not whole is removed."""
    try:
        mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            file.seek(-_CHECKSUM_BYTES, os.SEEK_END)
            checksum = file.read()
    except (OSError, ValueError, EOFError):
        return None
    if mapped.dtype != np.float32 or mapped.ndim != 2 or len(mapped) != n or xxh3_64(mapped.data).digest() != checksum:
        _remove([path])
        return None
    return mapped


def _write(path: Path, shape: tuple[int, ...], pieces: Iterable[Array]) -> None:
    """An npy file with a checksum behind its array."""
    checksum = xxh3_64()
    with files.replacing(path) as half, half.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for rows_ND in pieces:
            file.write(rows_ND.data)
            checksum.update(rows_ND.data)
        file.write(checksum.digest())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # another run removes it too
            path.unlink(missing_ok=True)
