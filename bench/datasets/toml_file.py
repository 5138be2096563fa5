"""A user's own data sets, written down in the registry file beside the checkpoints, with no Python.

    [datasets.my-birds]
    folder = "birds/test"       # class folders, looked for from this file's folder
    classes = "classes.txt"     # one name a line; or a class space: "imagenet-1k"; or a list: ["crow", "robin"]

In the place of `folder`: `shards = "birds/*.tar"`, `parquet = "birds"` or `hub = "OWNER/NAME"`. A place that is given
for the data set by flag or in bench.toml wins; for one of the hub it is a folder of its Parquet files.

    train = "birds/train"       # what the transfer suites learn from; for parquet and hub the name of a split
    metric = "mean_per_class_accuracy"    # what they score; else "top1"

    attributes = "factors.csv"  # a row a file: its name, then what is known of it; scores are then also by attribute
    group_by = ["label", "place"]     # of groups by class and attribute, the worst counts
    labels = "labels.csv"       # rows of file and label, several a file; for parquet and hub a column of lists
    groups = "map.json"         # {"bird": ["n01530575", …]}: labels are groups of `classes`, which models predict
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from bench.datasets import Dataset, OfLabels, Samples, class_spaces
from bench.datasets.annotations import ByFile, label_sets, read_attributes, read_groups, read_label_sets
from bench.datasets.class_groups import ClassGroups
from bench.datasets.readers.files import contents
from bench.datasets.readers.folder import FolderSamples, class_folders
from bench.datasets.readers.hub import HubSamples, HubSource, open_stream, share_rows
from bench.datasets.readers.parquet import ParquetSamples, split_files
from bench.datasets.readers.remote_shards import address_of
from bench.datasets.readers.shards import ShardSamples, shard_files
from bench.errors import AbsentError, BenchError, RunError, UnknownNameError, one_line
from bench.metrics.attributes import Attribute, Grouping
from bench.names import check_shown
from bench.records import ClassSpace
from bench.toml_lines import DATASETS, Entry, load_toml

FORMS = ("folder", "shards", "parquet", "hub")
_TRAIN = "train"
"""The key that says what to learn from, and the split that it gives."""
_MOST_NAMES = 2**24
"""Bytes of a file of class names: a hundred for each of iNaturalist 2018's 8,142 are 0.8 million."""
_METRICS = get_args(OfLabels)
_TEXTS = ("about", "licence", "source")
_COLUMNS = ("image", "label")
_BESIDE = ("attributes", "labels", "groups")
"""Keys that name files beside this one; `labels` of parquet and hub a column."""
_LABEL = "label"
"""Stands in `group_by` for the class."""
_HUB = ("revision", "config", "streaming")
_OF = {"split": ("parquet", "hub"), **dict.fromkeys(_COLUMNS, ("parquet", "hub")), **dict.fromkeys(_HUB, ("hub",))}
"""Keys that only some forms take."""
_KEYS = (*FORMS, _TRAIN, "classes", "metric", *_BESIDE, "group_by", *_OF, *_TEXTS)


def read_datasets(path: Path) -> list[Dataset]:
    """The data sets of a registry file, in its order. They are not opened; a file of class names is read.

    Each has the split `split` where the file gives it, else `test`; and `train`, to learn from, where it has that key.

    Raises:
        BenchError: the file can't be read or an entry is wrong; the message names file, line and key.
    """
    table, locate = load_toml(path)
    entries = table.get(DATASETS, {})
    if not isinstance(entries, dict):
        raise BenchError(
            f"{path}, line {locate(DATASETS)}: {DATASETS} must be tables, one a data set: [{DATASETS}.NAME], "
            f"not {entries!r}."
        )
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise BenchError(
                f"{path}, line {locate(DATASETS, name)}: {name!r} stands outside a data set's table; "
                f"put its name in brackets above: [{DATASETS}.NAME]."
            )
    return [_read(Entry(path, (DATASETS, name), entry, locate)) for name, entry in entries.items()]


def _beside(entry: Entry, text: str, key: str) -> Path:
    """A path as the file means it, or an address.

    Raises:
        BenchError: it is none.
    """
    try:
        if "\0" in text:
            raise ValueError("a path holds no NUL")
        if address_of(Path(text)):
            return Path(text)
        return entry.folder / Path(text).expanduser()
    except (RuntimeError, ValueError) as error:  # a user who has no folder of their own
        raise entry.error(f"{key} must be a path, not {text!r} ({one_line(error)}); correct it.", key) from None


