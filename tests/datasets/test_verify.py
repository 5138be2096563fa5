import argparse
import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from bench.cli.data import add_data
from bench.datasets import Dataset, Library, Whole, datasets
from bench.datasets.readers.folder import class_folders
from bench.datasets.verify import lines, look, verify
from bench.errors import AbsentError, BenchError, RunError
from bench.progress import Silent
from bench.records import ClassSpace

SPACE = ClassSpace(name="birds", classes=("crow", "robin", "wren"))


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def encode(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def place(tmp_path):
    """Two images in each of three classes."""
    for number in range(6):
        folder = tmp_path / "birds" / SPACE.classes[number // 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(picture(number)))
    return tmp_path / "birds"


def open_birds(split, place):
    if split == "extra":
        raise AbsentError("the extra birds are elsewhere.")
    if split == "broken":
        raise BenchError("the broken birds are not birds.")
    return class_folders(place, SPACE, "birds")


@pytest.fixture
def register(scratch_registries):
    """A function that registers the birds with what the whole of them has."""

    def _register(images=6, classes=3, splits=("test",)):
        expected = {"test": Whole(images=images, classes=classes)} if images else {}
        record = Dataset(name="birds", class_space=SPACE, open=open_birds, splits=splits, expected=expected,
                         about="Birds.", licence="CC0", source="a garden")  # fmt: skip
        return datasets.register(record)

    return _register


def check(dataset, place, workers=0):
    return verify(dataset, Library({"birds": place}), workers, Silent())


def texts(reports):
    return [finding.text for report in reports for finding in report.findings]


# -- counts ---------------------------------------------------------------------------------------------------


def test_a_whole_set_is_said_to_be_whole(register, place):
    [report] = check(register(), place)
    assert report.ok
    assert [finding.text for finding in report.findings] == ["6 images, 3 classes: all of it"]


def test_a_subset_is_named_as_one_and_is_fine(register, place):
    for path in (place / "robin").iterdir():
        path.unlink()
    (place / "robin").rmdir()
    [report] = check(register(), place)
    assert report.ok
    assert texts([report]) == ["4 of 6 images, 2 of 3 classes: a subset", "classes without images: 1 (robin)"]


@pytest.mark.parametrize(("images", "classes"), [(6, 2), (7, 2)])
def test_more_classes_than_the_whole_set_has_are_wrong(register, place, images, classes):
    [report] = check(register(images, classes), place)
    assert not report.ok
    assert f"6 images in 3 classes, where the whole set has {images} in {classes}" in texts([report])


def test_more_images_than_the_whole_set_has_are_not_opened(register, place):
    with pytest.raises(BenchError, match=r"'birds', split 'test' has 5 images, but 6 were found: this is another set"):
        check(register(5), place)


def test_all_images_in_too_few_classes_is_wrong(register, place):
    [report] = check(register(6, 4), place)
    assert not report.ok


def test_a_set_of_unknown_size_is_counted(register, place):
    assert texts(check(register(None), place)) == ["6 images, 3 of 3 classes"]


def test_splits_that_are_absent_or_broken_are_told_apart(register, place):
    reports = check(register(splits=("extra", "test", "broken")), place)
    assert [(report.split, report.ok) for report in reports] == [("test", True), ("broken", False), ("extra", True)]
    assert texts(reports)[1:] == [
        "cannot be opened: the broken birds are not birds.",
        "not here: the extra birds are elsewhere.",
    ]


def test_where_nothing_can_be_opened_the_reason_is_raised(register, place):
    with pytest.raises(AbsentError, match="elsewhere"):
        check(register(splits=("extra", "broken")), place)


# -- samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello, this is a page", "does not decode as an image"),
        (encode(picture(), "jpeg")[:-200], "does not decode as an image"),
        (encode(picture())[:-40], "does not decode as an image"),
    ],
)
def test_files_that_do_not_decode_are_named_with_the_reason(register, place, data, reason):
    (place / "crow/0.png").write_bytes(data)
    [report] = check(register(), place)
    assert not report.ok
    [bad] = [finding for finding in report.findings if not finding.ok]
    assert bad.text == "images that cannot be read: 1"
    assert bad.names[0].startswith("crow/0.png")
    assert reason in bad.names[0]
    assert "obtain these files again" in bad.advice


