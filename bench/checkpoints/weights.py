"""Weights are data: files of arrays, told apart by their content, read so that nothing in them can run.

Importing this, and `weights_digest`, stay free of torch: plans are made without it.
"""

import argparse
import hashlib
import io
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from bench.checkpoints.npz import is_npz, read_npz
from bench.checkpoints.state_dicts import ADVICE, select
from bench.errors import BenchError, RunError, one_line
from bench.machine.hardware import physical_memory
from bench.text import size, some

if TYPE_CHECKING:
    import torch

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name; both may be there, in either order."""

_CUT = "is damaged or cut short"
_AGAIN = "download or copy it again"
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file, 64 hexadecimal digits; a file that has not changed is read once a process.

    Raises:
        BenchError: there is no such file, or nothing in it.
    """
    status = _check_file(path)
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@lru_cache(maxsize=1024)
def _sha256(path: Path, *_: int) -> str:
    """What follows the path tells one state of the file from another, for the cache alone."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_digests() -> None:
    """Read every file anew when its digest is asked for: one was seen to change without a sign."""
    _sha256.cache_clear()


def read_weights(
    path: Path, state_dict: str = "", check: Callable[[str], None] = lambda sha256: None
) -> "dict[str, torch.Tensor]":
    """The arrays of a weights file by name, on the CPU, in the precision of the file.

    The format is safetensors, torch's (`torch.save` of a state dict, also inside a dictionary under one of
    `WRAPPERS`) or NumPy's npz, whatever the file is called. `PREFIXES` that every name begins with are taken off,
    and so are those of `bench.checkpoints.npz`.

    Args:
        path: the file. It is read once, and what is checked are the bytes that the arrays are made of: another process
            may write it at any time.
        state_dict: where in the file the arrays stand, as `bench.checkpoints.state_dicts` has it; empty where there is
            no choice.
        check: given the SHA-256 of the bytes that were read, before anything is made of them.

    Raises:
        BenchError: the file is missing, damaged, of another kind, holds more than arrays, or several state dicts of
            which none is named. What `check` raises passes through.
    """
    content = _read(path)
    check(hashlib.sha256(content).hexdigest())
    if _is_safetensors(content[:9]):
        arrays = select(path, _read_safetensors(path, content), state_dict)
    elif content.startswith(b"PK"):
        arrays = _read_zip(path, content, state_dict)
    elif content.startswith(b"\x80"):  # a pickle: torch's format before 1.6
        arrays = select(path, _read_torch(path, content), state_dict)
    else:
        raise BenchError(_not_weights(path, content[:64]))
    return _without_prefixes(arrays)


def _read(path: Path) -> bytes:
    _check_room(path, _check_file(path).st_size)
    with _opened(path) as file:
        return file.read()


def _check_room(path: Path, count: int) -> None:
    """A sparse file, or zeros that were compressed, may have any number of bytes."""
    if count > physical_memory():
        raise BenchError(
            f"weights file {path} has {size(count)}, more than the memory of this machine; name the right file."
        )


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError | ValueError) -> BenchError:
    reason = getattr(error, "strerror", None) or one_line(error)
    return BenchError(f"{path} can't be opened ({reason}); check the path and its rights.")


def _check_file(path: Path) -> os.stat_result:
    try:
        status = path.stat()  # not opened yet: a pipe would wait for somebody to write
    except FileNotFoundError:
        raise BenchError(f"there is no weights file {path}; check the path or put the file there.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise BenchError(f"a weights file was wanted, but {path} is a folder; name the file in it.")
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise BenchError(f"weights file {path} is empty; {_AGAIN}.")
    return status


def keeps_order(path: Path) -> bool:
    """Whether a file has its arrays in the order in which they were saved; safetensors sorts them."""
    with _opened(path) as file:
        return not _is_safetensors(file.read(9))


def _is_safetensors(head: bytes) -> bool:
    """The format begins with the length of its header (8 bytes, little-endian) and the header, in JSON."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def is_web_page(head: bytes) -> bool:
    """Whether a file that begins so is a page: what servers send in the place of a file that they don't have."""
    return _start(head).startswith((b"<!doctype", b"<!--", b"<html", b"<head", b"<?xml"))


def _start(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def _not_weights(path: Path, head: bytes) -> str:
    if is_web_page(head):
        return (
            f"weights were wanted, but {path} is a web page, likely the error page of a failed download; "
            "look into it and download the weights again."
        )
    if _start(head).startswith(b"version https://git-lfs"):
        return f"{path} is a git-lfs pointer to weights, not the weights; run `git lfs pull` in its repository."
    return (
        f"{path} is neither safetensors nor a file of torch.save nor npz (it begins with {head[:12]!r}); "
        "convert the weights to safetensors."
    )


def _read_safetensors(path: Path, content: bytes) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load

    try:
        return load(content)
    except Exception as error:  # its own, or of torch, where the header promises what torch has no type for
        raise RunError(f"weights file {path} {_CUT} ({one_line(error)}); {_AGAIN}.") from None


def _read_zip(path: Path, content: bytes, state_dict: str) -> "dict[str, torch.Tensor]":
    """Torch's format since 1.6 is a zip archive; TorchScript and NumPy write such archives too."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        raise RunError(f"weights file {path} (a zip archive) {_CUT}; {_AGAIN}.") from None
    _check_room(path, unpacked)
    if is_npz(members):
        return read_npz(path, content, state_dict)
    names = {member.split("/")[-1] for member in members}
    if "constants.pkl" in names:
        raise BenchError(f"{path} is TorchScript, a program and not only weights; {ADVICE}.")
    if "data.pkl" not in names:
        raise BenchError(
            f"{path} is a zip archive, but not of torch.save or NumPy (it holds {some(sorted(names))}); "
            "convert the weights to safetensors."
        )
    return select(path, _read_torch(path, content), state_dict)


def _read_torch(path: Path, content: bytes) -> object:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            # What scripts were called with is often saved beside the weights; it is a bag of values and no code.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise BenchError(_refused(path, str(error))) from None
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise RunError(f"weights file {path} {_CUT} ({one_line(error)}); {_AGAIN}.") from None


def _refused(path: Path, reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"loading {path} would run code (it names {named[1]}), and rtbench loads nothing but arrays; "
            f"where you trust the file, {ADVICE}."
        )
    return (
        f"{path} is a pickle, but not one of plain arrays as torch.save writes them, or it is damaged: "
        f"reading it otherwise could run code; where you trust the file, {ADVICE}."
    )


def _without_prefixes(arrays: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    for prefix in PREFIXES * 2:  # twice, as they nest in either order
        if all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays
