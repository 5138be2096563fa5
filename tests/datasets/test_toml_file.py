from pathlib import Path

import pytest

from bench.datasets.spaces import IMAGENET
from bench.datasets.toml_file import read_datasets
from bench.errors import AbsentError, BenchError
from bench.records import ClassSpace

OWN = 'classes = ["crow", "robin", "wren"]\n'
START = '[datasets.my-birds]\nfolder = "birds"\n'


def read(folder: Path, text: str):
    (folder / "mine.toml").write_text(text)
    return read_datasets(folder / "mine.toml")


def open_only(folder: Path, text: str, place: Path | None = None):
    [dataset] = read(folder, text)
    return dataset.open(dataset.splits[0], place)


def test_every_key_reaches_the_record(tmp_path):
    text = """
        [my-vit]
        arch = "resnet18"

        [datasets.my-birds]
        hub = "owner/birds"
        classes = ["crow", "robin"]
        split = "validation"
        about = "Birds."
        licence = "CC0"
        source = "my garden"
        config = "plain"
        revision = "abc"
        streaming = true
        image = "photo"
        label = "species"
    """
    [dataset] = read(tmp_path, text)
    assert dataset.name == "my-birds"
    assert dataset.class_space == ClassSpace(name="my-birds", classes=("crow", "robin"))
    assert (dataset.splits, dataset.about, dataset.licence) == (("validation",), "Birds.", "CC0")
    assert (dataset.source, dataset.size, dataset.expected) == ("my garden", "", {})


def test_the_keys_of_a_hub_set_reach_the_library(tmp_path, monkeypatch):
    from bench.datasets import toml_file

    asked = []
    monkeypatch.setattr(toml_file, "HubSamples", lambda *arguments: asked.append(arguments))
    text = f"""[datasets.b]\nhub = "owner/birds"\n{OWN}split = "dev"\nconfig = "plain"\nrevision = "abc"
        image = "photo"\nlabel = "species"\n"""
    monkeypatch.setattr(toml_file, "_check_count", lambda *arguments: None)
    open_only(tmp_path, text)
    [(source, space, what)] = asked
    assert (source.repo, source.split, source.config, source.revision) == ("owner/birds", "dev", "plain", "abc")
    assert (source.image_column, source.label_column, space.name, what) == ("photo", "species", "b", "b")


def test_a_file_without_data_sets_has_none(tmp_path):
    assert read(tmp_path, '[my-vit]\narch = "resnet18"\n') == []


def test_class_folders_are_read_from_beside_the_file(tmp_path, bird_folders, images, monkeypatch):
    monkeypatch.chdir("/")
    samples = open_only(tmp_path, START + OWN)
    assert samples.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert samples.ids[3] == "robin/3.png"
    assert samples.read(3) == images[3]


def test_a_class_is_found_by_its_folders_name(tmp_path, bird_folders):
    samples = open_only(tmp_path, START + 'classes = ["wren", "robin", "crow"]')
    assert samples.labels.tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_classes_may_stand_in_a_file(tmp_path, bird_folders):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfwren\r\n\r\n robin \r\ncrow")
    [dataset] = read(tmp_path, START + 'classes = "classes.txt"')
    assert dataset.class_space.classes == ("wren", "robin", "crow")


def test_classes_may_be_a_class_space_of_which_the_folders_are_some(tmp_path, bird_folders):
    (bird_folders / "crow").rename(bird_folders / "n01440764")
    (bird_folders / "robin").rename(bird_folders / "n15075141")
    (bird_folders / "wren").rename(bird_folders / "n01443537")
    text = START + 'classes = "imagenet-1k"'
    assert read(tmp_path, text)[0].class_space is IMAGENET
    assert sorted(set(open_only(tmp_path, text).labels.tolist())) == [0, 1, 999]


def test_shards_and_parquet_files_are_read(tmp_path, images, write_tar, write_parquet):
    write_tar(tmp_path / "s/b-0.tar", {"a.png": images[0], "a.cls": b"2", "b.png": images[1], "b.cls": b"0"})
    samples = open_only(tmp_path, f'[datasets.b]\nshards = "s/b-{{0..0}}.tar"\n{OWN}')
    assert samples.labels.tolist() == [2, 0]
    write_parquet(tmp_path / "p/val.parquet", images[:2], [2, 0], columns=("photo", "species"))
    columns = 'image = "photo"\nlabel = "species"\nsplit = "val"\n'
    samples = open_only(tmp_path, f'[datasets.b]\nparquet = "p"\n{OWN}{columns}')
    assert samples.labels.tolist() == [2, 0]
    assert samples.ids[0] == "val/00000000"


