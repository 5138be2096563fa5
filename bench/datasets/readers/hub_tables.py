"""What data sets that may come as tables of the hub (its Parquet files, or fetched from it) have in common."""

from collections.abc import Sequence
from pathlib import Path

from bench.datasets import Samples
from bench.datasets.readers.hub import HubSamples, HubSource
from bench.datasets.readers.parquet import ParquetSamples, split_files
from bench.errors import AbsentError, BenchError
from bench.records import ClassSpace

HUB = "hf:"
"""What a place on the hub begins with; as a path, `hf://OWNER/NAME` has it for its first part."""
_PACKED = (".tar", ".tgz", ".tar.gz")


def no_place(name: str, source: str, repo: str) -> AbsentError:
    """The complaint that a data set has no place yet.

    Args:
        name: of the data set.
        source: where to obtain it.
        repo: `OWNER/NAME` on the hub; empty where it is not there.
    """
    fetch = f"; or fetch it with --data {name}={HUB}//{repo}" if repo else ""
    return AbsentError(
        f"data set {name!r} is not on this machine as far as rtbench knows: obtain it from {source}, and "
        f"give its folder with --data {name}=FOLDER or in bench.toml under [data]{fetch}."
    )


def refuse_packed(place: Path) -> None:
    """Refuse an archive in the place of a folder.

    Raises:
        BenchError: the place is one.
    """
    if place.name.endswith(_PACKED):
        raise BenchError(f"{place} is still packed; unpack it with `tar -xf` and give the folder that comes out.")


def open_table(place: Path, splits: Sequence[str], class_space: ClassSpace, subject: str) -> Samples:
    """Samples of one split, from the hub or from its Parquet files.

    Args:
        place: `hf://OWNER/NAME`, a Parquet file, or a folder of them.
        splits: names that the split may go by in the files, the likeliest first; on the hub the last is asked for.
        class_space: whose indices the labels become.
        subject: the data set's name, for messages.

    Raises:
        AbsentError: it is not there.
        BenchError: a column or a label is not as needed.
        RunError: a file is damaged.
    """
    if place.parts[:1] == (HUB,):
        return HubSamples(HubSource(repo="/".join(place.parts[1:]), split=splits[-1]), class_space, subject)
    files = {name: _files(place, name, subject) for name in (*splits, "test")}
    split = next((name for name in splits if files[name]), splits[0])
    # Files whose names say no split would be any split: nothing must be learnt from the test images.
    if "test" not in splits and files[split] and files[split] == files["test"]:
        raise AbsentError(
            f"split {split!r} of {subject} is wanted, but the files of {place} say no split by their names, so they "
            f"are taken for the test images; name them {split}-….parquet and test-….parquet."
        )
    return ParquetSamples(place, class_space, split, subject)


def _files(place: Path, split: str, subject: str) -> list[Path]:
    """The split's Parquet files; none where it is not there."""
    try:
        return split_files(place, split, subject)
    except AbsentError:
        return []
