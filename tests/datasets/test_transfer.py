import itertools
import json
import re
import shutil
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bench.datasets import Library, Whole, datasets, fingerprint
from bench.datasets.embedded import make_digits, make_letters
from bench.datasets.layouts import folded, label_by_name
from bench.datasets.spaces import CARS, DTD, FLOWERS102, FOOD101, INAT18, INAT19, PETS
from bench.errors import AbsentError, BenchError, RunError

SPACES = (FLOWERS102, PETS, CARS, DTD, FOOD101, INAT18, INAT19)
PAIRS = [(space.name, split) for space in SPACES for split in datasets.get(space.name).splits]


def write(root: Path, file: str, data: bytes) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(data)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# Each builder writes what the authors' archives unpack to, in the folder that torchvision uses, and returns the root
# with the class and the file of every image, split by split; orders and numbers are mixed on purpose.


def flowers(folder: Path, images: list[bytes]):
    root = folder / "flowers-102"
    labels = np.array([[77, 1, 102, 77, 1, 102, 77]])  # of image_00001.jpg and so on
    for number in range(1, 8):
        write(root, f"jpg/image_{number:05d}.jpg", images[number])
    savemat(root / "imagelabels.mat", {"labels": labels})
    savemat(root / "setid.mat", {"trnid": [[6, 2]], "valid": [[7, 3]], "tstid": [[5, 1, 4]]})
    return root, {
        "train": {"jpg/image_00006.jpg": "blackberry lily", "jpg/image_00002.jpg": "pink primrose"},
        "validation": {"jpg/image_00007.jpg": "passion flower", "jpg/image_00003.jpg": "blackberry lily"},
        "test": {
            "jpg/image_00005.jpg": "pink primrose",
            "jpg/image_00001.jpg": "passion flower",
            "jpg/image_00004.jpg": "passion flower",
        },
    }


def pets(folder: Path, images: list[bytes]):
    root = folder / "oxford-iiit-pet"
    for number, stem in enumerate(("Egyptian_Mau_7", "Abyssinian_100", "pug_2", "Abyssinian_99")):
        write(root, f"images/{stem}.jpg", images[number])
    write_text(root / "annotations/trainval.txt", "pug_2 26 2 14\nAbyssinian_100 1 1 1\n")
    write_text(root / "annotations/test.txt", "Egyptian_Mau_7 12 1 5\nAbyssinian_99 1 1 1\n")
    return root, {
        "train": {"images/pug_2.jpg": "pug", "images/Abyssinian_100.jpg": "abyssinian"},
        "test": {"images/Egyptian_Mau_7.jpg": "egyptian_mau", "images/Abyssinian_99.jpg": "abyssinian"},
    }


def annotations(*rows: tuple[int, str]) -> dict[str, object]:
    kinds = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    return {"annotations": np.array([(30, label, name) for label, name in rows], dtype=kinds)[None]}


def cars(folder: Path, images: list[bytes]):
    root = folder / "stanford_cars"
    for number in (1, 2):
        write(root, f"cars_train/0000{number}.jpg", images[number])
        write(root, f"cars_test/0000{number}.jpg", images[number + 3])
    (root / "devkit").mkdir()
    savemat(root / "devkit/cars_train_annos.mat", annotations((196, "00001.jpg"), (1, "00002.jpg")))
    savemat(root / "cars_test_annos_withlabels.mat", annotations((174, "00002.jpg"), (1, "00001.jpg")))
    savemat(root / "devkit/cars_meta.mat", {"class_names": np.array(CARS.classes, dtype=object)[None]})
    return root, {
        "train": {
            "cars_train/00001.jpg": "smart fortwo Convertible 2012",
            "cars_train/00002.jpg": "AM General Hummer SUV 2000",
        },
        "test": {
            "cars_test/00002.jpg": "Ram C/V Cargo Van Minivan 2012",
            "cars_test/00001.jpg": "AM General Hummer SUV 2000",
        },
    }


