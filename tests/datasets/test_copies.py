"""ImageNet's sets in the forms in which people have them: the same data, or a word of what differs."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from bench.datasets import Library
from bench.datasets.copies import validation_label, validation_labels
from bench.datasets.imagenet import real_labels
from bench.datasets.spaces import IMAGENET, IMAGENET_R
from bench.errors import BenchError, RunError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(tar_path, folder, *, flat=False, below=""):
    """A tar file of a folder's files, as the authors pack them."""
    with tarfile.open(tar_path, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, f"{below}{path.name if flat else path.relative_to(folder)}")
    return tar_path


def picture(form="JPEG", seed=0):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def same(name, one, other, split="test"):
    first, second = (Library({name: place}).open(name, split) for place in (one, other))
    assert first.fingerprint == second.fingerprint
    assert first.samples.labels.tolist() == second.samples.labels.tolist()
    copy = pickle.loads(pickle.dumps(second.samples))  # as workers get it
    for index in range(len(first.samples.ids)):
        assert first.samples.read(index) == copy.read(index)


@pytest.mark.parametrize("below", ["", "./", "imagenet-r/"])
def test_a_tar_file_is_the_data_that_it_would_unpack_to(imagenet_family, tmp_path, below):
    folder = imagenet_family["imagenet-r"]
    same("imagenet-r", folder, packed(tmp_path / "imagenet-r.tar", folder, below=below))
    same("imagenet-r", folder, tmp_path)  # the folder that the archive was put into


def test_the_archives_of_imagenet_c_are_read_side_by_side(imagenet_family, tmp_path):
    root = imagenet_family["imagenet-c"]
    packed(tmp_path / "weather.tar", root / "weather")
    for split in ("fog/1", "snow/5"):
        same("imagenet-c", root, tmp_path, split)
    same("imagenet-c", root, tmp_path / "weather.tar", "fog/2")
    with pytest.raises(BenchError, match="lacks gaussian_noise: put noise.tar of"):
        Library({"imagenet-c": tmp_path}).open("imagenet-c", "gaussian_noise/1")


def test_a_variant_of_v2_is_read_from_its_tar_file(imagenet_family, tmp_path):
    name = "imagenetv2-top-images-format-val"
    folder = imagenet_family["imagenet-v2"] / name
    packed(tmp_path / "imagenetv2-top-images.tar", folder, below=f"{name}/")
    same("imagenet-v2", imagenet_family["imagenet-v2"], tmp_path, "top-images")


def test_the_training_archive_is_read_through_the_archives_in_it(tmp_path):
    data = picture()
    for wnid in IMAGENET.classes[:2]:
        (tmp_path / "train" / wnid).mkdir(parents=True)
        (tmp_path / "train" / wnid / f"{wnid}_1.JPEG").write_bytes(data)
        packed(tmp_path / f"{wnid}.tar", tmp_path / "train" / wnid)
    with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar", "w") as tar:
        for wnid in IMAGENET.classes[:2]:
            tar.add(tmp_path / f"{wnid}.tar", f"{wnid}.tar")
    same("imagenet-train", tmp_path / "train", tmp_path / "ILSVRC2012_img_train.tar", "train")


# -- validation files without folders ---------------------------------------------------------------------------


@pytest.fixture
def sorted_and_flat(tmp_path):
    """Validation files in folders of their classes, and the same ones flat."""
    for number in (1, 2, 293, 50_000):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        wnid = IMAGENET.classes[validation_label(name)]
        for path in (tmp_path / "sorted" / wnid / name, tmp_path / "flat" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed=number))
    return tmp_path / "sorted", tmp_path / "flat"


@pytest.mark.parametrize("form", ["folder", "tar", "folder of a tar"])
def test_flat_validation_files_are_labelled_by_their_numbers(sorted_and_flat, tmp_path, form):
    folders, place = sorted_and_flat
    if form != "folder":
        tar = packed(tmp_path / "ILSVRC2012_img_val.tar", place, flat=True)
        (tmp_path / "archives").mkdir()
        place = tar if form == "tar" else tar.rename(tmp_path / "archives" / tar.name).parent
    same("imagenet", folders, place)
    notes = []
    Library({"imagenet": place}, notes.append).open("imagenet", "test")
    assert [note for note in notes if "labelled by their numbers" in note]


