"""The local executor: one sweep after another on this process's device."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from bench.datasets import Library
from bench.machine.distributed import broadcast, joined
from bench.machine.torch_defaults import torch_defaults
from bench.progress import Progress, Silent
from bench.records import Cell, Settings
from bench.run.device import check_device
from bench.run.plan import Sweep, make_sweeps
from bench.run.sweep import SweepRun, run_sweep
from bench.run.workbench import Failure, Workbench, remove_old_states
from bench.store import Store


@torch_defaults()
def execute(
    sweeps: Sequence[Sweep], settings: Settings, progress: Progress, library: Library | None = None
) -> list[Failure]:
    """Carry out the sweeps; what failed is returned, what succeeded is in the store. `library` saves opening anew."""
    store, library = Store(settings.store), library or Library(settings.places)
    with joined(settings.device) as device:
        settings = replace(settings, device=device)
        check_device(device)
        store.prepare()
        remove_old_states(store)
        failures: list[Failure] = []
        try:
            for sweep in sweeps:
                failures += run_sweep(sweep, settings, store, library, progress)
        finally:
            broadcast(None)  # no more for the others
    return failures


@torch_defaults()
def take_part(settings: Settings, library: Library | None = None) -> None:
    """Measure with the first process what it announces, until it announces no more; it stores, and tells of faults."""
    store, library, nothing = Store(settings.store), library or Library(settings.places), cast("Cell | None", None)
    with joined(settings.device) as device:
        settings = replace(settings, device=device)
        while (cell := broadcast(nothing)) is not None:
            (sweep,) = make_sweeps([cell])
            work = Workbench(sweep.crop, settings, store, library, Silent())
            with contextlib.suppress(Exception), work:  # every process fails together, see `bench.machine.distributed`
                SweepRun(sweep, work).take_part(cell)
