"""ImageNet-C made from the validation set at hand, as files: the pictures that `imagenet-c-generated` shows to models.

    OUT/GROUP/CORRUPTION/SEVERITY/WNID/NAME.JPEG    as the archives of the original unpack
    OUT/protocol.json                               what decides the pixels; every later call must agree with it
    OUT/.half-written-…/                            a folder a running call, on the same file system as its files
    OUT/.lock                                       held by every running call, so that what a killed one left can go

A file is written beside its place and moved there whole. It depends on the protocol and its own name alone, so any
number of calls, killed at any moment or at work at once, end with the same bytes.
"""

import contextlib
import fcntl
import importlib.metadata
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import __version__
from bench.corruptions import corruptions
from bench.datasets import Library, OpenedSplit, subset
from bench.datasets.crops import CropSource
from bench.datasets.imagenet import MADE_HERE
from bench.errors import DISK_FULL, BenchError, RunError, one_line
from bench.images import VERSION
from bench.images.cache import CropCache
from bench.machine import files
from bench.machine.compiling import told_of_compiling
from bench.machine.processes import in_processes
from bench.machine.threads import one_thread
from bench.machine.torch_defaults import torch_defaults
from bench.progress import Progress, compiling
from bench.records import Array, Condition, Crop, Perturbation, Settings
from bench.run.prepare import perturb
from bench.suite import Suite, suites

SUITE = "imagenet-c-generated"
_HALF_WRITTEN = ".half-written-"
_FORMAT = 1
_BATCH = 64
"""Images corrupted together."""
_PACKAGES = ("numpy", "pillow", "simplejpeg", "torch")
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"  # of every JPEG file: SOI and EOI in ITU-T T.81, table B.1


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeC:
    """What a call did."""

    written: int
    """Files."""
    found: int
    """Files that were there."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Some images under one corruption and severity."""

    perturbation: Perturbation
    indices: Array
    """(n,) int64 into the split."""


def make_c(
    out: Path,
    library: Library,
    settings: Settings,
    progress: Progress,
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
) -> MadeC:
    """Write what is not there yet.

    Args:
        out: a folder that is empty, does not exist, or was begun by an earlier call of the same protocol.
        library: opens the validation set.
        settings: seed, limit, workers and cache count.
        progress: told of every batch.
        names: of corruptions; all where none is given.
        severities: of each.

    Raises:
        BenchError: a name is unknown, or `out` holds something else or can't be made.
        RunError: the disk is full, an image does not decode, or a process died.
    """
    suite = suites.get(SUITE)
    conditions = _conditions(suite, names, severities)
    first = conditions[0]
    opened = library.open(first.data.dataset, first.data.split)
    indices = subset(opened.samples.ids, settings.limit)
    crop = first.images.crop
    assert crop is not None  # the suite fixes it
    note = _note(suite, opened, settings, crop)
    with contextlib.ExitStack() as stack:
        half_written = stack.enter_context(_begun(out, note))
        source = stack.enter_context(_source(opened, crop, len(indices), settings, progress))
        writer = _Writer(source, out, half_written, settings.seed)
        progress.begin(len(indices) * len(conditions))
        stack.callback(progress.end)
        written = present = 0
        tasks = list(_tasks(conditions, indices))
        with told_of_compiling(compiling(progress)):
            writer.compile_kernels({task.perturbation.corruption: task.perturbation for task in tasks}.values())
        counts = in_processes(
            writer.write,
            tasks,
            settings.workers,
            doing="makes images",
            begin=one_thread,
            advice="give fewer --workers: the same command goes on from there",
        )
        for task, count in zip(tasks, counts, strict=True):
            written, present = written + count, present + len(task.indices) - count
            progress.advance(len(task.indices), f"{task.perturbation.corruption} {task.perturbation.severity}")
    return MadeC(written=written, found=present)


