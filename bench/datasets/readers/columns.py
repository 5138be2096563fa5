"""What tables of images have in common (Parquet files, hub data sets, shards): their columns and their labels."""

import functools
import json
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence

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
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls", "wnid")
"""`fine_label` is CIFAR-100's, `cls` webdataset's; `wnid` stands alone in a copy of ImageNet-R."""
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
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        while "names" not in feature:  # of a column of lists, what their values are
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(map(str, feature["names"]))
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):  # the last where it is nested without end
        return None


def blobs(column: pa.ChunkedArray, subject: str) -> pa.ChunkedArray:
    """The bytes of an image column: of the hub's struct of bytes and path, or of a column of plain bytes.

    Returns:
        Of binary or large binary values, or a dictionary of such, which is not unfolded.

    Raises:
        BenchError: the column is neither.
    """
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if pa.types.is_binary_view(column.type) or pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
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
    sizes = binary_lengths(column)
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        raise RunError(
            f"row {first + empty[0]:,} of {subject} holds no image ({len(empty):,} rows hold none); "
            "obtain the data again, with the images in it."
        )
    return sizes


def binary_lengths(column: pa.ChunkedArray) -> Array:
    """Bytes of each value of a column as `blobs` gives it, 0 where it has none, (n,) int64."""
    if pa.types.is_dictionary(column.type):
        parts = [
            pc.take(pc.cast(pc.binary_length(chunk.dictionary), pa.int64()), chunk.indices) for chunk in column.chunks
        ]
        counted = pa.chunked_array(parts, pa.int64())
    else:
        counted = pc.binary_length(column)
    sizes: Array = pc.fill_null(counted, 0).to_numpy().astype(np.int64)
    return sizes


def any_uncompressed(column: pa.ChunkedArray) -> bool:
    """Whether an image of a binary column is of a format whose files have one size whatever they show."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary for chunk in column.chunks], column.type.value_type)
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
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_string_view(kind):
        kind, values = pa.large_string(), values.cast(pa.large_string())
    missing = np.flatnonzero(pc.is_null(values).to_numpy())
    if len(missing):
        raise BenchError(
            f"row {missing[0]:,} of {subject} has no label; every sample needs one, so choose another split."
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _by_name(values, space, subject)
    if not pa.types.is_integer(kind):
        hint = ' (lists of them are read where the registry file names their column: labels = "COLUMN")'
        raise BenchError(f"labels of {subject} must be whole numbers or class names, not {kind}{hint * is_list(kind)}.")
    labels: Array = values.cast(kind).to_numpy().astype(np.int64)
    if names is None and has_numbers_for_names(space):
        return written_labels(labels.tolist(), space, subject)
    places = np.arange(len(space.classes)) if names is None else class_places(names, space, subject)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(places)))
    if len(wrong):
        raise BenchError(_outside(int(labels[wrong[0]]), int(wrong[0]), len(places), space, subject))
    return places[labels]


def label_sets(values: pa.ChunkedArray, names: Sequence[str] | None, space: ClassSpace, subject: str) -> Array:
    """Lists of labels as indices into a class space.

    Args:
        values: lists of whole numbers or class names, one a row.
        names: as for `label_indices`.
        space: whose indices are wanted.
        subject: is read, for messages.

    Returns:
        (n, S) int64: the labels of each row in their order, each once, then -1; S is the longest's number of labels.

    Raises:
        BenchError: the values are no lists, one is empty, or as for `label_indices`.
    """
    if not is_list(values.type):
        raise BenchError(
            f"labels of {subject} must be lists, not {values.type}; name a column of one label a row with "
            'label = "COLUMN" in your registry file.'
        )
    counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise BenchError(
            f"row {empty[0]:,} of {subject} has no label; every sample needs one, so choose another split."
        )
    flat = label_indices(pc.list_flatten(values), names, space, f"the labels of {subject}, list after list,")
    return padded(np.split(flat, np.cumsum(counts)[:-1]))


def labels_and_sets(
    values: pa.ChunkedArray, names: Sequence[str] | None, space: ClassSpace, subject: str, *, several: bool
) -> tuple[Array, Array | None]:
    """A label a row, and where rows have lists of them, all of each: `label_indices`, or `label_sets` and its first.

    Raises:
        BenchError: as these two.
    """
    if not several:
        return label_indices(values, names, space, subject), None
    sets = label_sets(values, names, space, subject)
    return sets[:, 0], sets


def padded(sets: Sequence[Iterable[int]]) -> Array:
    """Label sets of any lengths as one array: (n, S) int64, each label once and in its order, then -1.

    >>> padded([[3, 1, 3], [2]]).tolist()
    [[3, 1], [2, -1]]
    """
    each = [list(dict.fromkeys(map(int, labels))) for labels in sets]
    array = np.full((len(each), max(map(len, each))), -1, dtype=np.int64)
    for row, labels in enumerate(each):
        array[row, : len(labels)] = labels
    return array


def is_list(kind: pa.DataType) -> bool:
    """Whether the values of a column are lists."""
    return any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def classes_of(texts: Collection[str], space: ClassSpace, subject: str) -> dict[str, int]:
    """What classes are meant that are written as names or as numbers, counted from 0: all of them in one way.

    Args:
        texts: each of them once.
        space: of the classes, whose names may be numbers too, such as `1` to `10`.
        subject: what they stand in, for messages.

    Returns:
        Text to index. What is no class is not among them.

    Raises:
        BenchError: a text names one class and is the number of another, and the others do not tell which is meant.
    """
    every = {name: place for place, name in enumerate(space.classes)}
    named = {text: every[text] for text in texts if text in every}
    numbered = {text: int(text) for text in texts if _is_number(text) and int(text) < len(every)}
    ways = [way for way in (named, numbered) if len(way) == len(texts)]
    apart = next((text for text in texts if text in named and named[text] != numbered.get(text, named[text])), None)
    if apart is not None and len(ways) != 1:
        raise BenchError(
            f"{subject} has the class {apart!r}, which is the name of one class of {space.name!r} and the number of "
            f"{space.classes[numbered[apart]]!r}, counted from 0; give the classes names that are no numbers of others."
        )
    return ways[0] if ways else named | numbered


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def has_numbers_for_names(space: ClassSpace) -> bool:
    """Whether a number may be a class's name, as that of a digit is."""
    return any(map(_is_number, space.classes))


