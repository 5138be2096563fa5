"""Hub data sets, offline: the `datasets` library takes a folder of data files in the place of a hub name."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

hub = pytest.importorskip("datasets")

from bench.datasets import fingerprint  # noqa: E402
from bench.datasets.readers.hub import HubSamples, HubSource, open_stream, share_rows, spool  # noqa: E402
from bench.datasets.readers.parquet import ParquetSamples  # noqa: E402
from bench.errors import AbsentError, BenchError, RunError  # noqa: E402

LABELS = [0, 1, 2, 2, 1, 0, 0, 1, 2]
NAMES = ("wren", "crow", "robin")


@pytest.fixture(autouse=True)
def kept_apart(tmp_path, monkeypatch):
    """Nothing is written to the caches of whoever runs the tests, and nothing is asked of the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", True)
    hub.disable_progress_bars()


@pytest.fixture
def repo(tmp_path, images, write_parquet):
    write_parquet(tmp_path / "repo/data/test-00000-of-00002.parquet", images[:5], LABELS[:5], NAMES)
    write_parquet(tmp_path / "repo/data/test-00001-of-00002.parquet", images[5:], LABELS[5:], NAMES)
    return str(tmp_path / "repo")


OPENERS = [HubSamples, open_stream]


@pytest.mark.parametrize("opener", OPENERS)
def test_a_hub_set_is_the_same_data_as_its_parquet_files(repo, birds, images, tmp_path, opener):
    samples = opener(HubSource(repo=repo), birds, "b")
    assert [birds.classes[label] for label in samples.labels] == [NAMES[label] for label in LABELS]
    assert [samples.read(index) for index in (8, 0, 4, 5)] == [images[8], images[0], images[4], images[5]]
    assert samples.class_names == NAMES
    assert fingerprint(samples) == fingerprint(ParquetSamples(tmp_path / "repo", birds, "test", "b"))
    assert len({samples.stamp(index) for index in range(9)}) == 9


@pytest.mark.parametrize("opener", OPENERS)
def test_worker_processes_can_have_a_copy(repo, birds, images, opener):
    samples = opener(HubSource(repo=repo), birds, "b")
    copy = pickle.loads(pickle.dumps(samples))
    assert copy.read(7) == images[7]
    assert copy.stamp(7) == samples.stamp(7)
    assert len(pickle.dumps(samples)) < 8_000  # no images travel


@pytest.mark.parametrize("opener", OPENERS)
def test_a_set_of_image_files_is_read_from_the_files(tmp_path, birds, images, opener):
    for number, data in enumerate(images):
        folder = tmp_path / "files/test" / birds.classes[number // 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(data)
    samples = opener(HubSource(repo=str(tmp_path / "files")), birds, "b")
    assert samples.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert samples.sizes.tolist() == [len(data) for data in images]
    assert [samples.read(index) for index in range(9)] == images
    assert len({samples.stamp(index) for index in range(9)}) == 9


def touch(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns))  # its time of change stays; that of its status does not


def test_what_changed_in_the_hubs_cache_since_it_was_opened_is_not_read(repo, birds, tmp_path):
    samples = HubSamples(HubSource(repo=repo), birds, "b")
    samples.read(3)
    [path] = (tmp_path / "arrow").rglob("*.arrow")
    touch(path)
    with pytest.raises(RunError, match=r"\.arrow has changed since this run began; run again"):
        samples.read(3)
    assert HubSamples(HubSource(repo=repo), birds, "b").stamp(3) != samples.stamp(3)


def test_an_image_file_that_changed_since_it_was_opened_is_not_read(tmp_path, birds, images):
    for number, name in enumerate(birds.classes):
        (tmp_path / "files/test" / name).mkdir(parents=True)
        (tmp_path / "files/test" / name / "a.png").write_bytes(images[number])
    samples = HubSamples(HubSource(repo=str(tmp_path / "files")), birds, "b")
    touch(tmp_path / "files/test/robin/a.png")
    assert samples.read(0) == images[0]
    with pytest.raises(RunError, match=r"robin/a\.png has changed since this run began; run again"):
        samples.read(1)


