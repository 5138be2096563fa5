"""Pieces of work in threads: all of it once, nothing waits for itself, torch's settings stay."""

import threading

import pytest
import torch

from bench.machine.threads import in_threads, pieces


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n", "most"), [(0, 3), (1, 3), (7, 3), (8, 100), (100, 7)])
def test_pieces_cover_everything_once_and_keep_the_threads_busy(two_threads, n, most):
    cut = pieces(n, most)
    assert [i for piece in cut for i in range(n)[piece]] == list(range(n))
    assert all(0 < len(range(n)[piece]) <= most for piece in cut)
    assert len(cut) % 2 == 0 or len(cut) == n


def test_every_item_is_done_once_each_thread_alone_and_a_call_within_a_call_ends(two_threads):
    done, numbers = [], set()

    def inner(item):
        numbers.add(torch.get_num_threads())
        torch.ones(100_000).mul_(2)  # torch asks for its threads again
        numbers.add(torch.get_num_threads())
        done.append(item)

    for _ in range(3):
        in_threads(lambda i: in_threads(inner, [10 * i + j for j in range(4)]), range(6))
    assert sorted(done) == sorted(3 * [10 * i + j for i in range(6) for j in range(4)])
    assert numbers == {1}
    assert torch.get_num_threads() == 2
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2]


def test_what_a_piece_raises_comes_out(two_threads):
    def fail(item):
        if item == 2:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        in_threads(fail, range(5))
