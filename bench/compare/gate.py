"""The gate: whether a candidate's headline scores got worse than a baseline's, or cannot be compared with them.

A score got worse where it is sure that its drop is larger than the suite's tolerance (one-sided, by Holm over all
rows). What cannot be compared is never a pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from bench.board.leaderboard import data_of
from bench.board.published_outcomes import as_given
from bench.board.tables import DIGITS
from bench.compare.differences import Difference, adjusted, binary, differences, with_paired_test
from bench.compare.drop import beyond, detectable
from bench.compare.flips import Flip, flips
from bench.compare.numbers import Numbers, what_of
from bench.compare.sides import CannotCompareError, Side, terms_beyond
from bench.errors import BenchError
from bench.metrics.by_image import ByImage, Parts
from bench.metrics.classification import TOP1
from bench.metrics.stats import share_interval
from bench.suite import Score, Suite
from bench.suite.words import apart_in_words
from bench.text import some

Verdict: TypeAlias = Literal["no worse", "within tolerance", "not significant", "GOT WORSE", "cannot compare"]

SHOWN = 5
"""Worst conditions, and flipped images, of each score that got worse."""
_LOOKED_AT = 200
"""Flipped images of a suite among which those of the headline's data are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One condition of a score."""

    condition: str
    """Its parameters, for people."""
    before: float
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A suite's headline score for one checkpoint."""

    suite: Suite
    checkpoint: str
    against: str
    """Its name in the baseline."""
    tolerance: float
    """In the score's unit; a fraction mostly."""
    difference: Difference | None = None
    """p is that the drop is at most the tolerance, one-sided; None where the sides cannot be compared."""
    detectable: float | None = None
    """The smallest true drop that would have been found with a chance of 80%, in the score's unit; None where it is
    not known."""
    verdict: Verdict = "cannot compare"
    reason: str = ""
    """Why they cannot be compared."""
    worst: tuple[Change, ...] = ()
    """Conditions that fell the most, of what got worse."""
    flips: tuple[Flip, ...] = ()
    """Images that were lost in the most conditions, of what got worse."""

    @property
    def score(self) -> Score:
        """The headline."""
        return self.difference.score if self.difference else self.suite.headline


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a gate found."""

    baseline: str
    candidate: str
    alpha: float
    rows: tuple[Row, ...] = ()
    faults: tuple[str, ...] = ()
    """Why nothing could be compared at all."""
    notes: tuple[str, ...] = ()
    """What was not judged."""

    @property
    def exit_status(self) -> int:
        """1 where something got worse; else 3 where anything cannot be compared, or nothing was; else 0."""
        verdicts = {row.verdict for row in self.rows}
        if "GOT WORSE" in verdicts:
            return 1
        return CannotCompareError.exit_code if self.faults or not verdicts or "cannot compare" in verdicts else 0


def judge(
    before: Numbers,
    after: Numbers,
    suites: Iterable[Suite],
    pairs: Iterable[tuple[str, str]],
    *,
    alpha: float = 0.05,
    tolerance: float | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Whether the headline score of any suite and checkpoint got worse.

    Args:
        before: the baseline.
        after: the candidate; stored.
        suites: what is judged; what either side lacks of them cannot be compared.
        pairs: names of a checkpoint in the baseline and in the candidate.
        alpha: the chance of a false alarm over all rows, at most (Holm 1979): that a gate fails though no true drop is
            larger than the tolerance.
        tolerance: largest true drop that is no false alarm, a fraction; None takes each suite's own.
        notes: what is not judged.
    """
    pairs = list(pairs)
    rows = [
        _compared(
            before,
            after,
            Row(
                suite=suite,
                checkpoint=name,
                against=old,
                tolerance=suite.tolerance if tolerance is None else tolerance,
            ),
        )
        for suite in suites
        for old, name in pairs
    ]
    return Report(
        baseline=before.place,
        candidate=after.place,
        alpha=alpha,
        rows=tuple(_explained(before, after, row) for row in _decided(rows, alpha)),
        faults=() if rows else (_nothing(before, pairs),),
        notes=(*before.notes, *notes),
    )


def _nothing(before: Numbers, pairs: Sequence[tuple[str, str]]) -> str:
    """Why there is no row."""
    names = ", ".join(old for old, _ in pairs) or "any checkpoint"
    return f"{before.place} holds none of these suites for {names}; measure it there, or name another with --against."