def _read(entry: Entry) -> Dataset:
    for key in entry.table:
        _check_key(entry, key)
    forms = [form for form in FORMS if form in entry.table]
    if not forms:
        raise entry.error(f'does not say where its images are; add folder = "FOLDER", or {", ".join(FORMS[1:])}.')
    if len(forms) > 1:
        raise entry.error(f"has both {forms[0]} and {forms[1]}; keep one.", forms[1])
    form = forms[0]
    for key in entry.table:
        if form not in _OF.get(key, FORMS):
            raise entry.error(f"{key} is for {' and '.join(_OF[key])}, not for {form}; remove it.", key)
    split = entry.table.get("split", "test")
    learns = _TRAIN in entry.table
    if learns:
        _check_train(entry, form, split)
    if "label" in entry.table and "labels" in entry.table:
        raise entry.error("has both label and labels; keep label for one a row, labels for lists of them.", "labels")
    groups = _groups(entry)
    space = groups.space if groups else _class_space(entry)
    attributes = _from_file(entry, "attributes", read_attributes) or ()
    return Dataset(
        name=entry.name,
        class_space=space,
        open=functools.partial(_open, entry, form, space, attributes),
        attributes=attributes,
        grouping=_grouping(entry, attributes),
        label_sets="labels" in entry.table,
        groups=groups,
        splits=(split, _TRAIN) if learns else (split,),
        fit=(_TRAIN,) if learns else (),
        metric=entry.table.get("metric", "top1"),
        about=entry.table.get("about", f"A data set of {entry.path.name}."),
        licence=entry.table.get("licence", "not stated"),
        source=entry.table.get("source", entry.table[form]),
        layout=_LAYOUTS[form],
        hub=entry.table[form] if form == "hub" else "",
    )


_Read = TypeVar("_Read")


def _from_file(entry: Entry, key: str, read: Callable[[Path], _Read]) -> _Read | None:
    """What a file beside this one holds, where the entry names one."""
    if key not in entry.table:
        return None
    try:
        return read(_beside(entry, entry.table[key], key))
    except BenchError as error:
        raise entry.error(f"{key}: {error}", key) from None


def _groups(entry: Entry) -> ClassGroups | None:
    classes = entry.table.get("classes")
    if "groups" in entry.table and not (isinstance(classes, str) and classes in class_spaces):
        known = ", ".join(space.name for space in class_spaces)
        raise entry.error(f"groups are of the classes of a class space: give classes one of {known}.", "groups")
    return _from_file(entry, "groups", lambda path: read_groups(path, entry.name, class_spaces.get(str(classes))))


def _grouping(entry: Entry, attributes: Sequence[Attribute]) -> Grouping | None:
    wanted = entry.table.get("group_by", [])
    by_name = {attribute.name: attribute for attribute in attributes}
    for name in wanted:
        if name != _LABEL and name not in by_name:
            raise entry.error(str(UnknownNameError("attribute to group by", name, [_LABEL, *by_name])), "group_by")
    if not wanted:
        return None
    return Grouping(
        attributes=tuple(by_name[name] for name in dict.fromkeys(wanted) if name != _LABEL), by_label=_LABEL in wanted
    )


def _check_train(entry: Entry, form: str, split: str) -> None:
    """What is learnt from is not what is scored, as far as names say it."""
    if split == _TRAIN:
        raise entry.error(f"split is {_TRAIN!r}, but {_TRAIN} is what is learnt from; name the one to score.", "split")
    if form in _OF["split"] and entry.table[_TRAIN] == split:
        raise entry.error(f"{_TRAIN} is {split!r}, but that split is scored; name another to learn from.", _TRAIN)


_LAYOUTS = {
    "folder": "a folder with a folder of image files for each class, named after it",
    "shards": "tar files of KEY.jpg with KEY.cls or KEY.json",
    "parquet": "a Parquet file, or a folder of them",
    "hub": "fetched from the hub; or a folder of its Parquet files",
}


