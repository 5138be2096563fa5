"""Published archives of data sets, fetched into a folder: resumable, and held to the MD5 that their authors publish.

    OUT/NAME         an archive, whole and checked
    OUT/NAME.part    the first bytes of one that is under way, or was stopped; the next call goes on from there

What a server sends decides nothing: only bytes of the published MD5 take their place.
"""

import hashlib
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.datasets import Archive, Dataset, datasets
from bench.datasets.download import SCHEMES, Advice, Download, Note
from bench.errors import BenchError, RunError
from bench.machine.files import make_folder
from bench.text import size

_ADVICE = Advice(
    elsewhere="name a mirror with --url",
    led="give its folder with --url",
    room=", or name another folder with --out",
)


def fetch_archives(dataset: Dataset, out: Path, note: Note, *, url: str = "") -> list[Path]:
    """Fetch every archive of a data set that is not here yet.

    Args:
        dataset: whose.
        out: a folder, which is made.
        note: takes a line on what is fetched, and how far it is.
        url: of a mirror's folder, where the archives have their names; empty for where they are published.

    Returns:
        The archives.

    Raises:
        BenchError: the set is not to be had so, or the folder holds another file of that name.
        AbsentError: a server does not have it, or leads elsewhere.
        UnreachableError: a server cannot be reached.
        RunError: what came is not what was published, or the disk is full.
    """
    if not dataset.archives:
        raise BenchError(_not_public(dataset))
    if url and urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise BenchError(f"--url wants the http or https address of a folder, not {url!r}.")
    make_folder(out)
    return [_fetch(archive, out / archive.name, _address(archive, url), note) for archive in dataset.archives]


def _not_public(dataset: Dataset) -> str:
    if not dataset.source:
        return f"{dataset.name} ships with the package, or your own file says where it is; there is nothing to fetch."
    public = ", ".join(other.name for other in datasets if other.archives)
    terms = f" ({dataset.licence})" if dataset.licence else ""
    return (
        f"{dataset.name} is not fetched for you{terms}: obtain it from {dataset.source} and give --data "
        f"{dataset.name}=PATH; fetched are {public}."
    )


def _address(archive: Archive, url: str) -> str:
    return f"{url.rstrip('/')}/{archive.name}" if url else archive.address


@dataclass
class _Published:
    """Holds an archive to its published MD5."""

    archive: Archive
    address: str
    resumes = True
    digest: Any = field(init=False)

    def begin(self) -> None:
        """See `bench.datasets.download.Check`."""
        self.digest, self.bytes = hashlib.md5(usedforsecurity=False), 0

    def add(self, piece: bytes) -> None:
        """See `bench.datasets.download.Check`."""
        self.digest.update(piece)
        self.bytes += len(piece)

    def end(self, part: Path) -> None:
        """See `bench.datasets.download.Check`."""
        if self.digest.hexdigest() != self.archive.md5:
            raise RunError(
                f"{self.address} gave {self.bytes:,} bytes that are not {self.archive.name} as published (MD5 "
                f"{self.digest.hexdigest()}, not {self.archive.md5}), and none was kept; run again, or name a mirror "
                "with --url."
            )


def _fetch(archive: Archive, path: Path, address: str, note: Note) -> Path:
    if path.exists():
        if _md5(path) != archive.md5:
            raise BenchError(
                f"{path} is not {archive.name} as published (MD5 {archive.md5}); move it away, or name another folder "
                "with --out."
            )
        note(f"{path}: here already, as published")
        return path
    note(f"{path.name}: from {address}")
    fetching = Download(address, path, _Published(archive, address), _ADVICE, note)
    fetching.run()
    note(f"{path}: {size(fetching.done)}, as published")
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
