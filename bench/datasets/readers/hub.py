"""Data sets of the Hugging Face hub, through its `datasets` library, which is imported only when one is opened.

That library imports pandas and, to read a stream for the first time, torch. From version 4 on it runs no code that
comes with a data set.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from bench.datasets.readers.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    binary_lengths,
    blobs,
    choose_column,
    labels_and_sets,
    lengths,
)
from bench.datasets.readers.parquet import ParquetSamples
from bench.datasets.readers.stamps import check_unchanged, read_planned, stamp_of, stamps_within
from bench.errors import DISK_FULL, AbsentError, BenchError, RunError
from bench.machine.files import one_at_a_time, replacing, tidy
from bench.machine.places import needed_cache
from bench.progress import Progress, Silent, for_stream
from bench.records import Array, ClassSpace, digest

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_BATCH = 256  # samples a row group of a spooled stream


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """Which samples of the hub."""

    repo: str
    """`OWNER/NAME`, or the whole path of a folder of data files."""
    split: str = "test"
    config: str = ""
    """Needed where a data set has several."""
    revision: str = ""
    """Branch, tag or commit; empty for the newest. Only a commit stays the same."""
    image_column: str = ""
    """Empty for the usual names."""
    label_column: str = ""
    several: bool = False
    """Whether its values are lists of labels."""


class HubSamples:
    """Samples of a hub data set, read in place from the Arrow files that the `datasets` library keeps.

    Ids are row numbers, as in `ParquetSamples`: a folder of the same rows in Parquet files gives the same samples.
    May be copied to worker processes.

    Args:
        source: which samples.
        class_space: whose indices the labels become.
        subject: the name of the data set, for messages.

    Attributes:
        class_names: what the data calls its classes, where it does.
        counts: rows of each split of the data set.
        label_sets: see `bench.datasets.Samples`.

    Raises:
        AbsentError: it is not here and the hub cannot be reached.
        BenchError: there is no such data set or split, or a column or a label is not as needed.
    """

    def __init__(self, source: HubSource, class_space: ClassSpace, subject: str) -> None:
        data = _load(source, subject, streaming=False)
        self.counts = {name: split.num_examples for name, split in (data.info.splits or {}).items()}
        image, label, names, data = _columns(data, source, subject)
        self.class_names = names
        self._table = data.data
        self._image = image
        self._what = subject
        self._kept_in = _folders_of(source.repo)
        self._files = {path: stamp_of(path.stat()) for path in (Path(file["filename"]) for file in data.cache_files)}
        values = self._table.column(label)
        self.labels, self.label_sets = labels_and_sets(values, names, class_space, subject, several=source.several)
        self.ids: Array = np.array([f"{source.split}/{row:08d}" for row in range(len(self.labels))], dtype=np.str_)
        self.sizes: Array = np.zeros(len(self.labels), dtype=np.int64)
        whole = xxh3_64_intdigest(repr([*self._files.values()]).encode())
        self.stamps: Array = stamps_within(whole, np.arange(len(self.labels)))
        self._measure()

    def _measure(self) -> None:
        """Sizes, and stamps of the image files of rows that hold no bytes."""
        column = blobs(self._column, self._what)
        if column.null_count == 0:
            self.sizes = lengths(column, self._what)
            return
        self.sizes = binary_lengths(column)
        for row in np.flatnonzero(pc.is_null(column).to_numpy()).tolist():
            status = self._path(row).stat()
            self.sizes[row], self.stamps[row] = status.st_size, stamp_of(status)

    @property
    def _column(self) -> pa.ChunkedArray:
        return self._table.column(self._image)

    def _path(self, row: int) -> Path:
        """The image file of a row that holds no bytes: sets of image files are kept as such."""
        value = self._column[row].as_py()
        path = Path((value.get("path") if isinstance(value, dict) else None) or "")
        if not any(Path(os.path.abspath(path)).is_relative_to(folder) for folder in self._kept_in):
            raise BenchError(
                f"row {row:,} of {self._what} is a file of this machine, {str(path)!r}, and none of the data set's; "
                "only files in its own folder are read."
            )
        if not path.is_file():
            raise RunError(f"row {row:,} of {self._what} holds no image; obtain the data again, with the images in it.")
        return path

    def read(self, index: int) -> bytes:
        """The bytes of an image file.

        Raises:
            RunError: it has changed since the split was opened, or is no longer there.
        """
        value = self._column[index].as_py()
        data = value["bytes"] if isinstance(value, dict) else value
        if data is None:
            return read_planned(self._path(index), int(self.stamps[index]))
        data = bytes(data)
        for path, stamp in self._files.items():  # mapped into memory: what is written to them is read at once
            check_unchanged(path, stamp)
        return data

    def stamp(self, index: int) -> int:
        """The stamp of the files that were there when the split was opened, and the row; or of the row's own file."""
        return int(self.stamps[index])