def _compared(before: Numbers, after: Numbers, row: Row) -> Row:
    """The row with its difference, or with the reason why there is none."""
    try:
        return replace(row, difference=beyond(_difference(before, after, row), row.tolerance))
    except BenchError as error:  # a damaged cell, images that are not the same: whatever it is, it is no pass
        return replace(row, reason=str(error))


def _difference(before: Numbers, after: Numbers, row: Row) -> Difference:
    old, new = before.side(row.suite, row.against), after.side(row.suite, row.checkpoint)
    if old is None or new is None:
        return _from_published(before, after, row, new)
    headline = old.board.suite.headline
    compared = differences(old, new, [headline])
    if not compared:
        raise CannotCompareError(f"{row.suite.name}, {headline.column}, is not defined for {row.checkpoint}.")
    return compared[0]


def _from_published(before: Numbers, after: Numbers, row: Row, new: Side | None) -> Difference:
    """Compare published numbers: those of the baseline, and the candidate's as they would be published."""
    headline = new.board.suite.headline if new is not None else row.suite.headline
    if new is not None and what_of(headline) not in after.scores(row.suite, row.checkpoint):
        new.outcomes(headline)  # says which cells are missing
    protocols = before.protocol(row.suite, row.against), after.protocol(row.suite, row.checkpoint)
    first, second = before.score(row.suite, row.against, headline), after.score(row.suite, row.checkpoint, headline)
    if protocols[0] != protocols[1]:
        raise CannotCompareError(
            f"{row.suite.name} was measured in two ways: {_apart(*protocols)} in {before.place}, "
            f"{_apart(*protocols[::-1])} in {after.place}; measure both sides with the same limit, seed, precision and "
            "settings."
        )
    if new is not None:
        _check_data(before, new, row.suite)
    if first.n != second.n:
        raise CannotCompareError(
            f"{row.suite.name} is of {first.n:,} images in {before.place} and of {second.n:,} in {after.place}: not "
            "the same data; measure both on one copy."
        )
    name = row.suite.name
    by_value = Difference(suite=name, score=headline, before=first, after=second, ci_low=None, ci_high=None, p=None)
    given = before.outcomes.get((name, row.against))
    if new is None:
        return by_value
    parts = headline.metric.parts(new.outcomes(headline))
    if given is not None and parts is not None:
        return _by_published_outcomes(by_value, as_given(parts, given), parts, before.place)
    return _with_own_interval(by_value, parts) if name in before.unsealed else by_value


def _by_published_outcomes(by_value: Difference, first: ByImage, second: ByImage, place: str) -> Difference:
    """Compare image by image, as if both sides were stored."""
    if not abs(first.value - by_value.before.value) <= 10**-DIGITS:  # nor where it is NaN
        raise CannotCompareError(
            f"{place} has {by_value.before.value:.{DIGITS}f} for {by_value.suite}, and the outcomes beside it make "
            f"{first.value:.{DIGITS}f}; publish both anew."
        )
    before, after = (
        replace(estimate, value=parts.value) for estimate, parts in ((by_value.before, first), (by_value.after, second))
    )
    return with_paired_test(replace(by_value, before=before, after=after), first, second)


def _with_own_interval(by_value: Difference, parts: ByImage | None) -> Difference:
    """The difference with the baseline's interval made anew of value and n, where the score is a share of images.

    Without a digest the published one may have been edited, and a wide one hides every drop.
    """
    single = len(by_value.score.conditions) == 1  # a mean over several is no share, though all it shows be 0 and 1
    if not single or not isinstance(parts, Parts) or parts.score is not None or not binary(parts.values_NC):
        return by_value
    before = by_value.before
    right = round(before.value * before.n)
    if not (0 <= right <= before.n and abs(right / before.n - before.value) <= 10**-DIGITS):
        raise CannotCompareError(
            f"the published {before.value:.{DIGITS}f} of {by_value.suite} is no share of {before.n:,} images; make it "
            "anew."
        )
    low, high = share_interval(right, before.n)
    return replace(by_value, before=replace(before, ci_low=low, ci_high=high))


def _check_data(before: Numbers, new: Side, suite: Suite) -> None:
    """Make sure that the candidate saw the data of the published numbers, as far as these say which."""
    prints = before.fingerprints.get(suite.name, {})
    for (model, condition), cell in new.board.cells.items():
        for data in data_of(condition, cell) if model == new.checkpoint.model else ():
            if prints.get(data.name, data.fingerprint) != data.fingerprint:
                raise CannotCompareError(
                    f"{data.name} has other contents in {new.store.root} than when {before.place} was published; "
                    "measure both on one copy."
                )


