"""What each image gives of published headlines: NAME.outcomes.parquet beside the CSV, to compare with image by image.

A row a checkpoint and set of images: a digest of the images, and the values whose means make the score, in the order of
the images' ids. That is all that a paired test needs; an image that is right or wrong takes a bit, a mean over 75
conditions less than a byte.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.board.leaderboard import Board
from bench.board.tables import NotAsPublishedError, PublishedTable, display_names
from bench.errors import BenchError, RunError, one_line
from bench.metrics.by_image import ByImage, DropBetweenSets, MeanOfSets, Parts
from bench.records import Array
from bench.store import Store, samples_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the images of one set give of a checkpoint's headline."""

    samples: str
    """Digest of their ids and labels, in the order of the ids."""
    values_NC: Array
    """In that order; see `Parts`."""


def outcomes_of(table: Path) -> Path:
    """Where the outcomes behind a published table stand.

    >>> outcomes_of(Path("results/digits.csv")).name
    'digits.outcomes.parquet'
    """
    return table.with_name(f"{table.stem}.outcomes.parquet")


def outcomes_file(board: Board, store: Store) -> bytes | None:
    """The file of a board's headline; None where its images give nothing that makes the score.

    Args:
        board: the scores.
        store: where their outcomes are.

    Raises:
        DamagedCellError: an outcome cannot be read whole.
    """
    headline, names = board.suite.headline, display_names(board.checkpoints)
    rows = []
    for checkpoint in [row.checkpoint for row in board.rows if row.score is headline]:
        cells = [board.cells[checkpoint.model, condition] for condition in headline.conditions]
        for place, part in enumerate(_sets(headline.metric.parts([store.read(cell.key) for cell in cells]))):
            order = np.argsort(part.images.ids)
            rows.append(
                {
                    "checkpoint": names[checkpoint],
                    "set": place,
                    "samples": samples_digest(part.images.ids[order], part.images.labels[order]),
                    "columns": part.values_NC.shape[1],
                    "values": part.values_NC[order].reshape(-1).astype(np.float64),
                }
            )
    if not rows:
        return None
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def file_digest(file: bytes) -> str:
    """What the metadata of a table say of the outcomes beside it."""
    return hashlib.sha256(file).hexdigest()


def read_outcomes(table: PublishedTable) -> dict[str, list[Given]] | None:
    """Checkpoint to what the images of each set give; None where none were published, or the file is not there.

    Raises:
        NotAsPublishedError: the file is not the one that was published with the table.
        RunError: it cannot be read.
    """
    path = outcomes_of(table.path)
    if "outcomes" not in table.metadata or not path.exists():
        return None
    try:
        file = path.read_bytes()
        if file_digest(file) != table.metadata["outcomes"]:
            raise NotAsPublishedError(
                f"{path} does not belong to {table.path.name}: not all files were replaced, or it is damaged; `bench "
                "publish --update` makes them anew."
            )
        rows = pq.read_table(pa.BufferReader(file), page_checksum_verification=True).to_pylist()
        given: dict[str, list[Given]] = {}
        for row in sorted(rows, key=lambda row: row["set"]):
            values_NC = np.array(row["values"], np.float64).reshape(-1, row["columns"])
            if not np.isfinite(values_NC).all():
                raise ValueError("some of its values are NaN or infinite")
            given.setdefault(row["checkpoint"], []).append(Given(samples=row["samples"], values_NC=values_NC))
        return given
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({one_line(error)}); publish the table anew.") from error


def as_given(other: ByImage, given: Sequence[Given]) -> ByImage:
    """What the images of a published checkpoint give, in the form of what they give of another.

    Args:
        other: of the same score.
        given: of each set in turn.

    Raises:
        BenchError: they are not of the same images.
    """
    following = iter(given)
    parts = _filled(other, following)
    if next(following, None) is not None:
        raise BenchError("the published outcomes are of other sets of images; publish the table anew.")
    return parts


def _filled(other: ByImage, following: Iterator[Given]) -> ByImage:
    match other:
        case MeanOfSets():
            sets = tuple(None if each is None else _filled(each, following) for each in other.sets)
            return replace(other, sets=sets)
        case DropBetweenSets():
            return replace(other, clean=_part(other.clean, following), shifted=_part(other.shifted, following))
    return _part(other, following)


def _part(other: Parts, following: Iterator[Given]) -> Parts:
    given, order = next(following, None), np.argsort(other.images.ids)
    images = samples_digest(other.images.ids[order], other.images.labels[order])
    if given is None or given.samples != images or given.values_NC.shape != other.values_NC.shape:
        raise BenchError("the published outcomes are of other images, or of other labels; measure both on one copy.")
    values_NC = np.empty_like(given.values_NC)
    values_NC[order] = given.values_NC
    return replace(other, values_NC=values_NC)


def _sets(parts: ByImage | None) -> list[Parts]:
    """The sets of images behind a score, in order; none where one of them gives nothing."""
    match parts:
        case Parts():
            return [parts]
        case DropBetweenSets():
            return [parts.clean, parts.shifted]
        case MeanOfSets():
            every = [_sets(each) for each in parts.sets]
            return [part for each in every for part in each] if all(every) else []
    return []
