import os
import pickle
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.datasets import fingerprint
from bench.datasets.readers.parquet import ParquetSamples, split_files
from bench.datasets.spaces import CIFAR10
from bench.errors import AbsentError, BenchError, RunError

LABELS = [0, 1, 2, 2, 1, 0, 0, 1, 2]


@pytest.fixture
def opened(tmp_path, birds, images, write_parquet):
    write_parquet(tmp_path / "data/test-00000-of-00002.parquet", images[:5], LABELS[:5])
    write_parquet(tmp_path / "data/test-00001-of-00002.parquet", images[5:], LABELS[5:])
    return ParquetSamples(tmp_path, birds, "test", "b")


def test_every_row_is_a_sample_whatever_the_files_and_row_groups(opened, images):
    assert opened.labels.tolist() == LABELS
    assert opened.labels.dtype == opened.sizes.dtype == np.int64
    assert opened.sizes.tolist() == [len(data) for data in images]
    for index in (8, 0, 3, 4, 5, 1, 7, 6, 2):
        assert opened.read(index) == images[index]


def test_ids_are_row_numbers_of_the_split(opened):
    assert opened.ids.tolist() == [f"test/{row:08d}" for row in range(9)]


def test_the_same_rows_in_other_files_are_the_same_data(opened, tmp_path, birds, images, write_parquet):
    single = ParquetSamples(write_parquet(tmp_path / "b.parquet", images, LABELS, plain=True), birds, "test", "b")
    assert fingerprint(single) == fingerprint(opened)


def test_worker_processes_can_have_a_copy_also_of_open_files(opened, images):
    opened.read(4)
    copy = pickle.loads(pickle.dumps(opened))
    assert copy.read(4) == images[4]
    assert fingerprint(copy) == fingerprint(opened)
    assert len(pickle.dumps(opened)) < 8_000  # no images travel