def dtd(folder: Path, images: list[bytes]):
    root = folder / "dtd/dtd"
    lists = {"train": ["woven/woven_0003.jpg", "banded/banded_0002.jpg"], "val": ["banded/banded_0001.jpg"]}
    lists["test"] = ["polka-dotted/polka-dotted_0009.jpg"]
    for number, file in enumerate(file for files in lists.values() for file in files):
        write(root, f"images/{file}", images[number])
    for name, files in lists.items():
        write_text(root / f"labels/{name}1.txt", "\n".join(files) + "\n")
    lists["validation"] = lists.pop("val")
    return root, {split: {f"images/{file}": file.partition("/")[0] for file in files} for split, files in lists.items()}


def food(folder: Path, images: list[bytes]):
    root = folder / "food-101"
    lists = {
        "train": {"waffles": ["waffles/8"], "apple_pie": ["apple_pie/10", "apple_pie/9"]},
        "test": {"pizza": ["pizza/3"], "apple_pie": ["apple_pie/7"]},
    }
    wanted = {
        split: {f"images/{stem}.jpg": name for name, stems in found.items() for stem in stems}
        for split, found in lists.items()
    }
    for number, file in enumerate(file for files in wanted.values() for file in files):
        write(root, f"images/{file.removeprefix('images/')}", images[number])
    for split, found in lists.items():
        write_text(root / f"meta/{split}.json", json.dumps(found))
    return root, wanted


def inat(year: int):
    def build(folder: Path, images: list[bytes]):
        root = folder
        lists = {
            "train": {f"train_val{year}/Aves/1009/ab.jpg": 1009, f"train_val{year}/Fungi/2/cd.jpg": 2},
            "val": {f"train_val{year}/Aves/1009/ef.jpg": 1009},
        }
        for number, file in enumerate(file for files in lists.values() for file in files):
            write(root, file, images[number])
        for name, found in lists.items():
            entries = [{"id": 70 - number, "file_name": file} for number, file in enumerate(found)]
            notes = [
                {"id": number, "image_id": 70 - number, "category_id": label}
                for number, label in enumerate(found.values())
            ]
            content = {"images": entries, "annotations": notes[::-1], "categories": [{"id": 2, "name": "x"}]}
            write_text(root / f"{name}{year}.json", json.dumps(content))
        lists["test"] = lists.pop("val")
        return root, {split: {file: str(label) for file, label in found.items()} for split, found in lists.items()}

    return build


BUILDERS = {
    "flowers102": flowers,
    "pets": pets,
    "cars": cars,
    "dtd": dtd,
    "food101": food,
    "inat18": inat(2018),
    "inat19": inat(2019),
}


def named(samples, name: str) -> dict[str, str]:
    """File below the root to the name of its class."""
    classes = datasets.get(name).class_space.classes
    return {
        str(samples.path(index).relative_to(samples.root)): classes[label]
        for index, label in enumerate(samples.labels.tolist())
    }


# -- the registry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes", "counts", "metric"),
    [
        ("flowers102", 102, {"train": 1020, "validation": 1020, "test": 6149}, "mean_per_class_accuracy"),
        ("pets", 37, {"train": 3680, "test": 3669}, "mean_per_class_accuracy"),
        ("cars", 196, {"train": 8144, "test": 8041}, "top1"),
        ("dtd", 47, {"train": 1880, "validation": 1880, "test": 1880}, "top1"),
        ("food101", 101, {"train": 101 * 750, "test": 101 * 250}, "top1"),
        ("inat18", 8142, {"train": 437_513, "test": 8142 * 3}, "top1"),
        ("inat19", 1010, {"train": 268_243 - 3030, "test": 1010 * 3}, "top1"),
        ("cifar10", 10, {"train": 50_000, "test": 10_000}, "top1"),
        ("cifar100", 100, {"train": 50_000, "test": 10_000}, "top1"),
    ],
)
def test_splits_counts_and_metrics_are_the_authors(name, classes, counts, metric):
    dataset = datasets.get(name)
    assert dataset.expected == {split: Whole(images=count, classes=classes) for split, count in counts.items()}
    assert dataset.splits[0] == "test"
    assert set(dataset.splits) == set(counts)
    assert dataset.fit == tuple(split for split in ("train", "validation") if split in counts)
    assert (dataset.metric, len(dataset.class_space.classes)) == (metric, classes)


