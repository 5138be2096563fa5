"""The class spaces that the project registers: ImageNet's, its 200-class parts, CIFAR's, the digits and letters."""

import importlib.util
from pathlib import Path
from string import ascii_uppercase

from bench.datasets import class_spaces
from bench.records import ClassSpace


def timm_info(name: str) -> Path:
    """A file of timm's class lists (`timm/data/_info`), found without importing timm."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ImportError("timm is not installed: pip install timm")
    return Path(spec.origin).parent / "data" / "_info" / name


def _wnids(name: str) -> tuple[str, ...]:
    return tuple(timm_info(name).read_text(encoding="utf-8").split())


DIGITS = ClassSpace(name="digits", classes=tuple("0123456789"))
LETTERS = ClassSpace(name="letters", classes=tuple(ascii_uppercase))
IMAGENET = ClassSpace(name="imagenet-1k", classes=_wnids("imagenet_synsets.txt"))
IMAGENET_R = ClassSpace(name="imagenet-r", classes=_wnids("imagenet_r_synsets.txt"), part_of=IMAGENET)
"""Hendrycks et al. 2021, arXiv 2006.16241."""
IMAGENET_A = ClassSpace(name="imagenet-a", classes=_wnids("imagenet_a_synsets.txt"), part_of=IMAGENET)
"""Hendrycks et al. 2021, arXiv 1907.07174."""
CIFAR10 = ClassSpace(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
"""In the order of `batches.meta` (Krizhevsky 2009)."""
CIFAR100 = ClassSpace(
    name="cifar100",
    classes=tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905 - a list of quoted words would hide the order
    ),
)
"""The fine labels, in the order of `meta` (Krizhevsky 2009)."""

for space in (DIGITS, LETTERS, IMAGENET, IMAGENET_R, IMAGENET_A, CIFAR10, CIFAR100):
    class_spaces.register(space, origin=__name__)
