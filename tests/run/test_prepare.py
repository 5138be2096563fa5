"""What models are shown: in smaller pieces where memory runs out, each fault one sentence."""

import pytest
import torch

from bench.corruptions import corruptions
from bench.errors import RunError
from bench.images.resize import average, resize
from bench.records import Perturbation
from bench.run import prepare
from bench.run.prepare import Preparer

IDS = [f"{i}" for i in range(9)]
FOG = Perturbation(corruption="fog", severity=3, jpeg_quality=85)


@pytest.fixture
def crops():
    return torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def tight(monkeypatch, most):
    """Corrupting takes more memory than there is for more than `most` images; gives the sizes that were tried."""
    tried, real = [], prepare.corrupt

    def _corrupt(corruption, images, severity, *, seed, ids):
        tried.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(corruption, images, severity, seed=seed, ids=ids)

    monkeypatch.setattr(prepare, "corrupt", _corrupt)
    return tried


def test_where_memory_runs_out_pieces_are_smaller_for_good_and_show_the_same(crops, monkeypatch):
    expected = Preparer("cpu", 0)(crops, FOG, ids=IDS, sizes=[32, 48])
    tried = tight(monkeypatch, 3)
    preparer = Preparer("cpu", 0)
    for _ in range(2):
        shown = preparer(crops, FOG, ids=IDS, sizes=[32, 48])
        assert {size: images.shape for size, images in shown.items()} == {32: (9, 3, 32, 32), 48: (9, 3, 48, 48)}
        assert all(torch.equal(shown[size], expected[size]) for size in (32, 48))
    assert tried == [9, 4, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]


def test_an_image_that_does_not_fit_alone_is_one_sentence(crops, monkeypatch):
    tight(monkeypatch, 0)
    with pytest.raises(RunError, match="out of memory with 1 image at once"):
        Preparer("cpu", 0)(crops, FOG, ids=IDS, sizes=[32])


def test_other_faults_name_the_corruption_or_the_step(crops, monkeypatch):
    def broken(*_, **__):
        raise KeyError("flakes")

    monkeypatch.setattr(prepare, "corrupt", broken)
    with pytest.raises(RunError, match="making images under 'fog' failed: KeyError: 'flakes'"):
        Preparer("cpu", 0)(crops, FOG, ids=IDS, sizes=[32])
    monkeypatch.setattr(prepare, "resize", broken)
    with pytest.raises(RunError, match="preparing images failed: KeyError"):
        Preparer("cpu", 0)(crops, None, ids=IDS, sizes=[48])


def test_images_that_need_nothing_are_given_as_they_are(crops):
    assert Preparer("cpu", 0)(crops, None, ids=IDS, sizes=[32])[32] is crops


def test_a_jpeg_quality_that_no_file_has_is_refused():
    with pytest.raises(ValueError, match="JPEG quality after 'fog' must be 1 to 95, not 100"):
        Perturbation(corruption="fog", severity=3, jpeg_quality=100)


@pytest.mark.parametrize("size", [24, 31, 33, 64, 100])
def test_resizing_by_tensors_gives_the_compiled_bytes(crops, size):
    by_tensors = average(average(crops, 3, size, "bicubic"), 2, size, "bicubic")
    assert torch.equal(by_tensors, resize(crops, size))


def test_every_built_in_corruption_can_be_prepared(crops):
    for entry in corruptions:
        shown = Preparer("cpu", 0)(crops, Perturbation(corruption=entry.name, severity=1), ids=IDS, sizes=[32])
        assert shown[32].shape == crops.shape