def test_inaturalists_test_split_is_said_to_be_its_validation_images():
    for name in ("inat18", "inat19"):
        assert "validation images are the test split here" in datasets.get(name).about


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_class_names_differ_also_without_their_signs(space):
    label_of = label_by_name(space)
    assert [label_of(folded(name)) for name in space.classes] == list(range(len(space.classes)))


def test_listing_the_sets_imports_neither_scipy_nor_torch():
    program = "import sys, bench.datasets.builtin; assert not {'scipy', 'torch', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


# -- the letters ----------------------------------------------------------------------------------------------


def test_letters_are_drawn_in_other_fonts_than_each_other_and_the_digits():
    """Not even in another face of a family: what comes before the first sign names it."""
    tables = {"r": make_digits.FONTS, "train": make_letters.TRAIN_FONTS, "test": make_letters.TEST_FONTS}
    families = {
        name: {re.split("[-_.]", path.name)[0] for path in make_digits.packages(table)}
        for name, table in tables.items()
    }
    for one, other in itertools.combinations(families.values(), 2):
        assert not one & other


@pytest.mark.parametrize(("split", "each", "fonts"), [("train", 60, "TRAIN_FONTS"), ("test", 40, "TEST_FONTS")])
def test_every_letter_meets_every_face_and_look_equally_often(split, each, fonts):
    samples = Library().open("letters", split).samples
    assert np.bincount(samples.labels).tolist() == [each] * 26
    faces = {path.stem for path in make_digits.packages(getattr(make_letters, fonts))}
    drawn = {letter: [] for letter in string.ascii_uppercase}
    for sample_id, label in zip(samples.ids.tolist(), samples.labels.tolist(), strict=True):
        kind, letter, rest = sample_id.split("-", 2)
        face, look, _ = rest.rsplit("-", 2)
        assert (kind, string.ascii_uppercase[label]) == ("l", letter)
        drawn[letter].append((face, look))
    for pairs in drawn.values():
        assert Counter(face for face, _ in pairs) == dict.fromkeys(faces, make_letters.FACE_USES)
        assert Counter(look for _, look in pairs) == dict.fromkeys(make_letters.LOOKS, each // len(make_letters.LOOKS))


# -- the authors' archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "split"), PAIRS)
def test_each_image_has_its_own_label(tmp_path, images, name, split):
    root, wanted = BUILDERS[name](tmp_path, images)
    samples = Library({name: root}).open(name, split).samples
    assert named(samples, name) == wanted[split]
    assert samples.ids.tolist() == sorted(f"{cls}/{Path(file).name}" for file, cls in wanted[split].items())
    for index in range(len(samples.ids)):
        data = samples.path(index).read_bytes()
        assert samples.read(index) == data
        assert samples.sizes[index] == len(data)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_folder_above_will_do(tmp_path, images, name):
    root, _ = BUILDERS[name](tmp_path, images)
    opened = [Library({name: place}).open(name, "train") for place in (root, tmp_path)]
    assert opened[0].fingerprint == opened[1].fingerprint


@pytest.mark.parametrize(("name", "split"), PAIRS)
def test_class_folders_of_the_same_images_are_the_same_samples(tmp_path, images, name, split):
    root, wanted = BUILDERS[name](tmp_path / "authors", images)
    for file, cls in wanted[split].items():
        # Folders can have no slash in their names; copies spell names in many ways.
        target = tmp_path / "folders" / split / cls.replace("/", "-").replace("_", " ").title() / Path(file).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, target)
    one, other = (Library({name: place}).open(name, split) for place in (root, tmp_path / "folders"))
    assert one.fingerprint == other.fingerprint


def test_validation_folders_go_by_several_names(tmp_path, images):
    for folder in ("val", "train", "test"):
        write(tmp_path, f"{folder}/banded/a.png", images[0])
    assert datasets.get("dtd").open("validation", tmp_path).root == tmp_path / "val"
    write(tmp_path / "inat", "val/7/a.png", images[0])
    assert datasets.get("inat18").open("test", tmp_path / "inat").labels.tolist() == [7]


