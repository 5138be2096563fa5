"""Classes in groups: what a data set of coarse categories asks of a model that predicts finer ones."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.datasets.spaces import IMAGENET
from bench.records import ClassSpace
from bench.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassGroups:
    """Groups of the classes of a larger space, none of them in two; classes may be in none."""

    space: ClassSpace
    """The groups as classes, for data that are labelled with them."""
    of: ClassSpace
    """What models predict."""
    members: tuple[tuple[int, ...], ...]
    """Indices into `of`, a group a class of `space`."""

    def __post_init__(self) -> None:
        every = [index for group in self.members for index in group]
        if len(self.members) != len(self.space.classes) or not all(self.members):
            raise ValueError(f"class groups {self.name!r} need one or more classes of {self.of.name!r} a group")
        if len(set(every)) != len(every) or not 0 <= min(every) <= max(every) < len(self.of.classes):
            raise ValueError(f"class groups {self.name!r} have a class twice, or one that {self.of.name!r} lacks")

    @property
    def name(self) -> str:
        """What measures are given."""
        return self.space.name


class_groups: Registry[ClassGroups] = Registry("class groups")


def _grouped(name: str, of: ClassSpace, groups: Mapping[str, str]) -> ClassGroups:
    """Groups whose members are written as numbers and ranges, `8 10-16`."""
    space = ClassSpace(name=name, classes=tuple(groups))
    record = ClassGroups(space=space, of=of, members=tuple(map(_numbers, groups.values())))
    class_groups.register(record, origin=__name__)
    return record


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between blanks, and ranges of them.

    >>> _numbers("8 10-12")
    (8, 10, 11, 12)
    """
    ends = (part.partition("-") for part in text.split())
    return tuple(number for first, _, last in ends for number in range(int(first), int(last or first) + 1))


SIXTEEN = _grouped(
    "sixteen-categories",
    IMAGENET,
    {
        "airplane": "404",
        "bear": "294-297",
        "bicycle": "444 671",
        "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
        "boat": "472 554 625 814 914",
        "bottle": "440 720 737 898-899 901 907",
        "car": "436 511 817",
        "cat": "281-286",
        "chair": "423 559 765 857",
        "clock": "409 530 892",
        "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
        "elephant": "385-386",
        "keyboard": "508 878",
        "knife": "499",
        "oven": "766",
        "truck": "555 569 656 675 717 734 864 867",
    },
)
"""207 of ImageNet's classes by entry-level category (Geirhos et al. 2018, arXiv 1808.08750)."""
