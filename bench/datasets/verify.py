"""What is wrong with data, before a number comes from it: counts, files that do not decode, odd and doubled images."""

import functools
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import ExifTags

from bench.datasets import Dataset, Library, OpenedSplit, Samples, Whole
from bench.datasets.crops import stored
from bench.datasets.readers.passed_over import PassedOver
from bench.errors import AbsentError, BenchError
from bench.images.decode import decode, opened
from bench.machine.processes import in_processes
from bench.progress import Progress
from bench.records import Array
from bench.text import some

_CHUNK = 64  # samples that a process looks at between two reports
_UPRIGHT = 1  # of EXIF's eight orientations
_NAMED_AT_MOST = 20
_MODES = {
    "1": "grey",
    "L": "grey",
    "LA": "grey",
    "La": "grey",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "P": "palette",
    "PA": "palette",
    "RGBA": "RGB with transparency",
    "RGBa": "RGB with transparency",
}
"""Pillow's modes by the words of the report; grey levels of more than 8 bits are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one sample is like."""

    digest: bytes
    """SHA-256 of its bytes."""
    error: str = ""
    """Why it is no image; empty where it is one."""
    mode: str = "RGB"
    """As Pillow names it, before anything is converted."""
    rotated: bool = False
    """EXIF says that it is to be turned; nobody does (timm and torchvision do not either)."""
    flat: bool = False
    """All pixels are the same."""
    oddity: str = ""
    """What its reader says of it; see `bench.datasets.Samples`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found."""

    text: str
    advice: str = ""
    """What to do about it."""
    names: tuple[str, ...] = ()
    """Ids, or ids with reasons."""
    ok: bool = True
    """False where numbers from these data would be wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What stands in one split."""

    split: str
    digest: str = ""
    """SHA-256 over the id and the digest of every sample, in order; empty where it could not be opened."""
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Nothing that makes numbers wrong; a subset is fine."""
        return all(finding.ok for finding in self.findings)


def verify(dataset: Dataset, library: Library, workers: int, progress: Progress) -> list[Report]:
    """Look at every sample of every split that is here.

    Args:
        dataset: which one.
        library: opens it.
        workers: processes that decode; 0 for none beside this one.
        progress: is told of each sample.

    Returns:
        A report a split, and one for all those that are not here.

    Raises:
        BenchError: no split can be opened; the first one's reason.
        RunError: a process died.
    """
    opened, errors = _open(dataset, library)
    if not opened:
        raise next(iter(errors.values()))
    progress.begin(sum(len(split.samples.ids) for split in opened.values()))
    try:
        reports = [_report(split, workers, progress) for split in opened.values()]
    finally:
        progress.end()
    absent = {split: error for split, error in errors.items() if isinstance(error, AbsentError)}
    for split, error in errors.items():
        if split in absent:
            continue
        reports.append(Report(split=split, findings=(Finding(text=f"cannot be opened: {error}", ok=False),)))
    if absent:
        text = f"not here: {next(iter(absent.values()))}"
        reports.append(Report(split=some(absent), findings=(Finding(text=text),)))
    return reports


def _open(dataset: Dataset, library: Library) -> tuple[dict[str, OpenedSplit], dict[str, BenchError]]:
    opened: dict[str, OpenedSplit] = {}
    errors: dict[str, BenchError] = {}
    for split in dataset.splits:
        try:
            opened[split] = library.open(dataset.name, split)
        except BenchError as error:
            errors[split] = error
    return opened, errors


def _report(opened: OpenedSplit, workers: int, progress: Progress) -> Report:
    samples = opened.samples
    looks: list[Look] = []
    n = len(samples.ids)
    chunks = [range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    for chunk in in_processes(functools.partial(_look_at, samples), chunks, workers, doing="decodes images"):
        looks += chunk
        progress.advance(len(chunk), f"{opened.dataset.name}, {opened.split}")
    ids = samples.ids.tolist()
    content = hashlib.sha256()
    for sample_id, look in zip(ids, looks, strict=True):
        content.update(f"{sample_id}\0{look.digest.hex()}\n".encode())
    findings = [*_counts(opened), *_label_sets(opened), *_attributes(opened), *_passed_over(opened)]
    findings += [*_odd(ids, looks), *_doubled(ids, samples.labels, looks)]
    return Report(split=opened.split, digest=content.hexdigest(), findings=tuple(findings))


# -- looking at samples -------------------------------------------------------------------------


def _look_at(samples: Samples, indices: Iterable[int]) -> list[Look]:
    looks = []
    for index in indices:
        try:
            data = stored(samples, index)
        except BenchError as error:
            looks.append(Look(digest=b"", error=str(error)))
            continue
        seen = look(data, str(samples.ids[index]))
        looks.append(
            seen if seen.error else replace(seen, error=_fault_of_mask(samples, index), oddity=_oddity(samples, index))
        )
    return looks


def _oddity(samples: Samples, index: int) -> str:
    oddity: Callable[[int], str] | None = getattr(samples, "oddity", None)
    return "" if oddity is None else oddity(index)


def _fault_of_mask(samples: Samples, index: int) -> str:
    """Why a sample's mask cannot be read; empty where it can, or where samples have none."""
    mask: Callable[[int], Array] | None = getattr(samples, "mask", None)
    try:
        if mask is not None:
            mask(index)
    except BenchError as error:
        return str(error)
    return ""


