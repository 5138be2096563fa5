"""Published archives of data sets, fetched into a folder: resumable, and held to the MD5 that their authors publish.

    OUT/NAME         an archive, whole and checked
    OUT/NAME.part    the first bytes of one that is under way, or was stopped; the next call goes on from there

What a server sends decides nothing: only bytes of the published MD5 take their place.
"""

import contextlib
import fcntl
import hashlib
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from bench.datasets import Archive, Dataset, datasets
from bench.errors import DISK_FULL, AbsentError, BenchError, RunError, UnreachableError, one_line
from bench.machine.files import finish, make_folder
from bench.text import size

Note: TypeAlias = Callable[[str], None]

_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
_PIECE = 2**20
"""Bytes read at once."""
_TRIES = 5
"""Connections in a row that bring nothing."""
_SECONDS = 10.0
"""Between two lines of progress."""


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
    if url and urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise BenchError(f"--url wants the http or https address of a folder, not {url!r}.")
    make_folder(out)
    return [_Fetch(archive, out / archive.name, _address(archive, url), note).run() for archive in dataset.archives]


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
class _Fetch:
    archive: Archive
    path: Path
    address: str
    note: Note
    digest: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    done: int = 0
    """Bytes that are there, and in the digest."""
    total: int | None = None
    """Bytes of the whole, as the server says."""
    told: float = 0.0

    def run(self) -> Path:
        if self.path.exists():
            if _md5(self.path) != self.archive.md5:
                raise BenchError(
                    f"{self.path} is not {self.archive.name} as published (MD5 {self.archive.md5}); move it away, or "
                    "name another folder with --out."
                )
            self.note(f"{self.path}: here already, as published")
            return self.path
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with part.open("a+b") as file, _alone(file, part):
                self._take_over(file)
                self._fill(file)
                self._check(part)
                file.flush()
                finish(part, self.path)
        except OSError as error:
            advice = "make room" if error.errno in DISK_FULL else "make it writable"
            raise RunError(
                f"{part} cannot be written ({error.strerror or one_line(error)}); {advice}: the same command goes on "
                "from there."
            ) from error
        self.note(f"{self.path}: {size(self.done)}, as published")
        return self.path

    def _take_over(self, file: BinaryIO) -> None:
        """Count what a stopped call left."""
        file.seek(0)
        while piece := file.read(_PIECE):
            self._count(piece)
        if self.done:
            self.note(f"{self.path.name}: {size(self.done)} are here of a fetch that was stopped; going on from there.")

    def _count(self, piece: bytes) -> None:
        self.digest.update(piece)
        self.done += len(piece)

    def _fill(self, file: BinaryIO) -> None:
        """Read on until all bytes are there, over as many connections as it takes while each brings something."""
        self.note(f"{self.path.name}: from {self.address}")
        failed = 0
        while self.total is None or self.done < self.total:
            before = self.done
            try:
                with self._opened(file) as response:
                    self._copy(response, file)
                fault: Exception = ConnectionError("the connection was cut")
            except (urllib.error.URLError, HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
                fault = error
            if self.total is not None and self.done >= self.total:
                return
            failed = 0 if self.done > before else failed + 1
            if failed == _TRIES:
                raise UnreachableError(
                    f"{self.address} cannot be reached ({_reason(fault)}); {_kept(self.done)}, or name a mirror with "
                    "--url."
                ) from fault
            time.sleep(min(2.0**failed, 30.0) * _PAUSE)

    @contextlib.contextmanager
    def _opened(self, file: BinaryIO) -> Iterator[HTTPResponse]:
        """The answer, with its bytes from where the file ends."""
        headers = {"User-Agent": "rtbench", "Accept-Encoding": "identity"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
        try:
            response = _OPENER.open(urllib.request.Request(self.address, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and self.done:  # more is here than there is, or all of it
                self._all_or_anew(file, error.headers.get("Content-Range"))
                raise ConnectionError("the server has no more bytes") from None
            if error.code >= 500 or error.code == 429:
                raise ConnectionError(f"it answers {error.code} ({error.reason})") from None
            raise AbsentError(
                f"{self.address} answers {error.code} ({error.reason}); name a mirror with --url, or obtain "
                f"{self.archive.name} elsewhere and put it into {self.path.parent}."
            ) from None
        with response:
            if response.headers.get_content_type() == "text/html":
                raise AbsentError(
                    f"{self.address} gives a web page and not {self.archive.name}; look at it in a browser, or name a "
                    "mirror with --url."
                )
            self._begin_where(response, file)
            yield response

    def _begin_where(self, response: HTTPResponse, file: BinaryIO) -> None:
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
        if response.status == 206 and sent and int(sent[1]) == self.done:
            self.total = int(sent[2]) if sent[2] != "*" else self.total
            return
        if response.status == 206:
            self._anew(file)
            raise ConnectionError("it sends another part than was asked for")
        if self.done:
            self.note(f"{self.path.name}: the server cannot go on from a place, so it begins anew.")
            self._anew(file)
        length = response.headers.get("Content-Length")
        self.total = int(length) if length and length.isdecimal() else None

    def _all_or_anew(self, file: BinaryIO, content_range: str | None) -> None:
        whole = re.fullmatch(r"bytes \*/(\d+)", content_range or "")
        if whole and int(whole[1]) == self.done:
            self.total = self.done
        else:
            self._anew(file)

    def _anew(self, file: BinaryIO) -> None:
        file.truncate(0)
        self.digest, self.done, self.total = hashlib.md5(usedforsecurity=False), 0, None

    def _copy(self, response: HTTPResponse, file: BinaryIO) -> None:
        self._check_room()
        while piece := response.read(_PIECE):
            file.write(piece)
            self._count(piece)
            self._tell()
        file.flush()
        if self.total is None:  # a server that does not say how many there are: all that came
            self.total = self.done

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if self.total is not None and self.total - self.done > free:
            raise RunError(
                f"{self.path.parent} has {size(free)} left, and {self.path.name} takes {size(self.total - self.done)} "
                "more; make room, or name another folder with --out."
            )

    def _tell(self) -> None:
        if time.monotonic() - self.told > _SECONDS:
            self.told = time.monotonic()
            self.note(f"{self.path.name}: {size(self.done)}" + (f" of {size(self.total)}" if self.total else ""))

    def _check(self, part: Path) -> None:
        if self.digest.hexdigest() != self.archive.md5:
            part.unlink()
            raise RunError(
                f"{self.address} gave {self.done:,} bytes that are not {self.archive.name} as published (MD5 "
                f"{self.digest.hexdigest()}, not {self.archive.md5}), and none was kept; run again, or name a mirror "
                "with --url."
            )


_PAUSE = 1.0
"""Seconds, to be doubled, before a connection is tried again."""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect within a host alone: another is nobody's that the user named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.hostname != old.hostname or (old.scheme, new.scheme) == ("https", "http"):
            raise AbsentError(
                f"{req.full_url} leads to {newurl}, which is not followed; if you trust that, give its folder with "
                "--url."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SameHost)


@contextlib.contextmanager
def _alone(file: BinaryIO, part: Path) -> Iterator[None]:
    """While no other process fills the same file."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchError(f"another process fetches {part}; wait for it, or name another folder with --out.") from None
    except OSError:  # a file system without locks
        pass
    yield


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _kept(done: int) -> str:
    return f"{size(done)} are kept: run again" if done else "run again"


def _reason(fault: Exception) -> str:
    reason = fault.reason if isinstance(fault, urllib.error.URLError) else fault
    return (one_line(reason) if isinstance(reason, BaseException) else str(reason)).rstrip(".")
