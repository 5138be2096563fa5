"""The source of code that is not ours, as a digest: what other code made never stands for what this one makes.

A part's source is the text of the module that defines it and of every module of its own that this imports, to the end.
Its own are those of a plug-in's top-level package, and others that lie outside `site-packages`: a script's helpers. The
standard library, installed libraries and this project are not; nor are data files that the code reads.
"""

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from bench.errors import BenchWarning
from bench.records import digest

_OURS = ("bench", "rtbench_suites")
"""Top-level packages whose parts have versions that are kept by hand."""
_LIBRARIES = {"site-packages", "dist-packages"}
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+(:\w+)?")
_PLAIN = (str, int, float, complex, bytes, bool, type(None))

_looked_at: "dict[int, tuple[object, _Taken]]" = {}
"""Parts by their `id`, with what they were taken apart into when first looked at; held, so that no other gets it."""
_plugins: set[str] = set()
"""Top-level packages of plug-ins."""
_known: dict[str, dict[str, str]] = {}
"""A module that defines parts to the digests of it and of all that it imports of its own, when first looked at."""


def is_ours(module: str) -> bool:
    """Whether a module is the project's.

    >>> is_ours("bench.metrics.stats"), is_ours("bench_lights.data")
    (True, False)
    """
    return _top(module) in _OURS


def is_foreign(module: str) -> bool:
    """Whether a module is a plug-in's, or lies where no installed library does: a user's own.

    >>> is_foreign("bench.metrics.stats"), is_foreign("json"), is_foreign("torch.nn")
    (False, False, False)
    """
    return not is_ours(module) and _is_own(_top(module))


def remember(module: str) -> None:
    """Look at the source of a module that was just imported, while it is what was imported."""
    if not is_ours(module):
        _sources(module, now=False)


def add_plugin(module: str) -> None:
    """Remember a plug-in's module; all of its package is followed, in `site-packages` too."""
    if is_ours(module):
        return
    if _top(module) not in _plugins:
        _plugins.add(_top(module))
        for root, known in _known.items():  # what these import of this package is followed from now on
            _known[root] = _sources(root, now=True) | known
    remember(module)


def modules_of(*parts: object) -> set[str]:
    """The modules that define parts and are not ours; see `source_of`."""
    return _taken(parts).theirs


def source_of(*parts: object, now: bool = False) -> str:
    """Digest of the source of parts, and of the plain values that were given to them; empty where all of it is ours.

    Args:
        parts: names, as `package.module:function` or of an imported module (others, such as a file's, are no code), and
            functions, partial ones, classes, or objects with attributes.
        now: whether the files are read again; else it is what they were when this process first looked at them, which
            is what it imported.
    """
    taken = _taken(parts)
    if not taken.theirs:
        return ""
    texts: dict[str, str] = {}
    for module in sorted(taken.theirs):
        texts |= _sources(module, now=now) or {module: _without_file(module, taken)}
    return digest([taken.values, texts])[:16]


def values_of(*parts: object) -> str:
    """Digest of the plain values and arrays in parts, and of the names of their classes, also of installed libraries.

    Args:
        parts: objects; what they are now, where `source_of` goes by the first look.
    """
    taken = _Taken()
    taken.take(list(parts))
    return digest(taken.values)[:16]


def code_text(code: CodeType) -> str:
    """Compiled code with its constants and names, the same in every process of one Python."""
    constants = [code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}({','.join(constants)})({','.join(code.co_names)})"


# -- modules and their texts --------------------------------------------------------------------------------------


def _sources(root: str, *, now: bool) -> dict[str, str]:
    """A module and all that it imports of its own, to the digests of their texts; empty where there is no file."""
    if root in _known and not now:
        return _known[root]
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name in found or not (_top(name) == _top(root) or _is_own(_top(name))):
            continue
        text = _text(name)
        if text is not None:
            found[name] = hashlib.sha256(text).hexdigest()
            waiting += _imported(name, text)
    if not now and root in sys.modules:  # what is not imported yet may still be changed
        _known[root] = found
    return found


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_own(top: str) -> bool:
    if top in _plugins:
        return True
    if top in sys.stdlib_module_names or is_ours(top):
        return False
    spec = _spec(top)
    if spec is None:
        return top in sys.modules  # a script that was started, a notebook
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    return not any(_LIBRARIES & set(Path(place).parts) for place in places)


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is found; the packages that it stands in are not imported for that."""
    top, *rest = name.split(".")
    loaded: Any = sys.modules.get(name)
    if getattr(loaded, "__spec__", None) is not None:
        spec: importlib.machinery.ModuleSpec | None = loaded.__spec__
        return spec
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _spec_below(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


def _spec_below(name: str, places: list[str]) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.machinery.PathFinder.find_spec(name, places)
    except KeyError:  # a folder without __init__.py: Python wants the one that it stands in to be imported
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(Path(place) / name.rpartition(".")[2]) for place in places]
        return spec


def _text(name: str) -> bytes | None:
    """Of a module: its source, line ends alike on every system, or the bytes of a compiled one; None without a file."""
    spec = _spec(name)
    if spec is None:  # a script that was started has none
        return _file(getattr(sys.modules.get(name), "__file__", None))
    loader: Any = spec.loader
    try:
        source = loader.get_source(spec.name)
    except (ImportError, AttributeError, OSError):  # as one that does not decode
        source = None
    return source.encode() if source is not None else _file(spec.origin)


def _file(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes().replace(b"\r\n", b"\n") if path else None
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def _imported(name: str, text: bytes) -> tuple[str, ...]:
    """The modules that a module's text imports, wherever in it, and those of its package that it names in full."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # compiled; or it will say so when it is imported
        return ()
    spec = _spec(name)
    package = name if spec and spec.submodule_search_locations is not None else name.rpartition(".")[0]
    imported: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imported += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = _base(package, node.level, node.module)
                imported += [f"{base}.{alias.name}" for alias in node.names]
            case ast.Constant(value=str(value)) if _DOTTED.fullmatch(value) and _top(value) == _top(name):
                imported.append(value.partition(":")[0])
    return tuple(dict.fromkeys(each for module in imported for each in _with_parents(module)))


