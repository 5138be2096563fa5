"""ADE20K and VOC as their archives unpack: the class of each pixel, and what is of none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets import Library, datasets, fingerprint
from bench.datasets.segmentation import ADE20K, VOC2012
from bench.errors import AbsentError, BenchError, RunError

IGNORED = 255


def picture(path: Path, size: tuple[int, int] = (8, 6), shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 99, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def mask(path: Path, numbers: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(numbers.astype(np.uint8))
    if palette:
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    root = tmp_path / "ADEChallengeData2016"
    for folder, count in (("training", 3), ("validation", 2)):
        for number in range(count):
            stem = f"ADE_{folder}_{number:08d}"
            picture(root / "images" / folder / f"{stem}.jpg", shade=10 * number + count)
            mask(root / "annotations" / folder / f"{stem}.png", np.arange(48).reshape(6, 8) % (3 + number))
    return root


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for number, name in enumerate(("2007_000033", "2007_000042", "2007_000061")):
        picture(root / "JPEGImages" / f"{name}.jpg", shade=number)
        numbers = np.where(np.arange(48).reshape(6, 8) % 5 == 4, 255, np.arange(48).reshape(6, 8) % 21)
        mask(root / "SegmentationClass" / f"{name}.png", numbers, palette=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000042\n")
    (lists / "val.txt").write_text("2007_000061\n2007_000033\n")
    return root


def test_classes_are_as_many_as_the_papers_say() -> None:
    assert len(set(ADE20K.classes)) == 150
    assert ADE20K.classes[:3] == ("wall", "building", "sky")
    assert ADE20K.classes[-1] == "flag"
    assert len(set(VOC2012.classes)) == 21
    assert VOC2012.classes[15] == "person"
    assert all(name == " ".join(name.split()) for name in (*ADE20K.classes, *VOC2012.classes))


@pytest.mark.parametrize("inside", [False, True])
def test_ade20k_counts_from_1_and_0_is_of_no_class(ade: Path, inside: bool) -> None:
    samples = Library({"ade20k": ade if inside else ade.parent}).open("ade20k", "validation").samples
    assert samples.ids.tolist() == ["ADE_validation_00000000.jpg", "ADE_validation_00000001.jpg"]
    numbers = np.arange(48).reshape(6, 8) % 4
    assert np.array_equal(samples.mask(1), np.where(numbers == 0, IGNORED, numbers - 1))


@pytest.mark.parametrize("above", [0, 1, 2])
def test_voc_counts_from_0_and_255_is_of_no_class(voc: Path, above: int) -> None:
    library = Library({"voc2012": voc if above == 0 else voc.parents[above - 1]})
    assert library.open("voc2012", "validation").samples.ids.tolist() == ["2007_000033.jpg", "2007_000061.jpg"]
    samples = library.open("voc2012", "train").samples
    assert samples.ids.tolist() == ["2007_000042.jpg"]
    numbers = np.arange(48).reshape(6, 8)
    assert np.array_equal(samples.mask(0), np.where(numbers % 5 == 4, IGNORED, numbers % 21))


def test_a_mask_that_shows_something_else_makes_another_split(ade: Path) -> None:
    def seen() -> str:
        return fingerprint(Library({"ade20k": ade}).open("ade20k", "train").samples)

    before = seen()
    assert seen() == before
    file = ade / "annotations" / "training" / "ADE_training_00000000.png"
    mask(file, np.arange(48).reshape(6, 8) % 7)
    assert seen() != before


def test_a_mask_that_changes_after_the_split_was_opened_is_not_read(ade: Path) -> None:
    samples = Library({"ade20k": ade}).open("ade20k", "train").samples
    mask(ade / "annotations" / "training" / "ADE_training_00000000.png", np.ones((6, 8)))
    with pytest.raises(RunError, match="has changed since this run began"):
        samples.mask(0)


def test_a_number_of_no_class_is_named(voc: Path) -> None:
    mask(voc / "SegmentationClass" / "2007_000042.png", np.full((6, 8), 21))
    with pytest.raises(RunError, match="has pixels of the number 21, and the classes are 0 to 20"):
        Library({"voc2012": voc}).open("voc2012", "train").samples.mask(0)


def test_a_coloured_picture_is_no_mask(ade: Path) -> None:
    picture(ade / "annotations" / "training" / "ADE_training_00000000.png")
    with pytest.raises(RunError, match="is no mask: it has the mode RGB"):
        Library({"ade20k": ade}).open("ade20k", "train").samples.mask(0)


def test_an_image_without_its_mask_is_named(ade: Path) -> None:
    (ade / "annotations" / "training" / "ADE_training_00000001.png").unlink()
    with pytest.raises(RunError, match=r"1 files of split 'train' of ade20k are not in .*ADE_training_00000001.png"):
        Library({"ade20k": ade}).open("ade20k", "train")


def test_a_place_without_the_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="ade20k is not at .*: a folder annotations/ was looked for"):
        Library({"ade20k": tmp_path}).open("ade20k", "train")
    with pytest.raises(AbsentError, match="nobody said where voc2012 is; obtain it from http"):
        Library().open("voc2012", "train")


def test_an_empty_split_is_named(ade: Path) -> None:
    for path in (ade / "images" / "training").iterdir():
        path.unlink()
    with pytest.raises(BenchError, match="has no images of split 'train' of ade20k"):
        Library({"ade20k": ade}).open("ade20k", "train")


def test_the_other_ways_to_transfer_leave_masks_alone() -> None:
    from bench.suite import suites

    assert suites.get("segmentation").sets == ("ade20k", "voc2012")
    for suite in suites:
        if suite.name != "segmentation":
            assert not any(datasets.get(name).has_masks for name in suite.sets)
            wider = suite.over([*suite.sets, "ade20k"]) if suite.covering and suite.predicts == "imagenet-1k" else suite
            assert "ade20k" not in wider.sets
