"""What stands in a folder of trainings: weights, logs, a record of each, and the registry file of all.

    NAME.safetensors    the weights
    NAME.csv            the training log: an epoch a line
    NAME.json           the record: the whole recipe, the data's fingerprint, the weights' digest
    NAME.training.pt    what an unfinished training keeps of itself
    registry.toml       an entry for `--registry` of each training that has its weights

The registry is made of the records whenever a training ends, so that commands that train into one folder at the same
time lose nothing of each other's.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.machine.files import replacing
from bench.training.recipe import Recipe

REGISTRY = "registry.toml"
_HEAD = "# Written by `bench train`, of the records beside it. Entries of your own go into a file of their own.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One training, over and done with."""

    name: str
    """Of the training, and of its checkpoint: the recipe's and the seed."""
    recipe: str
    """The recipe's name."""
    seed: int
    ascent: str
    digest: str
    """Of all that decides the weights: a training with the same one is not done again."""
    pair: str
    """A digest of all that decides them but the ascent."""
    weights: str
    """SHA-256 of the file of weights; empty where the training diverged."""
    diverged: str
    """What became of it, in words, where its loss was no longer finite; else empty."""
    ema: float
    """Decay of the moving average that the weights are; 0 for the last ones."""
    entry: Mapping[str, Any]
    """What the registry says of it beside recipe, seed and ascent."""
    identity: Mapping[str, Any]
    """The whole recipe, see `Recipe.identity`."""


def training_name(recipe: Recipe) -> str:
    """What a training and its checkpoint are called."""
    return f"{recipe.name}-seed{recipe.seed}"


def digest_of(*parts: object) -> str:
    """A digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def finished(out: Path, name: str, digest: str) -> Record | None:
    """The record of a training that is over, and whose weights are those that it wrote; None if it is to be done.

    Args:
        out: The folder.
        name: Of the training.
        digest: Of all that decides it.
    """
    record = _read(out / f"{name}.json")
    if record is None or record.digest != digest:
        return None
    return record if record.diverged or _has_weights(out, record) else None


def write_record(out: Path, record: Record) -> None:
    """Keep a training's record, and make the registry file anew."""
    with replacing(out / f"{record.name}.json") as half:
        half.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    write_registry(out)


def write_registry(out: Path) -> Path:
    """Make the registry file of the records in a folder.

    Returns:
        Its path.

    Raises:
        BenchError: A file of that name is there which `bench train` did not write.
    """
    path = out / REGISTRY
    check_registry(out)
    written = None
    # Another command may have added a record while this one read them; whoever writes last has then seen all.
    while (text := _registry(out)) != written:
        with replacing(path) as half:
            half.write_text(text, encoding="utf-8")
        written = text
    return path


def check_registry(out: Path) -> None:
    """Refuse a folder whose registry file is somebody's own.

    Raises:
        BenchError: It is.
    """
    path = out / REGISTRY
    if path.exists() and not path.read_bytes().startswith(_HEAD.encode()):
        raise BenchError(f"{path} was not written by `bench train`, which would replace it; give another --out.")


def _registry(out: Path) -> str:
    found = [record for path in sorted(out.glob("*.json")) if (record := _read(path)) and not record.diverged]
    records = [record for record in found if (out / f"{record.name}.safetensors").is_file()]
    return "\n".join([_HEAD, *(_entry(record, _partner(record, records)) for record in records)])


def _partner(record: Record, records: list[Record]) -> str:
    """The name of the training that differs in the ascent alone; of several that climb, SAM comes first."""
    alike = [other for other in records if other.pair == record.pair and other.name != record.name]
    partners = [other for other in alike if (other.ascent == "none") != (record.ascent == "none")]
    return min(partners, key=lambda other: (other.ascent != "sam", other.name)).name if partners else ""


def _entry(record: Record, partner: str) -> str:
    values = {
        **record.entry,
        "weights": f"{record.name}.safetensors",
        "weights_digest": record.weights,
        "sam": record.ascent,
        "recipe": record.recipe,
        "seed": record.seed,
        **({"pairs_with": partner} if partner else {}),
    }
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    average = [f"# The weights are their moving average, of decay {record.ema:g}."] if record.ema else []
    return "\n".join([f"[{json.dumps(record.name)}]", *average, *lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def _read(path: Path) -> Record | None:
    """A record; None where there is none, or another file of this name."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _has_weights(out: Path, record: Record) -> bool:
    path = out / f"{record.name}.safetensors"
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == record.weights
