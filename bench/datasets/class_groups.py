"""Classes in groups: what data of coarse categories ask of a model that predicts finer ones."""

from dataclasses import dataclass

from bench.records import ClassSpace, digest
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

    @property
    def digest(self) -> str:
        """Of what the groups are: a user may change them and keep the name."""
        return digest([self.of.digest, self.space.digest, self.members])


class_groups: Registry[ClassGroups] = Registry("class groups")
