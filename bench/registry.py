"""One registry for everything that has a name, and the door through which all of it comes in.

A plug-in is a module (or a package, whose modules are then scanned) named under the entry-point group
`bench.plugins`; importing it registers what it brings. The project's own suites, data sets, checkpoints,
measures and corruptions come in the same way.

A file of Python is a plug-in too, without any packaging (`plug_in`): it is imported by its name as a script's helper
would be, from its folder, which comes last in Python's path, so that processes of their own find it again.
"""

import importlib
import importlib.metadata
import importlib.util
import multiprocessing
import pkgutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bench.errors import BenchError, BenchWarning, UnknownNameError
from bench.foreign.faults import fault, is_interrupt, place_of
from bench.foreign.sources import add_plugin, is_ours
from bench.foreign.state import undisturbed
from bench.names import check_name, check_record

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
            BenchError: the name is none that may be taken, or is taken, when both origins are named; or a field holds
                what it cannot.
        """
        origin = origin or sys._getframe(1).f_globals["__name__"]
        if not is_ours(origin):  # whose records a type checker and tests hold
            check_record(self.kind, item)
        check_name(self.kind, item.name, slashes=self.slashes)
        if item.name in self._items:
            raise BenchError(
                f"{self.kind} {item.name!r} is registered twice, by {self._origin[item.name]} and by {origin}; "
                f"rename one of them{_AGAINST if self.kind == 'checkpoint' else ''}."
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


_AGAINST = ", and where it is to be held against the other, `bench gate` takes that one's name as --against"
_registries: list[Registry[Any]] = []
_loaded = False
_loading = False

not_loaded: dict[str, str] = {}
"""Plug-ins that failed to import, as `the plug-in 'lights' of rtbench-lights`, to the reason. They bring nothing."""


plugin_files: list[Path] = []
"""Files that were named as plug-ins, whole paths; they are loaded after what is installed."""
_waiting: list[Path] = []


def plug_in(files: Iterable[Path]) -> None:
    """Name files of Python as plug-ins; they are loaded when something is looked up, each once.

    Args:
        files: their paths.

    Raises:
        BenchError: there is no such file, or another module bears its name.
    """
    for file in files:
        whole = file.resolve()
        if whole in plugin_files:
            continue
        if not whole.is_file() or whole.suffix != ".py":
            raise BenchError(f"there is no plug-in {file}; a file of Python was wanted, such as my.py.")
        if "." in whole.stem:
            raise BenchError(f"the plug-in {file} cannot be imported, as its name has a dot; rename it.")
        if str(whole.parent) not in sys.path:
            sys.path.append(str(whole.parent))
        _check_free(whole)
        plugin_files.append(whole)
        _waiting.append(whole)


def _check_free(file: Path) -> None:
    """A plug-in is imported by its name, under which Python may know something else."""
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(file.stem)
    except ValueError:  # of what was imported without one, such as a script that was started
        spec = None
    origin = spec.origin if spec else None
    if origin is None or Path(origin).resolve() != file:
        raise BenchError(
            f"the plug-in {file} bears the name of another module of Python, {file.stem} ({origin or 'built in'}); "
            "rename the file."
        )


def load_plugins() -> None:
    """Import every plug-in once. One that fails is named in a warning, and stops nothing but what depends on it.

    Raises:
        BenchError: none is installed, or what is ours fails to import.
    """
    global _loading, _loaded
    if _loading or (_loaded and not _waiting):
        return
    _loading = True  # a plug-in may look something up while it is being imported
    try:
        if not _loaded:
            _load_installed()
            _loaded = True
        while _waiting:
            file = _waiting.pop(0)
            _load(f"the plug-in {file.name}", file.stem, "Mend it, or leave it out.")
    finally:
        _loading = False


def _load_installed() -> None:
    plugins = importlib.metadata.entry_points(group=GROUP)
    if not any(map(_is_ours, plugins)):
        raise BenchError("rtbench is not installed here, so nothing is registered: run `pip install .` first.")
    # Ours first: a stranger's plug-in may look up what the project registers.
    for entry in sorted(plugins, key=lambda e: (not _is_ours(e), e.name, e.value)):
        package = entry.dist.name if entry.dist else "an unknown distribution"
        label = f"the plug-in {entry.name!r} of {package}"
        _load(label, entry.value, "Mend or uninstall it.", ours=_is_ours(entry))


def _is_ours(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == OWN_DISTRIBUTION


def _load(label: str, plugin: str, advice: str, *, ours: bool = False) -> None:
    """Import a plug-in, and where it is a package, its modules.

    Args:
        label: what it is called in messages.
        plugin: its module.
        advice: what to do about one that fails.
        ours: whether it is the project's own, without which nothing goes.
    """
    name = plugin
    before = {id(registry): set(registry._items) for registry in _registries}
    try:
        with undisturbed():
            module = importlib.import_module(name)
            for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
                name = f"{plugin}.{info.name}"
                importlib.import_module(name)
    except BaseException as error:  # sys.exit() in it would end every command without a word
        if is_interrupt(error):
            raise
        says = isinstance(error, BenchError)  # itself what to do
        reason = f"{error}{place_of(error)}" if says else f"{fault(error)}. {advice}"
        if ours:
            raise BenchError(f"{label} (module {name}) failed to import: {reason}") from error
        _forget(plugin, before)
        not_loaded[label] = reason
        if multiprocessing.parent_process() is None:  # which has said so
            warnings.warn(
                f"{label} (module {name}) failed to import, and what it brings is not here: {reason}",
                BenchWarning,
                stacklevel=2,
            )
    else:
        add_plugin(plugin)


def _forget(plugin: str, before: Mapping[int, set[str]]) -> None:
    """Take back what a half-imported plug-in registered; what others did, which it may import, stays."""
    top = plugin.partition(".")[0]
    for registry in _registries:
        for name in registry._items.keys() - before.get(id(registry), set()):
            if registry._origin[name].partition(".")[0] == top:
                del registry._items[name], registry._origin[name]
