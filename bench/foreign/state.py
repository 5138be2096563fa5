"""What foreign code changes of the whole process is put back: it may be anybody's, and others come after it."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.foreign.fp32 import fp32_settings, plain, set_fp32_settings
from bench.foreign.sources import is_ours


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what the code inside changes of the process: it may be anybody's, and others come after it.

    Working directory, environment, random generators, floating-point errors, torch's modes, signal handlers, streams.
    """
    before = [setting.before() for setting in _SETTINGS]
    filters = list(warnings.filters)
    try:
        yield
    finally:
        for setting, value in zip(_SETTINGS, before, strict=True):
            setting.put_back(value)
        _remove_sweeping(filters)


def undisturbed_by(*modules: str) -> contextlib.AbstractContextManager[None]:
    """As `undisturbed`, where one of the modules whose code runs is not ours: it takes a millisecond."""
    return contextlib.nullcontext() if all(map(is_ours, modules)) else undisturbed()


@dataclass(frozen=True, slots=True)
class _Setting:
    """Something that the whole process has one of."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    module: str = "sys"
    """What must have been imported for it to be changed."""
    at_first: Any = None
    """What it is when that is imported; None leaves it as it then is."""

    def before(self) -> Any:
        return self.read() if self.module in sys.modules else self.at_first

    def put_back(self, value: Any) -> None:
        if value is None or self.module not in sys.modules:
            return
        with contextlib.suppress(OSError, ValueError):  # the folder is gone; not in the main thread
            if not _same(self.read(), value):
                self.write(value)


def _same(now: Any, before: Any) -> bool:
    """Whether it need not be put back; of what holds arrays nobody knows."""
    try:
        return bool(now == before)
    except (ValueError, RuntimeError):
        return False


def _of(module: str, name: str, at_first: Any = None) -> _Setting:
    """An attribute of a module, which stands at a dotted name below it."""
    *path, last = name.split(".")

    def owner() -> Any:
        found = sys.modules[module]
        for part in path:
            found = getattr(found, part)
        return found

    return _Setting(
        read=lambda: getattr(owner(), last),
        write=lambda value: setattr(owner(), last, value),
        module=module,
        at_first=at_first,
    )


def _by(module: str, read: str, write: str, at_first: Any = None) -> _Setting:
    """What functions of a module read and set."""
    return _Setting(
        read=lambda: _of(module, read).read()(),
        write=lambda value: _of(module, write).read()(value),
        module=module,
        at_first=at_first,
    )


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _handlers() -> dict[int, Any]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None)) is not None}


def _set_handlers(before: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's
                signal.signal(number, handler)


def _deterministic() -> tuple[bool, bool]:
    torch = sys.modules["torch"]
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(before: tuple[bool, bool]) -> None:
    sys.modules["torch"].use_deterministic_algorithms(before[0], warn_only=before[1])


def _default_dtype() -> str:
    return str(sys.modules["torch"].get_default_dtype()).rpartition(".")[2]


def _set_default_dtype(name: str) -> None:
    torch = sys.modules["torch"]
    torch.set_default_dtype(getattr(torch, name))


_SETTINGS = (
    _Setting(_directory, os.chdir),
    _Setting(lambda: dict(os.environ), _set_environment),
    _Setting(_handlers, _set_handlers),
    _of("sys", "stdout"),
    _of("sys", "stderr"),
    _of("sys", "argv"),
    _Setting(
        lambda: multiprocessing.get_start_method(allow_none=True) or "",
        lambda method: multiprocessing.set_start_method(method or None, force=True),
    ),
    _Setting(random.getstate, random.setstate),
    _by("numpy", "random.get_state", "random.set_state"),
    _Setting(
        lambda: sys.modules["numpy"].geterr(),
        lambda errors: sys.modules["numpy"].seterr(**errors),
        module="numpy",
        at_first={"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    ),
    _by("torch", "get_rng_state", "set_rng_state"),
    _by("torch", "get_num_threads", "set_num_threads"),
    _Setting(_default_dtype, _set_default_dtype, "torch", "float32"),
    _Setting(
        lambda: str(sys.modules["torch"].get_default_device()),
        lambda device: sys.modules["torch"].set_default_device(None if device == "cpu" else device),
        "torch",
        "cpu",
    ),
    _by("torch", "is_grad_enabled", "set_grad_enabled", at_first=True),
    _by("torch", "is_anomaly_enabled", "autograd.set_detect_anomaly", at_first=False),
    _Setting(_deterministic, _set_deterministic, "torch", (False, False)),
    _Setting(fp32_settings, set_fp32_settings, "torch", plain(tf32_convolutions=True)),
    _of("torch.backends.cudnn", "benchmark", at_first=False),
    _of("torch.backends.cudnn", "deterministic", at_first=False),
    _of("PIL.Image", "MAX_IMAGE_PIXELS"),
    _of("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", at_first=False),
)


def _remove_sweeping(before: list[Any]) -> None:
    """Remove filters that hide all warnings, or make errors of them; what a package says of its own ones stays."""
    for added in [entry for entry in warnings.filters if entry not in before]:
        action, message, category, module, _ = added
        if action == "error" or (message is None and module is None and category is Warning):
            warnings.filters.remove(added)  # type: ignore[attr-defined]
