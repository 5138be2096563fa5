"""Who is told that a kernel is being compiled: that is done once on a machine, and takes a second or so each.

By itself, as numba takes half a second to import and many runs have no use for it.
"""

import contextlib
from collections.abc import Callable, Iterator

_told: list[Callable[[str], None]] = []


@contextlib.contextmanager
def told_of_compiling(tell: Callable[[str], None]) -> Iterator[None]:
    """Within this, hear of each kernel that begins to be compiled in this process.

    Args:
        tell: given its name.
    """
    _told.append(tell)
    try:
        yield
    finally:
        _told.remove(tell)


def begun(name: str) -> None:
    """Tell whoever listens that a kernel begins to be compiled."""
    for tell in _told:
        tell(name)