def _conditions(suite: Suite, names: Sequence[str], severities: Sequence[int]) -> list[Condition]:
    """Those of the suite that show corrupted images and are asked for."""
    corrupted = {
        (perturbation.corruption, perturbation.severity): condition
        for condition in suite.conditions
        if (perturbation := condition.images.perturbation) is not None
    }
    known = list(dict.fromkeys(name for name, _ in corrupted))
    for name in names:
        if corruptions.get(name).name not in known:
            raise BenchError(f"ImageNet-C has no corruption {name!r}; it has {', '.join(known)}.")
    return [corrupted[name, severity] for name in names or known for severity in severities]


def _tasks(conditions: Sequence[Condition], indices: Array) -> Iterator[_Task]:
    for condition in conditions:
        perturbation = condition.images.perturbation
        assert perturbation is not None  # of _conditions
        for start in range(0, len(indices), _BATCH):
            yield _Task(perturbation, indices[start : start + _BATCH])


@contextlib.contextmanager
def _source(
    opened: OpenedSplit, crop: Crop, count: int, settings: Settings, progress: Progress
) -> Iterator[CropSource]:
    """Gives the crops; kept between calls where the settings have a cache, which runs of the suite share."""
    if settings.cache is None:
        yield CropSource(opened.samples, crop, stamps=opened.stamps)
        return
    kept = CropCache(settings.cache, settings.cache_budget).open(opened.dataset.name, opened.fingerprint, crop, count)
    if kept is None:
        progress.note(f"{opened.dataset.name}: its crops would be over cache_budget_gb; they are not kept.")
    try:
        yield CropSource(opened.samples, crop, kept, opened.stamps)
    finally:
        if kept is not None:
            kept.close()


# -- the folder -----------------------------------------------------------------------------------------------


def _note(suite: Suite, opened: OpenedSplit, settings: Settings, crop: Crop) -> dict[str, Any]:
    """What decides the pixels of the tree, JSON-able; `packages` tells what made them, and is not compared."""
    perturbations = [p for condition in suite.conditions if (p := condition.images.perturbation) is not None]
    return {
        "format": _FORMAT,
        "suite": suite.name,
        "data": f"{opened.dataset.name}, {len(opened.samples.ids)} images, fingerprint {opened.fingerprint[:20]}",
        "limit": settings.limit,
        "seed": settings.seed,
        "crop": {"size": crop.size, "ratio": crop.ratio, "interpolation": crop.interpolation},
        "jpeg_quality": perturbations[0].jpeg_quality,
        "image_version": VERSION,
        "corruption_version": {p.corruption: corruptions.get(p.corruption).version for p in perturbations},
        "packages": {"rtbench": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}},
    }


@contextlib.contextmanager
def _begun(out: Path, note: dict[str, Any]) -> Iterator[Path]:
    """A folder for half-written files in `out`, which is found or made to have this note."""
    _check_foreign(out)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("a")
    with lock:
        _share(lock.fileno(), out)
        with _writing(out):
            half_written = Path(tempfile.mkdtemp(prefix=_HALF_WRITTEN, dir=out))
        try:
            with _writing(out):
                _agree(out / MADE_HERE, note, half_written)
            yield half_written
        finally:
            shutil.rmtree(half_written, ignore_errors=True)


def _check_foreign(out: Path) -> None:
    """Files of another origin must not pass for ours, the original ImageNet-C's above all."""
    with contextlib.suppress(OSError):  # there is no such folder yet; others are said when it is written to
        # In this order: another call may begin meanwhile, and makes the note first.
        if any(not path.name.startswith(".") for path in out.iterdir()) and not (out / MADE_HERE).exists():
            raise BenchError(
                f"{out} holds other files and no {MADE_HERE}, so what is in it was not written by this command; name "
                "an empty folder with --out."
            )


def _share(lock: int, out: Path) -> None:
    """Note that a call is at work; where no other is, remove what killed ones left."""
    with contextlib.suppress(OSError):  # another is at work, or the file system has no locks
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in out.glob(f"{_HALF_WRITTEN}*"):
            shutil.rmtree(left, ignore_errors=True)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)


