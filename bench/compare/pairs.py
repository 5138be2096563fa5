"""Pairs of checkpoints that differ in SAM: what it gains, and the question of the SAM paper.

Chen, Hsieh & Gong 2022 (arXiv 2106.01548) hold that ViT and MLP-Mixer gain more by sharpness-aware training than
ResNet does, and more on corrupted than on clean images. Shapes: N images.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.board.leaderboard import Board
from bench.compare.differences import Difference, differences
from bench.compare.sides import CannotCompareError, Side
from bench.errors import BenchError
from bench.metrics.by_image import Parts, aligned
from bench.metrics.paired import holm, in_change
from bench.metrics.stats import OfSum
from bench.records import Array, digest
from bench.store import Store, StoredCheckpoint
from bench.suite import Score

BASELINE = "resnet"
"""The family that the others' gains are held against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two checkpoints, the second trained with SAM."""

    before: StoredCheckpoint
    after: StoredCheckpoint
    differs: str
    """What else they differ in; empty where nothing is known to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    """The mean of a pair's gains over suites: the first accuracy of each."""

    pair: Pair
    suites: int
    value: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_adjusted: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Every pair on every suite."""

    rows: Sequence[tuple[Pair, Difference]]
    """By suite, its scores that pairs are compared by, then by family and name."""
    overall: Sequence[Overall]
    """Of pairs with two suites and more."""
    notes: Sequence[str]


def pairs(board: Board, family: str | None = None) -> list[Pair]:
    """The pairs of a board that differ in SAM, by family and name; either may name the other as its partner.

    Args:
        board: with the checkpoints.
        family: only pairs of a family.
    """
    every = [
        Pair(before=before, after=after, differs=after.pair_differs)
        for after in board.checkpoints
        for before in board.checkpoints
        if before.sam == "none" != after.sam
        and (after.pairs_with == before.name or before.pairs_with == after.name)
        and family in (None, after.family)
    ]
    return sorted(every, key=lambda pair: (pair.after.family, pair.after.name, pair.after.model, pair.before.model))


# -- what SAM gains ------------------------------------------------------------------------------------------------


def compare_pairs(boards: Sequence[Board], store: Store, family: str | None = None) -> Compared:
    """What SAM changes, for every stored pair and suite, and over the suites; p adjusted for all rows together.

    Args:
        boards: of one store.
        store: that store.
        family: only pairs of a family.

    Raises:
        BenchError: no pair has both its sides.
    """
    rows: list[tuple[Pair, Difference]] = []
    gains: dict[Pair, list[Difference]] = {}
    notes: list[str] = []
    for board in boards:
        paired, accuracy = board.suite.paired, board.suite.accuracy
        here: list[tuple[Pair, Difference]] = []
        for pair in pairs(board, family):
            sides = sides_of(pair, board, store)
            try:
                compared = differences(*sides, paired)
                if accuracy is not None:
                    gained = compared if accuracy in paired else differences(*sides, [accuracy])
                    gains.setdefault(pair, []).extend(gained)
            except CannotCompareError as error:
                notes.append(f"left out: {error}")
                continue
            here += [(pair, row) for row in compared]
        rows += sorted(here, key=lambda row: paired.index(row[1].score))
    if not rows:
        names = ", ".join(board.suite.name for board in boards)
        of = f" of family {family!r}" if family else ""
        why = f" ({notes[0]})" if notes else ""
        raise BenchError(
            f"no pair{of} that differs in SAM is stored whole for {names}{why}; `bench run` measures both sides, which "
            "name each other by pairs_with in the registry."
        )
    overall = [_overall(pair, accuracies) for pair, accuracies in gains.items() if len(accuracies) > 1]
    return _adjusted(rows, overall, notes)


def sides_of(pair: Pair, board: Board, store: Store) -> tuple[Side, Side]:
    """Without SAM, and with it."""
    return (
        Side(board=board, checkpoint=pair.before, store=store),
        Side(board=board, checkpoint=pair.after, store=store),
    )


def _overall(pair: Pair, rows: Sequence[Difference]) -> Overall:
    mean = float(np.mean([row.value for row in rows]))
    parts = [row.confidence for row in rows if row.confidence is not None]
    if len(parts) < len(rows):
        return Overall(pair=pair, suites=len(rows), value=mean, ci_low=None, ci_high=None, p=None)
    confidence = OfSum(parts=parts, weights=[1 / len(parts)] * len(parts))
    low, high = confidence.interval()
    return Overall(pair=pair, suites=len(rows), value=mean, ci_low=low, ci_high=high, p=confidence.p())


def _adjusted(rows: Sequence[tuple[Pair, Difference]], overall: Sequence[Overall], notes: Sequence[str]) -> Compared:
    """Adjust p for the rows of suites and the overall ones together."""
    known = [p for p in (*(row.p for _, row in rows), *(mean.p for mean in overall)) if p is not None]
    values = iter(holm(known).tolist())
    return Compared(
        rows=[(pair, row if row.p is None else replace(row, p_adjusted=next(values))) for pair, row in rows],
        overall=[mean if mean.p is None else replace(mean, p_adjusted=next(values)) for mean in overall],
        notes=notes,
    )


# -- the question of the SAM paper ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """A difference of accuracies, or of such differences; a fraction, with its 95% interval."""

    value: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gains:
    """What a family gains by SAM in a suite, the mean over its pairs."""

    suite: str
    family: str
    pairs: int
    clean: Contrast
    shifted: Contrast
    more: Contrast
    """Shifted less clean: above 0, SAM helps more under the shift."""
    clean_beyond: Contrast | None
    """The clean gain less that of `BASELINE`; None for that family, or without it."""
    shifted_beyond: Contrast | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Changed:
    """What some images change."""

    change_N: Array
    most: float
    """That one can."""


_ByImage = Mapping[str, _Changed]
"""Digest of some images' ids to what they change, in the order of the ids: a contrast is the sum of the means."""


