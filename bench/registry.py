"""One registry for everything that has a name, and the door through which all of it comes in.

A plug-in is a module (or a package, whose modules are then scanned) named under the entry-point group
`bench.plugins`; importing it registers what it brings. The project's own suites, data sets, checkpoints,
measures and corruptions come in the same way.
"""

import importlib
import importlib.metadata
import multiprocessing
import pkgutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from bench.errors import BenchError, BenchWarning, UnknownNameError
from bench.foreign.faults import fault, is_interrupt
from bench.foreign.sources import add_plugin
from bench.foreign.state import undisturbed
from bench.names import check_name

GROUP = "bench.plugins"
OWN_DISTRIBUTION = "rtbench"


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """What users type."""
        ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Names to records of one kind. Looking something up loads the plug-ins first.

    Args:
        kind: singular noun for messages, `suite`; `bench list suites` must list it.
        slashes: may stand in a name.
    """

    def __init__(self, kind: str, *, slashes: bool = False) -> None:
        self.kind = kind
        self.slashes = slashes
        self._items: dict[str, T] = {}
        self._origin: dict[str, str] = {}
        _registries.append(self)

    def register(self, item: T, origin: str | None = None) -> T:
        """Add `item` under its name and return it.

        Args:
            item: the record.
            origin: where it comes from, for messages; the calling module by default.

        Raises:
            BenchError: the name is none that may be taken, or is taken; both origins are named.
        """
        check_name(self.kind, item.name, slashes=self.slashes)
        origin = origin or sys._getframe(1).f_globals["__name__"]
        if item.name in self._items:
            raise BenchError(
                f"{self.kind} {item.name!r} is registered twice, by {self._origin[item.name]} and by {origin}; "
                "rename one of them."
            )
        self._items[item.name] = item
        self._origin[item.name] = origin
        if origin in sys.modules:
            add_plugin(origin)
        return item

    def get(self, name: str) -> T:
        """The record called `name`.

        Raises:
            UnknownNameError: nothing is called that; the nearest names are offered.
        """
        load_plugins()
        if name not in self._items:
            missing = "".join(f" T{label[1:]} did not load, and may have it." for label in not_loaded)
            raise UnknownNameError(
                self.kind, name, self._items, see=f"bench list {self.kind}s{missing and '.'}{missing}"
            )
        return self._items[name]

    def origin(self, name: str) -> str:
        """The module or file that registered `name`."""
        return self._origin[self.get(name).name]

    def __iter__(self) -> Iterator[T]:
        """All records, by name."""
        load_plugins()
        return iter([self._items[name] for name in sorted(self._items)])

    def __contains__(self, name: str) -> bool:
        load_plugins()
        return name in self._items


_registries: list[Registry[Any]] = []
_loaded = False
_loading = False

not_loaded: dict[str, str] = {}
"""Plug-ins that failed to import, as `the plug-in 'lights' of rtbench-lights`, to the reason. They bring nothing."""


def load_plugins() -> None:
    """Import every plug-in once. One that fails is named in a warning, and stops nothing but what depends on it.

    Raises:
        BenchError: none is installed, or what is ours fails to import.
    """
    global _loading, _loaded
    if _loading or _loaded:
        return
    _loading = True  # a plug-in may look something up while it is being imported
    try:
        plugins = importlib.metadata.entry_points(group=GROUP)
        if not any(map(_is_ours, plugins)):
            raise BenchError("rtbench is not installed here, so nothing is registered: run `pip install .` first.")
        # Ours first: a stranger's plug-in may look up what the project registers.
        for entry in sorted(plugins, key=lambda e: (not _is_ours(e), e.name, e.value)):
            _load(entry)
        _loaded = True
    finally:
        _loading = False


def _is_ours(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == OWN_DISTRIBUTION


def _load(entry: importlib.metadata.EntryPoint) -> None:
    package = entry.dist.name if entry.dist else "an unknown distribution"
    label, name = f"the plug-in {entry.name!r} of {package}", entry.value
    before = {id(registry): set(registry._items) for registry in _registries}
    try:
        with undisturbed():
            module = importlib.import_module(name)
            for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
                name = f"{entry.value}.{info.name}"
                importlib.import_module(name)
    except BaseException as error:  # sys.exit() in it would end every command without a word
        if is_interrupt(error):
            raise
        says = isinstance(error, BenchError)  # itself what to do
        reason = str(error) if says else f"{fault(error)}. Mend or uninstall it."
        if _is_ours(entry):
            raise BenchError(f"{label} (module {name}) failed to import: {reason}") from error
        _forget(entry.value, before)
        not_loaded[label] = reason
        if multiprocessing.parent_process() is None:  # which has said so
            warnings.warn(
                f"{label} (module {name}) failed to import, and what it brings is not here: {reason}",
                BenchWarning,
                stacklevel=2,
            )
    else:
        add_plugin(entry.value)


def _forget(plugin: str, before: Mapping[int, set[str]]) -> None:
    """Take back what a half-imported plug-in registered; what others did, which it may import, stays."""
    top = plugin.partition(".")[0]
    for registry in _registries:
        for name in registry._items.keys() - before.get(id(registry), set()):
            if registry._origin[name].partition(".")[0] == top:
                del registry._items[name], registry._origin[name]
