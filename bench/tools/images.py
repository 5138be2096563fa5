"""The exact images of a suite as files, for code that is not ours: `bench import` takes what it predicts of them.

    OUT/CONDITION/images.json    what decides the pixels; a later call must agree with it
    OUT/CONDITION/000000.png …   or images.npz: images (n, size, size, 3) uint8, ids, labels
    OUT/CONDITION/images.csv     a row an image, in this order: id, label, class, and the name of its file; written last

A condition whose table stands is whole, and is left as it is.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from bench.corruptions import SEVERITIES
from bench.corruptions.builtin import GROUPS
from bench.datasets import Library
from bench.errors import AbsentError, BenchError
from bench.machine import files
from bench.measure import measures
from bench.measure.cells import made_here, versions
from bench.progress import Progress
from bench.records import Array, Condition, Crop, ModelSetting, Settings
from bench.run.feed import tasks_of
from bench.run.workbench import Part, Workbench
from bench.store import Store
from bench.suite import Suite
from bench.suite.words import condition_in_words
from bench.text import some

Format = Literal["png", "npz"]
_NOTE, _TABLE, _ARRAYS = "images.json", "images.csv", "images.npz"
_DATE = (1980, 1, 1, 0, 0, 0)  # of the arrays in the archive: the same images are the same bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The images of one condition."""

    folder: Path
    """With `images.csv`."""
    condition: Condition
    n: int
    fresh: bool
    """False where they were there."""


def importable(suite: Suite) -> list[Condition]:
    """The conditions that show every checkpoint the same images, and ask what it predicts."""
    return list(filter(_is_importable, suite.conditions))


def _is_importable(condition: Condition) -> bool:
    return condition.measure.name == "classify" and condition.model == ModelSetting()


def write_images(
    suite: Suite,
    out: Path,
    library: Library,
    settings: Settings,
    progress: Progress,
    *,
    crop: Crop | None = None,
    size: int | None = None,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
    format: Format = "png",
) -> list[Shown]:
    """Write the images that a suite shows, condition by condition.

    Args:
        suite: whose they are.
        out: a folder, which is made.
        library: opens the data sets.
        settings: seed, workers and cache count; the images are made on the CPU.
        progress: told of every batch.
        crop: of a checkpoint, where the suite fixes none.
        size: side of the square that the checkpoint takes, pixels; None for the crop's.
        corruptions: names or groups; without any, and without severities, all conditions.
        severities: of them.
        format: PNG files, or one npz a condition.

    Raises:
        AbsentError: data are not here.
        BenchError: the suite has no such images, a crop is lacking or too many, or the folder holds others.
        RunError: an image does not decode, or the disk is full.
    """
    chosen = _here(_chosen(suite, corruptions, severities), library, progress)
    others = [condition for condition in suite.conditions if not _is_importable(condition)]
    if others:
        of = f"{len(others)} of {len(suite.conditions)} conditions of {suite.name}"
        progress.note(f"{of} are left out: {_why_none(others[0])}.")
    crops = [_crop(suite, condition, crop) for condition in chosen]
    if crop is not None and all(condition.images.crop is not None for condition in chosen) and size is None:
        raise BenchError(f"suite {suite.name!r} fixes its crop, {crops[0].name}; leave --crop out.")
    counts = [_count(condition, library) for condition in chosen]
    files.make_folder(out)
    progress.begin(sum(counts))
    try:
        return [
            _Writer(condition, of, size or of.size, out, format).write(library, settings, progress)
            for condition, of in zip(chosen, crops, strict=True)
        ]
    finally:
        progress.end()


