"""Hooks by name."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from bench.errors import BenchError, UnknownNameError
from bench.foreign.faults import blamed
from bench.foreign.state import undisturbed
from bench.hooks import Hook
from bench.registry import OWN_DISTRIBUTION

GROUP = "bench.hooks"
Log: TypeAlias = Sequence[str | Hook] | Mapping[str, Hook]
"""How hooks are asked for: names and hooks themselves, or what `find_hooks` gave."""
_EVENTS = ("started", "progress", "score", "table", "page", "ended")


def find_hooks(log: Log) -> dict[str, Hook]:
    """The hooks that are asked for, each once, by name; one that was given itself is called after its class.

    Args:
        log: which ones.

    Raises:
        BenchError: there is none of a name, what it needs is not installed, or it is no hook.
    """
    if isinstance(log, Mapping):
        return dict(log)
    found: dict[str, Hook] = {}
    for asked in [log] if isinstance(log, str) else log:
        if not isinstance(asked, str):
            name = _unique(type(asked).__name__, found)
            found[name] = _checked(name, asked)
        elif asked not in found:
            found[asked] = _checked(asked, _made(asked))
    return found


def _unique(name: str, taken: dict[str, Hook]) -> str:
    """The name, with a number where another hook has it."""
    return name if name not in taken else _unique(f"{name}-{len(taken) + 1}", taken)


def _made(name: str) -> object:
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in entries:
        raise UnknownNameError("hook", name, entries)
    try:
        with undisturbed(), blamed(f"the hook {name!r} cannot be used", BenchError):
            return entries[name].load()()
    except BenchError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise BenchError(_lacks(entries[name], error.__cause__)) from None
        raise


def _lacks(entry: importlib.metadata.EntryPoint, error: ModuleNotFoundError) -> str:
    """What to install: of ours, the extra that bears the name of the hook."""
    package = entry.dist.name if entry.dist else entry.value
    advice = (
        f": pip install '{package}[{entry.name}]'"
        if package == OWN_DISTRIBUTION
        else f"; install it, as {package} says"
    )
    return f"--log {entry.name} needs {error.name}, which is not installed{advice}."


def _checked(name: str, hook: object) -> Hook:
    for event in _EVENTS:
        if not callable(getattr(hook, event, None)):
            raise BenchError(
                f"the hook {name!r} has no method {event}; one has {', '.join(_EVENTS)} (see bench.hooks.Hook)."
            )
    return hook  # type: ignore[return-value]
