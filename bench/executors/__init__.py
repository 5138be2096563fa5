"""Who carries sweeps out: here, one after another in this process. A cluster's executor has the same signature."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from bench.progress import Progress
from bench.records import Settings
from bench.run.plan import Sweep

if TYPE_CHECKING:
    from bench.run.workbench import Failure

Executor: TypeAlias = Callable[[Sequence[Sweep], Settings, Progress], "list[Failure]"]
"""Sweeps and settings are plain data: they can travel to another machine and be carried out there."""
