"""What a split is, in one digest: ids, labels and sizes, and the images themselves where sizes do not tell them apart.

A file's size tells one photograph from another where it is compressed. Files of BMP, PPM and TIFF, and arrays, have one
size whatever they show, and so may others that somebody filled up. The content of such splits is read once; digests of
it are remembered by the stamps of its files:

    USER CACHE/rtbench/contents/….npz    `stamps` (n,) uint64 and `digests` (n, 16) uint8 of the samples of a split
"""

import contextlib
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.machine.files import replacing
from bench.machine.places import user_cache
from bench.records import Array

UNCOMPRESSED = (b"BM", b"P4", b"P5", b"P6", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What files of BMP, of PPM and its like, and of TIFF begin with."""
_ENDINGS = {".bmp", ".ppm", ".tif", "tiff"}
"""The last four characters of their names."""
_BY_CHANCE = 0.01
"""Share of replaced images that may have the size of those before, where sizes are to tell."""
_LOOKED_AT = 16
"""Samples, spread over the split, whose format is looked at where names do not say it."""
_MANY = 1_000
"""Images; to read more than these is announced."""
_DIGEST_BYTES = 16


class Readable(Protocol):
    """Of `bench.datasets.Samples`, what is looked at here."""

    ids: Array
    labels: Array
    sizes: Array

    def read(self, index: int) -> Array | bytes:
        """The sample."""
        ...


def fingerprint(samples: Readable, note: Callable[[str], None] = lambda text: None) -> str:
    """SHA-256 over (id, label, size in bytes) of every sample, in order, then the content where sizes do not tell.

    Args:
        samples: whose `content`, a digest of all images, is taken where they have one.
        note: told before many images are read.

    Returns:
        64 hexadecimal digits.
    """
    rows = zip(samples.ids.tolist(), samples.labels.tolist(), samples.sizes.tolist(), strict=True)
    text = "".join(f"{i}\0{label}\0{size}\n" for i, label, size in rows)
    plain = hashlib.sha256(text.encode()).hexdigest()
    if (masks := getattr(samples, "mask_sizes", None)) is not None:
        text += "".join(f"{size}\n" for size in masks.tolist())
    if (sets := getattr(samples, "label_sets", None)) is not None:
        text += "".join(f"{labels}\n" for labels in sets.tolist())
    content: str | None = getattr(samples, "content", None)
    if content is None:
        content = "" if _sizes_tell(samples) else _content(samples, plain, note)
    return hashlib.sha256((text + content).encode()).hexdigest()


def _sizes_tell(samples: Readable) -> bool:
    """Whether other images would have other sizes."""
    n, counts = len(samples.sizes), np.unique(samples.sizes, return_counts=True)[1]
    alike = (counts * (counts - 1)).sum() / max(n * (n - 1), 1)  # of all pairs of samples
    if alike > _BY_CHANCE:
        return False
    uncompressed: bool | None = getattr(samples, "uncompressed", None)
    if uncompressed is None:
        uncompressed = bool(_ENDINGS & {name[-4:].lower() for name in samples.ids.tolist()}) or any(
            _is_uncompressed(samples, int(index)) for index in np.linspace(0, n - 1, min(n, _LOOKED_AT))
        )
    return not uncompressed


def _is_uncompressed(samples: Readable, index: int) -> bool:
    data = _read(samples, index)
    return data is not None and (not isinstance(data, bytes) or data.startswith(UNCOMPRESSED))


def _read(samples: Readable, index: int) -> Array | bytes | None:
    """A sample; None where it can't be read, which is reported when it is measured."""
    try:
        return samples.read(index)
    except Exception:  # code of a plug-in
        return None


def _content(samples: Readable, plain: str, note: Callable[[str], None]) -> str:
    """A digest of all images, 32 hexadecimal digits."""
    cache = user_cache()
    path = cache / "contents" / f"{plain[:32]}.npz" if cache else None
    stamps: Array | None = getattr(samples, "stamps", None)  # plug-ins need not have any that can be relied on
    digests = np.zeros((len(samples.ids), _DIGEST_BYTES), dtype=np.uint8)
    unknown = np.arange(len(digests)) if stamps is None or path is None else _recall(path, stamps, digests)
    if len(unknown) > _MANY:
        note(f"reading {len(unknown):,} images once, as their sizes do not tell whether they are the same")
    whole = True
    for index in unknown.tolist():
        data = _read(samples, index)
        whole = whole and data is not None
        if isinstance(data, bytes) and hasattr(samples, "read_mask"):
            data += samples.read_mask(index)
        digests[index] = np.frombuffer(_digest(data), dtype=np.uint8)
    if stamps is not None and path is not None and len(unknown) and whole:
        with contextlib.suppress(OSError), replacing(path) as half, half.open("wb") as file:
            np.savez(file, stamps=stamps, digests=digests)
    return hashlib.blake2b(digests.tobytes(), digest_size=_DIGEST_BYTES).hexdigest()


def _digest(data: Array | bytes | None) -> bytes:
    if data is None:
        return bytes(_DIGEST_BYTES)
    content = data if isinstance(data, bytes) else repr(data.shape).encode() + np.ascontiguousarray(data).tobytes()
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _recall(path: Path, stamps: Array, digests: Array) -> Array:
    """Fill in the digests that are remembered of images with these stamps; the indices of the others."""
    try:
        with path.open("rb") as kept, np.load(kept, allow_pickle=False) as file:
            known_stamps, known_digests = file["stamps"], file["digests"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or damaged ones
        return np.arange(len(stamps))
    if known_stamps.shape != stamps.shape or known_digests.shape != digests.shape:
        return np.arange(len(stamps))
    same = known_stamps == stamps
    digests[same] = known_digests[same]
    return np.flatnonzero(~same)
