"""Running out of memory: halves are tried, and what filled the memory is gone by then."""

import weakref

import torch

from bench.machine.memory import in_pieces


class Large:
    """Stands for what fills the memory."""


def test_what_filled_the_memory_is_gone_when_half_as_many_are_tried():
    held, alive = [], []

    def make(rows_N):
        alive.extend(reference() is not None for reference in held)
        large = Large()
        held.append(weakref.ref(large))
        if len(rows_N) > 2:
            raise MemoryError
        return rows_N.sum()

    made = in_pieces(make, torch.arange(8), at_once=8)
    assert (sum(made.parts), made.at_once) == (28, 2)
    assert not any(alive)
