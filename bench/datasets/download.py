"""One file over http or https: resumable, never from another host than was named, and whole before it has its name.

NAME         the file, whole and checked
NAME.part    the first bytes of one that is under way, or was stopped
"""

import contextlib
import fcntl
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
from typing import Any, BinaryIO, Protocol, TypeAlias

from bench.errors import DISK_FULL, AbsentError, BenchError, RunError, UnreachableError, one_line
from bench.machine.files import finish
from bench.text import size

Note: TypeAlias = Callable[[str], None]

SCHEMES = ("http", "https")
_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
_PIECE = 2**20
"""Bytes read at once."""
_TRIES = 5
"""Connections in a row that bring nothing."""
_PAUSE = 1.0
"""Seconds, to be doubled, before a connection is tried again."""
_SECONDS = 10.0
"""Between two lines of progress."""


class Check(Protocol):
    """What a file is held to before it takes its place."""

    resumes: bool
    """Whether it tells a file that was put together of two versions from a whole one, so that what a stopped call left
    may be gone on from."""

    def begin(self) -> None:
        """The file begins, perhaps anew."""

    def add(self, piece: bytes) -> None:
        """Its next bytes."""

    def end(self, part: Path) -> None:
        """The file is whole, at `part`.

        Raises:
            RunError: it is not what it must be.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What is said to whoever asked for the file, as ends of sentences."""

    elsewhere: str
    """Where a server does not have it: what to do instead."""
    led: str
    """Where a server leads to another."""
    room: str
    """Where the disk is full, or another process fetches it, beside making room or waiting; may be empty."""


