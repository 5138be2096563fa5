"""What a split is: other pictures are other data, also where they have the same size and the same time of change."""

import hashlib
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from bench.datasets import Library, fingerprint, identity
from bench.datasets.crops import CropSource
from bench.datasets.readers.arrays import ArraySamples
from bench.datasets.readers.folder import FolderSamples, class_folders
from bench.datasets.readers.parquet import ParquetSamples
from bench.datasets.readers.shards import ShardSamples
from bench.errors import RunError
from bench.images.cache import CropCache
from bench.records import Crop

TIME = 10**18  # nanoseconds since the epoch: of each file, as if nothing had changed
N = 30


@pytest.fixture(autouse=True)
def kept_apart(tmp_path, monkeypatch):
    """Nothing is written to the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def noise(form, seed=0, sizes=((7, 5),)):
    """Files of noise, none like another, of these widths and heights in turn."""
    rng, files = np.random.default_rng(seed), []
    for number in range(N):
        width, height = sizes[number % len(sizes)]
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, form)
        files.append(file.getvalue())
    return files


@pytest.fixture(params=["folder", "parquet", "tar"])
def opened(request, tmp_path, birds, write_parquet, write_tar):
    """A function that writes files to one place, over those of before, with one time of change, and opens them."""

    def _opened(files, ending="bmp"):
        if request.param == "folder":
            for number, data in enumerate(files):
                path = tmp_path / "data" / birds.classes[number % 3] / f"{number:02d}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                os.utime(path, ns=(TIME, TIME))
            return class_folders(tmp_path / "data", birds, "b")
        if request.param == "parquet":
            path = write_parquet(tmp_path / "data/test.parquet", files, [number % 3 for number in range(N)])
            os.utime(path, ns=(TIME, TIME))
            return ParquetSamples(path, birds, "test", "b")
        members = {f"{number:02d}.png": data for number, data in enumerate(files)}  # what is in a file, its name does
        members |= {f"{number:02d}.cls": str(number % 3).encode() for number in range(N)}  # not say here
        path = write_tar(tmp_path / "data/b.tar", members)
        os.utime(path, ns=(TIME, TIME))
        return ShardSamples(path, birds, "b")

    return _opened


@pytest.mark.parametrize("form", ["bmp", "ppm", "tiff"])
@pytest.mark.parametrize("sizes", [[(7, 5)], [(20 + number, 5) for number in range(N)]], ids=["alike", "all different"])
def test_pictures_of_equal_sizes_are_told_from_those_before(opened, form, sizes):
    before = opened(noise(form, sizes=sizes), form)
    first, stamps = fingerprint(before), set(before.stamps.tolist())
    assert fingerprint(opened(noise(form, sizes=sizes), form)) == first  # the same, written again
    after = opened(noise(form, seed=1, sizes=sizes), form)
    assert after.sizes.tolist() == before.sizes.tolist()
    assert fingerprint(after) != first
    assert not stamps & set(after.stamps.tolist())


def test_compressed_pictures_that_were_filled_up_to_one_size_are_told_apart(opened):
    def filled(seed):
        return [data.ljust(400, b"\0") for data in noise("png", seed)]

    first = fingerprint(opened(filled(0), "png"))
    assert fingerprint(opened(filled(1), "png")) != first


def test_where_sizes_tell_the_fingerprint_is_of_ids_labels_and_sizes_alone(opened):
    sizes = [(20 + number, 5 + number) for number in range(N)]
    samples = opened(noise("png", sizes=sizes), "png")
    rows = zip(samples.ids, samples.labels, samples.sizes, strict=True)
    text = "".join(f"{name}\0{label}\0{size}\n" for name, label, size in rows)
    assert fingerprint(samples) == hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def reads(monkeypatch):
    read, original = [], FolderSamples.read
    monkeypatch.setattr(FolderSamples, "read", lambda self, index: read.append(index) or original(self, index))
    return read


@pytest.fixture
def folder(tmp_path, birds):
    """Opens a folder of BMP files anew."""
    for number, data in enumerate(noise("bmp")):
        path = tmp_path / "data" / birds.classes[number % 3] / f"{number:02d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return lambda: class_folders(tmp_path / "data", birds, "b")


def test_content_is_read_once_and_again_where_a_file_changed(folder, reads):
    first = fingerprint(folder())
    assert sorted(reads) == list(range(N))
    reads.clear()
    assert fingerprint(folder()) == first
    assert reads == []
    path = folder().path(4)
    path.write_bytes(noise("bmp", seed=1)[0])
    assert fingerprint(folder()) != first
    assert reads == [4]


@pytest.mark.parametrize("harm", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-200] +
                                  bytes([data[-200] ^ 1]) + data[-199:]], ids=["cut", "empty", "flipped"])  # fmt: skip
def test_damaged_memory_of_content_is_not_believed(folder, reads, tmp_path, harm):
    first = fingerprint(folder())
    [kept] = (tmp_path / "cache/rtbench/contents").iterdir()
    kept.write_bytes(harm(kept.read_bytes()))
    assert fingerprint(folder()) == first


def test_content_that_cannot_be_remembered_is_read_each_time(folder, reads, tmp_path):
    (tmp_path / "cache").write_text("")  # a file in the place of the folder
    assert fingerprint(folder()) == fingerprint(folder())
    assert len(reads) == 2 * N


def test_what_could_not_be_read_is_not_remembered(folder, tmp_path, monkeypatch):
    def broken(self, index):
        raise RunError("the disk does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(FolderSamples, "read", broken)
        without = fingerprint(folder())
    assert fingerprint(folder()) != without


def test_to_read_many_is_announced(folder, monkeypatch):
    monkeypatch.setattr(identity, "_MANY", N - 1)
    told = []
    fingerprint(folder(), told.append)
    fingerprint(folder(), told.append)
    assert told == [f"reading {N} images once, as their sizes do not tell whether they are the same"]


class Arrays:
    """Samples of a plug-in: arrays of one size."""

    def __init__(self, brightness):
        self.ids, self.labels, self.sizes = np.array(["a", "b"]), np.array([0, 1]), np.array([48, 48])
        self.images = np.full((2, 4, 4, 3), brightness, dtype=np.uint8)

    def read(self, index):
        return self.images[index]

    def stamp(self, index):
        return 7  # a poor one


def test_arrays_are_told_by_their_pixels():
    assert fingerprint(Arrays(1)) == fingerprint(Arrays(1)) != fingerprint(Arrays(2))


def test_a_file_of_arrays_has_its_content_and_those_that_ship_are_held_to_theirs(tmp_path):
    def write(brightness):
        images = np.full((2, 4, 4), brightness, dtype=np.uint8)
        np.savez(tmp_path / "a.npz", ids=np.array(["a", "b"]), labels=np.array([0, 1]), images=images)
        return ArraySamples(tmp_path / "a.npz")

    first = write(1)
    assert fingerprint(first) != fingerprint(write(2))
    with pytest.raises(RunError, match=r"a\.npz has other images than the set that ships with rtbench; reinstall"):
        ArraySamples(tmp_path / "a.npz", first.content)


# -- files that change after their split was opened -----------------------------------------------------------


def in_place(path, data):
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(TIME, TIME))


def renamed(path, data):
    new = path.with_name("new")
    new.write_bytes(data)
    os.utime(new, ns=(TIME, TIME))
    os.replace(new, path)


@pytest.mark.parametrize("replace", [in_place, renamed])
@pytest.mark.parametrize("before", [False, True], ids=["never read", "read before"])
def test_what_changed_since_it_was_opened_is_not_read(opened, tmp_path, replace, before):
    samples = opened(noise("bmp"))
    if before:
        samples.read(0)
    [path] = [path for path in (tmp_path / "data").rglob("*.*") if path.suffix != ".bmp" or path.stem == "27"]
    replace(path, path.read_bytes())  # the same size, time of change and even content
    with pytest.raises(RunError, match=rf"{path.name} has changed since this run began; run again"):
        samples.read(9 if path.suffix == ".bmp" else 27)  # of the folder `crow`, the last


def test_a_file_that_changes_while_it_is_read_is_noticed(folder, monkeypatch):
    samples = folder()
    path = samples.path(3)
    original = os.fstat

    def late(descriptor):
        status = original(descriptor)
        monkeypatch.setattr(os, "fstat", original)
        in_place(path, path.read_bytes())
        return status

    monkeypatch.setattr(os, "fstat", late)
    with pytest.raises(RunError, match="has changed since this run began"):
        samples.read(3)


def test_no_crop_of_a_changed_picture_is_kept(folder, tmp_path):
    samples, crop = folder(), Crop(size=4)
    cache = CropCache(tmp_path / "crops", 10**7)
    source = CropSource(samples, crop, cache.open("b", "0" * 64, crop, N))
    whole = source.get(2)
    for index in (2, 3):
        path = samples.path(index)
        in_place(path, bytes(reversed(path.read_bytes())))
    assert np.array_equal(source.get(2), whole)  # the crop of what was planned
    with pytest.raises(RunError, match="has changed"):
        source.get(3)
    assert not source.holds([3])
    assert not CropSource(folder(), crop, source.cache).holds([2])


def test_samples_of_a_plug_in_are_held_to_their_stamps(lights, pictures_of_lights):
    opened = Library({"lights": pictures_of_lights}).open("lights", "test")
    source = CropSource(opened.samples, Crop(size=8), stamps=opened.stamps)
    source.get(0)
    path = opened.samples.files[0]
    os.utime(path, ns=(TIME, TIME))
    with pytest.raises(RunError, match=r"amber/test-0 has changed since this run began; run again"):
        source.get(0)


@pytest.fixture
def pictures_of_lights(request, tmp_path):
    return shutil.copytree(request.getfixturevalue("pictures"), tmp_path / "lights")
