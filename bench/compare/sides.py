"""The two sides of a comparison: a checkpoint on a board, and whether two of them were measured alike."""

from dataclasses import dataclass, field

from bench.board.leaderboard import Board
from bench.errors import BenchError
from bench.records import Condition, Outcome
from bench.store import Store, StoredCheckpoint
from bench.suite import Score


class CannotCompareError(BenchError):
    """Two sides that were not measured alike, or not both: never a sign that nothing got worse."""

    exit_code = 3
    """Not that of a call to change, nor of a fault: a gate tells them apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A checkpoint in a board."""

    board: Board
    checkpoint: StoredCheckpoint
    store: Store
    kept: dict[str, Outcome] = field(default_factory=dict, compare=False, repr=False)
    """What was read, by key: a suite's scores share their cells (96 of ImageNet-C, some 0.5 GB)."""

    def outcomes(self, score: Score) -> list[Outcome]:
        """The outcomes of the score's conditions.

        Raises:
            CannotCompareError: a cell is not stored.
        """
        cells = [self.board.cells.get((self.checkpoint.model, condition)) for condition in score.conditions]
        missing = sum(cell is None for cell in cells)
        if missing:
            raise CannotCompareError(
                f"{self.checkpoint.name} lacks {missing} of {len(cells)} cells of {self.board.suite.name}, "
                f"{score.column or score.metric.name}, in {self.store.root}; `bench run` measures them."
            )
        return [self._read(cell.key) for cell in cells if cell is not None]

    def stored(self, condition: Condition) -> Outcome | None:
        """The outcome of a condition; None where the cell is not stored."""
        cell = self.board.cells.get((self.checkpoint.model, condition))
        return None if cell is None else self._read(cell.key)

    def _read(self, key: str) -> Outcome:
        if key not in self.kept:
            self.kept[key] = self.store.read(key)
        return self.kept[key]


def check_alike(before: Side, after: Side) -> None:
    """Make sure that two sides were measured under one protocol on the same data.

    Args:
        before: one side.
        after: the other.

    Raises:
        CannotCompareError: they were not.
    """
    suite, other = before.board.suite, after.board.suite
    if (suite.name, suite.version) != (other.name, other.version):
        raise CannotCompareError(
            f"{before.checkpoint.name} was measured on {suite.name} v{suite.version} and {after.checkpoint.name} on "
            f"{other.name} v{other.version}; compare them on one suite."
        )
    if before.board.protocol != after.board.protocol:
        raise CannotCompareError(
            f"{suite.name} was measured in two ways: {_apart(before.board.protocol, after.board.protocol)}; measure "
            "both sides with the same limit, seed, precision and settings."
        )
    for condition in suite.conditions:
        cells = [side.board.cells.get((side.checkpoint.model, condition)) for side in (before, after)]
        prints = {tuple(cell.identity["fingerprints"]) for cell in cells if cell is not None}
        if len(prints) > 1:
            raise CannotCompareError(
                f"{condition.data.dataset} has other contents for {before.checkpoint.name} in {before.store.root} than "
                f"for {after.checkpoint.name} in {after.store.root}; measure both on one copy."
            )


def _apart(first: str, second: str) -> str:
    """What one protocol has and the other lacks."""
    left, right = terms_beyond(first, second) or "all samples", terms_beyond(second, first) or "all samples"
    return f"one with {left}, the other with {right}"


def terms_beyond(protocol: str, other: str) -> str:
    """The terms that a protocol has and another lacks; empty where it has none."""
    theirs = other.split(", ")
    return ", ".join(term for term in protocol.split(", ") if term not in theirs)
