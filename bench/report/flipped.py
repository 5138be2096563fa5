"""The images that SAM loses and gains, with their pictures where the data are here."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.compare.flips import Flip, flips
from bench.compare.pairs import Pair, sides_of
from bench.compare.sides import CannotCompareError, Side
from bench.report.thumbnails import Thumbnails
from bench.store import Store
from bench.suite.words import condition_in_words

SHOWN = 12
"""Images of a pair and suite, each way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A flipped image."""

    sample: str
    label: str
    key: str
    """Of its thumbnail; empty where there is none."""
    without: str
    """What is predicted without SAM, under the condition `where`."""
    with_sam: str
    where: str
    count: str
    """Under how many of the conditions it flipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flipped:
    """What a pair makes of the images of a suite."""

    suite: str
    family: str
    before: str
    after: str
    lost: tuple[Picture, ...]
    gained: tuple[Picture, ...]


def flipped(board: Board, pair: Pair, names: tuple[str, str], store: Store, thumbnails: Thumbnails) -> Flipped | None:
    """The images that flipped under most conditions; None where none did, or the two cannot be compared.

    Args:
        board: of the suite.
        pair: which.
        names: of its two checkpoints, as tables show them.
        store: where the outcomes are.
        thumbnails: takes the pictures.
    """
    without, with_sam = sides_of(pair, board, store)
    try:
        lost, gained = flips(without, with_sam, SHOWN), flips(with_sam, without, SHOWN)
    except CannotCompareError:  # the table of pairs says so
        return None
    if not lost and not gained:
        return None
    return Flipped(
        suite=board.suite.name,
        family=pair.after.family,
        before=names[0],
        after=names[1],
        lost=tuple(_picture(flip, without, thumbnails, (flip.before, flip.after)) for flip in lost),
        gained=tuple(_picture(flip, without, thumbnails, (flip.after, flip.before)) for flip in gained),
    )


def _picture(flip: Flip, side: Side, thumbnails: Thumbnails, predictions: Sequence[str]) -> Picture:
    return Picture(
        sample=flip.id,
        label=flip.label,
        key=_key(flip, side, thumbnails),
        without=predictions[0],
        with_sam=predictions[1],
        where=flip.where,
        count=f"{flip.lost} of {flip.conditions}" if flip.conditions > 1 else "",
    )


def _key(flip: Flip, side: Side, thumbnails: Thumbnails) -> str:
    """Where the picture stands under the condition that the flip names, but for corruptions that a run computes."""
    for condition in side.board.suite.conditions:
        cell = side.board.cells.get((side.checkpoint.model, condition))
        if cell is not None and condition.data.dataset == flip.dataset and condition_in_words(condition) == flip.where:
            return thumbnails.key(condition.image_set.plain, flip.id, cell.identity["fingerprints"][0])
    return ""
