"""What in a folder is a sample, what is counted beside, and what is an error."""

import os

import numpy as np
import pytest

from bench.datasets import Dataset, Library, datasets
from bench.datasets.readers.folder import class_folders
from bench.datasets.readers.shards import ShardSamples, shard_files
from bench.datasets.verify import verify
from bench.errors import BenchError, RunError
from bench.progress import Silent

BESIDE = ["a.jfif", "a.jpe", "a.PGM", "a.avif", "a.tga", "a.heic", "deeper/a.jpg", "deeper/a.d/b.png"]


@pytest.fixture
def folder(tmp_path, birds, images):
    for number, name in enumerate(birds.classes):
        (tmp_path / "birds" / name).mkdir(parents=True)
        (tmp_path / "birds" / name / "0.png").write_bytes(images[number])
    return tmp_path / "birds"


def put(folder, name, data=b"x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("name", BESIDE)
def test_what_looks_like_an_image_and_is_no_sample_is_counted(folder, birds, name):
    put(folder, f"crow/{name}")
    samples = class_folders(folder, birds, "b")
    assert samples.ids.tolist() == ["crow/0.png", "robin/0.png", "wren/0.png"]
    assert samples.passed_over.names == (f"crow/{name}",)


def test_an_image_without_an_ending_is_known_by_its_content(folder, birds, images):
    put(folder, "wren/0001", images[0])
    put(folder, "wren/LICENCE", b"Take them.")
    put(folder, "loose.png", images[0])
    assert class_folders(folder, birds, "b").passed_over.names == ("loose.png", "wren/0001")


@pytest.mark.parametrize("name", ["crow/._0.png", "crow/.DS_Store", "crow/.thumbs/0.png", "._crow", ".x/0.png",
                                  "__MACOSX/0.png", "crow/notes.txt", "crow/__MACOSX/._0.png"])  # fmt: skip
def test_hidden_files_and_what_is_no_image_are_nothing(folder, birds, name):
    put(folder, name)
    samples = class_folders(folder, birds, "b")
    assert len(samples.ids) == 3
    assert samples.passed_over is None


@pytest.mark.parametrize("link", ["crow/1.png", "crow/b.jfif", "emu"])
@pytest.mark.parametrize("target", ["/nowhere/at/all", "1.png", "emu"])  # the latter two lead to themselves
def test_links_to_nothing_are_no_small_matter(folder, birds, link, target):
    birds = type(birds)(name="birds", classes=(*birds.classes, "emu"))
    os.symlink(target, folder / link)
    with pytest.raises(
        RunError, match=rf"has 1 links to files that are not there \({link}\), so this copy of b is not"
    ):
        class_folders(folder, birds, "b")


def test_the_run_and_verify_say_what_is_passed_over(scratch_registries, folder, birds):
    put(folder, "crow/a.jfif")
    put(folder, "crow/deeper/a.jpg")
    record = Dataset(name="b", class_space=birds, open=lambda _, place: class_folders(place, birds, "b"))
    datasets.register(record)
    notes: list[str] = []
    library = Library({"b": folder}, notes.append)
    for _ in range(2):
        library.open("b", "test")
    [note] = notes
    assert note.startswith(
        "b: files that look like images and are passed over: 2 (crow/a.jfif, crow/deeper/a.jpg); sam"
    )
    [report] = verify(record, library, 0, Silent())
    assert "files that look like images and are passed over: 2" in [finding.text for finding in report.findings]
    assert report.ok


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a\nb.png", b"\x1b[31m.png", "a\u2028b.png".encode()])
def test_a_name_that_is_no_text_is_one_sentence(scratch_registries, folder, birds, images, name):
    with open(os.path.join(os.fsencode(folder), b"crow", name), "wb") as file:
        file.write(images[0])
    datasets.register(Dataset(name="b", class_space=birds, open=lambda _, place: class_folders(place, birds, "b")))
    with pytest.raises(BenchError, match=r"has a sample named 'crow/[ -~]*\.png', and names must be text .*; rename"):
        Library({"b": folder}).open("b", "test")


def test_names_of_any_writing_are_read(scratch_registries, folder, birds, images):
    for name in ("é", "日本", "e\u0301", "👩\u200d🔬", " a b ", "'\"<>|*?"):
        put(folder, f"crow/{name}.png", images[0])
    datasets.register(Dataset(name="b", class_space=birds, open=lambda _, place: class_folders(place, birds, "b")))
    assert len(Library({"b": folder}).open("b", "test").samples.ids) == 9


# -- shards ---------------------------------------------------------------------------------------------------


def test_members_of_shards_that_are_no_samples_are_counted(tmp_path, birds, images, write_tar):
    members = {"one.png": images[0], "one.cls": b"0", "two.v2.png": images[1], "two.v2.cls": b"1",
               "three.bmp": images[2], "._one.png": b"x", "d/._one.cls": b"x", "one.txt": b"a crow"}  # fmt: skip
    samples = ShardSamples(write_tar(tmp_path / "b.tar", members), birds, "b")
    assert samples.ids.tolist() == ["one"]
    assert samples.passed_over.names == ("two.v2.png", "three.bmp")


def test_hidden_shards_are_no_shards(tmp_path):
    for name in ("a.tar", "._a.tar"):
        (tmp_path / name).touch()
    assert shard_files(tmp_path, "b") == [tmp_path / "a.tar"]


def test_folders_read_as_ever(folder, birds, images):
    samples = class_folders(folder, birds, "b")
    assert samples.labels.tolist() == [0, 1, 2]
    assert np.array_equal(samples.sizes, [len(data) for data in images[:3]])