def test_stamps_tell_rows_apart_and_change_with_the_file(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", images, LABELS)
    before = ParquetSamples(path, birds, "test", "b")
    stamps = {before.stamp(index) for index in range(9)}
    assert len(stamps) == 9
    assert all(0 <= stamp < 2**64 for stamp in stamps)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = ParquetSamples(path, birds, "test", "b")
    assert not stamps & {after.stamp(index) for index in range(9)}


def test_a_file_that_changes_during_a_run_is_an_error(opened, tmp_path):
    path = tmp_path / "data/test-00001-of-00002.parquet"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    with pytest.raises(RunError, match=r"test-00001-of-00002\.parquet has changed since this run began; run again"):
        opened.read(8)


# -- columns and labels ---------------------------------------------------------------------------------------


def test_classes_are_found_by_name_in_whatever_order_the_file_has_them(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", images[:3], [0, 1, 2], ["wren", "crow", "robin"])
    samples = ParquetSamples(path, birds, "test", "b")
    assert [birds.classes[label] for label in samples.labels] == ["wren", "crow", "robin"]
    assert samples.class_names == ("wren", "crow", "robin")


def test_a_file_of_some_of_the_classes_is_read_by_their_names(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", images[:2], [0, 1], ["wren", "robin"])
    assert ParquetSamples(path, birds, "test", "b").labels.tolist() == [2, 1]


def test_labels_may_be_class_names(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", images[:3], ["wren", "crow", "wren"])
    assert ParquetSamples(path, birds, "test", "b").labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("jpg", "cls"), ("image", "labels")])
def test_the_usual_columns_are_found(tmp_path, birds, images, write_parquet, columns):
    path = write_parquet(tmp_path / "b.parquet", images[:2], [0, 2], columns=columns)
    assert ParquetSamples(path, birds, "test", "b").labels.tolist() == [0, 2]


def test_other_columns_can_be_named(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", images[:2], [0, 2], columns=("photo", "species"))
    samples = ParquetSamples(path, birds, "test", "b", image_column="photo", label_column="species")
    assert samples.read(1) == images[1]
    with pytest.raises(BenchError, match=r"has no image column \(image or img or .*: it has photo, species; name it"):
        ParquetSamples(path, birds, "test", "b")
    with pytest.raises(BenchError, match=r"has no label column \('kind' was looked for\)"):
        ParquetSamples(path, birds, "test", "b", image_column="photo", label_column="kind")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (None, None, "has no label column .*; without labels nothing can be scored: it has image"),
        ([0, 3, 1], None, r"row 1 of .* has the label 3, but there are 3 classes \(0 to 2\) where the class space"),
        ([0, 1, -1], None, "row 2 of .* is labelled -1, which stands for no label; choose a split with labels"),
        ([0, 1, -1], ["crow", "robin", "wren"], "row 2 of .* is labelled -1"),
        ([0, 1, None], None, "row 2 of .* has no label; every sample needs one"),
        ([0.5, 1.0, 2.0], None, "must be whole numbers or class names, not double"),
        (["crow", "emu", "wren"], None, r"row 1 of .* has the label 'emu', which is no class of 'birds' \('crow', "),
        ([0, 1, 1], ["cat", "dog"], r"names 2 classes \('cat', 'dog'\), but those of the class space 'birds' are"),
        ([0, 1, 2], ["crow", "robin", "emu"], r"names 3 classes \('emu'\), but those of .* 'birds' are 'crow', "),
    ],
)
def test_labels_that_are_not_of_the_class_space_are_refused(
    tmp_path, birds, images, write_parquet, labels, names, message
):
    path = write_parquet(tmp_path / "b.parquet", images[:3], labels, names)
    with pytest.raises(BenchError, match=message):
        ParquetSamples(path, birds, "test", "b")


def test_rows_without_an_image_are_named(tmp_path, birds, images, write_parquet):
    path = write_parquet(tmp_path / "b.parquet", [images[0], images[1], images[2], None], [0, 1, 2, 0])
    with pytest.raises(RunError, match=r"row 3 of .*b\.parquet \(b\) holds no image \(1 rows hold none\); obtain"):
        ParquetSamples(path, birds, "test", "b")


def test_an_image_column_of_something_else_is_refused(tmp_path, birds, write_parquet):
    pq.write_table(pa.table({"image": ["a.png"], "label": [0]}), tmp_path / "text.parquet")
    with pytest.raises(BenchError, match="must hold the bytes of image files, not string; name another"):
        ParquetSamples(tmp_path / "text.parquet", birds, "test", "b")
    pq.write_table(pa.table({"image": [{"path": "a.png"}], "label": [0]}), tmp_path / "path.parquet")
    with pytest.raises(BenchError, match="holds no bytes of image files; obtain the data again"):
        ParquetSamples(tmp_path / "path.parquet", birds, "test", "b")


# -- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 3, 200, -5])
def test_a_file_cut_short_is_named(tmp_path, birds, images, write_parquet, keep):
    path = write_parquet(tmp_path / "b.parquet", images, LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"b\.parquet is no whole Parquet file .* damaged or cut short; obtain it again"):
        ParquetSamples(path, birds, "test", "b")


def test_a_part_that_is_missing_is_named(opened, tmp_path, birds):
    (tmp_path / "data/test-00000-of-00002.parquet").unlink()
    with pytest.raises(RunError, match=r"1 of the 2 files of b are missing in .*data \(the first is number 00000\)"):
        ParquetSamples(tmp_path, birds, "test", "b")


# -- which files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "split", "wanted"),
    [
        (["test.parquet", "train.parquet"], "test", ["test.parquet"]),
        (["data/val-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], "validation", ["data/val-00000"]),
        (["data/test-00000-of-00001-0a1b2c3d.parquet"], "test", ["data/test-00000-of-00001-0a1b"]),
        (["test/a.parquet", "test/b.parquet", "train/a.parquet"], "test", ["test/a.parquet", "test/b.parquet"]),
        (["b.parquet", "a.parquet"], "test", ["a.parquet", "b.parquet"]),
        (["only.parquet"], "anything", ["only.parquet"]),
    ],
)
def test_a_splits_files_are_found_by_their_names(tmp_path, there, split, wanted):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in split_files(tmp_path, split, "b")]
    assert len(found) == len(wanted)
    assert all(name.startswith(start) for name, start in zip(found, wanted, strict=True))


def test_a_split_that_is_not_there_is_absent(tmp_path):
    with pytest.raises(AbsentError, match="there is no file or folder .*gone, the place that was given for b; check"):
        split_files(tmp_path / "gone", "test", "b")
    (tmp_path / "train.parquet").touch()
    with pytest.raises(
        AbsentError, match=r"holds no Parquet file of split 'test' of b: test\.parquet or .* looked for"
    ):
        split_files(tmp_path, "test", "b")
    with pytest.raises(
        AbsentError, match=r"split 'test' of b is wanted, but .*train\.parquet is by its name the split"
    ):
        split_files(tmp_path / "train.parquet", "test", "b")


def test_two_folders_with_the_split_are_not_mixed(tmp_path):
    for config in ("plain", "cropped"):
        (tmp_path / config).mkdir()
        (tmp_path / config / "test-00000-of-00001.parquet").touch()
    with pytest.raises(BenchError, match="split 'test' of b is in several folders of .*: cropped, plain; give one"):
        split_files(tmp_path, "test", "b")


def test_real_files_of_the_hub_are_read(real_data):
    samples = ParquetSamples(real_data / "cifar10", CIFAR10, "test", "cifar10")
    assert set(samples.labels.tolist()) == set(range(10))
    assert samples.read(len(samples.ids) - 1).startswith(b"\xff\xd8")
    assert len(samples.read(17)) == samples.sizes[17]


# -- Arrow's other types, and hostile files -------------------------------------------------------------------


def as_type(values, kind):
    """An Arrow array; of a dictionary, with as many values as there are rows."""
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()),
         pa.dictionary(pa.int32(), pa.large_string())]  # fmt: skip