def share_rows(one: str, other: str, counts: Mapping[str, int]) -> bool:
    """Whether two splits in the library's own language, such as `train[:80%]` and `train+test`, have rows in common.

    Args:
        one: a split.
        other: another of the same data set.
        counts: rows of each split that has a name; of one that is not among them only the whole is told apart.
    """
    import datasets as hub

    names = {part.partition("[")[0].strip() for part in f"{one}+{other}".split("+")}
    known = {name: counts.get(name, 1) for name in names}
    try:
        ours, theirs = (hub.ReadInstruction.from_spec(split).to_absolute(known) for split in (one, other))
    except (ValueError, AssertionError):  # of what is no split, which is said when it is opened
        return False
    return any(a.splitname == b.splitname and max(a.from_, b.from_) < min(a.to, b.to) for a in ours for b in theirs)


def open_stream(source: HubSource, class_space: ClassSpace, subject: str) -> ParquetSamples:
    """Samples of a hub data set too large for the disk as a whole: one split is read once and kept.

    Raises:
        AbsentError: it is not here and the hub cannot be reached.
        BenchError: there is no such data set or split, or a column or a label is not as needed.
        RunError: the stream ended early, or the disk is full.
    """
    path = spool(source, subject)
    return ParquetSamples(
        path, class_space, source.split, subject, source.image_column, source.label_column, source.several
    )


def spool(source: HubSource, subject: str) -> Path:
    """The file that keeps a stream, which is read where it is not there yet.

    What an interrupted reading leaves goes by another name, and is removed in time.
    """
    parts = [source.repo, source.config, source.revision, source.split, source.image_column, source.label_column]
    state = _state(source.repo)
    key = digest([*parts, state] if state else parts)
    folder = needed_cache() / "hub" / key[:20]
    whole = folder / "stream.parquet"
    if whole.exists():
        return whole
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder / "lock"):  # without locks, two runs write the same file, and one of them stays
            if not whole.exists():  # another run has not written it in the meantime
                tidy(folder)
                with replacing(whole) as half:
                    _write(source, subject, half)
    except OSError as error:
        advice = "make room there" if error.errno in DISK_FULL else "set XDG_CACHE_HOME to another place"
        raise RunError(f"{subject} cannot be kept in {folder} ({error.strerror or error}); {advice}.") from error
    return whole


def _write(source: HubSource, subject: str, path: Path) -> None:
    data = _load(source, subject, streaming=True)
    if data.features is None:
        raise BenchError(f"{subject} does not declare its columns, so it cannot be streamed; set streaming = false.")
    image, label, _, data = _columns(data, source, subject)
    data = data.select_columns([image, label])
    split = (data.info.splits or {}).get(source.split)
    total = split.num_examples if split else 0
    progress: Progress = for_stream() if total else Silent()
    progress.note(f"reading {subject} from {source.repo}, once; it is kept in {path.parent}")
    progress.begin(total)
    done = 0
    try:
        with pq.ParquetWriter(path, data.features.arrow_schema) as writer:
            for batch in _faults(data.iter(batch_size=_BATCH), source, subject):
                with _sentences(source, subject):
                    batch[image] = [_with_bytes(value, source) for value in batch[image]]
                writer.write_table(pa.Table.from_pydict(batch, schema=data.features.arrow_schema))
                done += len(batch[label])
                progress.advance(len(batch[label]), subject)
    finally:
        progress.end()
    if done < total:
        raise RunError(f"the stream of {subject} ended after {done:,} of {total:,} samples; run again.")


def _with_bytes(value: Any, source: HubSource) -> Any:
    """An image of a stream with its bytes, where only its address came."""
    if not isinstance(value, dict) or value["bytes"] is not None or not value["path"]:
        return value
    from datasets.utils.file_utils import xopen

    # In an archive the address is `zip://MEMBER::ARCHIVE`: the last part is what lies somewhere.
    address = value["path"].rpartition("::")[2]
    own = f"hf://datasets/{source.repo}@"
    local = any(Path(os.path.abspath(address)).is_relative_to(folder) for folder in _folders_of(source.repo))
    if not (address.startswith(own) and ".." not in address) and not ("://" not in address and local):
        raise BenchError(
            f"an image is {value['path']!r}, which is none of the data set's own files; none else is read."
        )
    with xopen(value["path"], "rb") as file:
        return {"bytes": file.read(), "path": os.path.basename(value["path"])}