def gains(boards: Sequence[Board], store: Store, family: str | None = None) -> list[Gains]:
    """What each family gains on clean and on shifted images, for suites that have both.

    What a pair gains on two conditions of the same images is paired, image by image. Where the clean images are others
    than the shifted ones, the two are independent.

    Args:
        boards: of one store.
        store: that store.
        family: only this one, and `BASELINE`.
    """
    gained = []
    for board in boards:
        if board.suite.clean is None or board.suite.accuracy is None:
            continue
        by_family: dict[str, list[_Changes]] = {}
        for pair in pairs(board):
            sides = sides_of(pair, board, store)
            clean, shifted = _change(sides, board.suite.clean), _change(sides, board.suite.accuracy)
            if clean and shifted and (family in (None, pair.after.family) or pair.after.family == BASELINE):
                by_family.setdefault(pair.after.family, []).append(_Changes(clean=clean, shifted=shifted))
        means = {
            name: _Changes(
                clean=_mean([each.clean for each in changes]), shifted=_mean([each.shifted for each in changes])
            )
            for name, changes in by_family.items()
        }
        base = means.get(BASELINE)
        for name, mean in means.items():
            beyond = None if base is None or name == BASELINE else base
            gained.append(
                Gains(
                    suite=board.suite.name,
                    family=name,
                    pairs=len(by_family[name]),
                    clean=_contrast(mean.clean),
                    shifted=_contrast(mean.shifted),
                    more=_contrast(_less(mean.shifted, mean.clean)),
                    clean_beyond=_contrast(_less(mean.clean, beyond.clean)) if beyond else None,
                    shifted_beyond=_contrast(_less(mean.shifted, beyond.shifted)) if beyond else None,
                )
            )
    return gained


@dataclass(frozen=True, kw_only=True, slots=True)
class _Changes:
    """What images gain."""

    clean: _ByImage
    shifted: _ByImage


def _change(sides: tuple[Side, Side], score: Score) -> _ByImage | None:
    """What each image gains under a score; None where a cell is missing or the score is not by image."""
    try:
        first, second = (score.metric.parts(side.outcomes(score)) for side in sides)
    except CannotCompareError:
        return None
    if not isinstance(first, Parts) or not isinstance(second, Parts) or first.score is not None:
        return None
    first_NC, second_NC = aligned(first, second, score.metric.name)
    ends = (*first.ends, *second.ends)
    changed = _Changed(change_N=second_NC[:, 0] - first_NC[:, 0], most=max(ends) - min(ends))
    return {digest(sorted(first.images.ids.tolist())): changed}


def _mean(changes: Sequence[_ByImage]) -> _ByImage:
    return _summed([(1 / len(changes), change) for change in changes])


def _less(first: _ByImage, second: _ByImage) -> _ByImage:
    return _summed([(1.0, first), (-1.0, second)])


def _summed(terms: Iterable[tuple[float, _ByImage]]) -> _ByImage:
    sums: dict[str, _Changed] = {}
    for weight, changes in terms:
        for images, changed in changes.items():
            before = sums.get(images, _Changed(change_N=np.zeros(len(changed.change_N)), most=0.0))
            sums[images] = _Changed(
                change_N=before.change_N + weight * changed.change_N, most=before.most + abs(weight) * changed.most
            )
    return sums


def _contrast(changes: _ByImage) -> Contrast:
    value = float(sum(changed.change_N.mean() for changed in changes.values()))
    try:
        parts = [in_change(changed.change_N, most=changed.most) for changed in changes.values()]
    except BenchError:  # too few images
        return Contrast(value=value, ci_low=None, ci_high=None)
    low, high = OfSum(parts=parts, weights=[1.0] * len(parts)).interval()
    return Contrast(value=value, ci_low=low, ci_high=high)
