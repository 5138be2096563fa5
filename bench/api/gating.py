"""Whether anything got worse than a baseline."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.scores import boards, measured_boards
from bench.board.leaderboard import NothingStoredError, Want
from bench.errors import BenchError, RunError
from bench.run.choice import select_suites
from bench.store import Store
from bench.store.reading import listed
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.compare.gate import Report
    from bench.compare.numbers import Numbers


def gate(
    baseline: Sequence[Path],
    store: Store,
    suites: Sequence[Suite] | None = None,
    *,
    checkpoints: Sequence[str] = (),
    against: str | None = None,
    want: Want | None = None,
    alpha: float = 0.05,
    tolerance: float | None = None,
    every: bool = False,
    needed: bool = True,
) -> "Report":
    """Whether a headline score got worse than a baseline's; see `bench.compare.gate`.

    Args:
        baseline: published CSVs, or one store of outcomes, which is compared image by image.
        store: the candidate's outcomes.
        suites: what is judged; None takes those that the baseline holds.
        checkpoints: only these names; without, all that the baseline has.
        against: what the baseline calls the one checkpoint.
        want: limit, seed and numerics, where they are to be certain ones.
        alpha: chance of a false alarm, over all rows.
        tolerance: largest drop that passes, a fraction; None takes each suite's own.
        every: whether of the suites those are judged that were measured for the baseline, where that is a store.
        needed: whether a suite that the baseline lacks cannot be compared; if not, it is not judged.

    Returns:
        A report, whose `exit_status` is 0 where nothing got worse, 1 where something did, 3 where anything cannot be
        compared; a damaged store, or one that holds nothing, is no pass and stands among its faults.

    Raises:
        BenchError: there is no such baseline, or checkpoint, or it is the candidate itself.
    """
    from bench.compare.gate import Report, common, judge
    from bench.compare.sides import CannotCompareError

    try:
        before, chosen = _baseline(
            baseline, store, suites, [against] if against else checkpoints, against, want, every=every
        )
        after = _stored(chosen, store, checkpoints, want)
        for name in [] if against else checkpoints:
            if name not in before.names | after.names:
                raise BenchError(
                    f"neither {before.place} nor {after.place} has a checkpoint {name!r}; mind its spelling."
                )
        judged = _judged(chosen, before, needed=needed)
        pairs, notes = common(before, after, checkpoints, against)
        return judge(before, after, judged, pairs, alpha=alpha, tolerance=tolerance, notes=notes)
    except (CannotCompareError, NothingStoredError, RunError) as error:  # a damaged store is no regression, and no pass
        place = ", ".join(map(str, baseline))
        return Report(baseline=place, candidate=str(store.root), alpha=alpha, faults=(str(error),))


def _baseline(
    places: Sequence[Path],
    store: Store,
    suites: Sequence[Suite] | None,
    names: Sequence[str],
    against: str | None,
    want: Want | None,
    *,
    every: bool,
) -> "tuple[Numbers, Sequence[Suite]]":
    """What the baseline says, and the suites that are meant."""
    from bench.compare.numbers import published

    folder = _store_of(places)
    if folder is None:
        before = published(places)
        return before, select_suites(list(before.frame["suite"].dropna().unique())) if suites is None else suites
    if folder.resolve() == store.root.resolve() and against is None:
        raise BenchError(f"the baseline and the candidate are one store, {folder}; name the other with --store.")
    held = Store(folder)
    if suites is None or every:
        meant = select_suites(every=True) if suites is None else suites
        suites = [board.suite for board in measured_boards(meant, held, want=want)]
    return _stored(suites, held, names, want), suites


def _store_of(baseline: Sequence[Path]) -> Path | None:
    """The baseline as a store of outcomes; None where it is files.

    Raises:
        BenchError: it is neither.
        CannotCompareError: it is a folder without outcomes.
        UnreadableError: it cannot be read.
    """
    from bench.compare.sides import CannotCompareError

    for path in baseline:
        if not path.exists():
            raise BenchError(f"there is no {path}; the baseline is a published CSV or a store of outcomes.")
        if path.is_dir() and len(baseline) > 1:
            raise BenchError(f"{path} is a folder; the baseline is one store of outcomes, or CSV files alone.")
    if baseline[0].is_dir() and "cells" not in listed(baseline[0]):
        raise CannotCompareError(
            f"{baseline[0]} holds no outcomes; the baseline is a store that has some, or CSV files."
        )
    return baseline[0] if baseline[0].is_dir() else None


def _stored(chosen: Sequence[Suite], store: Store, names: Sequence[str], want: Want | None) -> "Numbers":
    """What a store has of those checkpoints that it knows: a run may have failed on the others."""
    from bench.compare.numbers import stored

    known = {checkpoint.name for checkpoint in store.checkpoints()}
    here = [name for name in names if name in known]
    return stored([] if names and not here else boards(chosen, store, checkpoints=here, want=want), store)


def _judged(chosen: Sequence[Suite], before: "Numbers", *, needed: bool) -> list[Suite]:
    """The suites that the baseline has, their stand-ins among them; where they are needed, also those it lacks."""
    judged = {}
    for suite in chosen:
        held = [s for s in (suite, suite.stand_in) if s is not None and before.holds(s)]
        for one in held[:1] or ([suite] if needed else []):
            judged[one.name] = one
    return list(judged.values())