def test_the_order_of_the_validation_files_is_the_published_one():
    labels = validation_labels()
    assert np.bincount(labels, minlength=1000).tolist() == [50] * 1000
    assert IMAGENET.classes[validation_label("ILSVRC2012_val_00000001.JPEG")] == "n01751748"
    assert validation_label("ILSVRC2012_val_00000293_n01440764.JPEG") == 0
    assert validation_label("ILSVRC2012_val_00050001.JPEG") is None
    assert validation_label("a.JPEG") is None
    # Beyer et al. 2020 find the original label among an image's in nine of ten.
    agree = [labels[int(number) - 1] in sets for number, sets in real_labels().items() if sets]
    assert 0.89 < np.mean(agree) < 0.91


def test_flat_files_of_other_names_are_still_refused(tmp_path):
    (tmp_path / "a.JPEG").write_bytes(picture())
    with pytest.raises(BenchError, match="image files and no class folders"):
        Library({"imagenet": tmp_path}).open("imagenet", "test")


# -- tables -------------------------------------------------------------------------------------------------------


def test_parquet_files_of_the_validation_split_are_taken(write_parquet, tmp_path):
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", [picture(seed=1)], [5])
    write_parquet(tmp_path / "data/validation-00000-of-00001.parquet", [picture(), picture(seed=2)], [3, 999])
    samples = Library({"imagenet": tmp_path / "data"}).open("imagenet", "test").samples
    assert samples.labels.tolist() == [3, 999]
    assert samples.read(1) == picture(seed=2)


@pytest.mark.parametrize("whole", [False, True])
def test_labels_among_200_and_among_1000_classes_are_told_apart(write_parquet, tmp_path, whole):
    labels = [0, 150, 199]
    written = [IMAGENET_R.indices[label] for label in labels] if whole else labels
    write_parquet(tmp_path / "test.parquet", [picture(seed=i) for i in range(3)], written)
    samples = Library({"imagenet-r": tmp_path}).open("imagenet-r", "test").samples
    assert samples.labels.tolist() == [IMAGENET_R.indices[label] for label in labels]


def test_a_label_that_the_set_does_not_have_is_refused(write_parquet, tmp_path):
    other = next(index for index in range(200, 1000) if index not in IMAGENET_R.indices)
    write_parquet(tmp_path / "test.parquet", [picture()], [other])
    with pytest.raises(BenchError, match="labelled with classes that it does not have"):
        Library({"imagenet-r": tmp_path}).open("imagenet-r", "test")


@pytest.mark.parametrize("place", ["", "0.tar", "{0..0}.tar", "*.tar"])
def test_shards_are_told_from_archives_and_webp_is_said(write_tar, tmp_path, place):
    write_tar(
        tmp_path / "0.tar", {"a.webp": picture("WEBP"), "a.cls": b"7", "b.webp": picture("WEBP", 1), "b.cls": b"8"}
    )
    notes = []
    opened = Library({"imagenet": tmp_path / place}, notes.append).open("imagenet", "test")
    assert opened.samples.labels.tolist() == [7, 8]
    assert [note for note in notes if "saved again as WebP" in note]


# -- damage -------------------------------------------------------------------------------------------------------


def test_a_tar_file_that_is_cut_short_or_changes_is_an_error(imagenet_family, tmp_path):
    tar = packed(tmp_path / "r.tar", imagenet_family["imagenet-r"])
    opened = Library({"imagenet-r": tar}).open("imagenet-r", "test")
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="has changed since this run began"):
        opened.samples.read(0)
    with pytest.raises(RunError, match="damaged or cut short"):
        Library({"imagenet-r": tar}).open("imagenet-r", "test")


def test_a_packed_tar_file_is_named_as_such(tmp_path):
    (tmp_path / "imagenet-r.tar.gz").write_bytes(b"x")
    with pytest.raises(BenchError, match="packed tar file"):
        Library({"imagenet-r": tmp_path / "imagenet-r.tar.gz"}).open("imagenet-r", "test")


def test_the_members_of_a_tar_file_are_listed_once(imagenet_family, tmp_path, monkeypatch):
    from bench.datasets.readers import tar_folder

    tar = packed(tmp_path / "r.tar", imagenet_family["imagenet-r"])
    Library({"imagenet-r": tar}).open("imagenet-r", "test")
    tar_folder._table.cache_clear()  # as in another process
    monkeypatch.setattr(tar_folder, "_read", lambda path: pytest.fail("read again"))
    Library({"imagenet-r": tar}).open("imagenet-r", "test")