def _chosen(suite: Suite, corruptions: Sequence[str], severities: Sequence[int]) -> list[Condition]:
    """Conditions of images that are asked for, those of each set of images once."""
    every = importable(suite)
    if not every:
        raise BenchError(f"suite {suite.name!r} has no images that could be written: {_why_none(suite.conditions[0])}.")
    if corruptions or severities:
        corrupted = [(p, c) for c in every if (p := c.images.perturbation) is not None]
        known = dict.fromkeys(p.corruption for p, _ in corrupted)
        if not known:
            raise BenchError(f"suite {suite.name!r} shows no corrupted images; leave --corruption and --severity out.")
        for name in corruptions:
            if not known.keys() & {*GROUPS.get(name, (name,))}:
                raise BenchError(
                    f"suite {suite.name!r} has no corruption {name!r}; it has {', '.join(known) or 'none'}."
                )
        names = {name for given in corruptions for name in GROUPS.get(given, (given,))} or known.keys()
        every = [c for p, c in corrupted if p.corruption in names and p.severity in (severities or SEVERITIES)]
    each = {(condition.image_set, condition.images.crop): condition for condition in every}.values()
    return list(each)


def _here(conditions: Sequence[Condition], library: Library, progress: Progress) -> list[Condition]:
    """Those whose data are here; the others are named."""
    here, absent = [], []
    for condition in conditions:
        try:
            library.open(condition.image_set.dataset, condition.image_set.split)
            here.append(condition)
        except AbsentError as error:
            absent.append((condition, error))
    if not here:
        raise absent[0][1]
    if absent:
        progress.note(f"left out: {some(condition_in_words(condition) for condition, _ in absent)}, not here.")
    return here


def _why_none(condition: Condition) -> str:
    entry = measures.get(condition.measure.name)
    if entry.transfer:
        return (
            "it learns classes from training images, and what it scores is what can be learnt of a checkpoint's own "
            "features or weights"
        )
    if entry.interface == "checkpoint":
        return (
            "its measure needs the model itself (attacks make each checkpoint its own images, by its gradients), so "
            "that no predictions made elsewhere could stand for it"
        )
    return "it changes the crop or the input size of each checkpoint, and predictions for that cannot be imported"


def _crop(suite: Suite, condition: Condition, crop: Crop | None) -> Crop:
    fixed = condition.images.crop or crop
    if fixed is None:
        raise BenchError(
            f"suite {suite.name!r} shows each checkpoint its own crop; name one with --checkpoint NAME, or give the "
            "crop as --crop SIZE/RATIO/INTERPOLATION, such as 224/0.875/bicubic."
        )
    if fixed.transform:
        raise BenchError("this checkpoint makes its images by code of its own, as numbers and not as pictures; its own "
                         "pipeline has them, or take another crop with --crop.")  # fmt: skip
    return fixed


