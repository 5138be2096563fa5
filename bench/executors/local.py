"""The local executor: one sweep after another on this process's device."""

from collections.abc import Sequence

from bench.datasets import Library
from bench.device import check_device
from bench.plan import Sweep
from bench.progress import Progress
from bench.records import Settings
from bench.store import Store
from bench.sweep import run_sweep
from bench.workbench import Failure


def execute(
    sweeps: Sequence[Sweep], settings: Settings, progress: Progress, library: Library | None = None
) -> list[Failure]:
    """Carry out the sweeps; what failed is returned, what succeeded is in the store. `library` saves opening anew."""
    store, library = Store(settings.store), library or Library(settings.places)
    check_device(settings.device)
    store.prepare()
    failures: list[Failure] = []
    for sweep in sweeps:
        failures += run_sweep(sweep, settings, store, library, progress)
    return failures
