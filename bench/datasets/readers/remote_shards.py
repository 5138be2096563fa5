"""Tar shards on a server: each is read once from its beginning to its end, and kept. Then it is a file like others.

USER CACHE/rtbench/shards/SCHEME_HOST/PATH     a shard, by its address
"""

import glob
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from bench.datasets.download import SCHEMES, Advice, Download
from bench.datasets.readers.tars import members, refuse_packed
from bench.errors import BenchError, RunError
from bench.machine.files import make_folder, one_at_a_time
from bench.machine.places import needed_cache
from bench.progress import for_stream

_ADVICE = Advice(
    elsewhere="correct the address", led="give that address", room=", or set XDG_CACHE_HOME to another place"
)
_KEPT_AS_IT_IS = "/%+~,=@:!$&'()*;"
"""In an address, beside letters and digits."""


def address_of(place: Path) -> str | None:
    """The address that a place is; None of a path.

    >>> address_of(Path("https://host/val-{000..063}.tar"))
    'https://host/val-{000..063}.tar'
    """
    scheme = place.parts[0].removesuffix(":") if place.parts else ""
    if scheme not in SCHEMES or place.parts[0] == scheme:
        return None
    return f"{scheme}://{'/'.join(place.parts[1:])}"


def kept_shards(addresses: Sequence[str], subject: str) -> list[Path]:
    """The files that keep some shards, which are fetched where they are not there yet.

    Args:
        addresses: of the shards, in their order.
        subject: the data set's name, for messages.

    Raises:
        AbsentError: a server does not have one, or leads elsewhere.
        BenchError: an address can be none of a shard.
        UnreachableError: a server cannot be reached.
        RunError: what came is no whole tar file, or the disk is full.
    """
    root = needed_cache() / "shards"
    paths = [root / _kept_as(address) for address in addresses]
    missing = [(address, path) for address, path in zip(addresses, paths, strict=True) if not path.is_file()]
    if missing:
        note = for_stream().note
        what = f"{len(missing):,} shard{'s' * (len(missing) != 1)}"
        note(f"reading {what} of {subject} from {missing[0][0]} on, once; kept in {root}")
        for address, path in missing:
            make_folder(path.parent)
            with one_at_a_time(path.with_name(f"{path.name}.lock")):
                if not path.is_file():  # another run has not fetched it in the meantime
                    Download(_quoted(address), path, _WholeTar(address), _ADVICE, note).run()
    return paths


def _kept_as(address: str) -> Path:
    """Where a shard is kept, below the folder of all."""
    if glob.has_magic(address):
        raise BenchError(
            f"{address}: a server is not asked which shards it has, so name them without *, ? and [, as in "
            "https://HOST/val-{000..063}.tar."
        )
    try:
        parts = urllib.parse.urlsplit(address)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        parts, host = urllib.parse.SplitResult("", "", "", "", ""), None
    if not host or "@" in parts.netloc or "#" in address or ".." in parts.path.split("/"):
        raise BenchError(f"{address} is no address of a shard; write it as in https://HOST/val-000.tar.")
    path = Path(f"{parts.scheme}_{host}") / parts.path.lstrip("/")
    refuse_packed(path)
    if path.suffix != ".tar":
        raise BenchError(
            f"{address} names no tar file: of servers, shards are read, as in https://HOST/val-{{000..063}}.tar."
        )
    return path


def _quoted(address: str) -> str:
    return urllib.parse.quote(address, safe=_KEPT_AS_IT_IS)


class _WholeTar:
    """Holds a shard to what a tar file must be: nobody publishes digests of shards."""

    resumes = False

    def __init__(self, address: str) -> None:
        self._address = address

    def begin(self) -> None:
        """See `bench.datasets.download.Check`."""

    def add(self, piece: bytes) -> None:
        """See `bench.datasets.download.Check`."""

    def end(self, part: Path) -> None:
        """See `bench.datasets.download.Check`."""
        try:
            for _ in members(part):
                pass
        except RunError as error:
            raise RunError(
                f"{self._address} gave no whole tar file, and nothing was kept of it; run again, or obtain it "
                "elsewhere."
            ) from error