def look(data: Array | bytes, name: str) -> Look:
    """Decode a sample and say what it is like.

    Args:
        data: an image file, or (h, w, 3) uint8.
        name: for messages.
    """
    if not isinstance(data, bytes):
        return Look(digest=hashlib.sha256(data.tobytes()).digest(), flat=_is_flat(data))
    content = hashlib.sha256(data).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF data and of large images
        try:
            pixels = decode(data, name)
            with opened(data, name) as image:
                orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
                mode = image.mode
        except BenchError as error:
            return Look(digest=content, error=str(error))
    return Look(digest=content, mode=mode, rotated=orientation != _UPRIGHT, flat=_is_flat(pixels))


def _is_flat(pixels: Array) -> bool:
    return bool((pixels == pixels[0, 0]).all())


# -- what the looks add up to ---------------------------------------------------------------------------------


def _counts(opened: OpenedSplit) -> Iterator[Finding]:
    """Images and classes against what the whole set has."""
    classes = opened.dataset.class_space.classes
    there = set(opened.samples.labels.tolist())
    n, k = len(opened.samples.ids), len(there)
    whole = opened.dataset.expected.get(opened.split)
    if opened.dataset.has_masks:  # which say what is shown
        of = "" if whole is None else f" of {whole.images:,}"
        yield Finding(text=f"{n:,}{of} images, each with a mask")
        return
    if whole is None:
        yield Finding(text=f"{n:,} images, {k:,} of {len(classes):,} classes")
    else:
        yield _against(n, k, whole)
    absent = [name for index, name in enumerate(classes) if index not in there]
    if absent and (
        whole is None or whole.classes == len(classes)
    ):  # where a set has part of the classes, which ones is not recorded
        yield Finding(text=f"classes without images: {len(absent):,} ({some(absent)})")


def _against(n: int, k: int, whole: Whole) -> Finding:
    images, classes = whole.images, whole.classes
    if (n, k) == (images, classes):
        return Finding(text=f"{n:,} images, {k:,} classes: all of it")
    text = f"{n:,} of {images:,} images, {k:,} of {classes:,} classes"
    if n < images and k <= classes:
        return Finding(
            text=f"{text}: a subset",
            advice="numbers from it are not those of the whole set; if it should be whole, obtain what is missing",
        )
    return Finding(
        text=f"{n:,} images in {k:,} classes, where the whole set has {images:,} in {classes:,}",
        advice="another set, or files of your own, lie in its place: give the folder of this set alone",
        ok=False,
    )


def _label_sets(opened: OpenedSplit) -> Iterator[Finding]:
    sets: Array | None = getattr(opened.samples, "label_sets", None)
    if sets is not None:
        several = int(((sets >= 0).sum(axis=1) > 1).sum())
        yield Finding(text=f"images with more than one right label: {several:,}, with up to {sets.shape[1]}")


