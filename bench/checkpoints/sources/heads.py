"""Which classes the outputs of a classifier stand for, told by their number or their names."""

import functools
from collections.abc import Sequence

from bench.datasets import class_spaces
from bench.datasets.spaces import IMAGENET, timm_info
from bench.records import ClassSpace

BACKGROUND = "background"
"""What TensorFlow's classifiers of ImageNet have before its 1,000 classes."""

_LISTS = {
    11221: ("imagenet-21k-miil", "imagenet21k_miil_synsets.txt"),
    10450: ("imagenet-21k-miil-w21", "imagenet21k_miil_w21_synsets.txt"),
    11821: ("imagenet-12k", "imagenet12k_synsets.txt"),
    21841: ("imagenet-22k", "imagenet22k_synsets.txt"),
    21842: ("imagenet-22k-ms", "imagenet22k_ms_synsets.txt"),
    21843: ("imagenet-21k-goog", "imagenet21k_goog_synsets.txt"),
}
"""Number of outputs to the class list of timm that has as many."""


def classes_of(outputs: int, names: Sequence[str], where: str) -> tuple[ClassSpace, ClassSpace | None]:
    """The class space of a classifier, and that of all its outputs where it is another.

    ImageNet's 1,000 classes are taken out of a larger head that has all of them. A head that lacks some predicts its
    own space, by which data with other labels refuse it.

    Args:
        outputs: of the classifier.
        names: of the classes in the order of the outputs, where the model tells: wnids, words; else empty.
        where: the model is from; the name of a space that is its own.
    """
    head = _told(outputs, names, where)
    if head.digest != IMAGENET.digest and set(IMAGENET.classes) <= set(head.classes):
        return IMAGENET, head
    return next((space for space in class_spaces if space.digest == head.digest), head), None


def _told(outputs: int, names: Sequence[str], where: str) -> ClassSpace:
    if names and len(names) == outputs and len(set(names)) == outputs:
        wnids = _wnids(names)
        return ClassSpace(name=where, classes=wnids or tuple(names))
    if outputs == len(IMAGENET.classes):
        return IMAGENET
    if outputs == len(IMAGENET.classes) + 1:
        return ClassSpace(name="imagenet-1k with background", classes=(BACKGROUND, *IMAGENET.classes))
    if outputs in _LISTS:
        name, file = _LISTS[outputs]
        return ClassSpace(name=name, classes=tuple(timm_info(file).read_text(encoding="utf-8").split()))
    return ClassSpace(name=where, classes=tuple(map(str, range(outputs))))


def _wnids(names: Sequence[str]) -> tuple[str, ...]:
    """The classes of ImageNet by wnid, a background beside them as it is; empty where the names are of others."""
    if not len(IMAGENET.classes) <= len(names) <= len(IMAGENET.classes) + 1:
        return ()
    words = _words()
    found = [words.get(_plain(name), BACKGROUND if _plain(name) == BACKGROUND else "") for name in names]
    if len(names) == len(IMAGENET.classes):
        alike = sum(wnid in ("", own) for wnid, own in zip(found, IMAGENET.classes, strict=True))
        # Some name both cranes `crane`, or write words anew: where nothing contradicts the usual order, it is that.
        if alike == len(names) and sum(map(bool, found)) > 0.8 * len(names):
            return IMAGENET.classes
    return tuple(found) if all(found) and len(set(found)) == len(found) else ()


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


@functools.cache
def _words() -> dict[str, str]:
    """What only one class of ImageNet is called, to its wnid: the wnid, all its words, and the first of them."""
    lines = timm_info("imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = {wnid: words for wnid, _, words in (line.partition("\t") for line in lines)}
    words: dict[str, str] = {}
    for wnid in IMAGENET.classes:
        for name in {wnid, _plain(lemmas.get(wnid, wnid)), _plain(lemmas.get(wnid, wnid).split(",")[0])}:
            words[name] = "" if name in words else wnid
    return {name: wnid for name, wnid in words.items() if wnid}
