import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.datasets import Library, datasets, fingerprint
from bench.datasets.spaces import IMAGENET
from bench.datasets.toml_file import read_datasets
from bench.datasets.verify import verify
from bench.errors import BenchError
from bench.metrics.outcomes import cut
from bench.progress import Silent
from bench.records import Outcome

START = '[datasets.my-birds]\nfolder = "birds"\nclasses = ["crow", "robin", "wren"]\n'


@pytest.fixture
def folders(bird_folders):
    return bird_folders.parent


def read(folder, text=START, **files):
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    (folder / "mine.toml").write_text(text)
    [dataset] = read_datasets(folder / "mine.toml")
    return dataset


def with_factors(folder, rows, more=""):
    return read(folder, f'{START}attributes = "factors.csv"\n{more}', factors=rows)


ROWS = [f"{i}.png,{'sea' if i % 2 else 'land'},{'old' if i < 2 else ''}\n" for i in range(9)]
WHOLE = "file,place,age\n" + "".join(ROWS)


def test_a_file_of_attributes_gives_each_sample_its_values(folders):
    dataset = with_factors(folders, WHOLE)
    place, age = dataset.attributes
    samples = dataset.open("test", None)
    assert (place.name, place.values, age.values) == ("place", ("land", "sea"), ("old",))
    assert [place.value_of(i) for i in samples.ids[:3].tolist()] == ["land", "sea", "land"]
    assert [age.value_of(i) for i in samples.ids[:3].tolist()] == ["old", "old", ""]
    assert place.value_of("crow/other.png") is None


def test_attributes_are_no_part_of_the_data(folders):
    before = fingerprint(read(folders).open("test", None))
    assert fingerprint(with_factors(folders, WHOLE).open("test", None)) == before


def test_a_row_may_name_the_folder_too(folders):
    [place] = with_factors(folders, "file,place\ncrow/0.png,land\n").attributes
    assert (place.value_of("crow/0.png"), place.value_of("robin/0.png")) == ("land", None)


def test_a_row_that_could_be_of_two_files_is_refused(folders):
    (folders / "birds" / "wren" / "0.png").write_bytes((folders / "birds" / "crow" / "1.png").read_bytes())
    with pytest.raises(BenchError, match=r"names 0\.png without the folder.*as in crow/0\.png"):
        with_factors(folders, "file,place\n0.png,land\n").open("test", None)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("file\n0.png\n", "has one column"),
        ("", "begin with a row of names"),
        ("file,place,place\n0.png,a,b\n", "no two alike"),
        ("file,split\n0.png,a\n", "'split', which is a column of every table"),
        ("file,a place\n0.png,a\n", "'a place', which is no word"),
        ("file,place\n0.png,a\n0.png,b\n", "line 3: '0.png' stands there twice"),
        ("file,place\n0.png\n", "line 2: has 1 cells of 2"),
        ("file,place\n0.png,\n", "has 0 values"),
        ("file,number\n" + "".join(f"{i}.png,{i}\n" for i in range(101)), "has 101 values"),
        ('file,place\n0.png,"a\nb"\n', "place"),
        ("file,place\n0.png,\x1b[2Jland\n", "place"),
    ],
)
def test_a_table_that_is_none_is_refused_with_file_and_line(folders, rows, says):
    with pytest.raises(BenchError, match=rf"(?s)mine\.toml, line 4: \[datasets\.my-birds\] attributes: .*{says}"):
        with_factors(folders, rows)


def test_a_file_that_is_missing_is_named(folders):
    with pytest.raises(BenchError, match=r"mine\.toml, line 4: .*factors\.csv is missing"):
        read(folders, f'{START}attributes = "factors.csv"\n')


def test_groups_are_of_attributes_that_there_are(folders):
    grouping = with_factors(folders, WHOLE, 'group_by = ["label", "place"]').grouping
    assert ([a.name for a in grouping.attributes], grouping.by_label) == (["place"], True)
    with pytest.raises(BenchError, match=r"line 5: .*no attribute to group by 'plaice'. Did you mean 'place'"):
        with_factors(folders, WHOLE, 'group_by = ["plaice"]')
    with pytest.raises(BenchError, match="group_by must be a list"):
        with_factors(folders, WHOLE, 'group_by = "place"')


def test_verify_names_the_files_that_lack_a_row(folders, scratch_registries):
    datasets.register(with_factors(folders, WHOLE.replace("4.png,land,\n", "")))
    [report] = verify(datasets.get("my-birds"), Library(), 0, Silent())
    texts = {finding.text: finding for finding in report.findings}
    assert "attribute place: land 4, sea 4" in texts
    assert texts["images that have no place in factors.csv: 1"].names == ("robin/4.png",)
    assert not report.ok


# -- several right labels -------------------------------------------------------------------------------------