def _base(package: str, level: int, module: str | None) -> str:
    """What `from ..module import` imports from, in a package."""
    parts = package.split(".")
    around = parts[: len(parts) - level + 1] if level else []
    return ".".join([*around, *([module] if module else [])])


def _with_parents(module: str) -> Iterable[str]:
    """A module, and the packages that are imported before it."""
    parts = module.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


# -- parts --------------------------------------------------------------------------------------------------------


def _taken(parts: Iterable[object]) -> "_Taken":
    taken = _Taken()
    for part in parts:
        if isinstance(part, str):
            module, colon, _ = part.partition(":")
            taken.modules |= {module} if colon or module in sys.modules else set()
        else:
            taken.add(_first_look(part))
    return taken


def _first_look(part: object) -> "_Taken":
    """A part taken apart, once: what it keeps for itself while it works, such as a table, makes no other part of it."""
    if id(part) not in _looked_at:
        taken = _Taken()
        taken.take(part)
        _looked_at[id(part)] = part, taken
    return _looked_at[id(part)][1]


class _Taken:
    """What parts were taken apart into."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.values: list[str] = []
        """Plain values that stand in arguments, closures and attributes, and names."""
        self.definitions: list[Any] = []
        self._seen: dict[int, object] = {}

    @property
    def theirs(self) -> set[str]:
        """The modules that are not ours."""
        return {module for module in self.modules if not is_ours(module)}

    def add(self, other: "_Taken") -> None:
        """Take what another part was taken apart into."""
        self.modules |= other.modules
        self.values += other.values
        self.definitions += other.definitions

    def take(self, part: object) -> None:
        """Take a part apart."""
        if isinstance(part, _PLAIN):
            self.values.append(repr(part))
        elif isinstance(part, PurePath):  # which keeps its hash, another one in each process
            self.values.append(repr(str(part)))
        elif id(part) not in self._seen:
            self._seen[id(part)] = part
            for inside in self._opened(part):
                self.take(inside)

    def _opened(self, part: Any) -> Iterable[object]:
        match part:
            case functools.partial():
                return [part.func, *part.args, part.keywords]
            case MethodType():
                return [part.__func__, part.__self__]
            case FunctionType():
                self._define(part)
                closed = [_contents(cell) for cell in part.__closure__ or ()]
                return [*closed, part.__defaults__, part.__kwdefaults__, getattr(part, "__wrapped__", None)]
            case type() | BuiltinFunctionType():
                self._define(part)
                return []
            case Mapping():
                return [one for item in sorted(part.items(), key=repr) for one in item]
            case list() | tuple():
                return part
            case set() | frozenset():
                return sorted(part, key=repr)
        if callable(getattr(part, "tobytes", None)):  # an array
            self.values.append(hashlib.sha256(part.tobytes()).hexdigest())
            return []
        self._define(type(part))
        slots = [name for base in type(part).__mro__ for name in getattr(base, "__slots__", ())]
        return [getattr(part, "__dict__", None), *(getattr(part, name, None) for name in slots)]

    def _define(self, part: Any) -> None:
        module = str(part.__module__ or "")
        self.values.append(str(part.__qualname__))
        if _is_own(_top(module)):
            self.modules.add(module)
            self.definitions.append(part)


def _contents(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # of a name that is not bound yet
        return None


# -- what stands in no file ---------------------------------------------------------------------------------------


def _without_file(module: str, taken: _Taken) -> str:
    """Of what was defined in a notebook, or by `exec`: the text of the parts alone, or their compiled code."""
    parts = [part for part in taken.definitions if part.__module__ == module]
    if module in sys.modules:  # else it will not import either
        _say_so(module, " and ".join(sorted({part.__qualname__ for part in parts})))
    return digest([_own_text(part) for part in parts])


@functools.cache
def _say_so(module: str, parts: str) -> None:
    warnings.warn(
        f"the source of {parts or 'a part'} ({module}) is in no file, so a change of what it calls is not noticed: put "
        "it into a module, or give it a new version with every change.",
        BenchWarning,
        stacklevel=2,
    )


def _own_text(part: Any) -> str:
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        functions = vars(part).values() if isinstance(part, type) else [part]
        codes = [getattr(function, "__code__", None) for function in functions]
        return "".join(code_text(code) for code in codes if isinstance(code, CodeType))
