"""Models that somebody holds in memory, as checkpoints: by the digest of what decides their logits.

Importing this stays free of torch.
"""

from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.records import Checkpoint

if TYPE_CHECKING:
    from torch import nn

SCHEME = "memory://"
"""What stands before the digest where an entry's weights would name a file."""

_held: "dict[str, nn.Module]" = {}


def hold(digest: str, module: "nn.Module") -> str:
    """Keep a module until `release`; what an entry names as its weights."""
    _held[digest] = module
    return f"{SCHEME}{digest}"


def release(digest: str) -> None:
    """Keep a module no longer."""
    _held.pop(digest, None)


def held_digest(checkpoint: Checkpoint) -> str:
    """Digest of the weights of a checkpoint that is in memory; empty for any other."""
    return checkpoint.weights.removeprefix(SCHEME) if checkpoint.weights.startswith(SCHEME) else ""


def held_module(checkpoint: Checkpoint) -> "nn.Module":
    """The module of a checkpoint that is in memory.

    Raises:
        BenchError: nobody holds it any more.
    """
    digest = held_digest(checkpoint)
    if digest not in _held:
        raise BenchError(f"checkpoint {checkpoint.name!r} was in memory and is no more; evaluate the model again.")
    return _held[digest]