NUMBERS = [pa.int8(), pa.uint64(), pa.dictionary(pa.int8(), pa.int64())]


@pytest.mark.parametrize("image", BYTES, ids=str)
@pytest.mark.parametrize("label", [*TEXTS, *NUMBERS], ids=str)
def test_every_type_of_bytes_texts_and_numbers_is_read(tmp_path, birds, images, image, label):
    labels = ["crow", "wren", "crow"] if label in TEXTS else [0, 2, 0]
    table = pa.table({"image": as_type(images[:3], image), "label": as_type(labels, label)})
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=2)
    samples = ParquetSamples(tmp_path / "b.parquet", birds, "test", "b")
    assert samples.labels.tolist() == [0, 2, 0]
    assert samples.sizes.tolist() == [len(data) for data in images[:3]]
    assert [samples.read(row) for row in (2, 0, 1)] == [images[2], images[0], images[1]]


def test_images_of_one_size_may_be_stored_as_such(tmp_path, birds, images):
    table = pa.table({"image": pa.array([images[0]] * 2, pa.binary(len(images[0]))), "label": [0, 1]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert ParquetSamples(tmp_path / "b.parquet", birds, "test", "b").read(1) == images[0]


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_small_file_of_one_large_value_many_times_is_not_unfolded(tmp_path, birds, images, column):
    rows = 20_000  # of 200 KB: 4 GB
    many = pa.array(np.zeros(rows, np.int32))
    image = pa.DictionaryArray.from_arrays(many, pa.array([images[0]]))
    label = pa.DictionaryArray.from_arrays(many, pa.array(["crow"]))
    if column == "image":
        image = pa.DictionaryArray.from_arrays(many, pa.array([bytes(200_000)]))
    else:
        label = pa.DictionaryArray.from_arrays(many, pa.array(["crow" * 50_000]))
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"image": image, "label": label}), path, compression="zstd", store_schema=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = "has a row group that unpacks to more than 1.0 GiB" if column == "image" else "has the label 'crowc"
    with pytest.raises(BenchError, match=message) as raised:
        ParquetSamples(path, birds, "test", "b")
    assert len(str(raised.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB


def test_more_rows_than_any_set_has_are_refused(tmp_path, birds, images, write_parquet, monkeypatch):
    monkeypatch.setattr("bench.datasets.readers.parquet._MOST_ROWS", 8)
    with pytest.raises(BenchError, match=r"b\.parquet has 9 rows, and at most 8 are read; cut it"):
        ParquetSamples(write_parquet(tmp_path / "b.parquet", images, LABELS), birds, "test", "b")


def test_hidden_files_are_no_tables(tmp_path, birds, images, write_parquet):
    write_parquet(tmp_path / "test.parquet", images, LABELS)
    for name in ("._test.parquet", ".cache/test.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert len(ParquetSamples(tmp_path, birds, "test", "b").ids) == 9


def test_damaged_files_are_read_or_named(tmp_path, birds, images, write_parquet):
    path, rng = write_parquet(tmp_path / "b.parquet", images, LABELS), np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(len(data) // 3, len(data), rng.integers(1, 4)):  # the footer, mostly
            data[place] = rng.integers(256)
        path.write_bytes(data)
        message = ""
        try:
            samples = ParquetSamples(path, birds, "test", "b")
            for row in range(len(samples.ids)):
                samples.read(row)
        except BenchError as error:
            message = str(error)
        assert "\n" not in message