def test_an_image_file_that_is_gone_is_named(tmp_path, birds, images):
    for number, name in enumerate(birds.classes):
        (tmp_path / "files/test" / name).mkdir(parents=True)
        (tmp_path / "files/test" / name / "a.png").write_bytes(images[number])
    samples = HubSamples(HubSource(repo=str(tmp_path / "files")), birds, "b")
    (tmp_path / "files/test/robin/a.png").unlink()
    with pytest.raises(RunError, match="row 1 of b holds no image; obtain the data again"):
        samples.read(1)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"split": "dev"}, r"b: '.*repo' cannot be read \(.*plit.* dev|\"dev\".*'test'.*; check its name, config, rev"),
        ({"config": "cropped"}, r"b: '.*repo' cannot be read \(BuilderConfig 'cropped' not found.*check its name"),
        ({"image_column": "photo"}, "b has no image column .'photo' was looked for.: it has image, label"),
        ({"label_column": "kind"}, "b has no label column .'kind' was looked for.; without labels nothing can be"),
    ],
)
def test_what_the_set_does_not_have_is_named(repo, birds, opener, source, message):
    with pytest.raises(BenchError, match=message):
        opener(HubSource(repo=repo, **source), birds, "b")


@pytest.mark.parametrize("opener", OPENERS)
def test_unlabelled_and_foreign_labels_are_refused(tmp_path, birds, images, write_parquet, opener):
    write_parquet(tmp_path / "u/test.parquet", images[:2], [-1, -1], NAMES)
    with pytest.raises(BenchError, match="row 0 of .*b.* is labelled -1, which stands for no label"):
        opener(HubSource(repo=str(tmp_path / "u")), birds, "b")
    write_parquet(tmp_path / "f/test.parquet", images[:2], [0, 1], ["cat", "dog"])
    with pytest.raises(BenchError, match="names 2 classes .'cat', 'dog'., but those of the class space 'birds' are"):
        opener(HubSource(repo=str(tmp_path / "f")), birds, "b")


@pytest.mark.parametrize("opener", OPENERS)
def test_without_a_network_the_message_says_what_to_do(birds, opener):
    with pytest.raises(
        AbsentError, match="b: the hub cannot be reached for 'x/y' .*; go online, or give .*--data b=FOLD"
    ):
        opener(HubSource(repo="x/y"), birds, "b")


def test_a_name_that_the_hub_does_not_have_is_named(birds, monkeypatch):
    def load(*args, **options):
        raise hub.exceptions.DatasetNotFoundError("Dataset 'x/y' doesn't exist on the Hub or cannot be accessed.")

    monkeypatch.setattr(hub, "load_dataset", load)
    with pytest.raises(AbsentError, match=r"b: the hub has no 'x/y' for you \(.*accessed\); check its name, or log in"):
        HubSamples(HubSource(repo="x/y"), birds, "b")


# -- what is kept of it, and what is learnt from -----------------------------------------------------------------


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("keeps_time", [False, True])
def test_images_of_a_folder_that_were_replaced_are_read_and_not_what_was_kept(
    repo, birds, images, write_parquet, opener, keeps_time
):
    path = Path(repo, "data/test-00000-of-00002.parquet")
    opener(HubSource(repo=repo), birds, "b")
    before = path.stat()
    write_parquet(path, images[4::-1], LABELS[:5], NAMES)
    if keeps_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    samples = opener(HubSource(repo=repo), birds, "b")
    assert [samples.read(index) for index in (0, 4, 8)] == [images[4], images[0], images[8]]


@pytest.mark.parametrize(
    ("train", "scored", "shared"),
    [
        ("train", "test", False), ("train", "train[:10]", True), ("train+test", "test", True), ("other", "test", False),
        ("train[:80%]", "train[80%:]", False), ("train[:80%]", "train[70%:]", True), ("train[-3:]", "train[27:]", True),
        ("train[:-3]", "train[27:]", False), ("train[x]", "train", False), ("odd", "odd+test", True),
    ],
)  # fmt: skip
def test_splits_that_have_rows_in_common_are_known(train, scored, shared):
    counts = {"train": 30, "test": 9}
    assert share_rows(train, scored, counts) == share_rows(scored, train, counts) == shared


# -- what is no data set of the hub ---------------------------------------------------------------------------


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    "repo", ["pandas", "imagefolder", "a/b/c", "../x", "x/..", "https://x.org/y", "x/y\n", "~/x", ""]
)
def test_only_owner_and_name_or_a_folder_are_a_data_set(birds, opener, repo, monkeypatch):
    """A word is a reader of the library itself: `pandas` unpickled what lies in the working directory."""
    monkeypatch.setattr(hub, "load_dataset", lambda *_, **__: pytest.fail("the library was asked"))
    with pytest.raises(BenchError, match=r"b: .* is no data set of the hub, which go by OWNER/NAME, and no folder"):
        opener(HubSource(repo=repo), birds, "b")


