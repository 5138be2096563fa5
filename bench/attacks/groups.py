"""Images side by side on their courses.

Legend: N images in one group, C channels, H × W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.attacks.course import Course, Finding, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is known of one image in the end."""

    prediction: int
    """Of the image as it is."""
    correct: bool
    loss: float
    """Cross-entropy of the image as it is, nats."""
    unsteady: float
    """By how much of their largest its logits change when it is shown again among other images; NaN where not tried."""
    finding: Finding | None = None
    """None where the model has the image wrong: there is nothing to fool."""


@dataclass(slots=True)
class Run:
    """An image on its course."""

    row: int
    sample_id: str
    clean: Result
    course: Course
    trial: Trial
    taken: int = 0
    losses: tuple[float, float] = (math.nan, math.nan)
    """Of the attack's own loss: at the first gradient and at the last."""
    flat: bool = False
    refuted: int = -1
    """Steps taken when a plain forward pass last denied that it was fooled."""

    @property
    def over(self) -> bool:
        """Whether its trial has no step left."""
        return self.taken == self.trial.steps

    def note(self, loss: float, *, flat: bool) -> None:
        """What a gradient showed."""
        if self.taken == 0:
            self.losses, self.flat = (loss, loss), flat
        self.losses = (self.losses[0], loss)


@dataclass(slots=True)
class Group:
    """Images side by side; a row of each tensor belongs to the run of its place."""

    runs: list[Run]
    images_NCHW: Tensor
    at_NCHW: Tensor
    labels_N: Tensor
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.runs)

    def take(self, places: Sequence[int]) -> "Group":
        """Return the members at some places."""
        if len(places) == len(self):
            return self
        chosen = torch.tensor(places, dtype=torch.int64, device=self.at_NCHW.device)
        memory = {name: kept[chosen] for name, kept in self.memory.items()}
        runs = [self.runs[place] for place in places]
        return Group(runs, self.images_NCHW[chosen], self.at_NCHW[chosen], self.labels_N[chosen], memory)

    def join(self, other: "Group") -> "Group":
        """Both; what a rule remembers of one alone is zero for the other."""
        if not (len(self) and len(other)):
            return self if len(self) else other
        memory = {
            name: torch.cat([group.memory.get(name, torch.zeros_like(group.at_NCHW)) for group in (self, other)])
            for name in self.memory.keys() | other.memory.keys()
        }
        images, at = (
            torch.cat(pair) for pair in ((self.images_NCHW, other.images_NCHW), (self.at_NCHW, other.at_NCHW))
        )
        return Group([*self.runs, *other.runs], images, at, torch.cat((self.labels_N, other.labels_N)), memory)


NOBODY = Group([], torch.empty(0), torch.empty(0), torch.empty(0))
