"""How a checkpoint is measured under a condition.

A batch measure sees a module and a batch and gives rows; many checkpoints share one pass over the images. A
checkpoint measure sees a module and loaders and owns its loop: attacks, fine-tuning, Hessians. A feature measure sees
features, which are extracted once and kept, and learns from them: probes.
Registered entries are light records; the code behind one is imported when it runs.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.attacks import ENGINE_VERSION, Attack, attacks
from bench.errors import BenchError
from bench.foreign.faults import blamed
from bench.foreign.sources import remember
from bench.foreign.state import undisturbed_by
from bench.records import Array, Params
from bench.registry import Registry

if TYPE_CHECKING:
    import torch

    from bench.datasets.crops import CropSource


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


class PictureLoader(Loader, Protocol):
    """A split to learn from, with its original pictures."""

    source: CropSource
    """Gives them as `source.picture(index)`. Can be copied to processes, where a loader cannot."""
    indices: Array
    """(n,) int64: where each row stands in `source`."""

    def at(self, rows: Array) -> PictureLoader:
        """See `Loader`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How large the steps of a loop may be, and whom it tells."""

    batch_size: int
    """Samples to run at once; fewer where memory runs out, see `bench.machine.memory.fewer`."""
    fixed: bool
    """Whether the user chose that number: running out of memory is then an error."""
    done: Callable[[int], None]
    """To be called with how many more samples are through; what is not told of is taken as done in the end."""
    note: Callable[[str], None] = lambda text: None
    """Shows a line that stays, for loops of minutes."""
    workers: int = 0
    """Processes that make images, for loops that make their own."""
    state: Path | None = None
    """A folder for what is to outlive an interruption; made by who needs it, removed when the outcome is stored."""


class CheckpointMeasure(Protocol):
    """Rows from a whole split, by a loop of the measure's own."""

    def run(
        self, module: torch.nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
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
class Labelled:
    """Samples to learn from."""

    ids: Array
    """(n,) text."""
    labels_N: torch.Tensor
    """int64, on the device of the features."""
    features_ND: torch.Tensor
    """float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """What was learnt says of the test samples."""

    scores_NK: torch.Tensor
    """The largest is the prediction."""
    logits: bool
    """Whether the scores are logits, of which likelihood and calibration can be told."""
    chosen: Mapping[str, float]
    """What was chosen on the validation split, and what it gave there: columns of the outcome, constant."""


class FeatureMeasure(Protocol):
    """Learns classes from features; the labels of the test split never reach it."""

    def run(self, train: Labelled, validation: Labelled, test_ND: torch.Tensor, classes: int, seed: int) -> Predicted:
        """Predict the test samples.

        Args:
            train: to learn from; every class that the test split has is among it or the validation split.
            validation: to choose by: the authors' split, or one held out of their training split.
            test_ND: features of the test samples.
            classes: labels are in [0, classes).
            seed: of the run.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureEntry:
    """A registered measure."""

    name: str
    version: int
    """Part of every cell's key: bumped whenever rows change."""
    interface: Literal["batch", "checkpoint", "features"]
    """Those of features have a parameter `token`, see `bench.transfer.features`."""
    factory: str
    """`package.module:Class`, called with `given` and the measurement's parameters."""
    transfer: bool = False
    """Whether it learns the data's classes from the condition's `fit`: the checkpoint may then predict others."""
    given: Params = field(default_factory=Params)
    """What sets it apart from other entries of the same class."""
    engine: int = 0
    """Version of code that it shares with other entries; part of the key where it is not 0."""
    parallel: bool = False
    """Whether the processes that torchrun started measure a cell together; see `bench.machine.distributed`."""
    seeded: bool = False
    """Whether its rows depend on the seed."""
    exact: bool = False
    """Whether it is measured in fp32 unless the user names a precision."""
    passes: Callable[[Params], int] = lambda params: 0
    """Of a checkpoint measure: what an image costs at most, in forward passes, for forecasts; 0 where nobody knows."""
    about: str = ""
    code: Callable[..., object] | None = None
    """What its rows come from beside the factory's class, such as an attack's rule: the source of both belongs to the
    key, see `bench.foreign.sources`."""

    def make(self, params: Params) -> Any:
        """The measure itself (a BatchMeasure, a CheckpointMeasure or a FeatureMeasure).

        Raises:
            BenchError: it takes no such parameters, or its code does not import.
        """
        module, _, attribute = self.factory.partition(":")
        with blamed(f"measure {self.name!r} cannot be made with {dict(params)}", BenchError), undisturbed_by(module):
            imported = importlib.import_module(module)
            remember(module)
            return getattr(imported, attribute)(**self.given, **params)


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
            code=attack.load,
        ),
        origin=origin,
    )
    return attacks.register(attack, origin=origin)


_A_GRADIENT = 3
"""Forward passes that a pass forward and back takes the time of."""


def _passes(attack: Attack, params: Params) -> int:
    """Forward passes that an image costs which withstands the whole grid."""
    steps, restarts = (int(params.get(name) or own) for name, own in (("steps", attack.steps), ("restarts", 1)))
    return _A_GRADIENT * steps * restarts * (str(params["grid"]).count("+") + 1)
