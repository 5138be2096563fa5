"""Files of several splits in one place are never read as one."""

import pytest

from bench.datasets import Dataset, Library, Whole, datasets
from bench.datasets.readers.parquet import ParquetSamples, split_files
from bench.datasets.readers.shards import ShardSamples
from bench.errors import AbsentError, BenchError, RunError

OTHER_NAMES = {
    "train": ["mine-train", "train_v2", "cifar10-train-00000-of-00001", "a.training.b", "TRAIN-0", "train0"],
    "validation": ["mine-val", "dev_v2", "cifar10-valid-00000-of-00001", "a.validation.b", "VAL-0", "val0"],
    "test": ["mine-test", "test_v2", "cifar10-test-00000-of-00001", "a.testing.b", "EVAL-0", "test0"],
}


def touched(folder, *names):
    for name in names:
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(folder, split):
    return [path.relative_to(folder).with_suffix("").as_posix() for path in split_files(folder, split, "b")]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("split", OTHER_NAMES)
@pytest.mark.parametrize("folder", ["", "data/"])
def test_a_split_is_a_word_of_a_files_name(tmp_path, number, split, folder):
    touched(tmp_path, *(folder + names[number] for names in OTHER_NAMES.values()))
    assert found(tmp_path, split) == [folder + OTHER_NAMES[split][number]]


@pytest.mark.parametrize(
    ("there", "split", "wanted"),
    [
        (["latest", "contest-trained"], "test", ["contest-trained", "latest"]),  # parts of words are no words
        (["test", "mine-test", "eval"], "test", ["test"]),  # the split's own name comes first
        (["test-0", "test-1", "train-0"], "test", ["test-0", "test-1"]),
        (["test/a", "test/b", "test/train-x"], "test", ["test/a", "test/b"]),
        (["cub-fold1", "cub-fold2", "cub-fold12"], "fold1", ["cub-fold1"]),
    ],
)
def test_which_files_are_a_splits(tmp_path, there, split, wanted):
    assert found(touched(tmp_path, *there), split) == wanted


@pytest.mark.parametrize(
    ("there", "split"),
    [
        (["mine-train"], "test"),
        (["mine-train", "rest"], "test"),
        (["fold1", "fold2"], "fold3"),
        (["train-test"], "test"),
    ],
)
def test_files_of_other_splits_are_not_taken(tmp_path, there, split):
    with pytest.raises(AbsentError, match=f"holds no Parquet file of split '{split}' of b"):
        split_files(touched(tmp_path, *there), split, "b")


@pytest.mark.parametrize("name", ["mine-train", "cifar10-train-00000-of-00001", "train_v2"])
def test_a_file_that_is_given_is_of_the_split_that_its_name_says(tmp_path, name):
    touched(tmp_path, name)
    with pytest.raises(
        AbsentError, match=r"split 'test' of b is wanted, but .* is by its name the split 'train'; name"
    ):
        split_files(tmp_path / f"{name}.parquet", "test", "b")
    assert split_files(tmp_path / f"{name}.parquet", "train", "b")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["mine-test", "mine-eval"], r"of different splits by their names: mine-eval.parquet \(eval\), mine-test"),
        (["test", "test-00000-of-00001"], "holds 'test' of b more than once .*; keep one copy"),
        (["test-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002"], "holds 'test' of b more than once"),
        (["test-00000-of-00001-ab", "test-00000-of-00001-cd"], "holds 'test' of b more than once"),
    ],
)
def test_two_copies_of_a_split_are_not_read_as_one(tmp_path, there, message):
    with pytest.raises(BenchError, match=message):
        split_files(touched(tmp_path, *there), "test", "b")


def test_tables_in_parts_are_counted_each_for_itself(tmp_path):
    touched(tmp_path, "a-test-00000-of-00002", "a-test-00001-of-00002", "b-test-00000-of-00001")
    assert len(found(tmp_path, "test")) == 3
    (tmp_path / "a-test-00001-of-00002.parquet").unlink()
    with pytest.raises(RunError, match=r"1 of the 2 files of b are missing in .* \(the first is number 00001\)"):
        split_files(tmp_path, "test", "b")


def test_only_the_test_images_are_scored(tmp_path, birds, images, write_parquet):
    for split, labels in (("train", [0] * 9), ("test", [2] * 4)):
        write_parquet(tmp_path / f"cifar-{split}.parquet", images[: len(labels)], labels)
    assert ParquetSamples(tmp_path, birds, "test", "b").labels.tolist() == [2] * 4


# -- shards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("train-000", "val-000"), ("a-train-0", "a-test-0"), ("b-train", "b")])
@pytest.mark.parametrize("pattern", ["", "*.tar", "braces"])
def test_shards_of_two_splits_are_refused(tmp_path, birds, images, write_tar, names, pattern):
    for number, name in enumerate(names):
        write_tar(tmp_path / f"{name}.tar", {f"{number}.png": images[number], f"{number}.cls": b"1"})
    place = tmp_path / (f"{{{','.join(names)}}}.tar" if pattern == "braces" else pattern)
    with pytest.raises(
        BenchError, match="files of b at .* are of different splits by their names: .*; name those of one"
    ):
        ShardSamples(place, birds, "b")
    assert len(ShardSamples(tmp_path / f"{names[0]}.tar", birds, "b").ids) == 1


# -- more than there are --------------------------------------------------------------------------------------


def test_more_images_than_a_set_is_known_to_have_are_an_error(
    scratch_registries, tmp_path, birds, images, write_parquet
):
    def opened(split, place):
        return ParquetSamples(place, birds, split, "b")

    datasets.register(Dataset(name="b", class_space=birds, open=opened, expected={"test": Whole(images=3, classes=3)}))
    place = write_parquet(tmp_path / "b.parquet", images[:4], [0, 1, 2, 0])
    with pytest.raises(
        BenchError, match="'b', split 'test' has 3 images, but 4 were found: this is another set .the tr"
    ):
        Library({"b": place}).open("b", "test")
