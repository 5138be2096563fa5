"""What a user writes down beside a data set, by file: attributes, several right labels; and groups of classes.

A file is named as the sample's id (`crow/1.png`), or by its name alone (`1.png`) where no other has that name.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.columns import RESERVED
from bench.datasets.class_groups import ClassGroups
from bench.datasets.readers.columns import classes_of, padded
from bench.datasets.readers.files import contents
from bench.errors import BenchError, one_line
from bench.metrics.attributes import NONE, Attribute
from bench.names import check_shown
from bench.records import Array, ClassSpace
from bench.text import some

_MOST_BYTES = 2**28
"""Of a file: a million rows of some columns."""
_MOST_VALUES = 100
"""Of an attribute: each gets a score of its own. What has more is a number or a name."""
_WORD = re.compile(r"[A-Za-z][\w-]*")
_T = TypeVar("_T")


class ByFile(Generic[_T]):
    """What is written of samples, by id or by the file's name alone.

    Args:
        rows: what is written, by file as it is written.
    """

    def __init__(self, rows: Mapping[str, _T]) -> None:
        self.rows = rows

    def key(self, sample_id: str) -> str:
        """The file under which a sample stands, if it does."""
        return sample_id if sample_id in self.rows else sample_id.rpartition("/")[2]

    def __call__(self, sample_id: str) -> _T | None:
        """What is written of a sample; None where nothing is."""
        return self.rows.get(self.key(sample_id))

    def check_apart(self, ids: Sequence[str], source: str) -> None:
        """Make sure that no row stands for several samples.

        Args:
            ids: of all samples.
            source: what the rows stand in, for messages.

        Raises:
            BenchError: files of one name lie in several folders, and a row gives the name alone.
        """
        counts = Counter(key for key in map(self.key, ids) if key in self.rows)
        several = [key for key, count in counts.items() if count > 1]
        if several:
            raise BenchError(
                f"{source} names {some(several)} without the folder, and several folders have such a file; write the "
                f"folder too, as in {next(i for i in ids if self.key(i) == several[0])}."
            )


def read_attributes(path: Path) -> tuple[Attribute, ...]:
    """The attributes of a CSV file: files in its first column, then one attribute a column; an empty cell is none.

    Raises:
        AbsentError: there is no such file.
        BenchError: it is no such table, names a file twice, or a column is none that scores can be taken by.
        RunError: it cannot be read.
    """
    data = contents(path, _MOST_BYTES)
    header, rows = _table(path, data)
    if len(header) < 2:
        raise BenchError(f"{path} has one column; it must have the file in the first, then one attribute a column.")
    for name in header[1:]:
        if not _WORD.fullmatch(name) or name in RESERVED:
            why = "is a column of every table" if name in RESERVED else "is no word of letters and digits"
            raise BenchError(f"{path} has an attribute {name!r}, which {why}; give it another name.")
    by_file: dict[str, list[str]] = {}
    for line, row in rows:
        if row[0] in by_file:
            raise BenchError(f"{path}, line {line}: {row[0]!r} stands there twice; a file has one row.")
        by_file[row[0]] = row[1:]
    digest = hashlib.sha256(data).hexdigest()[:16]
    return tuple(
        _attribute(name, {file: values[place] for file, values in by_file.items()}, path, digest)
        for place, name in enumerate(header[1:])
    )


def _attribute(name: str, values: Mapping[str, str], path: Path, digest: str) -> Attribute:
    found = sorted(set(values.values()) - {NONE})
    if not found or len(found) > _MOST_VALUES:
        raise BenchError(
            f"{path}: the column {name!r} has {len(found):,} values, and an attribute has 1 to {_MOST_VALUES}, "
            "each with a score of its own; leave the column out."
        )
    for value in found:
        check_shown(f"{path}: a value of {name!r}", value)
    return Attribute(name=name, values=tuple(found), value_of=ByFile(values), source=path.name, digest=digest)


def read_label_sets(path: Path, space: ClassSpace) -> ByFile[list[int]]:
    """The right labels of each file, of a CSV file with a row for each: `file,label`.

    Args:
        path: the file; a file may have several rows.
        space: of the labels, which are names or numbers from 0.

    Raises:
        AbsentError: there is no such file.
        BenchError: it is no such table, or a label is no class.
        RunError: it cannot be read.
    """
    header, rows = _table(path, contents(path, _MOST_BYTES))
    if len(header) != 2:
        raise BenchError(f"{path} has {len(header)} columns; it must have two, the file and one of its labels.")
    written = list(rows)
    known = classes_of(dict.fromkeys(row[1] for _, row in written), space, str(path))
    sets: dict[str, list[int]] = {}
    for line, (file, label) in written:
        if label not in known:
            raise BenchError(
                f"{path}, line {line}: {label!r} is no class of {space.name!r}, such as {some(space.classes)}."
            )
        sets.setdefault(file, []).append(known[label])
    return ByFile(sets)


def label_sets(ids: Sequence[str], labels: Sequence[int], written: ByFile[list[int]], source: str) -> Array:
    """The label sets of samples: the label that the data give each first, then those written down.

    Args:
        ids: of all samples.
        labels: indices of classes, one a sample.
        written: by file; a sample that is not there has its label alone.
        source: what it stands in, for messages.

    Returns:
        (n, S) int64, -1 where there is no more.

    Raises:
        BenchError: a row stands for several samples, or a sample's own label is not among those written down.
    """
    written.check_apart(ids, source)
    sets = [written(sample_id) or [label] for sample_id, label in zip(ids, labels, strict=True)]
    for sample_id, label, every in zip(ids, labels, sets, strict=True):
        if label not in every:
            raise BenchError(
                f"{source} does not have the class in whose folder {sample_id} lies among its right labels; add a row."
            )
    return padded([[label, *every] for label, every in zip(labels, sets, strict=True)])


def read_groups(path: Path, name: str, of: ClassSpace) -> ClassGroups:
    """Class groups of a JSON file: `{"bird": ["n01530575", "n01531178"], "car": [436, 511]}`.

    Args:
        path: the file; classes are names or numbers from 0.
        name: of the groups as a class space.
        of: what models predict.

    Raises:
        AbsentError: there is no such file.
        BenchError: it is no such file, or a class is none, or in two groups.
        RunError: it cannot be read.
    """
    try:
        groups = json.loads(contents(path, _MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is no JSON ({one_line(error)}); correct it.") from None
    lists = isinstance(groups, dict) and groups and all(isinstance(g, list) and g for g in groups.values())
    if not lists or not all(isinstance(c, str | int) and not isinstance(c, bool) for g in groups.values() for c in g):
        raise BenchError(f'{path} must hold a list of classes for each group, as in {{"bird": ["n01530575", 11]}}.')
    texts = [str(one) for group in groups.values() for one in group]
    known = classes_of(dict.fromkeys(texts), of, str(path))
    unknown = [text for text in texts if text not in known]
    if unknown:
        raise BenchError(f"{path} has {some(unknown)}, which {of.name!r} lacks ({some(of.classes)}); correct it.")
    counts = Counter(known[text] for text in texts)
    twice = [of.classes[place] for place, count in counts.items() if count > 1]
    if twice:
        raise BenchError(f"{path} has {some(twice)} more than once; a class is in one group.")
    members = tuple(tuple(known[str(one)] for one in group) for group in groups.values())
    return ClassGroups(space=ClassSpace(name=name, classes=tuple(groups)), of=of, members=members)


def _table(path: Path, data: bytes) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """A CSV file's first row, and each other one with its line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} must be text in UTF-8 ({error.reason}); save it as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    if not header or len(set(header)) != len(header) or not all(header):
        raise BenchError(f"{path} must begin with a row of names, one a column and no two alike, not {header!r}.")
    return header, _rows(path, reader, len(header))


def _rows(path: Path, reader: Any, width: int) -> Iterator[tuple[int, list[str]]]:
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != width or not row[0].strip():
                raise BenchError(
                    f"{path}, line {reader.line_num}: has {len(row)} cells of {width}, or no file; correct it."
                )
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise BenchError(f"{path}, line {reader.line_num}: is no CSV ({one_line(error)}); correct it.") from None
