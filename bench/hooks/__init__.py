"""Where the numbers of a run go while it is measured, beside the store.

A hook is a class without arguments under the entry-point group `bench.hooks`, named as `bench run --log` takes it. Ours
come in the same way: `wandb`, `mlflow`, `tensorboard`, each a module that is imported where it is asked for.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.records import Params

if TYPE_CHECKING:
    import pandas as pd

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]*[^a-z0-9.-][^a-z0-9]*")
"""What becomes an underscore: whatever stands between two words and is no plain dot or hyphen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What a run was asked for, and with what it is done."""

    suites: tuple[str, ...]
    """Names, as they are measured: one may stand in for another."""
    checkpoints: tuple[str, ...]
    limit: int | None
    """Images a set; None where all are measured."""
    seed: int
    device: str
    precision: str
    hardware: str
    """Name of the accelerator, or architecture of the processor."""
    cells: int
    """Checkpoints times conditions, shared ones once."""
    stored: int
    """How many of them the store had."""
    images: int
    """To be shown to models for the others."""
    versions: Params
    """Of what a number depends on, by package."""

    @property
    def flat(self) -> dict[str, str | int | None]:
        """All of it under names of one level, `versions.torch` for one; lists as text."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "versions"}
        texts = {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        return {**texts, **{f"versions.{name}": str(version) for name, version in self.versions.items()}}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedScore:
    """A score of a leaderboard."""

    checkpoint: str
    suite: str
    heading: str
    """Of its column in the leaderboard."""
    headline: bool
    """Whether the leaderboard is sorted by it."""
    protocol: str
    """How it was taken: scores under different protocols may not stand beside each other."""
    unit: str
    """`fraction` (0 to 1), or the unit's name."""
    value: float
    ci_low: float | None
    """The ends of the 95% interval, None where none is defined."""
    ci_high: float | None
    n: int
    """Distinct images behind it."""

    @property
    def name(self) -> str:
        """The same in every run: `imagenet-c/mce`, of lower-case letters, digits, `_`, `-` and dots."""
        return f"{self.suite}/{_NOT_IN_NAMES.sub('_', self.heading.lower()).strip('_.-')}"

    @property
    def numbers(self) -> dict[str, float]:
        """Its value under its name, and the ends of its interval under `NAME.ci_low` and `NAME.ci_high`."""
        ends = {"ci_low": self.ci_low, "ci_high": self.ci_high}
        return {self.name: self.value, **{f"{self.name}.{end}": x for end, x in ends.items() if x is not None}}


class Hook(Protocol):
    """Told of one run, in this order. What it raises is said in a sentence, and ends nothing: it is told no more."""

    def started(self, config: RunConfig) -> None:
        """Before anything is fetched or measured."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Every few seconds: of `total` images to be shown to models, `done` were."""
        ...

    def score(self, score: LoggedScore) -> None:
        """Once each score, as soon as it is known; those that were stored before come at the end."""
        ...

    def table(self, suite: str, frame: "pd.DataFrame") -> None:
        """The whole leaderboard of a suite in numbers; see `bench.board.tables.wide_table`."""
        ...

    def page(self, html: str) -> None:
        """The page that `bench report` makes of the run's suites."""
        ...

    def ended(self, ok: bool) -> None:
        """Nothing more comes; `ok` where everything asked for is measured. Also after a fault, and Ctrl-C."""
        ...