def _apart(protocol: str, other: str) -> str:
    """What a protocol has and another lacks."""
    return terms_beyond(protocol, other) or "all samples and nothing more"


def _decided(rows: Sequence[Row], alpha: float) -> list[Row]:
    """The rows with their verdicts, once Holm's adjustment has seen all of them."""
    decided = adjusted([row.difference for row in rows if row.difference])
    following = iter(decided)
    # Holm asks the surest row for no more than this; the others for less.
    at_most = alpha / max(1, len(decided))
    return [_with_verdict(row, next(following), alpha, at_most) if row.difference else row for row in rows]


def _with_verdict(row: Row, difference: Difference, alpha: float, at_most: float) -> Row:
    verdict: Verdict = "not significant"
    if difference.worse <= 0:
        verdict = "no worse"
    elif difference.worse <= row.tolerance + 1e-9:  # rounding must not fail a drop as large as the tolerance
        verdict = "within tolerance"
    elif difference.p_adjusted is not None and difference.p_adjusted <= alpha:
        verdict = "GOT WORSE"
    seen = detectable(difference, row.tolerance, at_most)
    return replace(row, difference=difference, detectable=seen, verdict=verdict)


# -- what got worse, and where --------------------------------------------------------------------------------


def _explained(before: Numbers, after: Numbers, row: Row) -> Row:
    """The row with its worst conditions and flipped images, if it got worse."""
    if row.verdict != "GOT WORSE":
        return row
    try:
        sides = before.side(row.suite, row.against), after.side(row.suite, row.checkpoint)
        worst, flipped = _worst(before, after, row), _flipped(*sides, row.score)
    except BenchError:  # a damaged cell beside those of the headline must not hide that it got worse
        return row
    return replace(row, worst=tuple(worst[:SHOWN]), flips=tuple(flipped))


def _worst(before: Numbers, after: Numbers, row: Row) -> list[Change]:
    """The score under each of its conditions alone, where these are several and have rows; largest falls first."""
    first, second = before.scores(row.suite, row.against), after.scores(row.suite, row.checkpoint)
    changes: dict[str, tuple[float, Change]] = {}  # by condition: a score may stand under two headings
    for score in row.suite.scores:
        alone = len(score.conditions) == 1 < len(row.score.conditions) and score.conditions[0] in row.score.conditions
        same = score.at == row.score.at and score.metric.name in (TOP1.name, row.score.metric.name)
        identity = what_of(score)
        if alone and same and identity in first and identity in second:
            sign = 1 if score.metric.higher_is_better else -1
            words = apart_in_words(score.conditions[0], row.score.conditions)
            change = Change(condition=words, before=first[identity].value, after=second[identity].value)
            changes[words] = (sign * (change.after - change.before), change)
    return [change for fall, change in sorted(changes.values(), key=lambda pair: pair[0]) if fall < 0]


def _flipped(before: Side | None, after: Side | None, score: Score) -> list[Flip]:
    """Images that the candidate lost in the most conditions; none where only numbers are published."""
    if before is None or after is None:
        return []
    shifted = {condition.data.dataset for condition in score.conditions}  # and not the clean images beside them
    return [flip for flip in flips(before, after, _LOOKED_AT) if flip.lost and flip.dataset in shifted][:SHOWN]


def common(
    before: Numbers, after: Numbers, names: Sequence[str], against: str | None
) -> tuple[list[tuple[str, str]], list[str]]:
    """Which checkpoints are compared, as `judge` takes them, and notes on those that the candidate alone has.

    Args:
        before: the baseline.
        after: the candidate.
        names: those that are asked for; without, all that the baseline has.
        against: the baseline's name for the one candidate.

    Raises:
        CannotCompareError: there is none.
        BenchError: more than one candidate is to go against one name.
    """
    if against is not None:
        candidates = list(names) or sorted(after.names)
        if len(candidates) != 1:
            raise BenchError(
                f"--against {against} is for one candidate, not {len(candidates)}; name it with --checkpoint NAME."
            )
        return [(against, candidates[0])], []
    judged = list(names) or sorted(before.names)  # what the candidate lacks of them cannot be compared
    if not names and not before.names & after.names:
        raise CannotCompareError(
            f"no checkpoint is in both {before.place} ({some(sorted(before.names)) or 'none'}) and {after.place} "
            f"({some(sorted(after.names)) or 'none'}); compare two names with --checkpoint NAME --against NAME OF THE "
            "BASELINE."
        )
    notes = [
        f"not judged, as only {after.place} has it: {name}" for name in sorted(after.names - set(judged)) if not names
    ]
    return [(name, name) for name in judged], notes