@pytest.mark.parametrize("opener", OPENERS)
def test_a_folder_of_the_working_directory_is_not_taken_for_the_hub(birds, opener, tmp_path, monkeypatch):
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match="b: 'owner/name' means a data set of the hub, but is also in the working dir"):
        opener(HubSource(repo="owner/name"), birds, "b")
    with pytest.raises(AbsentError, match="b: there is no folder /nowhere/at/all; correct the path"):
        opener(HubSource(repo="/nowhere/at/all"), birds, "b")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../secret.png", "{root}/d/../../secret.png", "secret.png"])
def test_rows_name_no_other_files_of_the_machine(birds, tmp_path, images, opener, path, monkeypatch):
    root = tmp_path / "repo"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(images[0])
    monkeypatch.chdir(tmp_path)
    image = pa.array(
        [{"bytes": None, "path": path.format(root=root)}], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    features = {"image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "int64"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"image": image, "label": [0]}).replace_schema_metadata(metadata), root / "test.parquet")
    with pytest.raises(BenchError, match="none of the data set's"):
        opener(HubSource(repo=str(root)), birds, "b")


# -- streams --------------------------------------------------------------------------------------------------


def test_a_stream_is_read_once(repo, birds, monkeypatch):
    first = open_stream(HubSource(repo=repo), birds, "b")
    monkeypatch.setattr(hub, "load_dataset", lambda *_, **__: pytest.fail("the library was asked"))
    again = open_stream(HubSource(repo=repo), birds, "b")
    assert fingerprint(again) == fingerprint(first)


def test_another_split_or_revision_is_another_stream(repo, tmp_path, images, write_parquet):
    write_parquet(tmp_path / "repo/data/train-00000-of-00001.parquet", images[:2], [0, 1], NAMES)
    sources = [HubSource(repo=repo), HubSource(repo=repo, split="train"), HubSource(repo=repo, revision="v2")]
    assert len({spool(source, "b") for source in sources}) == 3


def test_an_interrupted_stream_is_never_taken_for_whole(repo, birds, monkeypatch):
    load = hub.load_dataset

    def interrupted(*args, **options):
        data = load(*args, **options)

        def batches(self, batch_size):
            yield from ([next(iter(original(self, 4)))])
            raise KeyboardInterrupt

        original = type(data).iter
        monkeypatch.setattr(type(data), "iter", batches)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(hub, "load_dataset", interrupted)
        iter_before = hub.IterableDataset.iter
        with pytest.raises(KeyboardInterrupt):
            open_stream(HubSource(repo=repo), birds, "b")
        monkeypatch.setattr(hub.IterableDataset, "iter", iter_before)
    assert len(open_stream(HubSource(repo=repo), birds, "b").ids) == 9


def test_a_stream_that_ends_early_is_an_error(repo, birds, monkeypatch):
    load = hub.load_dataset
    counts = iter([12, 9])

    def promising(*args, **options):
        data = load(*args, **options)
        split = hub.SplitInfo(name="test", num_examples=next(counts))
        data.info.splits = hub.splits.SplitDict({"test": split})
        return data

    monkeypatch.setattr(hub, "load_dataset", promising)
    with pytest.raises(RunError, match="the stream of b ended after 9 of 12 samples; run again"):
        open_stream(HubSource(repo=repo), birds, "b")
    assert len(open_stream(HubSource(repo=repo), birds, "b").ids) == 9


def test_a_stream_without_declared_columns_is_refused(repo, birds, monkeypatch):
    load = hub.load_dataset

    def undeclared(*args, **options):
        data = load(*args, **options)
        data.info.features = None
        return data

    monkeypatch.setattr(hub, "load_dataset", undeclared)
    with pytest.raises(
        BenchError, match="b does not declare its columns, so it cannot be streamed; set streaming = fal"
    ):
        open_stream(HubSource(repo=repo), birds, "b")


def test_a_cache_that_cannot_be_written_is_named(repo, birds, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(RunError, match="b cannot be kept in .*hub.* .Not a directory.; set XDG_CACHE_HOME to another"):
        open_stream(HubSource(repo=repo), birds, "b")


def test_the_library_is_imported_only_when_a_set_is_opened_and_brings_no_torch(repo, tmp_path):
    script = (
        "import sys\nfrom bench.datasets.readers.hub import *\nassert 'datasets' not in sys.modules\n"
        "space = ClassSpace(name='b', classes=('crow', 'robin', 'wren'))\n"
        f"assert len(HubSamples(HubSource(repo={repo!r}), space, 'b').ids) == 9\nassert 'torch' not in sys.modules"
    )
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