def test_a_file_of_labels_adds_to_the_folders_own(folders):
    text = f'{START}labels = "labels.csv"\n'
    dataset = read(folders, text, labels="file,label\n0.png,robin\n0.png,crow\n1.png,0\n")
    samples = dataset.open("test", None)
    assert dataset.label_sets
    assert samples.label_sets[:3].tolist() == [[0, 1], [0, -1], [0, -1]]
    assert (samples.label_sets[:, 0] == samples.labels).all()
    assert fingerprint(samples) != fingerprint(read(folders).open("test", None))  # they decide what is right


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("file,label\n0.png,gull\n", "line 2: 'gull' is no class"),
        ("file,label\n0.png,robin\n", "does not have the class in whose folder crow/0.png lies"),
        ("file,label,more\n0.png,crow,1\n", "has 3 columns"),
    ],
)
def test_labels_that_are_none_are_refused(folders, rows, says):
    with pytest.raises(BenchError, match=says):
        read(folders, f'{START}labels = "labels.csv"\n', labels=rows).open("test", None)


def table(path, images, labels):
    cells = [{"bytes": data, "path": None} for data in images]
    pq.write_table(pa.table({"image": cells, "label": pa.array(labels)}), path)


LISTS = '[datasets.my-birds]\nparquet = "birds.parquet"\nclasses = ["crow", "robin", "wren"]\nlabels = "label"\n'


@pytest.mark.parametrize("labels", [[[2, 0], [1], [0, 1, 0]], [["wren", "crow"], ["robin"], ["crow", "robin", "crow"]]])
def test_a_column_of_lists_gives_several_labels(tmp_path, images, labels):
    table(tmp_path / "birds.parquet", images[:3], labels)
    samples = read(tmp_path, LISTS).open("test", None)
    assert samples.label_sets.tolist() == [[2, 0], [1, -1], [0, 1]]
    assert samples.labels.tolist() == [2, 1, 0]


def test_the_hub_gives_the_same_lists(tmp_path, images, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    (tmp_path / "set").mkdir()
    table(tmp_path / "set" / "test.parquet", images[:3], [[2, 0], [1], [0, 1]])
    for streaming in ("", "streaming = true\n"):
        text = LISTS.replace('parquet = "birds.parquet"', 'hub = "set"') + streaming
        samples = read(tmp_path, text).open("test", None)
        assert samples.label_sets.tolist() == [[2, 0], [1, -1], [0, 1]]


def test_lists_and_single_labels_are_not_taken_for_each_other(tmp_path, images):
    table(tmp_path / "birds.parquet", images[:2], [[2, 0], [1]])
    with pytest.raises(BenchError, match=r'lists of them are read where .*labels = "COLUMN"'):
        read(tmp_path, LISTS.replace('labels = "label"', "")).open("test", None)
    with pytest.raises(BenchError, match="keep label for one a row"):
        read(tmp_path, LISTS + 'label = "label"\n')
    table(tmp_path / "birds.parquet", images[:2], [2, 1])
    with pytest.raises(BenchError, match="must be lists"):
        read(tmp_path, LISTS).open("test", None)
    table(tmp_path / "birds.parquet", images[:2], [[2], []])
    with pytest.raises(BenchError, match="row 1 of .* has no label"):
        read(tmp_path, LISTS).open("test", None)


def test_label_sets_that_contradict_the_labels_are_refused_when_opened(folders, scratch_registries):
    def broken(split, place):
        samples = read(folders).open(split, place)
        samples.label_sets = np.array([[2, 0]] * 9)
        return samples

    from dataclasses import replace

    datasets.register(replace(read(folders), open=broken))
    with pytest.raises(BenchError, match="a row of labels a sample, its label first"):
        Library().open("my-birds", "test")


def test_a_cut_of_the_logits_keeps_the_label_sets():
    sets, rank = np.array([[1, 2], [3, -1]]), np.array([0, -1])
    outcome = Outcome(ids=np.array(["a", "b"]), labels=sets[:, 0], columns={"label_set": sets, "part/rank": rank})
    assert cut(outcome, "part", "a score").columns["label_set"].tolist() == [[1, 2]]


# -- groups of classes ----------------------------------------------------------------------------------------

GROUPED = '[datasets.my-birds]\nfolder = "birds"\nclasses = "imagenet-1k"\ngroups = "map.json"\n'


def grouped(folder, groups):
    (folder / "map.json").write_text(groups if isinstance(groups, str) else json.dumps(groups))
    return read(folder, GROUPED)


def test_a_map_makes_labels_of_groups_of_finer_classes(folders):
    dataset = grouped(folders, {"crow": ["n01580077", 19], "robin": [15], "wren": ["20"]})
    assert dataset.groups.members == ((17, 19), (15,), (20,))
    assert dataset.groups.of is IMAGENET
    assert dataset.open("test", None).labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ("{", "is no JSON"),
        ({"crow": []}, "a list of classes for each group"),
        ({"crow": [True]}, "a list of classes for each group"),
        ({"crow": ["raven"]}, "has raven, which 'imagenet-1k' lacks"),
        ({"crow": [1], "robin": [1]}, "more than once"),
    ],
)
def test_a_map_that_is_none_is_refused(folders, groups, says):
    with pytest.raises(BenchError, match=f"groups: .*{says}"):
        grouped(folders, groups)


def test_groups_are_of_a_class_space_that_has_a_name(folders):
    with pytest.raises(BenchError, match="groups are of the classes of a class space"):
        read(folders, f'{START}groups = "map.json"\n')
