"""Running out of memory: halves are tried, and what filled the memory is gone by then."""

import os
import weakref

import torch

from bench.machine import memory


class Large:
    """Stands for what fills the memory."""


def test_what_filled_the_memory_is_gone_before_it_is_given_back(monkeypatch):
    held, alive, fewer = [], [], memory.fewer

    def looked_at(*arguments, **keywords):
        alive.extend(reference() is not None for reference in held)
        return fewer(*arguments, **keywords)

    monkeypatch.setattr(memory, "fewer", looked_at)

    def make(rows_N):
        large = Large()
        held.append(weakref.ref(large))
        if len(rows_N) > 2:
            raise MemoryError
        return rows_N.sum()

    made = memory.in_pieces(make, torch.arange(8), at_once=8)
    assert (sum(made.parts), made.at_once) == (28, 2)
    assert len(alive) == 3
    assert not any(alive)


def test_free_memory_is_known_without_the_number_of_free_pages(monkeypatch):
    names = {name: value for name, value in os.sysconf_names.items() if name != "SC_AVPHYS_PAGES"}
    monkeypatch.setattr(os, "sysconf_names", names)  # as on macOS
    assert memory.free_memory("cpu") > 0
