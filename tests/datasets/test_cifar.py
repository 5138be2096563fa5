import io
import pickle

import numpy as np
import pytest
from PIL import Image

from bench.config import load_config
from bench.datasets import Library, Whole, datasets, fingerprint
from bench.datasets.cifar import open_cifar10, open_cifar100
from bench.datasets.readers.hub import HubSource
from bench.datasets.spaces import CIFAR10, CIFAR100
from bench.errors import AbsentError, BenchError, RunError

N = 20  # images a file


def planes(seed: int) -> np.ndarray:
    """(N, 3072) uint8, as the authors' files lay images out."""
    return np.random.default_rng(seed).integers(0, 256, (N, 3072), dtype=np.uint8)


def labels(classes: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, classes, N).tolist()


def dump(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


@pytest.fixture
def python10(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    dump(folder / "batches.meta", {"label_names": list(CIFAR10.classes), "num_vis": 3072})
    for seed, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in range(1, 6))]):
        dump(folder / name, {"data": planes(seed), "labels": labels(10, seed), "batch_label": name, "filenames": ["a"]})
    return folder


@pytest.fixture
def python100(tmp_path):
    folder = tmp_path / "cifar-100-python"
    dump(folder / "meta", {b"fine_label_names": [name.encode() for name in CIFAR100.classes]}, 4)
    for seed, name in enumerate(["test", "train"]):
        content = {b"data": planes(seed), b"fine_labels": labels(100, seed), b"coarse_labels": [0] * N}
        dump(folder / name, content, 4)
    return folder


def picture(row: np.ndarray) -> np.ndarray:
    """The pixels of a row, one by one: the byte of channel c at (y, x) is number 1024 c + 32 y + x."""
    return np.array([[[row[1024 * c + 32 * y + x] for c in range(3)] for x in range(32)] for y in range(32)])


@pytest.mark.parametrize("inner", [True, False])
def test_pixels_and_labels_of_the_python_version(python10, inner):
    samples = open_cifar10("test", python10 if inner else python10.parent)
    assert samples.labels.tolist() == labels(10, 0)
    assert samples.labels.dtype == np.int64
    assert samples.ids.tolist() == [f"test/{row:08d}" for row in range(N)]
    assert samples.sizes.tolist() == [3072] * N
    for index in (0, 7, N - 1):
        assert np.array_equal(samples.read(index), picture(planes(0)[index]))


def test_the_training_set_is_the_five_batches_in_order(python10):
    samples = open_cifar10("train", python10)
    assert samples.labels.tolist() == [label for seed in range(1, 6) for label in labels(10, seed)]
    assert np.array_equal(samples.read(4 * N + 3), picture(planes(5)[3]))


def test_cifar100_has_its_fine_labels(python100):
    samples = open_cifar100("train", python100.parent)
    assert samples.labels.tolist() == labels(100, 1)
    assert np.array_equal(samples.read(2), picture(planes(1)[2]))


def test_the_binary_versions_hold_the_same(python10, python100, tmp_path):
    def write(path, rows, *columns):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(np.hstack([*(np.array(c, dtype=np.uint8)[:, None] for c in columns), rows]).tobytes())

    for seed, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in range(1, 6))]):
        write(tmp_path / f"b/cifar-10-batches-bin/{name}.bin", planes(seed), labels(10, seed))
    for seed, name in enumerate(["test", "train"]):
        write(tmp_path / f"b/cifar-100-binary/{name}.bin", planes(seed), [3] * N, labels(100, seed))
    for open_it, python in ((open_cifar10, python10), (open_cifar100, python100)):
        for split in ("test", "train"):
            one, other = open_it(split, python), open_it(split, tmp_path / "b")
            assert fingerprint(one) == fingerprint(other)
            assert all(np.array_equal(one.read(index), other.read(index)) for index in range(N))
            assert one.stamp(1) == other.stamp(1) != one.stamp(2)


def test_parquet_files_have_the_ids_of_the_authors_files(python10, tmp_path, write_parquet):
    files = []
    for row in planes(0):
        file = io.BytesIO()
        Image.fromarray(picture(row).astype(np.uint8)).save(file, "png")
        files.append(file.getvalue())
    place = write_parquet(tmp_path / "p/test-00000-of-00001.parquet", files, labels(10, 0), CIFAR10.classes).parent
    python, parquet = open_cifar10("test", python10), open_cifar10("test", place)
    assert parquet.ids.tolist() == python.ids.tolist()
    assert parquet.labels.tolist() == python.labels.tolist()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(parquet.read(5)))), python.read(5))


def test_worker_processes_can_have_a_copy(python10):
    samples = open_cifar10("test", python10)
    assert np.array_equal(pickle.loads(pickle.dumps(samples)).read(3), samples.read(3))


def test_classes_are_found_by_the_names_in_the_meta_file(python10):
    dump(python10 / "batches.meta", {"label_names": list(CIFAR10.classes)[::-1]})
    assert open_cifar10("test", python10).labels.tolist() == [9 - label for label in labels(10, 0)]


