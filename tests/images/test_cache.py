"""The crop cache gives a crop back whole and current, or not at all."""

import os
import pickle

import numpy as np
import pytest

from bench.datasets.crops import CropSource
from bench.errors import RunError
from bench.images.cache import CropCache
from bench.records import Crop

CROP = Crop(size=8)


class Counted:
    """Samples that count how often they are read."""

    def __init__(self, n: int = 6) -> None:
        self.ids = np.array([str(i) for i in range(n)])
        self.labels = np.zeros(n, dtype=np.int64)
        self.sizes = np.ones(n, dtype=np.int64)
        self.version = 0
        self.reads = 0

    def read(self, index: int) -> np.ndarray:
        self.reads += 1
        return np.full((8, 8, 3), 10 * self.version + index, dtype=np.uint8)

    def stamp(self, index: int) -> int:
        return self.version


@pytest.fixture
def cache(tmp_path):
    return CropCache(tmp_path / "cache", budget=10**7)


def kept(file, index, stamp):
    """The crop as read into a buffer that had other contents, or None."""
    image = np.full((file.crop.size, file.crop.size, 3), 99, dtype=np.uint8)
    return image if file.read(index, stamp, image) else None


def opened(cache, fingerprint="f" * 64, crop=CROP, expected=6):
    return cache.open("letters", fingerprint, crop, expected)


def test_a_crop_is_made_once_for_all_runs(cache):
    samples = Counted()
    for _ in range(3):
        source = CropSource(samples, CROP, opened(cache))
        assert [int(source.get(i)[0, 0, 0]) for i in range(6)] == list(range(6))
    assert samples.reads == 6


def test_a_batch_is_filled_in_the_order_of_its_indices(cache):
    samples = Counted()
    source = CropSource(samples, CROP, opened(cache))
    source.get(4)
    images = np.full((3, 8, 8, 3), 99, dtype=np.uint8)
    source.fill(np.array([5, 4, 0]), images)
    assert [np.unique(image).tolist() for image in images] == [[5], [4], [0]]
    assert samples.reads == 3


def test_a_source_holds_what_was_kept_of_the_present_bytes(cache):
    samples = Counted()
    source = CropSource(samples, CROP, opened(cache))
    assert not CropSource(samples, CROP).holds([0])
    for index in (0, 2):
        source.get(index)
    assert [source.holds(indices) for indices in ([0], [2, 0], [0, 1], [3])] == [True, True, False, False]
    samples.version = 1
    assert not source.holds([0])


def test_a_changed_source_is_made_again(cache):
    samples = Counted()
    source = CropSource(samples, CROP, opened(cache))
    source.get(2)
    samples.version = 1
    assert int(source.get(2)[0, 0, 0]) == 12


def test_a_few_samples_take_little_of_the_disk(cache):
    source = CropSource(Counted(3000), Crop(size=64), opened(cache, crop=Crop(size=64), expected=2))
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    source.cache.put(2999, 0, image)
    path = source.cache.folder / "crops"
    assert path.stat().st_size == 3000 * image.nbytes
    assert path.stat().st_blocks * 512 < 100_000