def written_labels(labels: Sequence[int | str], space: ClassSpace, subject: str) -> Array:
    """Labels as indices into a class space whose names may be numbers; see `classes_of`.

    Args:
        labels: as they are written, one a row.
        space: whose indices are wanted.
        subject: is read, for messages.

    Returns:
        (n,) int64.

    Raises:
        BenchError: as `label_indices` raises it, or it cannot be told whether they are names or numbers.
    """
    texts = list(map(str, labels))
    known = classes_of(dict.fromkeys(texts), space, subject)
    row = next((row for row, text in enumerate(texts) if text not in known), None)
    if row is not None:
        if re.fullmatch("-?[0-9]+", texts[row]):
            raise BenchError(_outside(int(texts[row]), row, len(space.classes), space, subject))
        raise BenchError(_no_class(texts[row], row, space, subject))
    return np.array([known[text] for text in texts], dtype=np.int64)


def _outside(label: int, row: int, count: int, space: ClassSpace, subject: str) -> str:
    if label == UNLABELLED:
        return f"row {row:,} of {subject} is labelled -1, which stands for no label; choose a split with labels."
    return (
        f"row {row:,} of {subject} has the label {label}, but there are {count} classes (0 to {count - 1}) where the "
        f"class space is {space.name!r}; give the data its own class space."
    )


def _no_class(name: str, row: int, space: ClassSpace, subject: str) -> str:
    return (
        f"row {row:,} of {subject} has the label {reprlib.repr(name)}, which is no class of {space.name!r} "
        f"({some(map(repr, space.classes))}); give the data its own class space."
    )


def _by_name(values: pa.ChunkedArray, space: ClassSpace, subject: str) -> Array:
    # A dictionary is not unfolded: a long name may stand for many rows.
    encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
    encoded = encoded.unify_dictionaries().combine_chunks()
    names = encoded.dictionary.to_pylist()
    codes: Array = encoded.indices.to_numpy().astype(np.int64)
    spellings = _spellings(space)
    places = [spellings.get(name, []) for name in names]
    for name, indices in zip(names, places, strict=True):
        if len(indices) != 1:
            row = int(np.flatnonzero(codes == names.index(name))[0])
            raise BenchError(_no_class(name, row, space, subject))
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
        strange_names = some(map(reprlib.repr, others or names))
        raise BenchError(
            f"{subject} names {len(names)} classes ({strange_names}), but those of the class space "
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
