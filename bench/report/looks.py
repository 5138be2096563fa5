"""How charts tell checkpoints apart: the colour is the family's in every chart of a report, the rest is the chart's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.store import StoredCheckpoint

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#222222")
"""Told apart by the colour-blind: after Okabe & Ito 2008, "Color universal design". The style sheet has them as `c0`
to `c6`."""
_ALWAYS = ("resnet", "vit", "mixer")
"""Families that are compared most: their colours are the same in reports of different stores too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a checkpoint, or a family, is told from others, also without colour."""

    number: int
    """Of its shape and its dashes."""
    colour: int
    """In `COLOURS`."""
    hollow: bool = False


class Palette:
    """The colour of each family."""

    def __init__(self, boards: Iterable[Board]) -> None:
        """Of the families on some boards, which are all that a report shows."""
        families = {checkpoint.family for board in boards for checkpoint in board.checkpoints}
        self._places = {family: n for n, family in enumerate([*_ALWAYS, *sorted(families - {*_ALWAYS})])}

    def of_each(self, checkpoints: Iterable[StoredCheckpoint]) -> Mapping[StoredCheckpoint, Look]:
        """A look for each of some checkpoints, by their places: no two of 36 have both shape and dashes in common."""
        return {c: self._look(number, c) for number, c in enumerate(checkpoints)}

    def of_families(self, checkpoints: Iterable[StoredCheckpoint]) -> Mapping[StoredCheckpoint, Look]:
        """A look for each family and whether it was trained with SAM: the shape too is the family's."""
        return {c: self._look(self._places[c.family], c) for c in checkpoints}

    def _look(self, number: int, checkpoint: StoredCheckpoint) -> Look:
        """Hollow without SAM."""
        colour = self._places[checkpoint.family] % len(COLOURS)
        return Look(number=number, colour=colour, hollow=checkpoint.sam == "none")