def test_an_image_too_large_for_pillow_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "could be decompression bomb" in look(encode(picture()), "a.png").error


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(picture().convert("L"), "jpeg"), "grey images: 1"),
        (encode(picture().convert("1")), "grey images: 1"),
        (encode(picture().convert("CMYK"), "jpeg"), "CMYK images: 1"),
        (encode(picture().quantize(16), transparency=bytes(16)), "palette images: 1"),
        (encode(picture().convert("RGBA")), "RGB with transparency images: 1"),
    ],
)
def test_images_that_are_not_rgb_are_counted(register, place, data, words):
    (place / "crow/0.png").write_bytes(data)
    [report] = check(register(), place)
    assert report.ok
    assert any(text.startswith(words) for text in texts([report]))


def test_grey_levels_of_more_than_8_bits_are_named(register, place):
    (place / "crow/0.png").write_bytes(encode(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))))
    [report] = check(register(), place)
    assert not report.ok
    assert any("more than 8 bits a channel (I;16)" in name for finding in report.findings for name in finding.names)


@pytest.mark.parametrize(("orientation", "turned"), [(1, False), (6, True), (3, True)])
def test_images_that_exif_says_to_turn_are_counted(register, place, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation  # the tag's number in EXIF 2.3, table 4
    (place / "crow/0.png").write_bytes(encode(picture(), "jpeg", exif=exif.tobytes()))
    assert ("images that their EXIF data says to turn: 1" in texts(check(register(), place))) == turned


def test_images_of_one_colour_are_named(register, place):
    (place / "crow/0.png").write_bytes(encode(Image.new("RGB", (9, 9))))
    (place / "wren/4.png").write_bytes(encode(Image.new("RGB", (9, 9), (3, 200, 7))))
    [flat] = [finding for finding in check(register(), place)[0].findings if "one colour" in finding.text]
    assert flat.text == "images of one colour: 2"
    assert flat.names == ("crow/0.png", "wren/4.png")


def test_the_same_bytes_twice_are_counted_also_over_classes(register, place):
    (place / "crow/1.png").write_bytes((place / "crow/0.png").read_bytes())
    (place / "wren/5.png").write_bytes((place / "crow/0.png").read_bytes())
    [doubled] = [finding for finding in check(register(), place)[0].findings if "byte for byte" in finding.text]
    assert doubled.text == "images that are byte for byte another one: 2 (pictures that are in more than one class: 1)"
    assert doubled.names == ("crow/0.png = crow/1.png = wren/5.png",)


def test_a_sample_that_cannot_be_read_is_named(register, place):
    class Vanishing:
        def __init__(self, samples):
            self.ids, self.labels, self.sizes = samples.ids, samples.labels, samples.sizes

        def read(self, index):
            raise RunError(f"sample {index} is gone.")

    record = Dataset(name="gone", class_space=SPACE, open=lambda split, _: Vanishing(open_birds(split, place)))
    datasets.register(record)
    [report] = verify(record, Library(), 0, Silent())
    assert not report.ok
    assert report.findings[-1].names[0] == "sample 0 is gone."


def test_arrays_are_looked_at_as_they_are():
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    assert look(pixels, "a").flat
    pixels[2, 2, 1] = 1
    seen = look(pixels, "a")
    assert not seen.flat
    assert seen.digest == hashlib.sha256(pixels.tobytes()).digest()


def test_the_content_digest_is_of_ids_and_bytes_in_order(register, place):
    wanted = hashlib.sha256()
    for path in sorted(place.glob("*/*")):
        name = path.relative_to(place).as_posix()
        wanted.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert check(register(), place)[0].digest == wanted.hexdigest()


def test_worker_processes_see_the_same(register, place):
    (place / "crow/0.png").write_bytes(b"no picture")
    dataset = register()
    [alone], [shared] = check(dataset, place), check(dataset, place, workers=2)
    assert shared.digest == alone.digest
    assert [finding.text for finding in shared.findings] == [finding.text for finding in alone.findings]


class Deadly:
    """Samples that end the process which reads them, unless it made them."""

    def __init__(self):
        self.home = os.getpid()
        self.ids = np.array(["a"])
        self.labels = np.zeros(1, dtype=np.int64)
        self.sizes = np.ones(1, dtype=np.int64)

    def read(self, index):
        if os.getpid() != self.home:
            os._exit(9)
        return np.zeros((4, 4, 3), dtype=np.uint8)


def test_the_death_of_a_process_is_one_sentence(scratch_registries):
    record = Dataset(name="deadly", class_space=SPACE, open=lambda *_: Deadly())
    datasets.register(record)
    with pytest.raises(RunError, match="a process that decodes images died .*; give fewer --workers"):
        verify(record, Library(), 1, Silent())


def test_progress_counts_every_sample(register, place):
    class Counting(Silent):
        total = done = 0

        def begin(self, total):
            self.total = total

        def advance(self, count, doing):
            assert doing == "birds, test"
            self.done += count

    counting = Counting()
    verify(register(), Library({"birds": place}), 0, counting)
    assert counting.total == counting.done == 6


def test_a_report_says_what_to_do_and_names_at_most_twenty(register, place):
    for number in range(30):
        (place / f"crow/bad{number:02}.png").write_bytes(b"x" * (number + 1))
    [report] = check(register(100), place)
    text = "\n".join(lines(report))
    assert "BAD images that cannot be read: 30\n      → obtain these files again" in text
    assert "crow/bad19.png" in text
    assert "crow/bad20.png" not in text
    assert "… and 10 more" in text
    assert f"content {report.digest}" in text


# -- the commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch, scratch_registries):
    """A function that runs `bench data …` here and gives its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)

    def _command(*words):
        root = argparse.ArgumentParser()
        add_data(root.add_subparsers())
        arguments = root.parse_args(["data", *map(str, words)])
        return arguments.command(arguments)

    return _command


def test_list_says_what_each_set_is_and_what_stands_here(command, register, place, tmp_path, capsys):
    register()
    (tmp_path / "bench.toml").write_text('[data]\nbirds = "birds"\ncifar10 = "gone"\ncifar100 = "bench.toml"\n')
    assert command("list") == 0
    blocks = {block.split(":")[0]: block for block in capsys.readouterr().out.split("\n\n")}
    assert set(blocks) == {dataset.name for dataset in datasets}
    for words in ("images    6 test", "classes   3, labelled as in birds", "licence   CC0", "obtain    a garden",
                  "here      birds, a folder of 3 entries"):  # fmt: skip
        assert words in blocks["birds"]
    assert "here      gone, but nothing is there: correct it in [data] in bench.toml" in blocks["cifar10"]
    assert "here      bench.toml, a file of" in blocks["cifar100"]
    assert "here      built in" in blocks["digits"]
    assert "here      no place given: --data imagenet=PATH" in blocks["imagenet"]


def test_a_users_own_set_is_listed_and_verified(command, place, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text('[datasets.mine]\nfolder = "birds"\nclasses = ["crow", "robin", "wren"]\n')
    assert command("verify", "mine", "--registry", "mine.toml", "--workers", 0) == 0
    assert "6 images, 3 of 3 classes" in capsys.readouterr().out


def test_a_users_own_set_is_listed_with_its_file(command, place, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text('[datasets.mine]\nfolder = "birds"\nclasses = ["crow", "robin", "wren"]\n')
    assert command("list", "--registry", "mine.toml") == 0
    assert "here      as mine.toml says" in capsys.readouterr().out


def test_verify_ends_with_0_where_all_is_well_and_1_where_something_is_bad(command, register, place, capsys):
    register()
    assert command("verify", f"birds={place}", "--workers", 0) == 0
    (place / "crow/0.png").write_bytes(b"")
    assert command("verify", f"birds={place}", "--workers", 0) == 1
    captured = capsys.readouterr()
    assert "BAD images that cannot be read: 1" in captured.out
    assert "6/6 images" in captured.err


def test_verify_takes_the_place_of_the_configuration_file(command, register, place, tmp_path, capsys):
    register()
    (tmp_path / "bench.toml").write_text('[data]\nbirds = "birds"\n')
    assert command("verify", "birds", "--workers", 0) == 0
    assert capsys.readouterr().out.startswith("birds, birds\ntest:\n  ok  6 images, 3 classes: all of it\n")


def test_a_wrong_call_is_a_users_error(command, register, place):
    register()
    with pytest.raises(BenchError, match="no dataset 'bird'. Did you mean 'birds'"):
        command("verify", f"bird={place}")
    with pytest.raises(BenchError, match="workers must be at least 0, not -1"):
        command("verify", f"birds={place}", "--workers", -1)
    with pytest.raises(BenchError, match="wants NAME=PATH"):
        command("verify", "birds=")
    with pytest.raises(BenchError, match="must be a folder"):
        command("verify", f"birds={place / 'gone'}")
