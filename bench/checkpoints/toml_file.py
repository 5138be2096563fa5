"""Registry files: checkpoints written down in TOML, one table each.

    [my-vit]
    arch = "vit_tiny_patch16_224"    # of timm
    arch_args = { embed_dim = 96 }   # optional: keyword arguments of the architecture
    weights = "my_vit.safetensors"   # relative to this file; or hf://OWNER/REPOSITORY/FILE, or an https address
    dataset = "digits"               # whose classes the logits stand for

In the place of `dataset`: `classes = "imagenet-1k"`, a class space that has a name, or `classes = ["cat", "dog"]`.
Every other key is a field of `Checkpoint` and may be left out. Where one of `FED` is, it is as timm validates the
architecture (`bench.checkpoints.timm_config`), and `Checkpoint.assumed` says so. Weights that are an ONNX file need no
`arch`, and every key of `FED`.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, get_args

from bench.checkpoints.fetch import check_address
from bench.checkpoints.sources.from_onnx import LOADER, SUFFIX
from bench.checkpoints.timm_config import timm_config
from bench.crops import CropMode
from bench.datasets import class_spaces
from bench.errors import BenchError, UnknownNameError
from bench.names import check_text
from bench.records import Checkpoint, ClassSpace, Interpolation, Params, Sam
from bench.toml_lines import DATASETS, Entry, load_toml

ClassSpaces: TypeAlias = Callable[[str], ClassSpace]

FED = ("input_size", "crop_ratio", "interpolation", "mean", "std")
"""Keys that say how images are fed to the architecture. `crop_mode` goes with `crop_ratio`: an entry that gives a ratio
alone means the centre."""

_SHOWN_AT_MOST = 80  # characters of a wrong value, in a message


@dataclass(frozen=True, slots=True)
class _Key:
    """What a key must hold, in words and as a test, and what becomes of it."""

    wanted: str
    holds: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def read_registry(path: Path, of_dataset: ClassSpaces, *, ours: bool = False) -> list[Checkpoint]:
    """Read the checkpoints of a registry file; its table `datasets` is for `bench.datasets.toml_file`.

    Args:
        path: the file; weights are looked for from its folder.
        of_dataset: gives the class space of a data set by the data set's name.
        ours: whether the file is the project's own. It may name code by `builder`; and timm, whose import takes
            seconds, is not asked for what it leaves out: the record's defaults hold, and a test holds them to timm's.

    Returns:
        The checkpoints in the order of the file. Their weights are not opened.

    Raises:
        BenchError: the file can't be read or an entry is wrong; the message names file, line and key.
    """
    table, locate = load_toml(path)
    if not table:
        raise BenchError(f"{path} has no checkpoint and no data set; begin one with its name in brackets: [my-vit].")
    tables = {name: entry for name, entry in table.items() if name != DATASETS}
    for name, entry in tables.items():
        if not isinstance(entry, dict):
            raise BenchError(
                f"{path}, line {locate(name)}: {name!r} stands outside a checkpoint's table; "
                "put its name in brackets above: [my-vit]."
            )
    entries = [Entry(path, (name,), entry, locate) for name, entry in tables.items()]
    return [_read(entry, of_dataset, ours) for entry in entries]


def _read(entry: Entry, of_dataset: ClassSpaces, ours: bool) -> Checkpoint:
    values = {key: _value(entry, key) for key in entry.table}
    _check_architecture(entry, ours)
    if "weights" not in values:
        raise entry.error('names no weights; add weights = "FILE".')
    values["weights"] = _weights(entry, values["weights"])
    if _is_onnx(entry):
        _check_onnx(entry)
        values["loader"] = LOADER
    space = _class_space(entry, of_dataset)
    fields = {key: value for key, value in values.items() if key not in ("dataset", "classes")}
    checkpoint = Checkpoint(name=entry.name, class_space=space, **fields)
    left_out = [key for key in FED if key not in fields]
    return checkpoint if ours or not left_out else _as_timm_feeds(entry, checkpoint, left_out)


def _as_timm_feeds(entry: Entry, checkpoint: Checkpoint, left_out: list[str]) -> Checkpoint:
    """The checkpoint with timm's values for the keys that its entry leaves out."""
    config = timm_config(checkpoint.arch)
    if config is None:
        source, taken = f"timm has none for {checkpoint.arch}, the defaults", {}
    else:
        for key in left_out:
            if what := config.out_of_reach(key):
                raise entry.error(
                    f"leaves out {key}, and timm's {config.name} has {what}, which rtbench does not do; add {key}."
                )
        values = config.values(entry.table.get("input_size"))
        if "crop_ratio" in left_out and "crop_mode" not in entry.table and values["crop_mode"] != "center":
            left_out = [*left_out, "crop_mode"]
        source, taken = f"as timm has them for {config.name}", {key: values[key] for key in left_out}
    filled = replace(checkpoint, **taken)
    in_words = ", ".join(f"{key} {_in_words(getattr(filled, key))}" for key in left_out)
    return replace(filled, assumed=f"{source}: {in_words}")


def _in_words(value: Any) -> str:
    return " ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _value(entry: Entry, key: str) -> Any:
    """The value of a key, checked and converted."""
    value = entry.table[key]
    if key not in _KEYS:
        hint = f' A name with a dot needs quotes: ["{entry.name}.{key}"].' if isinstance(value, dict) else ""
        raise entry.error(f"{UnknownNameError('key', key, _KEYS)}{hint}", key)
    rule = _KEYS[key]
    if not rule.holds(value):
        raise entry.error(f"{key} must be {rule.wanted}, not {_shortened(value)}.", key)
    if rule in (_TEXT, _NAME):  # what tables and published files show
        try:
            check_text(key, value)
        except BenchError as error:
            raise entry.error(str(error), key) from None
    return rule.convert(value)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_AT_MOST else f"{text[:_SHOWN_AT_MOST]}…"


