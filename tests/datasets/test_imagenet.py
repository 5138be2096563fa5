"""The sets labelled with ImageNet's classes: labels by folder name, and mistakes told apart."""

import shutil

import numpy as np
import pytest
from PIL import Image

from bench.datasets import Library
from bench.datasets.imagenet import real_labels, real_labels_of
from bench.datasets.readers.folder import FolderSamples
from bench.datasets.spaces import IMAGENET, IMAGENET_R
from bench.errors import AbsentError, BenchError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path)


def opened(name, place, split="test"):
    return Library({name: place}).open(name, split).samples


# -- labels ---------------------------------------------------------------------------------------------------


def test_a_subset_of_the_folders_has_the_labels_of_the_whole(tmp_path):
    for index in (0, 7, 388, 999):
        picture(tmp_path / IMAGENET.classes[index] / "a.JPEG")
    samples = opened("imagenet", tmp_path)
    assert samples.labels.tolist() == [0, 7, 388, 999]
    assert samples.ids.tolist() == [f"{IMAGENET.classes[i]}/a.JPEG" for i in (0, 7, 388, 999)]
    assert samples.sizes.tolist() == [path.stat().st_size for path in sorted(tmp_path.glob("*/*"))]


def test_the_folder_above_the_validation_set_will_do(tmp_path):
    picture(tmp_path / "val" / IMAGENET.classes[3] / "a.JPEG")
    picture(tmp_path / "train" / IMAGENET.classes[4] / "b.JPEG")
    assert opened("imagenet", tmp_path).labels.tolist() == [3]


def test_what_is_no_picture_is_passed_over(tmp_path):
    for name in (".DS_Store", "notes.txt", "a.JPEG"):
        picture(tmp_path / IMAGENET.classes[3] / "a.JPEG") if name == "a.JPEG" else (
            (tmp_path / IMAGENET.classes[3]).mkdir(exist_ok=True),
            (tmp_path / IMAGENET.classes[3] / name).write_text("x"),
        )
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert opened("imagenet", tmp_path).ids.tolist() == [f"{IMAGENET.classes[3]}/a.JPEG"]


@pytest.mark.parametrize("digits", [0, 4])
def test_numbered_folders_of_v2_are_numbers_and_not_texts_in_order(tmp_path, digits):
    numbers = [*range(12), 100, 101, 999]  # as text: 0, 1, 10, 100, …
    for number in numbers:
        picture(tmp_path / "imagenetv2-matched-frequency" / f"{number:0{digits}d}" / f"{number}.jpeg")
    samples = opened("imagenet-v2", tmp_path, "matched-frequency")
    assert sorted(samples.labels.tolist()) == numbers
    for sample_id, label in zip(samples.ids, samples.labels, strict=True):
        assert sample_id == f"{IMAGENET.classes[label]}/{label}.jpeg"


def test_both_layouts_of_v2_are_the_same_data(tmp_path):
    for number in (2, 10, 999):
        picture(tmp_path / "a/imagenetv2-top-images-format-val" / str(number) / "x.jpeg")
        picture(tmp_path / "b/imagenetv2-top-images-format-val" / IMAGENET.classes[number] / "x.jpeg")
    a, b = (Library({"imagenet-v2": tmp_path / name}).open("imagenet-v2", "top-images") for name in "ab")
    assert a.fingerprint == b.fingerprint


@pytest.mark.parametrize("place", ["v2", "v2/imagenetv2-threshold0.7-format-val"])
def test_a_variant_is_found_by_its_folders_name(imagenet_family, place):
    root = imagenet_family["imagenet-v2"].parent / place
    assert all("threshold0.7" in str(i) for i in opened("imagenet-v2", root, "threshold-0.7").ids)


def test_an_archive_that_unpacks_to_a_folder_within_a_folder_is_found(tmp_path):
    name = "imagenetv2-matched-frequency-format-val"
    picture(tmp_path / name / name / "5" / "x.jpeg")
    assert opened("imagenet-v2", tmp_path, "matched-frequency").labels.tolist() == [5]


