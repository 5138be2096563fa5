"""What tables of images have in common (Parquet files, hub data sets, shards): their columns and their labels."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.datasets.identity import UNCOMPRESSED
from bench.datasets.spaces import timm_info
from bench.errors import BenchError, RunError
from bench.records import Array, ClassSpace
from bench.text import some

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
"""Names in use on the hub; the last four are those that webdataset gives."""
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
"""`fine_label` is CIFAR-100's, `cls` webdataset's."""
UNLABELLED = -1
"""The hub's mark of a sample whose label is not published, as in the test split of ImageNet."""


def choose_column(columns: Iterable[str], wanted: str, usual: Sequence[str], role: str, subject: str) -> str:
    """The column that plays a role: the one that the user named, else the first of the usual names.

    Args:
        columns: of the table.
        wanted: by the user; empty for the usual ones.
        usual: names, the likeliest first.
        role: `image` or `label`, for messages.
        subject: is read, for messages.

    Raises:
        BenchError: there is no such column.
    """
    columns = list(columns)
    candidates = [name for name in ([wanted] if wanted else usual) if name in columns]
    if candidates:
        return candidates[0]
    looked = repr(wanted) if wanted else " or ".join(usual)
    reason = "; without labels nothing can be scored" if role == "label" else ""
    raise BenchError(
        f"{subject} has no {role} column ({looked} was looked for){reason}: it has {', '.join(columns)}; "
        f'name it with {role} = "COLUMN" in your registry file.'
    )


def class_label_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """The class names that Hugging Face's metadata in an Arrow schema gives a label column, or None."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[column]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def blobs(column: pa.ChunkedArray, subject: str) -> pa.ChunkedArray:
    """The bytes of an image column: of the hub's struct of bytes and path, or of a column of plain bytes.

    Raises:
        BenchError: the column is neither.
    """
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise BenchError(
            f"the image column of {subject} must hold the bytes of image files, not {column.type}; name another "
            'with image = "COLUMN" in your registry file.'
        )
    return column


def lengths(column: pa.ChunkedArray, subject: str, first: int = 0) -> Array:
    """Bytes of each value of a binary column, (n,) int64.

    Args:
        column: as `blobs` gives it.
        subject: is read, for messages.
        first: number of the column's first row in what is read.

    Raises:
        RunError: a row holds no image.
    """
    sizes: Array = pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        raise RunError(
            f"row {first + empty[0]:,} of {subject} holds no image ({len(empty):,} rows hold none); "
            "obtain the data again, with the images in it."
        )
    return sizes


def any_uncompressed(column: pa.ChunkedArray) -> bool:
    """Whether an image of a binary column is of a format whose files have one size whatever they show."""
    return any(pc.any(pc.starts_with(column, pattern=mark)).as_py() for mark in UNCOMPRESSED)


def label_indices(values: pa.ChunkedArray, names: Sequence[str] | None, space: ClassSpace, subject: str) -> Array:
    """Labels as indices into a class space.

    Args:
        values: whole numbers or class names, one a row.
        names: what the numbers mean, where the data says it; classes are then found by name, whatever the order.
        space: whose indices are wanted.
        subject: is read, for messages.

    Returns:
        (n,) int64.

    Raises:
        BenchError: a row has no label, or one that the class space lacks; the first such row is named, from 0.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    missing = np.flatnonzero(pc.is_null(values).to_numpy())
    if len(missing):
        raise BenchError(
            f"row {missing[0]:,} of {subject} has no label; every sample needs one, so choose another split."
        )
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _by_name(values, space, subject)
    if not pa.types.is_integer(values.type):
        raise BenchError(f"labels of {subject} must be whole numbers or class names, not {values.type}.")
    labels: Array = values.to_numpy().astype(np.int64)
    places = np.arange(len(space.classes)) if names is None else class_places(names, space, subject)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(places)))
    if len(wrong):
        raise BenchError(_outside(int(labels[wrong[0]]), int(wrong[0]), len(places), space, subject))
    return places[labels]


def _outside(label: int, row: int, count: int, space: ClassSpace, subject: str) -> str:
    if label == UNLABELLED:
        return f"row {row:,} of {subject} is labelled -1, which stands for no label; choose a split with labels."
    return (
        f"row {row:,} of {subject} has the label {label}, but there are {count} classes (0 to {count - 1}) where the "
        f"class space is {space.name!r}; give the data its own class space."
    )


def _by_name(values: pa.ChunkedArray, space: ClassSpace, subject: str) -> Array:
    encoded = pc.dictionary_encode(values).combine_chunks()
    names = encoded.dictionary.to_pylist()
    codes: Array = encoded.indices.to_numpy().astype(np.int64)
    spellings = _spellings(space)
    places = [spellings.get(name, []) for name in names]
    for name, indices in zip(names, places, strict=True):
        if len(indices) != 1:
            row = int(np.flatnonzero(codes == names.index(name))[0])
            raise BenchError(
                f"row {row:,} of {subject} has the label {name!r}, which is no class of {space.name!r} "
                f"({some(map(repr, space.classes))}); give the data its own class space."
            )
    return np.array([indices[0] for indices in places], dtype=np.int64)[codes]


def class_places(names: Sequence[str], space: ClassSpace, subject: str) -> Array:
    """Where each of the data's classes stands in a class space, found by name, never by position.

    ImageNet's classes also go by their English words. Where every other name is found, one in a hundred may be
    spelt otherwise (the hub's CIFAR-100 has `cra` for crab; its ImageNet tells two cranes apart) and keeps its
    position.

    Returns:
        (number of names,) int64.

    Raises:
        BenchError: the data's classes are others.
    """
    spellings = _spellings(space)
    places = [_place(spellings.get(name, []), position) for position, name in enumerate(names)]
    strange = [position for position, place in enumerate(places) if place is None]
    if len(names) == len(space.classes) and len(strange) <= len(names) // 100:
        for position in strange:
            places[position] = None if position in places else position
    others = [name for name, place in zip(names, places, strict=True) if place is None]
    if others or len(set(places)) < len(places):
        raise BenchError(
            f"{subject} names {len(names)} classes ({some(map(repr, others or names))}), but those of the class space "
            f"{space.name!r} are {some(map(repr, space.classes))}; give the data its own class space."
        )
    return np.array(places, dtype=np.int64)


def _place(indices: list[int], position: int) -> int | None:
    if position in indices:
        return position
    return indices[0] if len(indices) == 1 else None


def _spellings(space: ClassSpace) -> dict[str, list[int]]:
    """Every name that a class goes by, and the classes that go by it: two of ImageNet's are `crane`."""
    words = _imagenet_words() if space.classes[0].startswith("n0") else {}
    spellings: dict[str, list[int]] = {}
    for index, name in enumerate(space.classes):
        for spelling in {name, words.get(name, name)}:
            spellings.setdefault(spelling, []).append(index)
    return spellings


@functools.cache
def _imagenet_words() -> dict[str, str]:
    """The synset to its English words, as the hub's ImageNet names its classes."""
    text = timm_info("imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
    return dict(line.split("\t", 1) for line in text.splitlines() if line)