def _count(condition: Condition, library: Library) -> int:
    images = condition.image_set
    total = len(library.open(images.dataset, images.split).samples.ids)
    return min(total, images.samples or total)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the images of one condition."""

    condition: Condition
    crop: Crop
    size: int
    out: Path
    format: Format

    @property
    def folder(self) -> Path:
        """Named by what is shown, which no two conditions of a suite have alike."""
        images = self.condition.image_set
        corrupted = images.perturbation
        words = f"{corrupted.corruption}-{corrupted.severity}" if corrupted else images.split.replace("/", "-")
        return self.out / "-".join([images.dataset, words])

    def write(self, library: Library, settings: Settings, progress: Progress) -> Shown:
        """Write them unless they are there.

        Raises:
            BenchError: others are there.
            RunError: an image cannot be made, or the disk is full.
        """
        images = self.condition.image_set
        work = Workbench(self.crop, replace(settings, device="cpu"), Store(settings.store), library, progress)
        with work:
            part = work.open(images.dataset, images.split, limit=images.samples, keep=not images.stored)
            fresh = self._agree(self._note(part, library, settings))
            if fresh:
                batches = self._batches(part, work)
                names = self._png(batches) if self.format == "png" else self._npz(batches, part)
                self._table(part, names)
            else:
                progress.advance(len(part.indices), "already there")
        return Shown(folder=self.folder, condition=self.condition, n=len(part.indices), fresh=fresh)

    def _note(self, part: Part, library: Library, settings: Settings) -> dict[str, Any]:
        """What decides the pixels and the files, JSON-able."""
        images, made = self.condition.image_set, versions(self.condition)
        return {
            "dataset": images.dataset,
            "split": images.split,
            "corruption": None if images.perturbation is None else str(images.perturbation),
            "fingerprint": part.opened.fingerprint,
            "n": len(part.indices),
            "crop": self.crop.name,
            "size": self.size,
            "seed": settings.seed if images.perturbation else None,
            "versions": {name: made[name] for name in made if name in ("images", "corruption", "corruption_source")},
            "made_here": images.stored and made_here(library, images.dataset),
            "format": self.format,
        }

    def _agree(self, note: dict[str, Any]) -> bool:
        """Whether the images are still to be written.

        Raises:
            BenchError: images are there that are others, or nobody knows which.
        """
        path, text = self.folder / _NOTE, json.dumps(note, indent=1) + "\n"
        with contextlib.suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8") != text:
                raise BenchError(f"{self.folder} was begun with other images than these, as {path} says; name another "
                                 "folder with --out, or remove it.")  # fmt: skip
            return not (self.folder / _TABLE).exists()
        if self.folder.exists() and any(self.folder.iterdir()):
            raise BenchError(f"{self.folder} holds other files; name another folder with --out.")
        files.write(path, text)
        return True

    def _batches(self, part: Part, work: Workbench) -> Iterator[tuple[int, Array]]:
        """The place of its first image, and (b, size, size, 3) uint8, of each batch."""
        tasks = tasks_of(self.condition.image_set, part.source, part.indices, work.batch_size)
        for made in work.images({part.name: part}, tasks):
            shown_NCHW = work.prepare(made, {self.size}, part)[self.size]
            yield made.task.start, np.ascontiguousarray(shown_NCHW.permute(0, 2, 3, 1).numpy())
            work.progress.advance(len(shown_NCHW), self.folder.name)

    def _png(self, batches: Iterator[tuple[int, Array]]) -> list[str]:
        names = []
        for start, images_NHWC in batches:
            for row, image_HWC in enumerate(images_NHWC, start):
                names.append(f"{row:06d}.png")
                file = io.BytesIO()
                Image.fromarray(image_HWC).save(file, format="PNG", compress_level=1)
                with files.writing(self.folder / names[-1]) as half:
                    half.write_bytes(file.getbuffer())
        return names

    def _npz(self, batches: Iterator[tuple[int, Array]], part: Part) -> list[str]:
        shape = (len(part.indices), self.size, self.size, 3)
        with files.writing(self.folder / _ARRAYS) as half, zipfile.ZipFile(half, "w") as archive:
            with archive.open(zipfile.ZipInfo("images.npy", _DATE), "w", force_zip64=True) as array:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(array, header)
                for _, images_NHWC in batches:  # one after another: they need not fit into memory
                    array.write(images_NHWC.data)
            for name, values in (("ids", part.ids.astype(str)), ("labels", part.labels)):
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w") as array:
                    np.lib.format.write_array(array, values, allow_pickle=False)
        return []

    def _table(self, part: Part, names: Sequence[str]) -> None:
        classes = part.opened.dataset.class_space.classes
        named = [classes[label] for label in part.labels.tolist()]
        columns = {"id": part.ids, "label": part.labels, "class": named, **({"file": names} if names else {})}
        files.write(self.folder / _TABLE, pd.DataFrame(columns).to_csv(index=False))


def crop_of(text: str) -> Crop:
    """A crop as it is typed: `SIZE/RATIO/INTERPOLATION`, of which the last two may be left out.

    Raises:
        BenchError: it is none.

    >>> crop_of("224/0.875/bilinear").name
    '224px-0.875-bilinear'
    """
    size, _, rest = text.partition("/")
    ratio, _, interpolation = rest.partition("/")
    try:
        if (interpolation or "bicubic") not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(interpolation)
        return Crop(size=int(size), ratio=float(ratio or 1), interpolation=interpolation or "bicubic")  # type: ignore[arg-type]  # checked
    except ValueError:
        raise BenchError(
            "--crop wants SIZE/RATIO/INTERPOLATION, such as 224/0.875/bicubic, with nearest, bilinear or bicubic, not "
            f"{text!r}."
        ) from None