def test_the_images_of_imagenet_c_bear_the_ids_of_the_validation_set(imagenet_family):
    fog = opened("imagenet-c", imagenet_family["imagenet-c"], "fog/3")
    assert set(fog.ids) <= set(opened("imagenet", imagenet_family["imagenet"]).ids)
    assert fog.labels.tolist() == [IMAGENET.classes.index(str(i).split("/")[0]) for i in fog.ids]


def test_imagenet_c_is_found_without_the_groups_folders(imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet-c"] / "weather" / "fog", tmp_path / "fog")
    with_groups = Library(imagenet_family).open("imagenet-c", "fog/2")
    assert Library({"imagenet-c": tmp_path}).open("imagenet-c", "fog/2").fingerprint == with_groups.fingerprint


def test_all_folders_of_imagenet_c_share_their_ids(imagenet_family):
    library = Library(imagenet_family)
    one, two = (library.open("imagenet-c", split).samples for split in ("fog/1", "snow/5"))
    assert one.ids is two.ids


def test_reassessed_labels_go_by_file_number():
    # Beyer et al. 2020, section 2: 3,163 images without a label; facts from the list itself.
    sets = real_labels()
    assert len(sets) == 50_000
    assert sum(not labels for labels in sets.values()) == 3_163
    assert sum(len(labels) > 1 for labels in sets.values()) == 7_443
    assert real_labels_of("n01751748/ILSVRC2012_val_00000002.JPEG") == sets["00000002"]
    assert real_labels_of("n01440764/n01440764_tench.JPEG") is None


def test_listing_the_many_folders_of_imagenet_c_is_announced_once(imagenet_family):
    notes = []
    library = Library(imagenet_family, notes.append)
    for split in ("fog/1", "fog/2"):
        library.open("imagenet-c", split)
    library.open("imagenet", "test")
    assert notes == [f"listing the 95 folders of imagenet-c in {imagenet_family['imagenet-c']}"]


# -- mistakes -------------------------------------------------------------------------------------------------


def test_data_that_nobody_named_are_absent_and_the_source_is_said():
    with pytest.raises(
        AbsentError, match=r"'imagenet-r' is not .*obtain it from https://.*give --data imagenet-r=FOLD"
    ):
        Library().open("imagenet-r", "test")


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(BenchError, match=r"imagenet must be a folder, but .*nowhere does not exist; correct the path"):
        opened("imagenet", tmp_path / "nowhere")
    (tmp_path / "val.tar").write_text("x")
    with pytest.raises(BenchError, match=r"val\.tar is no whole tar file"):
        opened("imagenet-c", tmp_path / "val.tar", "fog/1")


def test_a_flat_folder(tmp_path):
    for number in range(3):
        picture(tmp_path / f"picture-{number}.JPEG")
    with pytest.raises(BenchError, match=r"holds 3 image files and no class folders.*sort the files into folders"):
        opened("imagenet", tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(BenchError, match="holds no class folders; imagenet needs one a class, such as n01440764/"):
        opened("imagenet", tmp_path)


def test_a_class_folder_without_images(tmp_path):
    picture(tmp_path / IMAGENET.classes[0] / "a.JPEG")
    (tmp_path / IMAGENET.classes[1]).mkdir()
    with pytest.raises(
        BenchError, match=f"{IMAGENET.classes[1]} holds no images, so this copy of imagenet is not whole"
    ):
        opened("imagenet", tmp_path)


def test_folders_that_are_no_classes(tmp_path):
    for name in ("cat", "dog", IMAGENET.classes[5]):
        picture(tmp_path / name / "a.JPEG")
    with pytest.raises(BenchError, match=r"2 of its 3 folders \(cat, dog\) are not named after one of its classes"):
        opened("imagenet", tmp_path)


def test_numbered_folders_given_as_the_validation_set(tmp_path):
    for number in range(5):
        picture(tmp_path / str(number) / "a.JPEG")
    with pytest.raises(
        BenchError, match=r"5 of its 5 folders \(0, 1, 2, 3 and 1 more\) are not named.*another data set"
    ):
        opened("imagenet", tmp_path)


def test_imagenet_r_given_as_the_validation_set(tmp_path):
    for wnid in IMAGENET_R.classes:
        picture(tmp_path / wnid / "art_0.jpg")
    with pytest.raises(BenchError, match=r"holds the 200 classes of imagenet-r and none of.*--data imagenet-r="):
        opened("imagenet", tmp_path)


def test_the_validation_images_of_200_classes_are_a_subset_as_any_other(tmp_path):
    for number, wnid in enumerate(IMAGENET_R.classes, start=1):
        picture(tmp_path / wnid / f"ILSVRC2012_val_{number:08d}.JPEG")
    assert len(opened("imagenet", tmp_path).ids) == 200


def test_sketches_given_as_the_validation_set(imagenet_family):
    with pytest.raises(BenchError, match=r"holds files named sketch_….*--data imagenet-sketch="):
        opened("imagenet", imagenet_family["imagenet-sketch"])


def test_the_validation_set_given_as_the_training_set(imagenet_family):
    with pytest.raises(BenchError, match=r"imagenet-train, but holds files of the validation set.*--data imagenet="):
        opened("imagenet-train", imagenet_family["imagenet"], "train")


def test_the_training_set_is_found_in_the_folder_above(tmp_path):
    for wnid in IMAGENET_R.classes[:3]:
        picture(tmp_path / "train" / wnid / f"{wnid}_1.JPEG")
    samples = opened("imagenet-train", tmp_path, "train")
    assert [str(sample) for sample in samples.ids] == [f"{wnid}/{wnid}_1.JPEG" for wnid in IMAGENET_R.classes[:3]]


def test_the_validation_set_given_as_imagenet_r(imagenet_family):
    with pytest.raises(BenchError, match=r"is not imagenet-r: 2 of its 4 folders \(n01440764, n01558993\)"):
        opened("imagenet-r", imagenet_family["imagenet"])


def test_more_images_than_the_set_has(tmp_path, monkeypatch):
    n = 50_001
    ids = [f"n01440764/ILSVRC2012_val_{i:08d}.JPEG" for i in range(n)]
    samples = FolderSamples(tmp_path, ids, None, np.zeros(n), [(1, 0)] * n)
    monkeypatch.setattr("bench.datasets.imagenet.class_folders", lambda *_: samples)
    with pytest.raises(BenchError, match=r"'imagenet', split 'test' has 50,000 images, but 50,001 .*training set\?"):
        opened("imagenet", tmp_path)


def test_v2_whose_variant_no_name_tells(tmp_path):
    picture(tmp_path / "mine" / "5" / "x.jpeg")
    with pytest.raises(
        BenchError, match=r"says which of matched-frequency, .* it is; keep the name it was unpacked with"
    ):
        opened("imagenet-v2", tmp_path / "mine", "top-images")


def test_v2_without_a_variant(tmp_path):
    picture(tmp_path / "imagenetv2-top-images" / "5" / "x.jpeg")
    with pytest.raises(
        AbsentError, match=r"lacks the variant matched-frequency: put imagenetv2-matched-frequency there"
    ):
        opened("imagenet-v2", tmp_path, "matched-frequency")


def test_imagenet_c_without_a_corruption_or_a_severity(imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet-c"] / "weather", tmp_path / "weather")
    shutil.rmtree(tmp_path / "weather" / "fog" / "4")
    with pytest.raises(AbsentError, match=r"lacks zoom_blur: put blur\.tar of https://zenodo"):
        opened("imagenet-c", tmp_path, "zoom_blur/1")
    with pytest.raises(AbsentError, match=r"lacks severity 4 of fog: unpack weather\.tar"):
        opened("imagenet-c", tmp_path, "fog/4")


def test_another_folder_given_as_imagenet_c(imagenet_family):
    with pytest.raises(BenchError, match="was given as imagenet-c, but holds no folder of a corruption"):
        opened("imagenet-c", imagenet_family["imagenet"], "fog/1")


def test_a_file_that_goes_away_during_the_run(tmp_path):
    picture(tmp_path / IMAGENET.classes[0] / "a.JPEG")
    samples = opened("imagenet", tmp_path)
    samples.path(0).unlink()
    with pytest.raises(BenchError, match=r"a\.JPEG can't be read .*was it moved during the run\?"):
        samples.read(0)