def _state(repo: str) -> str:
    """Digest of the names and stamps of the files in a folder; empty where it is none, but a name on the hub.

    What the library and we keep of a folder goes by it: the library itself goes by times of change alone, which a copy
    may keep.
    """
    if not Path(repo).is_absolute():
        return ""
    files = sorted(path for path in Path(repo).rglob("*") if path.is_file())
    return digest([[str(path.relative_to(repo)), stamp_of(path.stat())] for path in files])


def _folders_of(repo: str) -> list[Path]:
    """Where the files of a data set lie: in its folder, and where the library keeps what it fetches and unpacks."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    kept = [config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, config.EXTRACTED_DATASETS_PATH, HF_HUB_CACHE]
    own = [repo] if Path(repo).is_absolute() else []
    return [Path(os.path.abspath(folder)) for folder in (*own, *kept)]


def _columns(data: Any, source: HubSource, subject: str) -> tuple[str, str, tuple[str, ...] | None, Any]:
    """Names of the image and the label column, the class names, and the data with undecoded images."""
    import datasets as hub

    image = choose_column(data.features, source.image_column, IMAGE_COLUMNS, "image", subject)
    label = choose_column(data.features, source.label_column, LABEL_COLUMNS, "label", subject)
    if isinstance(data.features[image], hub.Image):
        data = data.cast_column(image, hub.Image(decode=False))
    feature = data.features[label]
    names = getattr(getattr(feature, "feature", feature), "names", None)  # of a list, what its values are
    return image, label, names and tuple(names), data


def _load(source: HubSource, subject: str, streaming: bool) -> Any:
    import datasets as hub

    check_repo(source.repo, subject)
    with _sentences(source, subject):
        state = _state(source.repo)
        return hub.load_dataset(
            source.repo,
            source.config or None,
            split=source.split,
            revision=source.revision or None,
            streaming=streaming,
            cache_dir=str(Path(hub.config.HF_DATASETS_CACHE) / f"rtbench-{state[:20]}") if state else None,
        )


def _faults(batches: Iterator[Any], source: HubSource, subject: str) -> Iterator[Any]:
    """What a stream gives; its faults as sentences, apart from those of whoever uses it."""
    while True:
        with _sentences(source, subject):
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch


def check_repo(repo: str, subject: str) -> None:
    """Refuse what the library would take for something else than a data set of the hub or a folder.

    A single word is one of its own readers to it (`pandas`, which unpickles what lies in the working directory), and
    OWNER/NAME a folder of the working directory, where there is one.

    Args:
        repo: `OWNER/NAME`, or the whole path of a folder.
        subject: the data set's name, for messages.

    Raises:
        BenchError: it is neither.
    """
    if Path(repo).is_absolute():
        if not os.path.isdir(repo):
            raise AbsentError(f"{subject}: there is no folder {repo}; correct the path.")
    elif not _REPO.fullmatch(repo):
        raise BenchError(
            f"{subject}: {repo!r} is no data set of the hub, which go by OWNER/NAME, and no folder that is there; "
            "correct it."
        )
    elif os.path.exists(repo):
        raise BenchError(
            f"{subject}: {repo!r} means a data set of the hub, but is also in the working directory, and would be read "
            "from there; give the whole path of that folder, or work elsewhere."
        )


@contextlib.contextmanager
def _sentences(source: HubSource, subject: str) -> Iterator[None]:
    """Turn what the library raises into one sentence."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except BenchError:
        raise
    except DatasetNotFoundError as error:
        raise AbsentError(
            f"{subject}: the hub has no {source.repo!r} for you ({_text(error)}); check its name, or log in with "
            "`hf auth login` where it is gated."
        ) from error
    except ConnectionError as error:
        raise AbsentError(
            f"{subject}: the hub cannot be reached for {source.repo!r} ({_text(error)}); go online, or give a folder "
            f"of its Parquet files with --data {subject}=FOLDER."
        ) from error
    except Exception as error:  # the library raises much; what was asked for is the likeliest cause
        raise BenchError(
            f"{subject}: {source.repo!r} cannot be read ({_text(error)}); check its name, config, revision and split."
        ) from error


def _text(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
