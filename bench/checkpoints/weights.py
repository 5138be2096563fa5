"""Weights are data: files of arrays, told apart by their content, read so that nothing in them can run.

Importing this, and `weights_digest`, stay free of torch: plans are made without it.
"""

import hashlib
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from bench.checkpoints.npz import is_npz, read_npz
from bench.errors import BenchError, RunError, one_line
from bench.text import some

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts save the state dict beside an optimiser and the like."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name; both may be there, in either order."""

_ADVICE = "save its state dict with safetensors.torch.save_file and name that file instead"
_CUT = "is damaged or cut short"
_AGAIN = "download or copy it again"
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file, 64 hexadecimal digits; a file that has not changed is read once a process.

    Raises:
        BenchError: there is no such file, or nothing in it.
    """
    status = _check_file(path)
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Size and time of change are there for the cache alone."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> "dict[str, torch.Tensor]":
    """The arrays of a weights file by name, on the CPU, in the precision of the file.

    The format is safetensors, torch's (`torch.save` of a state dict, also inside a dictionary under one of
    `WRAPPERS`) or NumPy's npz, whatever the file is called. `PREFIXES` that every name begins with are taken off,
    and so are those of `bench.checkpoints.npz`.

    Raises:
        BenchError: the file is missing, damaged, of another kind, or holds more than arrays.
    """
    _check_file(path)
    with path.open("rb") as file:
        head = file.read(64)
    if _is_safetensors(head):
        return _without_prefixes(_read_safetensors(path))
    if head.startswith(b"PK"):
        return _without_prefixes(_state_dict(path, _read_zip(path)))
    if head.startswith(b"\x80"):  # a pickle: torch's format before 1.6
        return _without_prefixes(_state_dict(path, _read_torch(path, mmap=False)))
    raise BenchError(_not_weights(path, head))


def _check_file(path: Path) -> os.stat_result:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        raise BenchError(f"there is no weights file {path}; check the path or put the file there.") from None
    except IsADirectoryError:
        raise BenchError(f"a weights file was wanted, but {path} is a folder; name the file in it.") from None
    except OSError as error:
        raise BenchError(f"{path} can't be opened ({error.strerror}); check the path and its rights.") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise BenchError(f"weights file {path} is empty; {_AGAIN}.")
    return status


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


def _read_safetensors(path: Path) -> "dict[str, torch.Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise RunError(f"weights file {path} {_CUT} ({one_line(error)}); {_AGAIN}.") from None


def _read_zip(path: Path) -> object:
    """Torch's format since 1.6 is a zip archive; TorchScript and NumPy write such archives too."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise RunError(f"weights file {path} (a zip archive) {_CUT}; {_AGAIN}.") from None
    if is_npz(member.filename for member in members):
        return read_npz(path)
    names = {member.filename.split("/")[-1] for member in members}
    if "constants.pkl" in names:
        raise BenchError(f"{path} is TorchScript, a program and not only weights; {_ADVICE}.")
    if "data.pkl" not in names:
        raise BenchError(
            f"{path} is a zip archive, but not of torch.save or NumPy (it holds {some(sorted(names))}); "
            "convert the weights to safetensors."
        )
    # Torch can't map what another tool has compressed, and takes a path's suffix for the format.
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    return _read_torch(path, mmap=stored and path.suffix != ".safetensors")


def _read_torch(path: Path, mmap: bool) -> object:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            if mmap:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise BenchError(_refused(path, str(error))) from None
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise RunError(f"weights file {path} {_CUT} ({one_line(error)}); {_AGAIN}.") from None


def _refused(path: Path, reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"loading {path} would run code (it names {named[1]}), and rtbench loads nothing but arrays; "
            f"where you trust the file, {_ADVICE}."
        )
    return (
        f"{path} is a pickle, but not one of plain arrays as torch.save writes them, or it is damaged: "
        f"reading it otherwise could run code; where you trust the file, {_ADVICE}."
    )


def _state_dict(path: Path, content: object) -> "dict[str, torch.Tensor]":
    """The state dict in what torch.load gave, checked to be one."""
    state = _unwrap(path, content)
    if not isinstance(state, Mapping):
        raise BenchError(f"a state dict was wanted, but {path} holds {_describe(state)}; {_ADVICE}.")
    if not state:
        raise BenchError(f"the state dict in {path} is empty; {_ADVICE}.")
    for name, array in state.items():
        if not isinstance(name, str) or not _is_array(array):
            raise BenchError(
                f"a state dict (arrays by name) was wanted, but {path} holds {_describe(array)} "
                f"under {name!r}; {_ADVICE}."
            )
    return dict(state)


def _unwrap(path: Path, content: object) -> object:
    if not isinstance(content, Mapping):
        return content
    wrapped = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    if len(wrapped) > 1:
        raise BenchError(f"{path} holds several state dicts ({', '.join(wrapped)}); {_ADVICE}.")
    return content[wrapped[0]] if wrapped else content


def _is_array(value: object) -> bool:
    """A dense tensor with its values: not sparse, quantised or a mere shape."""
    import torch

    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _describe(value: object) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a value of type {type(value).__name__}"
    return "an array" if _is_array(value) else "a sparse, quantised or empty tensor"


def _without_prefixes(arrays: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    for prefix in PREFIXES * 2:  # twice, as they nest in either order
        if all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays
