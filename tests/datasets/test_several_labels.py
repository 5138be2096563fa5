"""ImageNet-Hard, ImageNet-D and ObjectNet in their published layouts, and the usual faults of copies."""

import io
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.datasets import Library, datasets
from bench.datasets.crops import picture_of
from bench.datasets.groups import IMAGENET_D, OBJECTNET
from bench.datasets.objectnet import has_border
from bench.datasets.spaces import IMAGENET
from bench.datasets.verify import verify
from bench.errors import AbsentError, BenchError
from bench.progress import Silent
from bench.suite import suites


def picture(seed, *, border=0, size=(24, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    framed = np.empty((size[0] + 2 * border, size[1] + 2 * border, 3), dtype=np.uint8)
    framed[:] = (255, 0, 0)
    framed[border : border + size[0], border : border + size[1]] = pixels
    return framed


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def opened(name, place, split="test"):
    return Library({name: place}).open(name, split)


def findings(name, place):
    reports = verify(datasets.get(name), Library({name: place}), 0, Silent())
    return {finding.text: finding for report in reports for finding in report.findings}


# -- maps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [OBJECTNET, IMAGENET_D], ids=lambda names: names.name)
def test_names_stand_for_125_classes(names):
    assert len(names.space.classes) == 113
    assert len({index for group in names.members for index in group}) == 125


def test_well_known_names_stand_for_their_classes():
    members = dict(zip(OBJECTNET.space.classes, OBJECTNET.members, strict=True))
    assert [IMAGENET.classes[i] for i in members["banana"]] == ["n07753592"]
    assert [IMAGENET.classes[i] for i in members["bicycle"]] == ["n03792782", "n02835271"]  # mountain bike, tandem


# -- ImageNet-Hard --------------------------------------------------------------------------------------------


def test_imagenet_hard_has_lists_of_labels(tmp_path):
    files = []
    for seed in range(3):
        file = io.BytesIO()
        Image.fromarray(picture(seed)).save(file, "png")
        files.append({"bytes": file.getvalue(), "path": None})
    lists, english = [[3, 7], [999], [0]], [["a", "b"], ["c"], ["d"]]
    table = pa.table({"image": files, "label": lists, "origin": ["imagenet-a"] * 3, "english_label": english})
    pq.write_table(table, tmp_path / "validation-00000-of-00001.parquet")
    samples = opened("imagenet-hard", tmp_path).samples
    assert samples.label_sets.tolist() == [[3, 7], [999, -1], [0, -1]]
    assert samples.labels.tolist() == [3, 999, 0]
    assert "images with more than one right label: 1, with up to 2" in findings("imagenet-hard", tmp_path)


def test_imagenet_hard_is_no_folder_of_classes(tmp_path):
    save(tmp_path / "n01440764" / "0.png", picture(0))
    with pytest.raises(BenchError, match=r"holds no Parquet files.*hf://taesiri/imagenet-hard"):
        opened("imagenet-hard", tmp_path)


@pytest.mark.parametrize("name", ["imagenet-hard", "imagenet-d", "objectnet"])
def test_a_set_without_a_place_says_how_to_give_one(name):
    with pytest.raises(AbsentError, match=f"--data {name}=FOLDER"):
        Library().open(name, datasets.get(name).splits[0])


# -- ImageNet-D -----------------------------------------------------------------------------------------------


def test_imagenet_d_has_three_parts_of_named_folders(tmp_path):
    for part in ("background", "texture"):
        save(tmp_path / "ImageNet-D" / part / "alarm clock" / "0.png", picture(0))
        save(tmp_path / "ImageNet-D" / part / "banana" / "0.png", picture(1))
    samples = opened("imagenet-d", tmp_path, "texture").samples
    assert samples.ids.tolist() == ["alarm_clock/0.png", "banana/0.png"]
    assert samples.label_sets.tolist() == [[409, 530, -1], [954, -1, -1]]
    with pytest.raises(AbsentError, match="lacks material"):
        opened("imagenet-d", tmp_path, "material")


def test_another_folder_is_not_taken_for_imagenet_d(tmp_path):
    save(tmp_path / "banana" / "0.png", picture(1))
    with pytest.raises(BenchError, match="none of the folders background, texture, material"):
        opened("imagenet-d", tmp_path, "texture")


# -- ObjectNet ------------------------------------------------------------------------------------------------


@pytest.fixture
def objectnet(tmp_path):
    for seed, name in enumerate(("alarm_clock", "t-shirt", "air_freshener")):
        save(tmp_path / "objectnet-1.0" / "images" / name / f"{seed}.png", picture(seed, border=2))
    return tmp_path


def test_objectnet_is_read_within_its_border_and_without_other_folders(objectnet):
    samples = opened("objectnet", objectnet).samples
    assert samples.ids.tolist() == ["alarm_clock/0.png", "t-shirt/1.png"]
    assert [sorted(set(row) - {-1}) for row in samples.label_sets.tolist()] == [[409, 530], [610]]
    for index in range(2):
        assert (picture_of(samples, index) == picture(index)).all()
    assert samples.remark == "folders of classes that are not asked for: 1 (air_freshener)"


def test_borders_that_are_cut_already_are_named_and_nothing_more_is_cut(objectnet):
    path = objectnet / "objectnet-1.0" / "images" / "alarm_clock" / "9.png"
    save(path, picture(9))
    samples = opened("objectnet", objectnet).samples
    index = samples.ids.tolist().index("alarm_clock/9.png")
    assert (picture_of(samples, index) == picture(9)).all()
    found = findings("objectnet", objectnet)
    assert found["images without the red border, which is cut off already: 1"].names == ("alarm_clock/9.png",)


def test_the_content_of_objectnet_is_told_by_sizes(objectnet, monkeypatch):
    reads = Counter()
    monkeypatch.setattr("bench.datasets.objectnet.Bordered.read", lambda self, index: reads.update("r"))
    folder = objectnet / "objectnet-1.0" / "images" / "banana"
    for seed in range(20):  # of as many sizes
        save(folder / f"{seed}.png", picture(seed, border=2, size=(24, 20 + seed)))
    opened("objectnet", objectnet)
    assert not reads


def test_a_red_picture_has_a_border_and_a_tiny_one_none():
    assert has_border(picture(0, border=2))
    assert not has_border(picture(0))
    assert not has_border(np.full((4, 9, 3), (255, 0, 0), dtype=np.uint8))


def test_objectnet_given_as_another_set_is_an_error(tmp_path):
    save(tmp_path / "crow" / "0.png", picture(0))
    with pytest.raises(BenchError, match="is not objectnet: 1 of its 1 folders"):
        opened("objectnet", tmp_path)


def test_the_first_two_protocols_share_a_pass():
    first, second, third = suites.get("objectnet").scores
    assert first.conditions == second.conditions != third.conditions
