"""How a checkpoint is measured under a condition.

A batch measure sees a module and a batch and gives rows; many checkpoints share one pass over the images. A
checkpoint measure sees a module and loaders and owns its loop: attacks, probes, fine-tuning, Hessians.
Registered entries are light records; the code behind one is imported when it runs.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.attacks import ENGINE_VERSION, Attack, attacks
from bench.errors import BenchError, one_line
from bench.records import Array, Params
from bench.registry import Registry

if TYPE_CHECKING:
    import torch


class BatchMeasure(Protocol):
    """Rows from one batch."""

    def rows(
        self, module: torch.nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor
    ) -> Mapping[str, torch.Tensor]:
        """One row a sample.

        Args:
            module: images in [0, 1] to logits (n, classes).
            images_NCHW: float32 in [0, 1], on the module's device.
            labels_N: int64, on the same device.

        Returns:
            Column name to a tensor (n, …).
        """
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples of a split, on the device."""

    ids: Sequence[str]
    labels_N: torch.Tensor
    images_NCHW: torch.Tensor
    """float32 in [0, 1]."""


class Loader(Protocol):
    """A split under a condition; every iteration gives all its samples once, in order."""

    ids: Array
    labels: Array

    def __iter__(self) -> Iterator[Batch]: ...

    def at(self, rows: Array) -> Loader:
        """The samples at some rows (m,) alone, in that order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How large the steps of a loop may be, and whom it tells."""

    batch_size: int
    """Samples to run at once; fewer where memory runs out, see `bench.memory.fewer`."""
    fixed: bool
    """Whether the user chose that number: running out of memory is then an error."""
    done: Callable[[int], None]
    """To be called with how many more samples are through; what is not told of is taken as done in the end."""


class CheckpointMeasure(Protocol):
    """Rows from a whole split, by a loop of the measure's own."""

    def run(
        self, module: torch.nn.Module, loader: Loader, fit: Mapping[str, Loader], seed: int, pace: Pace
    ) -> Mapping[str, Array]:
        """One row a sample of `loader`.

        Args:
            module: images in [0, 1] to logits, in eval mode, without gradients for its parameters. Other conditions
                use it too: a measure that changes it works on a copy.
            loader: the split whose samples are the rows.
            fit: the splits that may be learnt from, by name; never perturbed.
            seed: of the run.
            pace: batch size and progress.

        Returns:
            Column name to an array (n, …), in the order of `loader.ids`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureEntry:
    """A registered measure."""

    name: str
    version: int
    """Part of every cell's key: bumped whenever rows change."""
    interface: Literal["batch", "checkpoint"]
    factory: str
    """`package.module:Class`, called with `given` and the measurement's parameters."""
    given: Params = field(default_factory=Params)
    """What sets it apart from other entries of the same class."""
    engine: int = 0
    """Version of code that it shares with other entries; part of the key where it is not 0."""
    seeded: bool = False
    """Whether its rows depend on the seed."""
    exact: bool = False
    """Whether it is measured in fp32 unless the user names a precision."""
    passes: Callable[[Params], int] = lambda params: 0
    """Of a checkpoint measure: what an image costs at most, in forward passes, for forecasts; 0 where nobody knows."""
    about: str = ""

    def make(self, params: Params) -> Any:
        """The measure itself (a BatchMeasure or a CheckpointMeasure).

        Raises:
            BenchError: it takes no such parameters, or its code does not import.
        """
        module, _, attribute = self.factory.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)(**self.given, **params)
        except BenchError:
            raise
        except Exception as error:  # code of a plug-in
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise BenchError(f"measure {self.name!r} cannot be made with {dict(params)}: {reason}.") from error


measures: Registry[MeasureEntry] = Registry("measure")


def register_attack(attack: Attack) -> Attack:
    """Register an attack, and the measure of its name that runs it over a grid of eps.

    Raises:
        BenchError: the name is taken.
    """
    origin = sys._getframe(1).f_globals["__name__"]
    measures.register(
        MeasureEntry(
            name=attack.name,
            version=attack.version,
            interface="checkpoint",
            factory="bench.measure.attacked:Attacked",
            given=Params(attack=attack.name),
            engine=ENGINE_VERSION,
            seeded=attack.random_start or attack.iterative,  # of iterative ones the signs draw
            exact=True,
            passes=functools.partial(_passes, attack),
            about=attack.about,
        ),
        origin=origin,
    )
    return attacks.register(attack, origin=origin)


_A_GRADIENT = 3
"""Forward passes that a pass forward and back takes the time of."""


def _passes(attack: Attack, params: Params) -> int:
    """Of an image that withstands the whole grid."""
    steps, restarts = (int(params.get(name) or own) for name, own in (("steps", attack.steps), ("restarts", 1)))
    return _A_GRADIENT * steps * restarts * (str(params["grid"]).count("+") + 1)