def _check_architecture(entry: Entry, ours: bool) -> None:
    if "builder" in entry.table and not ours:
        raise entry.error(
            "builder names code, which only a plug-in may bring; use arch, or register the checkpoint in a plug-in.",
            "builder",
        )
    if "builder" in entry.table and "arch" in entry.table:
        raise entry.error("has both arch and builder; keep one.", "builder")
    if not {"builder", "arch"} & entry.table.keys() and not _is_onnx(entry):
        raise entry.error('names no architecture; add arch = "NAME IN TIMM".')


def _is_onnx(entry: Entry) -> bool:
    return str(entry.table.get("weights", "")).lower().endswith(SUFFIX)


def _check_onnx(entry: Entry) -> None:
    if "arch" in entry.table:
        raise entry.error("has arch, and its ONNX file is an architecture and weights in one; take arch out.", "arch")
    lacking = [key for key in FED if key not in entry.table]
    if lacking:
        raise entry.error(
            f"leaves out {', '.join(lacking)}, which an ONNX file does not tell; add what it was made for."
        )


def _weights(entry: Entry, weights: str) -> str:
    """An address as it is, a path from the folder of the file."""
    if "://" not in weights:
        return str(entry.folder / weights)
    try:
        check_address(weights)
    except ValueError as error:
        raise entry.error(f"weights: {error}; name such an address, or a file.", "weights") from None
    return weights


def _class_space(entry: Entry, of_dataset: ClassSpaces) -> ClassSpace:
    table = entry.table
    if "dataset" in table and "classes" in table:
        raise entry.error("has both dataset and classes; keep one.", "classes")
    if "dataset" not in table and "classes" not in table:
        raise entry.error('does not say its classes; add dataset = "NAME" or classes = ["cat", "dog"].')
    if isinstance(table.get("classes"), list):
        return ClassSpace(name=entry.name, classes=_distinct(entry, table["classes"]))
    if "classes" in table:
        return _named(entry, table["classes"])
    try:
        return of_dataset(table["dataset"])
    except UnknownNameError as error:
        for space in class_spaces:
            if space.name == table["dataset"]:  # such as imagenet-1k
                return space
        raise entry.error(f"dataset: {error}", "dataset") from None


def _named(entry: Entry, name: str) -> ClassSpace:
    known = {space.name: space for space in class_spaces}
    if name not in known:
        raise entry.error(f"classes: {UnknownNameError('class space', name, known)}", "classes")
    return known[name]


def _distinct(entry: Entry, classes: list[str]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise entry.error(f"classes has {twice[0]!r} more than once; each class needs its own name.", "classes")
    return tuple(classes)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_text, value))


def _is_parameter(value: Any) -> bool:
    return isinstance(value, str | bool) or _is_number(value)


def _floats(values: list[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _one_of(names: tuple[str, ...]) -> _Key:
    return _Key(f"one of {', '.join(names)}, in quotes", lambda v: v in names)


_TEXT = _Key("text in quotes", lambda v: isinstance(v, str))
_NAME = _Key("a name in quotes", _is_text)
_KEYS = {
    "arch": _Key("the name of an architecture in timm, in quotes", _is_text),
    "builder": _Key("`package.module:function` in quotes", lambda v: _is_text(v) and v.count(":") == 1),
    "arch_args": _Key(
        "a table of numbers, texts and true or false, such as { embed_dim = 96 }",
        lambda v: isinstance(v, dict) and all(map(_is_parameter, v.values())),
        Params,
    ),
    "weights": _Key("the path of a file or an address, in quotes", _is_text),
    "state_dict": _Key("the key of a state dict in the weights file, in quotes", _is_text),
    "rename": _Key(
        'a table of what names of arrays begin with, to what they begin with in the architecture, such as { "fc." = '
        '"head." }',
        lambda v: isinstance(v, dict) and v != {} and all(isinstance(new, str) for new in v.values()),
        Params,
    ),
    "in_order": _Key("true or false", lambda v: isinstance(v, bool)),
    "weights_digest": _Key(
        "a SHA-256 of 64 hexadecimal digits, in quotes",
        lambda v: isinstance(v, str) and re.fullmatch("[0-9a-fA-F]{64}", v) is not None,
        str.lower,
    ),
    "dataset": _Key("the name of a data set, in quotes", _is_text),
    "classes": _Key(
        "a class space's name in quotes, or a list of one or more names in quotes",
        lambda v: _is_text(v) or _is_names(v),
    ),
    "family": _NAME,
    "sam": _one_of(get_args(Sam)),
    "recipe": _TEXT,
    "seed": _Key(
        "a whole number, 0 or more",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    ),
    "pretraining": _TEXT,
    "pairs_with": _TEXT,
    "pair_differs": _TEXT,
    "published": _Key("a list of one or more names in quotes", _is_names, tuple),
    "input_size": _Key(
        "a whole number of pixels, at least 1",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1,
    ),
    "crop_ratio": _Key("a number above 0 and at most 1", lambda v: _is_number(v) and 0 < v <= 1, float),
    "interpolation": _one_of(get_args(Interpolation)),
    "crop_mode": _one_of(get_args(CropMode)),
    "mean": _Key("three numbers, for red, green and blue in [0, 1]", _is_triple, _floats),
    "std": _Key("three numbers above 0", lambda v: _is_triple(v) and min(v) > 0, _floats),
}
