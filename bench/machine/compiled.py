"""Loops compiled by numba: on a CPU several times faster than chains of tensor operations, and the same bytes always.

A kernel works on one image after another, so neither the batch nor the number of threads can change a number.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import event

from bench.machine.compiling import begun
from bench.machine.places import user_cache

_F = TypeVar("_F", bound=Callable[..., Any])


class _Listener(event.Listener):
    """Numba's own events, of whatever is not in its cache."""

    def on_start(self, of: event.Event) -> None:
        begun(of.data["dispatcher"].py_func.__name__)

    def on_end(self, of: event.Event) -> None:
        pass


event.register("numba:compile", _Listener())  # type: ignore[no-untyped-call]


def compiled(function: _F) -> _F:
    """Compile a function when it is first called, and keep the machine code in the user's cache.

    The global interpreter lock is released; a division by zero gives what IEEE 754 says; sums keep their order.
    """
    config: Any = numba.config
    before = config.CACHE_DIR
    # Beside its module, numba's files would outlive the package: pip removes what it installed, and no more.
    folder = user_cache()
    config.CACHE_DIR = before or str(folder and folder / "numba")  # the user's, if NUMBA_CACHE_DIR is set
    njit: Any = numba.njit
    try:
        if not (before or folder):
            raise RuntimeError("no home")
        dispatcher = njit(nogil=True, error_model="numpy", cache=True)(function)
        dispatcher._cache.save_overload = _if_there_is_room(dispatcher._cache.save_overload)
        return cast(_F, dispatcher)
    except (RuntimeError, OSError):  # the folder cannot be written: compile anew in each process
        return cast(_F, njit(nogil=True, error_model="numpy")(function))
    finally:
        config.CACHE_DIR = before


def _if_there_is_room(save: Callable[..., None]) -> Callable[..., None]:
    """Numba compiles, then keeps: a full disk must not cost what has been compiled."""

    def _save(*what: object) -> None:
        with contextlib.suppress(OSError):
            save(*what)

    return _save
