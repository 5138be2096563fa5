import numpy as np
import pytest

from bench.datasets.readers.columns import class_label_names, class_places
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


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"info": {"features": {"label": {"_type": "Value"}}}}'])
def test_metadata_without_class_names_gives_none(text):
    assert class_label_names({b"huggingface": text}, "label") is None
    assert class_label_names(None, "label") is None
