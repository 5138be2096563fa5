import numpy as np
import pyarrow as pa
import pytest

from bench.datasets.readers.columns import class_label_names, class_places, label_indices, written_labels
from bench.datasets.spaces import CIFAR100, IMAGENET, timm_info
from bench.errors import BenchError
from bench.records import ClassSpace


@pytest.fixture(scope="module")
def english() -> list[str]:
    """ImageNet's classes in WordNet's English, as the hub's copy names them."""
    lines = timm_info("imagenet_synset_to_lemma.txt").read_text().splitlines()
    words = dict(line.split("\t", 1) for line in lines)
    return [words[wnid] for wnid in IMAGENET.classes]


def test_imagenets_classes_go_by_their_english_words_too(english):
    assert english[0] == "tench, Tinca tinca"
    assert class_places(english, IMAGENET, "x").tolist() == list(range(1000))
    assert class_places(english[::-1][:300], IMAGENET, "x").tolist() == list(range(999, 699, -1))


def test_the_two_cranes_of_imagenet_are_told_apart_by_position(english):
    assert english[134] == english[517] == "crane"
    for other in ("crane2", "construction crane"):
        places = class_places([*english[:517], other, *english[518:]], IMAGENET, "x")
        assert places.tolist() == list(range(1000))


def test_one_name_in_a_hundred_may_be_spelt_otherwise():
    names = ["cra" if name == "crab" else name for name in CIFAR100.classes]  # as in the hub's CIFAR-100
    assert class_places(names, CIFAR100, "x").tolist() == list(range(100))


def test_a_strange_name_does_not_take_a_place_that_is_taken():
    names = list(CIFAR100.classes)
    names[3], names[4] = names[4], "zebra"  # `bear` is gone, and its place is another's
    with pytest.raises(BenchError, match="x names 100 classes .'zebra'., but those of the class space 'cifar100' are"):
        class_places(names, CIFAR100, "x")


def test_ten_classes_have_no_room_for_a_strange_name():
    digits = ClassSpace(name="d", classes=tuple("0123456789"))
    with pytest.raises(BenchError, match="'ten'"):
        class_places([*"123456789", "ten"], digits, "x")
    assert np.array_equal(class_places([*"9876543210"], digits, "x"), np.arange(10)[::-1])


def test_a_class_named_twice_is_refused():
    with pytest.raises(BenchError, match="names 2 classes"):
        class_places(["0", "0"], ClassSpace(name="d", classes=("0", "1")), "x")


TEN = ClassSpace(name="ten", classes=tuple(map(str, range(1, 11))))
PADDED = ClassSpace(name="padded", classes=("01", "02", "03"))


@pytest.mark.parametrize(
    ("space", "written", "places"),
    [
        (TEN, ["1", "9", "10"], [0, 8, 9]),  # all are names, and 10 is no number of ten classes
        (TEN, ["0", "9", "1"], [0, 9, 1]),  # all are numbers, and 0 is no name
        (TEN, [10, 1], [9, 0]),
        (PADDED, ["01", "03"], [0, 2]),
        (PADDED, ["1", "0"], [1, 0]),
        (ClassSpace(name="d", classes=("0", "1", "plus")), ["plus", "1", "0", "2"], [2, 1, 0, 2]),
    ],
)
def test_numbers_that_may_be_names_are_read_in_one_way(space, written, places):
    assert written_labels(written, space, "x").tolist() == places


@pytest.mark.parametrize("written", [["1", "2"], [3], ["0", "10", "5"]])
def test_numbers_that_are_names_of_other_classes_are_refused_where_nothing_tells(written):
    with pytest.raises(
        BenchError, match=r"x has the class '\d', which is the name of one class of 'ten' and the number"
    ):
        written_labels(written, TEN, "x")


def test_numbers_in_a_column_are_held_to_names_that_are_numbers():
    def read(*labels):
        return label_indices(pa.chunked_array([list(labels)]), None, TEN, "x").tolist()

    assert read(0, 9) == [0, 9]
    assert read(1, 10) == [0, 9]
    with pytest.raises(BenchError, match="which is the name of one class"):
        read(4, 5)
    with pytest.raises(BenchError, match="row 1 of x has the label 11, but there are 10 classes"):
        read(0, 11)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"info": {"features": {"label": {"_type": "Value"}}}}'])
def test_metadata_without_class_names_gives_none(text):
    assert class_label_names({b"huggingface": text}, "label") is None
    assert class_label_names(None, "label") is None