def _attributes(opened: OpenedSplit) -> Iterator[Finding]:
    """What is known of the images beside their labels, and of which it is not."""
    ids = opened.samples.ids.tolist()
    for attribute in opened.dataset.attributes:
        try:
            values = [attribute.value_of(sample_id) for sample_id in ids]
        except AbsentError as error:
            yield Finding(text=f"attribute {attribute.name}: not here: {error}")
            continue
        except BenchError as error:
            yield Finding(text=f"attribute {attribute.name}: {error}", ok=False)
            continue
        counts = Counter(value for value in values if value)
        yield Finding(text=f"attribute {attribute.name}: {some(f'{v} {counts[v]:,}' for v in attribute.values)}")
        unknown = tuple(sample_id for sample_id, value in zip(ids, values, strict=True) if value is None)
        if unknown:
            yield Finding(
                text=f"images that have no {attribute.name} in {attribute.source}: {len(unknown):,}",
                advice="scores by it need all: name every image there as its id, or by its file's name",
                names=unknown,
                ok=len(unknown) == len(ids),  # a copy without the files' own names has none, and is sound
            )


def _passed_over(opened: OpenedSplit) -> Iterator[Finding]:
    remark: str = getattr(opened.samples, "remark", "")
    if remark:
        yield Finding(text=remark)
    passed: PassedOver | None = getattr(opened.samples, "passed_over", None)
    if passed is not None:
        yield Finding(
            text=f"files that look like images and are passed over: {len(passed.names):,}",
            advice=f"samples are {passed.read}; rename or move what should be one",
            names=passed.names,
        )


def _odd(ids: Sequence[str], looks: Sequence[Look]) -> Iterator[Finding]:
    bad = [look.error for look in looks if look.error]
    if bad:
        yield Finding(
            text=f"images that cannot be read: {len(bad):,}",
            advice="obtain these files again; what a run would measure on this set fails at the first of them",
            names=tuple(bad),
            ok=False,
        )
    flat = tuple(i for i, look in zip(ids, looks, strict=True) if look.flat)
    if flat:
        yield Finding(
            text=f"images of one colour: {len(flat):,}",
            advice="compare them with the source; some sets were published with a few",
            names=flat,
        )
    for oddity in sorted({look.oddity for look in looks} - {""}):
        odd = tuple(i for i, look in zip(ids, looks, strict=True) if look.oddity == oddity)
        yield Finding(
            text=f"images {oddity}: {len(odd):,}",
            advice="they are measured as they are; the published files are otherwise, so this copy was worked on",
            names=odd,
        )
    modes = Counter(_MODES.get(look.mode, look.mode) for look in looks if not look.error)
    for mode, count in sorted(modes.items()):
        if mode not in ("RGB", ""):
            yield Finding(
                text=f"{mode} images: {count:,}", advice="nothing to do, they become RGB as in timm and torchvision"
            )
    rotated = sum(look.rotated for look in looks)
    if rotated:
        yield Finding(
            text=f"images that their EXIF data says to turn: {rotated:,}",
            advice="nothing to do in a published set, they stay as stored, as in timm and torchvision; turn "
            "photographs of your own and save them",
        )


def _doubled(ids: Sequence[str], labels: Array, looks: Sequence[Look]) -> Iterator[Finding]:
    """Samples with the same bytes."""
    groups: dict[bytes, list[int]] = {}
    for index, look in enumerate(looks):
        if look.digest:
            groups.setdefault(look.digest, []).append(index)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return
    again = sum(len(group) - 1 for group in several)
    mixed = sum(len(np.unique(labels[group])) > 1 for group in several)
    also = f" (pictures that are in more than one class: {mixed:,})" if mixed else ""
    yield Finding(
        text=f"images that are byte for byte another one: {again:,}{also}",
        advice="nothing to do in a published set; remove copies from your own",
        names=tuple(" = ".join(ids[index] for index in group) for group in several),
    )


def lines(report: Report) -> Iterator[str]:
    """A report as text: findings, what to do about each, and at most 20 names of each."""
    yield f"{report.split}:"
    for finding in report.findings:
        yield f"  {'ok ' if finding.ok else 'BAD'} {finding.text}"
        if finding.advice:
            yield f"      → {finding.advice}"
        for name in finding.names[:_NAMED_AT_MOST]:
            yield f"        {name}"
        if len(finding.names) > _NAMED_AT_MOST:
            yield f"        … and {len(finding.names) - _NAMED_AT_MOST:,} more"
    if report.digest:
        yield f"  content {report.digest}"