def test_a_place_that_is_given_wins(tmp_path, bird_folders, images, write_parquet):
    elsewhere = bird_folders.rename(tmp_path / "elsewhere")
    assert len(open_only(tmp_path, START + OWN, elsewhere).ids) == 9
    with pytest.raises(BenchError, match="birds must be a folder, but .*birds does not exist"):
        open_only(tmp_path, START + OWN)
    files = write_parquet(tmp_path / "p/test.parquet", images[:2], [2, 0]).parent
    hub = f'[datasets.b]\nhub = "owner/name"\nstreaming = true\n{OWN}'
    assert open_only(tmp_path, hub, files).labels.tolist() == [2, 0]


# -- what is learnt from --------------------------------------------------------------------------------------


def test_without_train_there_is_nothing_to_learn_from(tmp_path):
    [dataset] = read(tmp_path, START + OWN)
    assert (dataset.splits, dataset.fit, dataset.metric) == (("test",), (), "top1")


def test_train_and_metric_reach_the_record(tmp_path):
    text = f'{START}{OWN}train = "more"\nmetric = "mean_per_class_accuracy"\n'
    [dataset] = read(tmp_path, text)
    assert (dataset.splits, dataset.fit) == (("test", "train"), ("train",))
    assert dataset.metric == "mean_per_class_accuracy"


def test_train_is_another_folder_whatever_place_is_given_for_the_test_images(tmp_path, bird_folders, images):
    for name, data in zip(("crow", "robin", "wren"), images[6:], strict=True):
        (tmp_path / "more" / name).mkdir(parents=True)
        (tmp_path / "more" / name / "a.png").write_bytes(data)
    elsewhere = bird_folders.rename(tmp_path / "elsewhere")
    [dataset] = read(tmp_path, START + OWN + 'train = "more"')
    samples = dataset.open("train", elsewhere)
    assert samples.ids.tolist() == ["crow/a.png", "robin/a.png", "wren/a.png"]
    assert samples.read(1) == images[7]
    assert len(dataset.open("test", elsewhere).ids) == 9


def test_train_is_other_shards(tmp_path, images, write_tar):
    write_tar(tmp_path / "s-0.tar", {"a.png": images[0], "a.cls": b"2"})
    write_tar(tmp_path / "t-0.tar", {"b.png": images[1], "b.cls": b"0"})
    [dataset] = read(tmp_path, f'[datasets.b]\nshards = "s-*.tar"\ntrain = "t-*.tar"\n{OWN}')
    assert [dataset.open(split, None).labels.tolist() for split in dataset.splits] == [[2], [0]]


def test_train_is_another_split_of_parquet_files(tmp_path, images, write_parquet):
    write_parquet(tmp_path / "p/dev.parquet", images[:2], [2, 0])
    write_parquet(tmp_path / "p/learn.parquet", images[2:5], [1, 1, 0])
    lines = 'split = "dev"\ntrain = "learn"\n'
    for form in (f'parquet = "p"\n{lines}', f'hub = "owner/birds"\n{lines}'):
        [dataset] = read(tmp_path, f"[datasets.b]\n{form}{OWN}")
        assert dataset.splits == ("dev", "train")
        place = tmp_path / "p" if "hub" in form else None
        assert dataset.open("train", place).labels.tolist() == [1, 1, 0]
        assert dataset.open("dev", place).labels.tolist() == [2, 0]


def test_train_is_another_split_on_the_hub(tmp_path, monkeypatch):
    from bench.datasets import toml_file

    asked = []
    monkeypatch.setattr(toml_file, "HubSamples", lambda source, *_: asked.append(source.split))
    monkeypatch.setattr(toml_file, "_check_count", lambda *arguments: None)
    [dataset] = read(tmp_path, f'[datasets.b]\nhub = "owner/birds"\ntrain = "learn"\n{OWN}')
    for split in dataset.splits:
        dataset.open(split, None)
    assert asked == ["test", "learn"]


