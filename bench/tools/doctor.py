"""What `bench doctor` looks at: the things that stop a run, found before one."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bench import __version__
from bench.checkpoints import checkpoints
from bench.checkpoints.fetch import lacking
from bench.config import load_config
from bench.corruptions import corruptions
from bench.corruptions.makers import reference_of
from bench.datasets import Library, datasets
from bench.errors import BenchError
from bench.foreign.faults import fault, is_interrupt
from bench.machine.hardware import cuda_devices
from bench.machine.processes import in_processes
from bench.records import Settings
from bench.text import size

_SHARED_MEMORY, _LITTLE_SHARED_MEMORY = "/dev/shm", 2**30
"""Where NCCL exchanges what several GPUs of a machine have, and bytes below which that has been seen to fail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    text: str
    ok: bool = True


def examine() -> list[Finding]:
    """Look at versions, device, plug-ins, corruptions, data, processes, store and cache."""
    settings = load_config({}).settings
    checks: list[tuple[str, Callable[[], str]]] = [
        ("versions", _versions),
        ("device", lambda: _device(settings)),
        ("plug-ins", _plugins),
        ("corruptions", _corruptions),
        ("data sets", lambda: _data(settings)),
        ("weights", _weights),
        ("processes", lambda: _processes(settings)),
        ("store", lambda: _folder(settings.store)),
        ("cache", lambda: _folder(settings.cache) if settings.cache else "off"),
    ]
    return [_check(name, check) for name, check in checks]


def _check(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what=name, text=check())
    except BenchError as error:
        return Finding(what=name, text=str(error), ok=False)
    except BaseException as error:  # code of a plug-in
        if is_interrupt(error):
            raise
        return Finding(what=name, text=fault(error), ok=False)


def _versions() -> str:
    names = ("torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "imagecorruptions-imaug")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return ", ".join([f"rtbench {__version__}", f"Python {platform.python_version()}", *versions])


def _device(settings: Settings) -> str:
    from bench.run.device import check_device
    from bench.run.workbench import device_name

    check_device(settings.device)
    return f"{settings.device} ({device_name(settings.device)}), {settings.precision}, {os.cpu_count()} cores"


def _plugins() -> str:
    from bench.registry import GROUP, load_plugins, not_loaded, plugin_files

    load_plugins()
    for plugin, reason in not_loaded.items():
        raise BenchError(f"{plugin} did not load: {reason}")
    entries = importlib.metadata.entry_points(group=GROUP)
    owners = sorted({entry.dist.name for entry in entries if entry.dist})
    files = [file.name for file in plugin_files]
    return f"{len(entries) + len(files)} loaded, from {', '.join([*owners, *files])}"


def _corruptions() -> str:
    for corruption in corruptions:
        corruption.load()
    entries = list(corruptions)
    try:
        reference_of(entries[0]).load()
    except BenchError as error:
        return f"all {len(entries)} load; --corruptions reference does not work: {error}"
    return f"all {len(entries)} load, and imagecorruptions-imaug for --corruptions reference"


def _data(settings: Settings) -> str:
    library = Library(settings.places)
    opened = [library.open(d.name, d.splits[0]) for d in datasets if not d.source or d.name in settings.places]
    return ", ".join(f"{o.dataset.name} ({len(o.samples.ids):,})" for o in opened)


def _weights() -> str:
    """A list of the files that runs would fetch: what is to be brought by hand where no network is."""
    absent, count = lacking(checkpoints), len(list(checkpoints))
    if not absent:
        return f"of all {count} registered checkpoints"
    lines = [f"  {name}: {how}" for name, how in absent.items()]
    return "\n".join(
        [f"of {count - len(absent)} of {count} registered checkpoints; `bench run` fetches others, or", *lines]
    )


def _processes(settings: Settings) -> str:
    """One is started as a run would: what forbids it is found here."""
    list(in_processes(abs, [-1], min(1, settings.workers), doing="makes images"))
    text = f"{settings.workers} make images, and need nothing of /dev/shm"
    with contextlib.suppress(OSError):  # elsewhere than on Linux there is none
        shared = shutil.disk_usage(_SHARED_MEMORY).total
        if shared < _LITTLE_SHARED_MEMORY:
            text += f", which has only {size(shared)}: too little for torchrun over several GPUs (docker --shm-size)"
            if len(cuda_devices()) > 1:
                raise BenchError(f"{text}.")
    return text


def _folder(path: os.PathLike[str]) -> str:
    place = os.path.abspath(path)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    if not os.access(place, os.W_OK):
        raise BenchError(f"{path} cannot be written; choose another folder in bench.toml or by flag.")
    return f"{path}, {size(shutil.disk_usage(place).free)} free"