def _check_key(entry: Entry, key: str) -> None:
    value = entry.table[key]
    if key not in _KEYS:
        hint = f' A name with a dot needs quotes: [{DATASETS}."{entry.name}.{key}"].' if isinstance(value, dict) else ""
        raise entry.error(f"{UnknownNameError('key', key, _KEYS)}{hint}", key)
    if key == "streaming":
        if not isinstance(value, bool):
            raise entry.error(f"streaming must be true or false, not {value!r}.", key)
    elif key == "group_by":
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            raise entry.error(f'group_by must be a list of attributes and "{_LABEL}", not {value!r}.', key)
    elif key == "metric":
        if value not in _METRICS:
            raise entry.error(f"metric must be one of {', '.join(_METRICS)}, not {value!r}.", key)
    elif key == "classes":
        listed = isinstance(value, list) and value and all(isinstance(name, str) and name for name in value)
        if not listed and not (isinstance(value, str) and value):
            raise entry.error(
                f"classes must be the name of a class space, a file of names or a list of names, not {value!r}.", key
            )
    elif not isinstance(value, str) or not value:
        raise entry.error(f"{key} must be text in quotes, not {value!r}.", key)
    if key in _TEXTS:  # what listings, tables and published files show
        try:
            check_shown(key, value)
        except BenchError as error:
            raise entry.error(str(error), key) from None


def _class_space(entry: Entry) -> ClassSpace:
    wanted = entry.table.get("classes")
    if wanted is None:
        raise entry.error(
            'does not say its classes; add classes = "imagenet-1k" or another class space, "FILE" with a name on each '
            'line, or ["crow", "robin"].'
        )
    if isinstance(wanted, list):
        return _own(entry, wanted)
    if wanted in class_spaces:
        return class_spaces.get(wanted)
    path = _beside(entry, wanted, "classes")
    try:
        text = contents(path, _MOST_NAMES).decode("utf-8-sig")
    except AbsentError:
        known = ", ".join(space.name for space in class_spaces)
        raise entry.error(
            f"classes: {wanted!r} is neither a file beside this one nor a class space ({known}); name one of them.",
            "classes",
        ) from None
    except (RunError, UnicodeDecodeError) as error:
        raise entry.error(
            f"classes: {wanted} can't be read ({one_line(error).rstrip('.')}); a text file in UTF-8 was wanted.",
            "classes",
        ) from None
    return _own(entry, [line.strip() for line in text.splitlines() if line.strip()])


def _own(entry: Entry, names: Sequence[str]) -> ClassSpace:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        reason = f"name {twice[0]!r} more than once" if twice else "name none"
        raise entry.error(f"classes {reason}; each class needs its own name.", "classes")
    return ClassSpace(name=entry.name, classes=tuple(names))


def _open(
    entry: Entry, form: str, space: ClassSpace, attributes: Sequence[Attribute], split: str, place: Path | None
) -> Samples:
    samples = _OPENERS[form](entry, space, split, place)
    if space.name == entry.name and "groups" not in entry.table:
        _check_count(entry, space, samples)
    if isinstance(samples, FolderSamples | ShardSamples) and "labels" in entry.table and split != _TRAIN:
        written = _from_file(entry, "labels", lambda path: read_label_sets(path, space))
        assert written is not None
        samples.label_sets = label_sets(samples.ids.tolist(), samples.labels.tolist(), written, entry.table["labels"])
    for attribute in attributes:
        if isinstance(attribute.value_of, ByFile):
            attribute.value_of.check_apart(samples.ids.tolist(), attribute.source)
    return samples


def _open_folder(entry: Entry, space: ClassSpace, split: str, place: Path | None) -> Samples:
    return class_folders(_place(entry, "folder", split, place), space, entry.name)


def _open_shards(entry: Entry, space: ClassSpace, split: str, place: Path | None) -> Samples:
    return ShardSamples(_place(entry, "shards", split, place), space, entry.name)


def _place(entry: Entry, form: str, split: str, place: Path | None) -> Path:
    """The place of a split, of a form whose splits are places; the one that the user gave is of what is scored.

    Raises:
        BenchError: the splits have files in common.
    """
    scored = place or _beside(entry, entry.table[form], form)
    if split != _TRAIN or _TRAIN not in entry.table:
        return scored
    train = _beside(entry, entry.table[_TRAIN], _TRAIN)
    ours, theirs = _files_at(form, train), _files_at(form, scored)
    if any(a == b or a in b.parents or b in a.parents for a in ours for b in theirs):
        raise entry.error(
            f"{_TRAIN} ({train}) and what is scored ({scored}) have files in common; nothing may be learnt from what "
            "is scored: name places apart.",
            _TRAIN,
        )
    return train