@pytest.mark.parametrize("harm", ["flip a crop", "flip a record", "cut the crops", "cut the records"])
def test_damage_is_noticed_and_mended(cache, harm):
    samples = Counted()
    source = CropSource(samples, CROP, opened(cache))
    for i in range(6):
        source.get(i)
    path = source.cache.folder / ("crops" if "crop" in harm else "records")
    data = bytearray(path.read_bytes())
    data[-5] ^= 0xFF
    path.write_bytes(data if "flip" in harm else data[: len(data) // 2])
    again = CropSource(samples, CROP, opened(cache))
    assert [int(again.get(i)[0, 0, 0]) for i in range(6)] == list(range(6))
    assert samples.reads > 6


def test_other_contents_or_another_crop_are_kept_apart(cache):
    folders = {
        opened(cache).folder,
        opened(cache, fingerprint="g" * 64).folder,
        opened(cache, crop=Crop(size=8, ratio=0.9)).folder,
        opened(cache, crop=Crop(size=224, ratio=0.4666667)).folder,  # 479 pixels
        opened(cache, crop=Crop(size=224, ratio=0.46666666)).folder,  # 480
        opened(cache, crop=Crop(size=8, interpolation="bilinear")).folder,
    }
    assert len(folders) == 6


def test_what_one_run_uses_is_neither_evicted_by_it_nor_over_the_budget(tmp_path):
    cache = CropCache(tmp_path, budget=2 * 64 * 64 * 3)
    first, second = (opened(cache, fingerprint=name * 64, crop=Crop(size=64), expected=1) for name in "ab")
    for file in (first, second):
        file.put(0, 0, np.zeros((64, 64, 3), dtype=np.uint8))
    assert opened(cache, fingerprint="c" * 64, crop=Crop(size=64), expected=1) is None
    assert kept(first, 0, 0) is not None
    assert kept(second, 0, 0) is not None
    assert opened(cache, fingerprint="a" * 64, crop=Crop(size=64), expected=1) is not None


def test_the_least_recently_used_goes_when_the_budget_is_passed(tmp_path):
    for number, name in enumerate("abc"):
        cache = CropCache(tmp_path, budget=100_000)  # of a run of its own
        file = opened(cache, fingerprint=name * 64, crop=Crop(size=64), expected=1)
        file.put(0, 0, np.zeros((64, 64, 3), dtype=np.uint8))
        for _ in range(2):
            file.put(1, 0, np.zeros((64, 64, 3), dtype=np.uint8))
        os.utime(file.folder / "meta.json", (number, number))
    opened(CropCache(tmp_path, budget=100_000), fingerprint="d" * 64, crop=Crop(size=64), expected=2)
    left = {entry.folder.name[0] for entry in cache.entries()}
    assert "a" not in left
    assert "d" in left


def test_samples_over_the_budget_are_not_kept(tmp_path):
    assert opened(CropCache(tmp_path, budget=100), expected=1000) is None


def test_a_reader_goes_on_after_its_folder_was_removed(cache):
    file = opened(cache)
    file.put(0, 0, np.ones((8, 8, 3), dtype=np.uint8))
    cache.clear()
    assert kept(file, 0, 0) is not None
    assert not cache.entries()


def test_a_copy_in_another_process_reads_the_same_crops(cache):
    file = opened(cache)
    file.put(0, 7, np.ones((8, 8, 3), dtype=np.uint8))
    assert kept(pickle.loads(pickle.dumps(file)), 0, 7).all()


def test_a_full_disk_turns_keeping_off_with_one_line(cache, monkeypatch, capsys):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    source = CropSource(Counted(), CROP, opened(cache))
    assert [int(source.get(i)[0, 0, 0]) for i in range(6)] == list(range(6))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--cache off"):
        opened(CropCache(tmp_path / "file" / "cache", budget=10**6))


FOREIGN = {
    "another name": ("photos", '{"dataset": "letters", "crop": "v2-8px-1.0-bicubic"}'),
    "another recipe": ("0" * 20 + "-v2-8px-1.0-bicubic", '{"dataset": "letters", "crop": "v2-9px-1.0-bicubic"}'),
    "other keys": ("0" * 20 + "-v2-8px-1.0-bicubic", '{"title": "holidays"}'),
    "no JSON": ("0" * 20 + "-v2-8px-1.0-bicubic", "holidays"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("way", ["clear", "a run over the budget"])
def test_folders_of_others_are_left_alone(tmp_path, kind, way):
    name, text = FOREIGN[kind]
    (tmp_path / name).mkdir()
    for file, content in (("meta.json", text), ("crops", "mine" * 10_000), ("photo.jpg", "mine")):
        (tmp_path / name / file).write_text(content)
    cache = CropCache(tmp_path, budget=3 * 8 * 8)
    assert not cache.entries()
    if way == "clear":
        assert cache.clear() == 0
    else:
        opened(cache, expected=1)
    assert len(list((tmp_path / name).iterdir())) == 3


def test_a_link_to_a_folder_is_not_followed(tmp_path, cache):
    folder = opened(cache).folder
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)
    cache.clear()
    assert (elsewhere / "meta.json").exists()


def test_what_others_put_beside_our_crops_stays(cache):
    file = opened(cache)
    file.put(0, 0, np.ones((8, 8, 3), dtype=np.uint8))
    (file.folder / "notes.txt").write_text("mine")
    assert cache.clear() > 0
    assert [path.name for path in file.folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("text", ["", '{"data', '{"dataset": "letters", "cr'])
def test_a_note_that_a_full_disk_cut_short_is_still_ours(cache, text):
    folder = opened(cache).folder
    (folder / "meta.json").write_text(text)
    assert [entry.dataset for entry in cache.entries()] == ["?"]
    cache.clear()
    assert not folder.exists()


def test_crops_of_the_first_version_are_still_ours(cache):
    folder = cache.root / f"{'0' * 20}-8px-0.875-bicubic"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"dataset": "letters", "crop": "8px-0.875-bicubic"}')
    cache.clear()
    assert not folder.exists()
