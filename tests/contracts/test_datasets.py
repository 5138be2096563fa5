"""What holds for every split of every registered data set that is here without a download."""

import io
import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

from bench.datasets import Library, datasets, fingerprint, subset
from bench.datasets.crops import picture_of

SPLITS = [(d.name, split) for d in datasets for split in d.splits if not d.source]
FINGERPRINTS = {
    ("digits", "test"): "fcab70716c78f845cbe0fc46092b5c9afcb5895cb0015118afc4c35a8d076cb5",
    ("digits-v2", "test"): "fd3854ceb23db7a84dab94e1e620767ba4db47afd8fe2d22343b0ef3d12b8745",
    ("digits-r", "test"): "a2900edd220868bac90840c88c3a5f910183f7635facf2576b5ce506c761ffb9",
    ("digits-train", "train"): "a404c86983cff6949c7f9ab8007a8eb9f9821fcd7b743126139750deef6d9f8c",
    ("letters", "test"): "3e974ce7704465dedfa91cd60d310fd57f1f8d33e396510ef29eb5cec56b2431",
    ("letters", "train"): "15be4d75fe99d4db12653aebdb5a4a65e3cc131c06b127786516181281d63eb2",
    ("cue-conflict-demo", "test"): "339ec131174e580aa592987eb63137fe0900f903bf534ae7ab0d0ba2481dd21b",
}
"""Of the splits that ship with the package. Another one here makes every stored outcome of the set worthless."""


@pytest.fixture(params=SPLITS, ids=str)
def opened(request):
    return Library().open(*request.param)


def test_ids_are_unique_text(opened):
    ids = opened.samples.ids
    assert ids.dtype.kind == "U"
    assert len(set(ids.tolist())) == len(ids) > 0
    assert all(name == name.strip() and "\0" not in name and "\n" not in name for name in ids.tolist())


def test_labels_lie_in_the_class_space(opened):
    labels = opened.samples.labels
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(len(opened.dataset.class_space.classes)))


def test_ids_labels_and_sizes_go_together(opened):
    samples = opened.samples
    assert len(samples.ids) == len(samples.labels) == len(samples.sizes)
    assert (samples.sizes > 0).all()


def test_a_sample_reads_as_pixels_or_as_an_image_file(opened):
    for index in (0, len(opened.samples.ids) - 1):
        data = opened.samples.read(index)
        if isinstance(data, bytes):
            assert len(data) == opened.samples.sizes[index]
            data = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert data.dtype == np.uint8
        assert data.ndim == 3
        assert data.shape[2] == 3


def test_reading_twice_gives_the_same_and_stamps_tell_samples_apart(opened):
    samples = opened.samples
    for index in range(5):
        assert np.array_equal(samples.read(index), samples.read(index))
        assert samples.stamp(index) == samples.stamp(index) < 2**64
        assert samples.stamp(index) >= 0


def test_opening_again_gives_the_same_fingerprint(opened):
    again = Library().open(opened.dataset.name, opened.split)
    assert again.fingerprint == opened.fingerprint == fingerprint(opened.samples)
    assert len(opened.fingerprint) == 64


def test_worker_processes_can_have_a_copy(opened):
    copy = pickle.loads(pickle.dumps(opened.samples))
    assert np.array_equal(copy.ids, opened.samples.ids)
    assert np.array_equal(copy.read(3), opened.samples.read(3))
    assert fingerprint(copy) == opened.fingerprint


def test_limits_are_nested_and_spread_over_the_classes(opened):
    ids, labels = opened.samples.ids, opened.samples.labels
    classes = len(opened.dataset.class_space.classes)
    subsets = [subset(ids, limit) for limit in (1, classes, 10 * classes, None)]
    for small, large in itertools.pairwise(subsets):
        assert set(small.tolist()) < set(large.tolist())
    assert all((np.diff(indices) > 0).all() for indices in subsets)
    assert len(set(labels[subsets[2]].tolist())) == classes


def test_every_split_that_ships_has_its_fingerprint_here():
    assert set(SPLITS) == set(FINGERPRINTS)


@pytest.mark.parametrize(("name", "split"), list(FINGERPRINTS))
def test_the_sets_that_ship_are_the_ones_that_were_published(name, split):
    wanted = FINGERPRINTS[name, split]
    found = Library().open(name, split).fingerprint
    assert found == wanted, f"{name} has other ids, labels or sizes; no outcome of before can be compared with it"


def test_the_sets_that_ship_share_no_picture():
    seen: dict[bytes, str] = {}
    for name, split in FINGERPRINTS:
        samples = Library().open(name, split).samples
        for index, sample_id in enumerate(samples.ids):
            pixels = picture_of(samples, index).tobytes()
            assert seen.setdefault(pixels, f"{name} {sample_id}") == f"{name} {sample_id}"


def test_each_says_what_it_is():
    for dataset in datasets:
        assert dataset.about.endswith(".")
        assert dataset.licence