def _agree(path: Path, note: dict[str, Any], half_written: Path) -> None:
    """Write the note where there is none, else hold the call to the one that is there.

    Raises:
        BenchError: they differ.
    """
    if not path.exists():
        text = json.dumps(note, indent=1) + "\n"
        # Of two first calls one wins, and the other then reads its note.
        files.create(path, lambda half: half.write_text(text, encoding="utf-8"), folder=half_written)
    try:
        begun = dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BenchError(f"{path} can't be read ({one_line(error)}); name another folder with --out.") from error
    old, new = _flat(begun), _flat(note)
    for name, value in new.items():
        if old.get(name) != value:
            raise BenchError(
                f"{path.parent} was begun with {name} {_in_words(old.get(name))}, and this call has {name} "
                f"{_in_words(value)}, which must not mix: call it as then, or name another folder with --out."
            )


def _flat(note: Mapping[str, Any]) -> dict[str, object]:
    """Everything that must agree, by names for people."""
    flat: dict[str, object] = {}
    for name, value in note.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name} {key}".replace("_", " ").strip(): each for key, each in inner.items()}
    return {name: value for name, value in flat.items() if not name.startswith("packages")}


def _in_words(value: object) -> str:
    return "none" if value is None else str(value)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Say in one sentence what stands against writing to `out`."""
    try:
        yield
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror or one_line(error)
        if error.errno in DISK_FULL:
            raise RunError(
                f"{out} cannot be written: {reason}; make room, and the same command goes on from there."
            ) from error
        raise BenchError(f"{out} cannot be written: {reason}; name another folder with --out.") from error


# -- files, in processes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Makes the files of a task. May be copied to worker processes."""

    source: CropSource
    out: Path
    half_written: Path
    seed: int

    def write(self, task: _Task) -> int:
        """Write the files that are not there; their number.

        Raises:
            BenchError: one cannot be made or written.
        """
        perturbation, ids = task.perturbation, self.source.samples.ids
        group = corruptions.get(perturbation.corruption).group
        folder = self.out / group / perturbation.corruption / str(perturbation.severity)
        missing = np.array([i for i in task.indices if not is_whole(folder / str(ids[i]))], dtype=np.int64)
        if len(missing):
            for index, image_HWC in zip(missing, self._corrupted(missing, perturbation), strict=True):
                # Under its own name whatever its ending: ids, which seeds and comparisons go by, are file names.
                self._save(image_HWC, perturbation.jpeg_quality, folder / str(ids[index]))
        return len(missing)

    @torch_defaults()
    def compile_kernels(self, perturbations: Iterable[Perturbation]) -> None:
        """Corrupt a black image in each way, so that processes which begin later find the kernels compiled."""
        import torch

        images_NCHW = torch.zeros(1, 3, self.source.crop.size, self.source.crop.size, dtype=torch.uint8)
        for perturbation in perturbations:
            with contextlib.suppress(BenchError):  # which the images will meet as well
                perturb(images_NCHW, replace(perturbation, jpeg_quality=None), seed=self.seed, ids=[""])

    @torch_defaults()
    def _corrupted(self, indices: Array, perturbation: Perturbation) -> Array:
        import torch

        size = self.source.crop.size
        images_NHWC = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        self.source.fill(indices, images_NHWC)
        ids = [str(i) for i in self.source.samples.ids[indices]]
        images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
        # JPEG comes with writing the file.
        made_NCHW = perturb(images_NCHW, replace(perturbation, jpeg_quality=None), seed=self.seed, ids=ids)
        return np.ascontiguousarray(made_NCHW.permute(0, 2, 3, 1).numpy())

    def _save(self, image_HWC: Array, quality: int | None, path: Path) -> None:
        file = io.BytesIO()
        # `optimize` as in the original's make_imagenet_c.py; it makes files smaller, and no pixel another.
        Image.fromarray(image_HWC).save(file, format="JPEG", quality=quality, optimize=True)
        with _writing(self.out), files.replacing(path, folder=self.half_written) as half:
            half.write_bytes(file.getbuffer())


def is_whole(path: Path) -> bool:
    """Whether a JPEG file is there from its first marker to its last; after a power cut, files may be empty."""
    try:
        with path.open("rb") as file:
            if file.read(len(_BEGIN)) != _BEGIN:
                return False
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False