@pytest.mark.parametrize("split", ["train[:2]", "test+train"])
def test_nothing_is_learnt_from_rows_of_the_hub_that_are_scored(tmp_path, images, write_parquet, monkeypatch, split):
    hub = pytest.importorskip("datasets")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    hub.disable_progress_bars()
    for name in ("train", "test"):
        write_parquet(tmp_path / f"hub/data/{name}.parquet", images[:3], [2, 0, 1], ["crow", "robin", "wren"])
    streams = ["", "streaming = true\n"] if "[" not in split else [""]  # the library takes no slice of a stream
    for streaming in streams:
        [dataset] = read(tmp_path, f'[datasets.b]\nhub = "hub"\nsplit = "{split}"\ntrain = "train"\n{streaming}{OWN}')
        with pytest.raises(
            BenchError, match=r"train .train. and what is scored .* have samples in common; nothing may"
        ):
            dataset.open("train", None)
        assert len(dataset.open(split, None).ids) in (2, 6)


def test_nothing_is_learnt_from_what_is_scored(tmp_path, bird_folders, images, write_parquet):
    [dataset] = read(tmp_path, START + OWN + 'train = "more/../birds"')
    with pytest.raises(
        BenchError, match=r"line 4: .* train \(.*birds\) and what is scored \(.*\) have files in common"
    ):
        dataset.open("train", None)
    [dataset] = read(tmp_path, START + OWN + 'train = "more"')
    with pytest.raises(BenchError, match=r"train \(.*more\) and what is scored \(.*more\) have files in common"):
        dataset.open("train", tmp_path / "more")
    [dataset] = read(tmp_path, f'[datasets.b]\nfolder = "all"\ntrain = "all/train"\n{OWN}')
    with pytest.raises(BenchError, match="have files in common"):
        dataset.open("train", None)
    for name in ("S-test-0.tar", "S-train-0.tar"):
        (tmp_path / name).write_bytes(b"")
    [dataset] = read(tmp_path, f'[datasets.b]\nshards = "S-*.tar"\ntrain = "S-train-*.tar"\n{OWN}')
    with pytest.raises(BenchError, match="have files in common"):
        dataset.open("train", None)
    write_parquet(tmp_path / "p/birds.parquet", images[:2], [2, 0])
    [dataset] = read(tmp_path, f'[datasets.b]\nparquet = "p"\ntrain = "train"\n{OWN}')
    with pytest.raises(BenchError, match=r"train and split give the same files of .*p, whose names say no split"):
        dataset.open("train", None)


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('folders = "x"', r"no key 'folders'\. Did you mean 'folder'"),
        ("[datasets.my-birds.2024]\nx = 1", r"no key '2024'.* needs quotes: \[datasets\.\"my-birds\.2024\"\]"),
        ("about = 3", "about must be text in quotes, not 3"),
        ('about = "birds\\u001b[31m"', r"the about 'birds\\x1b\[31m' has the character U\+001B at place 6"),
        ('source = "a\\nb"', r"the source 'a\\nb' has the character U\+000A at place 2, which would break"),
        ('licence = ""', "licence must be text in quotes, not ''"),
        ('streaming = "yes"', "streaming must be true or false, not 'yes'"),
        ('split = "val"', "split is for parquet and hub, not for folder; remove it"),
        ('revision = "main"', "revision is for hub, not for folder; remove it"),
        ('image = "img"', "image is for parquet and hub, not for folder; remove it"),
        ('shards = "x"', "has both folder and shards; keep one"),
        ("train = 3", "train must be text in quotes, not 3"),
        ('metric = "top5"', "metric must be one of top1, mean_per_class_accuracy, not 'top5'"),
        ("classes = []", r"classes must be the name of a class space, a file of names or a list of names, not \[\]"),
        ("classes = 3", "classes must be the name of a class space, a file of names or a list of names, not 3"),
        ('classes = ["a", 1]', "classes must be the name of a class space, a file"),
        ('classes = ["a", "b", "a"]', "classes name 'a' more than once; each class needs its own name"),
        (
            'classes = "gone.txt"',
            r"classes: 'gone\.txt' is neither a file beside this one nor a class space \(.*cifar10,",
        ),
        ('classes = "empty.txt"', "classes name none; each class needs its own name"),
        ('classes = "latin.txt"', r"classes: latin\.txt can't be read \(.*\); a text file in UTF-8 was wanted"),
    ],
)
def test_a_wrong_line_is_named_with_file_and_line(tmp_path, line, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    with pytest.raises(BenchError, match=rf"mine\.toml, line 3: \[datasets\.my-birds\] .*{message}"):
        read(tmp_path, START + line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (START, r"line 1: \[datasets\.my-birds\] does not say its classes; add classes = "),
        (
            '\n[datasets.b]\nclasses = "cifar10"',
            r"line 2: \[datasets\.b\] does not say where its images are; add folder",
        ),
        (
            f'[datasets.b]\nhub = "a/b"\ntrain = "dev"\nsplit = "dev"\n{OWN}',
            "line 3: .* train is 'dev', but that split is scored; name another to learn from",
        ),
        (
            f'[datasets.b]\nhub = "a/b"\ntrain = "dev"\nsplit = "train"\n{OWN}',
            "line 4: .* split is 'train', but train is what is learnt from; name the one to score",
        ),
        ("datasets = 3", r"line 1: datasets must be tables, one a data set: \[datasets\.NAME\], not 3"),
        ('[datasets]\nfolder = "x"', "line 2: 'folder' stands outside a data set's table; put its name in brackets"),
        ("[datasets\n", r"mine\.toml, line 1: not valid TOML"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path, text, message):
    with pytest.raises(BenchError, match=message):
        read(tmp_path, text)


def test_a_list_of_another_length_than_the_folders_is_refused(tmp_path, bird_folders):
    with pytest.raises(
        BenchError, match=r"line 3: \[datasets\.my-birds\] classes lists 4 names, but the data has 3 cla"
    ):
        open_only(tmp_path, START + 'classes = ["crow", "emu", "robin", "wren"]')
    with pytest.raises(BenchError, match="is not my-birds: 1 of its 3 folders .wren. are not named after"):
        open_only(tmp_path, START + 'classes = ["crow", "robin"]')


def test_a_list_of_another_length_than_the_datas_own_is_refused(tmp_path, images, write_parquet):
    write_parquet(tmp_path / "b.parquet", images[:2], [0, 1], ["crow", "wren"])
    with pytest.raises(
        BenchError, match="classes lists 3 names, but the data has 2 class names of its own; list those"
    ):
        open_only(tmp_path, f'[datasets.b]\nparquet = "b.parquet"\n{OWN}')
    write_parquet(tmp_path / "b.parquet", images[:2], [0, 3])
    with pytest.raises(BenchError, match="row 1 of .* has the label 3, but there are 3 classes"):
        open_only(tmp_path, f'[datasets.b]\nparquet = "b.parquet"\n{OWN}')


def test_data_that_is_not_there_is_absent(tmp_path):
    for form in ("shards", "parquet"):
        with pytest.raises(AbsentError, match=r"gone.* b"):
            open_only(tmp_path, f'[datasets.b]\n{form} = "gone"\n{OWN}')


@pytest.mark.parametrize("key", ["folder", "shards", "parquet", "hub", "classes", "train"])
def test_a_path_that_is_none_is_named_with_its_line(tmp_path, key):
    path = "~nobody-of-that-name/birds"
    lines = {"folder": '"birds"', "classes": '["crow", "robin", "wren"]', key: f'"{path}"'}
    if key in ("shards", "parquet", "hub"):
        del lines["folder"]
    text = "[datasets.b]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
    number = [*lines].index(key) + 2
    with pytest.raises(
        BenchError, match=rf"mine\.toml, line {number}: \[datasets\.b\] {key} must be a path, not '.*; corr"
    ):
        _open_every_split(tmp_path, text)


def _open_every_split(folder: Path, text: str) -> None:
    [dataset] = read(folder, text)
    for split in reversed(dataset.splits):
        dataset.open(split, None)


def test_odd_names_of_folders_are_names(tmp_path, birds, images):
    for name in ("a:b", "c d", "100%", "é\u0301", "x=y", "[z]", "{w}"):
        for number, data in enumerate(images):
            folder = tmp_path / name / birds.classes[number // 3]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(data)
        assert len(open_only(tmp_path, f'[datasets.b]\nfolder = "{name}"\n{OWN}').ids) == 9


def test_a_file_of_class_names_without_end_is_refused(tmp_path):
    with (tmp_path / "names.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(
        BenchError, match=r"classes: names\.txt can't be read \(.* is larger than 16.0 MiB.*\); a text file"
    ):
        read(tmp_path, '[datasets.b]\nfolder = "birds"\nclasses = "names.txt"\n')