def test_both_are_registered_with_what_the_whole_has():
    library = Library()
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        with pytest.raises(AbsentError, match=rf"'{name}' is not on this machine .*kriz/cifar.html, .*--data {name}="):
            library.open(name, "train")
        assert datasets.get(name).expected == {
            "test": Whole(images=10_000, classes=classes),
            "train": Whole(images=50_000, classes=classes),
        }


# -- what is refused ------------------------------------------------------------------------------------------


class Trap:
    """Would make a folder if it were unpickled in the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_runs(python10, tmp_path):
    dump(python10 / "test_batch", {"data": Trap(tmp_path / "trapped"), "labels": []})
    with pytest.raises(BenchError, match=r"test_batch would run code \(it names posix\.mkdir\), which .* obtain it"):
        open_cifar10("test", python10)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "numpy.load", "_codecs.decode"])
def test_no_function_but_those_of_arrays_is_admitted(python10, name):
    module, function = name.split(".")
    (python10 / "test_batch").write_bytes(f"c{module}\n{function}\n.".encode())
    with pytest.raises(BenchError, match=f"would run code .it names {name}"):
        open_cifar10("test", python10)


def test_bytes_in_another_encoding_are_refused(python10):
    (python10 / "test_batch").write_bytes(b"c_codecs\nencode\n(Vab\nVrot13\ntR.")
    with pytest.raises(RunError, match="damaged or cut short .bytes in the encoding 'rot13'.; obtain it again"):
        open_cifar10("test", python10)


@pytest.mark.parametrize("keep", [0, 10, 5_000])
def test_a_pickle_cut_short_is_named(python10, keep):
    path = python10 / "test_batch"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"test_batch is damaged or cut short \(.*\); obtain it again"):
        open_cifar10("test", python10)


@pytest.mark.parametrize(
    "content",
    [
        {"data": planes(0)[:, :100], "labels": labels(10, 0)},
        {"data": planes(0).astype(float), "labels": labels(10, 0)},
        {"data": planes(0), "labels": labels(10, 0)[1:]},
        {"data": planes(0), "labels": ["cat"] * N},
        {"data": [1, 2], "labels": [1, 2]},
        {"labels": labels(10, 0)},
        {"data": planes(0)},
    ],
)
def test_a_pickle_of_something_else_is_refused(python10, content):
    dump(python10 / "test_batch", content)
    with pytest.raises(
        BenchError, match=r"test_batch is not a batch of cifar10: `data` \(n, 3072\) of uint8 .*`labels`"
    ):
        open_cifar10("test", python10)


def test_a_pickle_that_is_no_dictionary_is_refused(python10):
    dump(python10 / "test_batch", [1, 2])
    with pytest.raises(BenchError, match="test_batch holds a list, not a batch of CIFAR; obtain it again"):
        open_cifar10("test", python10)


def test_cifar100_given_as_cifar10_is_refused(python10):
    dump(python10 / "batches.meta", {"label_names": list(CIFAR100.classes)})
    with pytest.raises(BenchError, match=r"batches\.meta names 100 classes .* those of the class space 'cifar10' are"):
        open_cifar10("test", python10)


def test_a_label_beyond_the_classes_is_damage(python10):
    dump(python10 / "test_batch", {"data": planes(0), "labels": [10] * N})
    with pytest.raises(RunError, match="has labels from 10 to 10, but cifar10 has 10 classes; it is damaged"):
        open_cifar10("test", python10)


def test_missing_files_are_named(python10, tmp_path):
    (python10 / "data_batch_3").unlink()
    with pytest.raises(AbsentError, match="data_batch_3 is missing; unpack the whole archive again"):
        open_cifar10("train", python10)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/test_batch.bin").write_bytes(bytes(3073))
    with pytest.raises(AbsentError, match=r"data_batch_1\.bin is missing; unpack the whole"):
        open_cifar10("train", tmp_path / "b")


@pytest.mark.parametrize("count", [0, 3072, 3074])
def test_a_binary_file_cut_short_is_named(tmp_path, count):
    (tmp_path / "test_batch.bin").write_bytes(bytes(count))
    with pytest.raises(
        RunError, match=rf"test_batch.bin has {count:,} bytes, not a multiple of 3,073 as cifar10 needs"
    ):
        open_cifar10("test", tmp_path)


def test_an_archive_is_to_be_unpacked(tmp_path):
    with pytest.raises(BenchError, match=r"cifar-10-python\.tar\.gz is still packed; unpack it with `tar -xf`"):
        open_cifar10("test", tmp_path / "cifar-10-python.tar.gz")


def test_torchvision_reads_the_same_pixels(python10, monkeypatch):
    from torchvision.datasets import CIFAR10 as Theirs

    monkeypatch.setattr(Theirs, "_check_integrity", lambda self: True)
    monkeypatch.setattr(Theirs, "_load_meta", lambda self: None)
    for split in ("test", "train"):
        theirs = Theirs(str(python10.parent), train=split == "train")
        ours = open_cifar10(split, python10)
        assert theirs.targets == ours.labels.tolist()
        assert all(np.array_equal(theirs.data[index], ours.read(index)) for index in range(len(theirs.data)))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_place_on_the_hub_is_fetched_from_there(name, monkeypatch):
    taken = []
    monkeypatch.setattr("bench.datasets.readers.hub_tables.HubSamples", lambda *given: taken.append(given))
    settings = load_config({"data": {name: f"hf://uoft-cs/{name}"}}).settings
    datasets.get(name).open("test", settings.places[name])
    assert taken == [(HubSource(repo=f"uoft-cs/{name}", split="test"), datasets.get(name).class_space, name)]


def test_other_pixels_under_the_same_labels_are_other_data(python10, tmp_path):
    before = Library({"cifar10": python10}).open("cifar10", "test").fingerprint
    batch = next(python10.rglob("test_batch"))
    content = pickle.loads(batch.read_bytes(), encoding="bytes")
    key = next(key for key in content if key in (b"data", "data"))
    content[key] = 255 - content[key]
    batch.write_bytes(pickle.dumps(content))
    assert Library({"cifar10": python10}).open("cifar10", "test").fingerprint != before


# -- hostile pickles ------------------------------------------------------------------------------------------


class Forged:
    """An array as NumPy pickles it, with a state of anybody's making."""

    def __init__(self, state, kind_state=(3, "|", None, None, None, -1, -1, 0)):
        self.state, self.kind_state = state, kind_state

    def __reduce__(self):
        return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


