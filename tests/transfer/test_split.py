"""Which training samples are held out, and which a few-shot draw takes."""

import numpy as np
import pytest

from bench.errors import BenchError
from bench.transfer.shots import shot_rows
from bench.transfer.split import check_labels, validation_rows

IDS = np.array([f"train/{row:05d}" for row in range(500)])
LABELS = np.random.default_rng(0).integers(0, 7, 500)


def test_a_tenth_of_each_class_is_held_out():
    held = LABELS[validation_rows(IDS, LABELS)]
    counts = np.bincount(LABELS)
    assert np.bincount(held).tolist() == np.ceil(0.1 * counts).astype(int).tolist()


def test_what_is_held_out_goes_by_id_and_not_by_order():
    order = np.random.default_rng(1).permutation(500)
    shuffled = IDS[order][validation_rows(IDS[order], LABELS[order])]
    assert set(shuffled) == set(IDS[validation_rows(IDS, LABELS)])


def test_the_only_sample_of_a_class_is_learnt_from():
    labels = np.array([0, 0, 0, 1])
    assert 3 not in validation_rows(IDS[:4], labels)


def test_a_draw_takes_so_many_of_each_class():
    rows = shot_rows(IDS, LABELS, 5, seed=0, draw=0)
    assert np.bincount(LABELS[rows]).tolist() == [5] * 7
    assert (np.diff(rows) > 0).all()


def test_fewer_shots_of_a_draw_are_among_more():
    assert set(shot_rows(IDS, LABELS, 2, seed=0, draw=3)) < set(shot_rows(IDS, LABELS, 10, seed=0, draw=3))


def test_draws_and_seeds_differ_and_repeat():
    rows = {(s, d): tuple(shot_rows(IDS, LABELS, 5, seed=s, draw=d)) for s in (0, 1) for d in range(5)}
    assert len(set(rows.values())) == 10
    assert rows[1, 2] == tuple(shot_rows(IDS, LABELS, 5, seed=1, draw=2))


def test_fewer_samples_than_shots_is_said_in_one_sentence():
    with pytest.raises(
        BenchError,
        match=r"^90 shots need .* but \d of 7 classes have fewer .* --set shots=1\+2\+5\+10\+25 leaves these out\.$",
    ):
        shot_rows(IDS, LABELS, 90, seed=0, draw=0)


def test_one_class_and_unseen_classes_are_said_in_one_sentence():
    names = tuple("abcdefg")
    with pytest.raises(BenchError, match=r"the training split of pets has the class 'c' alone"):
        check_labels([np.full(9, 2)], np.array([2]), names, "pets")
    with pytest.raises(
        BenchError, match=r"^5 classes of the test split of pets \('c', 'd', 'e', 'f' and 1 more\) have no training"
    ):
        check_labels([np.array([0, 1])], LABELS, names, "pets")
    check_labels([np.array([0, 1]), np.arange(7)], LABELS, names, "pets")
