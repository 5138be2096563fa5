"""What a store holds, in a sentence: for whoever asked for something else."""

from collections.abc import Collection, Iterable

from bench.board.index import Index
from bench.board.leaderboard import choices_of, place_of
from bench.store import Store, StoredCell
from bench.suite import Suite
from bench.text import some


def holdings(suites: Iterable[Suite], store: Store) -> str:
    """Which suites, checkpoints, limits, seeds and numerics are stored; empty where nothing of the suites is.

    A suite counts where it has cells that no suite with more of its conditions stored shares: the clean accuracy that
    all need stands for none of them.

    Args:
        suites: that may be stored.
        store: where the outcomes are.
    """
    index = Index(store)
    try:
        stored: dict[str, list[StoredCell]] = {}
        for cell in index.cells():
            stored.setdefault(index.place(cell), []).append(cell)
    finally:
        index.close()
    places = {suite.name: {place_of(condition) for condition in suite.conditions} for suite in suites}
    held = _own({name: wanted & stored.keys() for name, wanted in places.items()}, places)
    if not held:
        return ""
    cells = [cell for place in set().union(*held.values()) for cell in stored[place]]
    models = {cell.identity["model"] for cell in cells}
    names = sorted({entry.name for entry in store.checkpoints() if entry.model in models})
    choices = "; ".join(choice.text for choice in choices_of(cells))
    return f"It holds {some(held, _MOST)}, of {some(names, _MOST)}, with {choices}."


_MOST = 6
"""Names of a kind."""


def _own(held: dict[str, Collection[str]], wanted: dict[str, set[str]]) -> dict[str, Collection[str]]:
    """Those that are stored whole, and others with places that these lack."""
    whole = {name: places for name, places in held.items() if places and len(places) == len(wanted[name])}
    shared = set().union(*whole.values())
    parts = {name: places for name, places in held.items() if name not in whole and set(places) - shared}
    return dict(sorted({**whole, **parts}.items()))