@dataclass
class Download:
    """A file that is fetched to a place.

    Args:
        address: http or https.
        path: where it goes; its folder is there.
        check: what it is held to.
        advice: for messages.
        note: takes a line on how far it is.
    """

    address: str
    path: Path
    check: Check
    advice: Advice
    note: Note
    done: int = field(default=0, init=False)
    """Bytes that are there."""
    _total: int | None = field(default=None, init=False)
    """Bytes of the whole, as the server says."""
    _version: str = field(default="", init=False)
    """What the server calls the version of which these bytes are."""
    _told: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> None:
        """Fetch it.

        Raises:
            AbsentError: the server does not have it, or leads elsewhere.
            BenchError: another process fetches it.
            UnreachableError: the server cannot be reached.
            RunError: what came is not what it must be, or the disk is full.
        """
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with part.open("a+b") as file, _alone(file, part, self.advice.room):
                self._take_over(file)
                self._fill(file)
                self._check(file, part)
                finish(part, self.path)
        except OSError as error:
            advice = "make room" if error.errno in DISK_FULL else "make it writable"
            raise RunError(
                f"{part} cannot be written ({error.strerror or one_line(error)}); {advice}: the same command goes on "
                "from there."
            ) from error

    def _check(self, file: BinaryIO, part: Path) -> None:
        file.flush()
        try:
            self.check.end(part)
        except RunError:
            part.unlink()
            raise

    def _take_over(self, file: BinaryIO) -> None:
        """Count what a stopped call left."""
        self.check.begin()
        if not self.check.resumes:
            file.truncate(0)
        file.seek(0)
        while piece := file.read(_PIECE):
            self._count(piece)
        if self.done:
            self.note(f"{self.path.name}: {size(self.done)} are here of a fetch that was stopped; going on from there.")

    def _count(self, piece: bytes) -> None:
        self.check.add(piece)
        self.done += len(piece)

    def _fill(self, file: BinaryIO) -> None:
        """Read on until all bytes are there, over as many connections as it takes while each brings something."""
        failed = 0
        while self._total is None or self.done < self._total:
            before = self.done
            try:
                with self._opened(file) as response:
                    self._copy(response, file)
                fault: Exception = ConnectionError("the connection was cut")
            except (urllib.error.URLError, HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
                fault = error
            if self._total is not None and self.done >= self._total:
                return
            failed = 0 if self.done > before else failed + 1
            if failed == _TRIES:
                raise UnreachableError(
                    f"{self.address} cannot be reached ({_reason(fault)}); {self._kept()}, or {self.advice.elsewhere}."
                ) from fault
            time.sleep(min(2.0**failed, 30.0) * _PAUSE)

    @contextlib.contextmanager
    def _opened(self, file: BinaryIO) -> Iterator[HTTPResponse]:
        """The answer, with its bytes from where the file ends."""
        headers = {"User-Agent": "rtbench", "Accept-Encoding": "identity"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self._version:
                headers["If-Range"] = self._version
        opener = urllib.request.build_opener(_SameHost(self.advice.led))
        try:
            response = opener.open(urllib.request.Request(self.address, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and self.done:  # more is here than there is, or all of it
                self._all_or_anew(file, error.headers.get("Content-Range"))
                raise ConnectionError("the server has no more bytes") from None
            if error.code >= 500 or error.code == 429:
                raise ConnectionError(f"it answers {error.code} ({error.reason})") from None
            raise AbsentError(
                f"{self.address} answers {error.code} ({error.reason}); {self.advice.elsewhere}, or obtain "
                f"{self.path.name} elsewhere and put it into {self.path.parent}."
            ) from None
        with response:
            if response.headers.get_content_type() == "text/html":
                raise AbsentError(
                    f"{self.address} gives a web page and not {self.path.name}; look at it in a browser, or "
                    f"{self.advice.elsewhere}."
                )
            self._begin_where(response, file)
            yield response

    def _begin_where(self, response: HTTPResponse, file: BinaryIO) -> None:
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
        if response.status == 206 and sent and int(sent[1]) == self.done and self._goes_on(response, sent[2]):
            self._total = int(sent[2]) if sent[2] != "*" else self._total
            return
        if response.status == 206:
            self._anew(file)
            raise ConnectionError("it sends another part, or another version, than was asked for")
        if self.done:
            self.note(f"{self.path.name}: the server cannot go on from a place, so it begins anew.")
            self._anew(file)
        self._version = _version(response)
        length = response.headers.get("Content-Length")
        self._total = int(length) if length and length.isdecimal() else None

    def _goes_on(self, response: HTTPResponse, total: str) -> bool:
        """Whether the rest is of the version whose beginning is here, as far as the server tells."""
        same_size = self._total is None or total in ("*", str(self._total))
        return same_size and (not self._version or _version(response) in ("", self._version))

    def _all_or_anew(self, file: BinaryIO, content_range: str | None) -> None:
        whole = re.fullmatch(r"bytes \*/(\d+)", content_range or "")
        if whole and int(whole[1]) == self.done:
            self._total = self.done
        else:
            self._anew(file)

    def _anew(self, file: BinaryIO) -> None:
        file.truncate(0)
        self.check.begin()
        self.done, self._total, self._version = 0, None, ""

    def _copy(self, response: HTTPResponse, file: BinaryIO) -> None:
        self._check_room()
        while piece := response.read(_PIECE):
            file.write(piece)
            self._count(piece)
            self._tell()
        file.flush()
        if self._total is None:  # a server that does not say how many there are: all that came
            self._total = self.done

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if self._total is not None and self._total - self.done > free:
            raise RunError(
                f"{self.path.parent} has {size(free)} left, and {self.path.name} takes {size(self._total - self.done)} "
                f"more; make room{self.advice.room}."
            )

    def _tell(self) -> None:
        if time.monotonic() - self._told > _SECONDS:
            self._told = time.monotonic()
            self.note(f"{self.path.name}: {size(self.done)}" + (f" of {size(self._total)}" if self._total else ""))

    def _kept(self) -> str:
        return f"{size(self.done)} are kept: run again" if self.done and self.check.resumes else "run again"


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect within a host alone: another is nobody's that the user named."""

    def __init__(self, advice: str) -> None:
        self._advice = advice

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        same_scheme = new.scheme == old.scheme or (old.scheme, new.scheme) == ("http", "https")
        if new.hostname != old.hostname or not same_scheme:
            raise AbsentError(
                f"{req.full_url} leads to {newurl}, which is not followed; if you trust that, {self._advice}."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _alone(file: BinaryIO, part: Path, advice: str) -> Iterator[None]:
    """While no other process fills the same file."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchError(f"another process fetches {part}; wait for it{advice}.") from None
    except OSError:  # a file system without locks
        pass
    yield


def _version(response: HTTPResponse) -> str:
    """What `If-Range` takes: a strong tag, or the date of the last change; empty where the server says neither."""
    tag = response.headers.get("ETag") or ""
    return tag if tag.startswith('"') else response.headers.get("Last-Modified") or ""


def _reason(fault: Exception) -> str:
    reason = fault.reason if isinstance(fault, urllib.error.URLError) else fault
    return (one_line(reason) if isinstance(reason, BaseException) else str(reason)).rstrip(".")
