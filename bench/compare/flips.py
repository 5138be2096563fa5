"""The images on which two checkpoints differ: right with the first and wrong with the second, or the other way round.

Shapes: N images, C conditions.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.compare.sides import CannotCompareError, Side, check_alike
from bench.datasets import datasets
from bench.datasets.spaces import timm_info
from bench.errors import BenchError
from bench.metrics.outcomes import correct_by_condition
from bench.records import Array, Condition, Outcome
from bench.suite.words import condition_in_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """An image on which two checkpoints differ."""

    suite: str
    dataset: str
    id: str
    label: str
    """Its class in words, as the two predictions are."""
    lost: int
    """Conditions under which only the first is right."""
    gained: int
    """Conditions under which only the second is right."""
    conditions: int
    """Conditions under which both saw it."""
    where: str
    """The first condition under which it is lost, of which the predictions are."""
    before: str
    after: str


_Seen = tuple[Condition, Outcome, Outcome]
"""A condition, and what the two checkpoints made of it."""


def flips(before: Side, after: Side, count: int) -> list[Flip]:
    """The images that the second checkpoint lost under most conditions, those with fewer gained first, then by id.

    Predictions under attack are left out: they depend on the attack's luck as well. So are suites that count other
    things right than the largest logit of all: classes cut to a part, sets of labels.

    Args:
        before: the first.
        after: the second.
        count: at most so many.

    Raises:
        CannotCompareError: the sides were not measured alike.
    """
    check_alike(before, after)
    groups: list[list[_Seen]] = []
    if before.board.suite.headline.metric.right != "correct":
        return []
    for condition in before.board.suite.conditions:
        outcomes = [side.stored(condition) for side in (before, after)]
        if outcomes[0] is None or outcomes[1] is None or "adversarial_prediction" in outcomes[0].columns:
            continue
        group = next((seen for seen in groups if _same_images(seen[0][1].ids, outcomes[0].ids)), None)
        if group is None:
            groups.append(group := [])
        group.append((condition, outcomes[0], outcomes[1]))
    every = [flip for seen in groups for flip in _of_images(before.board.suite.name, seen, count)]
    return sorted(every, key=lambda flip: (-flip.lost, flip.gained, flip.id))[:count]


def _same_images(first: Array, second: Array) -> bool:
    """Whether two lists of ids are of the same images, in any order."""
    if first is second or np.array_equal(first, second):
        return True
    return len(first) == len(second) and bool(np.array_equal(np.sort(first), np.sort(second)))


def _of_images(suite: str, seen: Sequence[_Seen], count: int) -> list[Flip]:
    """Find the flips of the conditions that show the same images."""
    images = seen[0][1]
    try:
        right_NC = correct_by_condition([outcome for _, *both in seen for outcome in both], "flipped images") > 0
    except BenchError as error:
        raise CannotCompareError(f"{suite}: the two did not see the same images ({error})") from error
    lost_NC = right_NC[:, ::2] & ~right_NC[:, 1::2]
    gained_NC = ~right_NC[:, ::2] & right_NC[:, 1::2]
    lost_N, gained_N = lost_NC.sum(axis=1), gained_NC.sum(axis=1)
    order = np.lexsort((images.ids, gained_N, -lost_N))[:count]
    flipped = []
    for row in order[lost_N[order] > 0].tolist():
        condition, first, second = seen[int(np.argmax(lost_NC[row]))]
        names = class_names(condition.data.dataset)
        image = str(images.ids[row])
        flipped.append(
            Flip(
                suite=suite,
                dataset=condition.data.dataset,
                id=image,
                label=_named(names, images.labels[row]),
                lost=int(lost_N[row]),
                gained=int(gained_N[row]),
                conditions=len(seen),
                where=condition_in_words(condition),
                before=_named(names, _prediction(first, image)),
                after=_named(names, _prediction(second, image)),
            )
        )
    return flipped


def _prediction(outcome: Outcome, image: str) -> Array:
    return outcome.columns["prediction"][outcome.ids == image][0]  # type: ignore[no-any-return]


def _named(names: Sequence[str], index: Array) -> str:
    return names[int(index)] if 0 <= int(index) < len(names) else str(int(index))


@functools.cache
def class_names(dataset: str) -> tuple[str, ...]:
    """The classes that labels and predictions of a data set stand for; ImageNet's by their first English word."""
    space = datasets.get(dataset).class_space
    space = space.part_of or space  # a part's labels are the whole's
    if not space.classes[0].startswith("n0"):
        return space.classes
    text = timm_info("imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
    words = dict(line.split("\t", 1) for line in text.splitlines() if line)
    return tuple(words.get(name, name).split(",")[0] for name in space.classes)