def _files_at(form: str, place: Path) -> list[Path]:
    """The folder, or the shards, at a place."""
    if form == "shards":
        with contextlib.suppress(BenchError):  # that they are missing is said when they are opened
            return [path.resolve() for path in shard_files(place, str(place))]
    return [place.resolve()]


def _split_name(entry: Entry, split: str) -> str:
    """What a split is called in the data."""
    name: str = entry.table.get(_TRAIN, split) if split == _TRAIN else split
    return name


def _open_parquet(entry: Entry, space: ClassSpace, split: str, place: Path | None) -> Samples:
    place = place or _beside(entry, entry.table["parquet"], "parquet")
    return _open_files(entry, space, split, place)


def _open_files(entry: Entry, space: ClassSpace, split: str, place: Path) -> ParquetSamples:
    image, label, several = _columns(entry)
    samples = ParquetSamples(place, space, _split_name(entry, split), entry.name, image, label, several)
    if split == _TRAIN and _TRAIN in entry.table:
        _check_apart(entry, place)
    return samples


def _columns(entry: Entry) -> tuple[str, str, bool]:
    """Columns of image and label, empty for the usual names, and whether the latter holds lists."""
    image, label = (entry.table.get(key, "") for key in _COLUMNS)
    return image, entry.table.get("labels", label), "labels" in entry.table


def _check_apart(entry: Entry, place: Path) -> None:
    """Files whose names say no split are every split; nothing is to be learnt from what is scored."""
    train, scored = entry.table[_TRAIN], entry.table.get("split", "test")
    try:
        same = {*split_files(place, train, entry.name)} & {*split_files(place, scored, entry.name)}
    except AbsentError:  # there is nothing to score
        return
    if same:
        raise entry.error(
            f"{_TRAIN} and split give the same files of {place}, whose names say no split; name them "
            f"{train}.parquet and {scored}.parquet.",
            _TRAIN,
        )


def _open_hub(entry: Entry, space: ClassSpace, split: str, place: Path | None) -> Samples:
    if place is not None:
        return _open_files(entry, space, split, place)
    image, label, several = _columns(entry)
    beside = _beside(entry, entry.table["hub"], "hub")
    source = HubSource(
        repo=str(beside.absolute()) if beside.is_dir() else entry.table["hub"],
        split=_split_name(entry, split),
        config=entry.table.get("config", ""),
        revision=entry.table.get("revision", ""),
        image_column=image,
        label_column=label,
        several=several,
    )
    if entry.table.get("streaming"):
        samples: ParquetSamples | HubSamples = open_stream(source, space, entry.name)
    else:
        samples = HubSamples(source, space, entry.name)
    if split == _TRAIN and _TRAIN in entry.table:
        scored = entry.table.get("split", "test")
        if share_rows(source.split, scored, getattr(samples, "counts", {})):
            raise entry.error(
                f"{_TRAIN} ({source.split}) and what is scored ({scored}) have samples in common; nothing may be "
                "learnt from what is scored: name rows apart.",
                _TRAIN,
            )
    return samples


_OPENERS: dict[str, Callable[[Entry, ClassSpace, str, Path | None], Samples]] = {
    "folder": _open_folder,
    "shards": _open_shards,
    "parquet": _open_parquet,
    "hub": _open_hub,
}


def _check_count(entry: Entry, space: ClassSpace, samples: Samples) -> None:
    """A list that was written for this data set is as long as the data's own, where the data has one."""
    if isinstance(samples, FolderSamples):
        count, of = len(set(samples.labels.tolist())), "class folders"
    elif isinstance(samples, ParquetSamples | HubSamples) and samples.class_names is not None:
        count, of = len(samples.class_names), "class names of its own"
    else:
        return
    if count != len(space.classes):
        raise entry.error(
            f"classes lists {len(space.classes)} names, but the data has {count} {of}; list those, or name the class "
            "space that they are a part of.",
            "classes",
        )