class Kind:
    """NumPy's type of bytes, with a state of anybody's making: such a state makes NumPy read foreign memory."""

    def __init__(self, code="u1", state=(3, "|", None, None, None, -1, -1, 0)):
        self.code, self.state = code, state

    def __reduce__(self):
        return np.dtype, (self.code, False, True), self.state


@pytest.mark.parametrize(
    "state",
    [
        (1, (N, 3072), Kind(), False, b"short"),
        (1, (-1, 3072), Kind(), False, b"x"),
        (1, (10**18, 3072), Kind(), False, b"x"),
        (1, (2**64, 2**64), Kind(), False, b"x"),
        (1, (N, 3072), Kind("O"), False, [1] * N * 3072),
        (1, (N, 3072), Kind("V8"), False, bytes(8 * N * 3072)),
        (1, (N, 3072), "u1", False, bytes(N * 3072)),
        (1, (True, 3072), Kind(), False, bytes(3072)),
        (),
        None,
    ],
)
def test_a_forged_array_is_refused(python10, state):
    dump(python10 / "test_batch", {"data": Forged(state), "labels": labels(10, 0)})
    with pytest.raises(BenchError, match="test_batch is (damaged or cut short|not a batch of cifar10)"):
        open_cifar10("test", python10)


def test_the_state_of_a_type_says_nothing(python10):
    odd = Kind(state=(3, "|", ("f0",), ("f0",), {"f0": (1, 2**62)}, 2**31 - 1, 2**31 - 1, 0x7F))
    dump(python10 / "test_batch", {"data": Forged((1, (N, 3072), odd, False, planes(0).tobytes())), "labels": [0] * N})
    assert np.array_equal(open_cifar10("test", python10).read(3), picture(planes(0)[3]))


@pytest.mark.parametrize(
    "instructions",
    [
        b"\x80\x02}q\x00r\xff\xff\xff\x7f.",  # a memory of 2³¹ places
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes without end
        b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b".",  # deep
        b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
        b"\x80\x02c__builtin__\nlist\n(t\x81.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02Pbatch\n.",
        b"\x80\x02cnumpy\nndarray\n}S'shape'\nI1\nsb.",  # a state of a class
        b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R}U\x01aI1\nsb",
        b"0.",
        b"",
    ],
)
def test_other_instructions_do_nothing(python10, instructions):
    (python10 / "test_batch").write_bytes(instructions)
    with pytest.raises(BenchError, match=r"test_batch( is damaged| holds a| would run code| is not a batch)"):
        open_cifar10("test", python10)


@pytest.mark.parametrize("protocol", range(5))
def test_damaged_pickles_are_read_or_named(python10, protocol):
    dump(python10 / "test_batch", {"data": planes(0)[:2], "labels": [1, 2], "filenames": ["a", "b"]}, protocol)
    whole, rng = (python10 / "test_batch").read_bytes(), np.random.default_rng(protocol)
    ends = [*range(150), *range(len(whole) - 150, len(whole))]  # between them are pixels
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.choice(ends, rng.integers(1, 5)):
            if rng.random() < 0.5:
                data[place] = rng.integers(256)
            else:
                data[place:place] = data[int(rng.choice(ends)) :][: int(rng.integers(1, 30))]
        (python10 / "test_batch").write_bytes(data)
        message = ""
        try:
            open_cifar10("test", python10)
        except BenchError as error:
            message = str(error)
        assert "\n" not in message


def test_a_file_larger_than_any_of_these_is_refused_unread(python10):
    for file in (python10 / "test_batch", python10.parent / "test_batch.bin"):
        with file.open("wb") as opened:
            opened.truncate(2**40)
        with pytest.raises(
            RunError, match=rf"{file.name} is larger than 512.0 MiB, which nothing of its kind is; obtain"
        ):
            open_cifar10("test", file.parent)
        file.unlink()
        (python10 / "batches.meta").unlink(missing_ok=True)