@pytest.mark.parametrize(
    ("name", "reader", "files"),
    [
        ("flowers102", "Flowers102", "_image_files"),
        ("pets", "OxfordIIITPet", "_images"),
        ("dtd", "DTD", "_image_files"),
        ("food101", "Food101", "_image_files"),
        ("cars", "StanfordCars", None),
    ],
)
def test_torchvision_gives_the_same_labels(tmp_path, images, monkeypatch, name, reader, files):
    from torchvision import datasets as theirs

    monkeypatch.setattr(theirs.Flowers102, "_check_integrity", lambda self: True)
    BUILDERS[name](tmp_path, images)
    label_of = label_by_name(datasets.get(name).class_space)
    for split in datasets.get(name).splits:
        called = "trainval" if (name, split) == ("pets", "train") else {"validation": "val"}.get(split, split)
        reference = getattr(theirs, reader)(str(tmp_path), split=called)
        pairs = zip(getattr(reference, files), reference._labels, strict=True) if files else reference._samples
        samples = Library({name: tmp_path}).open(name, split).samples
        found = {str(samples.path(i)): label for i, label in enumerate(samples.labels.tolist())}
        if name in ("flowers102", "pets"):  # by the authors' numbers; in the others by the classes that are there
            assert found == {str(file): label for file, label in pairs}
        else:
            assert found == {str(file): label_of(reference.classes[label]) for file, label in pairs}


def test_torchvisions_folder_of_inaturalist_is_found(tmp_path, images):
    root, wanted = BUILDERS["inat18"](tmp_path, images)
    (root / "train_val2018").rename(root / "2018")
    samples = datasets.get("inat18").open("train", root)
    assert named(samples, "inat18") == {
        file.replace("train_val2018", "2018"): name for file, name in wanted["train"].items()
    }


def test_cars_unpacked_into_a_folder_of_the_same_name(tmp_path, images):
    root, _ = cars(tmp_path, images)
    (root / "cars_test").rename(root / "inner")
    (root / "cars_test").mkdir()
    (root / "inner").rename(root / "cars_test/cars_test")
    assert datasets.get("cars").open("test", root).labels.tolist() == [0, 173]


# -- tables of the hub ----------------------------------------------------------------------------------------


def test_parquet_files_are_read_by_the_names_of_their_classes(tmp_path, images, write_parquet):
    names = list(PETS.classes[::-1])
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", images[:2], [0, 36], names)
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", images[2:3], [1], names)
    library = Library({"pets": tmp_path})
    assert library.open("pets", "train").samples.labels.tolist() == [36, 0]
    assert library.open("pets", "test").samples.read(0) == images[2]


def test_names_in_another_spelling_are_told(tmp_path, images, write_parquet):
    write_parquet(tmp_path / "test.parquet", images[:1], [0], [name.title() for name in PETS.classes])
    with pytest.raises(BenchError, match=r"names 37 classes \('Abyssinian', .*those of the class space 'pets' are 'a"):
        Library({"pets": tmp_path}).open("pets", "test")


def test_the_hub_calls_food101s_test_images_validation(tmp_path, images, write_parquet, monkeypatch):
    write_parquet(tmp_path / "train-00000-of-00001.parquet", images[:2], [0, 1], FOOD101.classes)
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", images[2:3], [5], FOOD101.classes)
    library = Library({"food101": tmp_path})
    assert library.open("food101", "test").samples.labels.tolist() == [5]
    assert library.open("food101", "train").samples.labels.tolist() == [0, 1]
    asked = []
    monkeypatch.setattr("bench.datasets.readers.hub_tables.HubSamples", lambda *given: asked.append(given))
    for split in ("test", "train"):
        datasets.get("food101").open(split, Path("hf://ethz/food101"))
    assert [(source.repo, source.split) for source, _, _ in asked] == [
        ("ethz/food101", "validation"),
        ("ethz/food101", "train"),
    ]
    assert [given[1:] for given in asked] == [(FOOD101, "food101")] * 2


