"""Checkpoints by name: registered ones, and those that a source finds by a prefix, a size, a pattern or a file."""

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.checkpoints import checkpoints
from bench.checkpoints.sources import sources
from bench.checkpoints.sources.from_onnx import SUFFIX
from bench.checkpoints.toml_file import read_registry
from bench.datasets import datasets
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint

_AT_SIZE = re.compile(r"(.+)@(\d{1,5})")
_PATTERN = re.compile(r"[*?\[]")

_found: dict[str, Checkpoint] = {}
"""What sources gave in this process."""


def checkpoint_called(name: str) -> Checkpoint:
    """The checkpoint of a name: a registered one, `PREFIX/REST` of a source, a file `*.onnx`, or any of them `@SIZE`.

    Raises:
        UnknownNameError: nothing is called that.
        BenchError: its source has it not, or can't tell what must be known of it.
    """
    if name in checkpoints:
        return checkpoints.get(name)
    if name not in _found:
        _found[name] = _found_by_source(name)
    return _found[name]


def checkpoints_called(names: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of names and patterns, each once; a pattern leaves out what its source has and can't be run.

    Raises:
        BenchError: a name is unknown, or nothing matches a pattern.
    """
    called: dict[str, Checkpoint] = {}
    for name in names:
        # A name that is registered may have brackets.
        for one in _matching(name) if _PATTERN.search(name) and name not in checkpoints else [checkpoint_called(name)]:
            called.setdefault(one.name, one)
    return list(called.values())


def names_in(path: Path) -> list[str]:
    """The names in a file of one a line; empty lines and what follows `#` are passed over.

    Raises:
        BenchError: it can't be read, or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BenchError(
            f"--checkpoint-file {path} can't be read ({getattr(error, 'strerror', None) or error})."
        ) from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise BenchError(f"--checkpoint-file {path} names no checkpoint; write one name a line.")
    return names


def _matching(pattern: str) -> list[Checkpoint]:
    registered = [entry for entry in checkpoints if fnmatch.fnmatchcase(entry.name, pattern)]
    prefix = pattern.partition("/")[0]
    if "/" not in pattern or prefix not in sources:
        if not registered:
            raise UnknownNameError("checkpoint like", pattern, [entry.name for entry in checkpoints])
        return registered
    found, reasons = [], []
    for name in fnmatch.filter(sources.get(prefix).names(), pattern):
        try:
            found.append(checkpoint_called(name))
        except BenchError as error:
            reasons.append(str(error))
    if not found:
        raise BenchError(reasons[0] if reasons else f"{prefix} has no checkpoint like {pattern!r}; see its own list.")
    return registered + found


def _found_by_source(name: str) -> Checkpoint:
    prefix, _, rest = name.partition("/")
    if name.lower().endswith(SUFFIX):
        return _of_onnx(name)
    sized = _AT_SIZE.fullmatch(name)
    if sized:
        return _at_size(checkpoint_called(sized[1]), name, int(sized[2]))
    if rest and prefix in sources:
        return sources.get(prefix).find(rest)
    try:
        return checkpoints.get(name)  # which says what is like it
    except UnknownNameError as error:
        forms = ", ".join(source.form for source in sources)
        raise BenchError(f"{error} Beside these: {forms}, ./FILE{SUFFIX}.") from None


def _at_size(checkpoint: Checkpoint, name: str, size: int) -> Checkpoint:
    """The same weights at another size."""
    changed: dict[str, object] = {}
    if checkpoint.arch:
        from bench.checkpoints.sources.from_timm import at_size

        changed = at_size(checkpoint, size)
    return replace(checkpoint, name=name, input_size=size, transform="", pairs_with="", published=(), **changed)  # type: ignore[arg-type]


def _of_onnx(name: str) -> Checkpoint:
    """What the entry of the file in the TOML file beside it says."""
    path = Path(name)
    if not path.is_file():
        raise BenchError(f"there is no file {name}; check the path.")
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        raise BenchError(
            f"{name} does not say how images are made for it; write {beside} with [{path.stem}], weights = "
            f'"{path.name}", classes = "imagenet-1k", input_size, crop_ratio, interpolation, mean and std.'
        )
    entries = read_registry(beside, lambda dataset: datasets.get(dataset).class_space)
    own = [entry for entry in entries if Path(entry.weights).resolve() == path.resolve()]
    if len(own) != 1:
        raise BenchError(f'{beside} must have one entry with weights = "{path.name}", not {len(own)}.')
    return replace(own[0], name=name)