@pytest.mark.parametrize(("name", "classes"), [("pets", PETS.classes), ("cifar10", None)])
def test_nothing_is_learnt_from_files_that_say_no_split(tmp_path, images, write_parquet, name, classes):
    write_parquet(tmp_path / "all.parquet", images[:2], [0, 1], classes)
    for place in (tmp_path, tmp_path / "all.parquet"):
        assert len(datasets.get(name).open("test", place).ids) == 2
        with pytest.raises(AbsentError, match="'train' of .* is wanted, but the files of .* say no split by their"):
            datasets.get(name).open("train", place)


# -- what is refused ------------------------------------------------------------------------------------------


def test_without_a_place_it_is_said_where_to_obtain_it():
    with pytest.raises(
        AbsentError, match=r"'pets' is not on this.*robots\.ox.*--data pets=hf://timm/oxford-iiit-pet\."
    ):
        datasets.get("pets").open("test", None)
    with pytest.raises(AbsentError, match=r"'inat18' is not on this machine.*inat_comp.*bench\.toml under \[data\]\.$"):
        datasets.get("inat18").open("test", None)


def test_an_archive_is_to_be_unpacked(tmp_path):
    with pytest.raises(BenchError, match=r"102flowers\.tgz is still packed; unpack it with `tar -xf`"):
        datasets.get("flowers102").open("test", tmp_path / "102flowers.tgz")


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("pets", "train", "annotations/trainval.txt"),
        ("cars", "test", "cars_test_annos_withlabels.mat"),
        ("dtd", "validation", "labels/val1.txt"),
        ("food101", "test", "meta/test.json"),
        ("inat18", "test", "val2018.json"),
    ],
)
def test_a_split_whose_list_is_missing_names_the_list(tmp_path, images, name, split, file):
    root, _ = BUILDERS[name](tmp_path, images)
    (root / file).unlink()
    with pytest.raises(AbsentError, match=f"split '{split}' of {name} is not at .*{file}.* was looked for there"):
        Library({name: root}).open(name, split)


def test_flowers_need_both_their_lists(tmp_path, images):
    root, _ = flowers(tmp_path, images)
    (root / "imagelabels.mat").unlink()
    with pytest.raises(AbsentError, match=r"imagelabels\.mat is missing; obtain it too"):
        datasets.get("flowers102").open("test", root)


def test_a_folder_with_nothing_known_says_what_was_looked_for(tmp_path, images):
    write(tmp_path, "train/pug/a.png", images[0])
    wanted = r"split 'test' of pets is not at .*: a folder test/ of class folders, annotations/trainval\.txt or annot.*"
    with pytest.raises(AbsentError, match=wanted + "Parquet files named after the split were looked for; obtain"):
        datasets.get("pets").open("test", tmp_path)
    with pytest.raises(AbsentError, match="no file or folder .*gone, the place that was given for pets"):
        datasets.get("pets").open("test", tmp_path / "gone")


def test_an_unknown_class_is_named(tmp_path, images):
    write(tmp_path / "folders", "test/wolf/a.png", images[0])
    with pytest.raises(BenchError, match=r"is not pets: 1 of its 1 folders \(wolf\) are not named after one of its"):
        datasets.get("pets").open("test", tmp_path / "folders")
    root, _ = pets(tmp_path, images)
    write_text(root / "annotations/test.txt", "wolf_12 1 1 1\n")
    with pytest.raises(BenchError, match=r"test\.txt lists images/wolf_12\.jpg of the class 'wolf', which is none of"):
        datasets.get("pets").open("test", root)


def test_a_label_beyond_the_classes_is_named(tmp_path, images):
    root, _ = cars(tmp_path, images)
    savemat(root / "devkit/cars_train_annos.mat", annotations((197, "00001.jpg")))
    with pytest.raises(RunError, match=r"gives cars_train/00001\.jpg the class number 196, .* cars has 196 classes"):
        datasets.get("cars").open("train", root)
    root, _ = flowers(tmp_path, images)
    savemat(root / "setid.mat", {"tstid": [[8]]})
    with pytest.raises(RunError, match=r"images numbered 8 to 8, but .*imagelabels\.mat labels 7;"):
        datasets.get("flowers102").open("test", root)


def test_missing_images_are_counted(tmp_path, images):
    root, _ = food(tmp_path, images)
    (root / "images/apple_pie/9.jpg").unlink()
    with pytest.raises(RunError, match=r"1 of the 3 images that .*train\.json lists are not in .*first is images/app"):
        datasets.get("food101").open("train", root)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("flowers102", "setid.mat", b"no", r"setid\.mat is damaged or cut short \(.*\); obtain it again"),
        ("flowers102", "setid.mat", {"trnid": [[1]]}, r"setid\.mat has no 'tstid', so it is not what its name says"),
        ("cars", "cars_test_annos_withlabels.mat", {"annotations": [[1]]}, r"withlabels\.mat has no 'class'"),
        ("pets", "annotations/test.txt", b"\xff\xfe", r"test\.txt is damaged \(.*\); obtain it again"),
        ("pets", "annotations/test.txt", b"# none\n", r"test\.txt lists no images; obtain it again"),
        ("food101", "meta/test.json", b"{", r"test\.json is damaged or cut short \(.*\); obtain it again"),
        ("food101", "meta/test.json", b"[1]", r"test\.json must hold a list of images for each class"),
        ("inat18", "val2018.json", b'{"images": []}', r"val2018\.json must hold images and annotations.*'annotations'"),
    ],
)
def test_a_list_that_is_not_as_it_must_be_is_named(tmp_path, images, name, file, content, message):
    root, _ = BUILDERS[name](tmp_path, images)
    if isinstance(content, dict):
        savemat(root / file, content)
    else:
        (root / file).write_bytes(content)
    with pytest.raises(BenchError, match=message):
        datasets.get(name).open("test", root)


def test_two_copies_have_one_fingerprint(tmp_path, images):
    found = []
    for folder in ("one", "two"):
        root, _ = pets(tmp_path / folder, images)
        found.append(fingerprint(datasets.get("pets").open("test", root)))
    assert found[0] == found[1]


# -- hostile lists --------------------------------------------------------------------------------------------


def test_a_small_list_that_unpacks_to_a_large_one_is_refused(tmp_path, images, monkeypatch):
    root, _ = flowers(tmp_path, images)
    savemat(root / "setid.mat", {"tstid": np.zeros(2**23)}, do_compression=True)
    assert (root / "setid.mat").stat().st_size < 100_000
    monkeypatch.setattr("bench.datasets.layouts._MOST_UNPACKED", 2**20)
    with pytest.raises(
        RunError, match=r"setid\.mat is damaged or cut short \(it unpacks to more than 1.0 MiB\); obtain"
    ):
        Library({"flowers102": root}).open("flowers102", "test")


def test_a_list_without_end_is_refused_unread(tmp_path, images):
    root, _ = flowers(tmp_path, images)
    with (root / "setid.mat").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunError, match=r"setid\.mat is larger than 64.0 MiB, which nothing of its kind is; obtain it"):
        Library({"flowers102": root}).open("flowers102", "test")


def test_a_list_nested_without_end_is_damaged(tmp_path, images):
    root, _ = food(tmp_path, images)
    (root / "meta/test.json").write_text("[" * 200_000)
    with pytest.raises(RunError, match=r"test\.json is damaged or cut short \(.*recursion.*\); obtain it again"):
        Library({"food101": root}).open("food101", "test")


@pytest.mark.parametrize("stem", ["../../../../etc/passwd", "/etc/passwd", "apple_pie/../../../x"])
def test_a_list_names_files_of_its_own_folder_alone(tmp_path, images, stem):
    root, _ = food(tmp_path, images)
    (root / "meta/test.json").write_text(json.dumps({"apple_pie": [stem]}))
    if stem.startswith("/"):  # below the folder after all: what comes first is `images/`
        expected = "1 of the 1 images that .* lists are not in"
    else:
        expected = r"test\.json lists 'images/.*', which is not in .*; it is damaged, so obtain it again"
    with pytest.raises(RunError, match=expected):
        Library({"food101": root}).open("food101", "test")
